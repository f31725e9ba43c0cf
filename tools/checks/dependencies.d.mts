export interface Project {
  readonly manifest: Record<string, unknown>;
  /** The manifests of the workspace's packages, by folder. */
  readonly workspaces: Record<string, Record<string, unknown>>;
  readonly lockfile: { lockfileVersion: number; packages: Record<string, Record<string, unknown>> };
}

export interface Licence {
  readonly name: string;
  readonly version: string;
  readonly licence: string;
}

export function readProject(): Project;
export function lockfileProblems(project: Project): string[];
export function licencesOf(lockfile: Project['lockfile']): Licence[];
export function isAllowed(expression: string): boolean;
