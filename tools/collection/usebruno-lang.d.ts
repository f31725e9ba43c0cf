/** The part that is used here; the package has no types of its own. */
declare module '@usebruno/lang' {
  export interface Item {
    readonly name: string;
    readonly value: string;
    readonly enabled: boolean;
    /** Of parameters only. */
    readonly type?: 'query' | 'path';
    /** Of variables only. */
    readonly secret?: boolean;
    readonly local?: boolean;
  }

  /** A request's file. */
  export interface BruRequest {
    /** seq: its place in the folder, as a text once it was read from a file. */
    readonly meta: {
      readonly name: string;
      readonly type: 'http';
      readonly seq: number | string;
      readonly tags?: readonly string[];
    };
    readonly http: {
      readonly method: string;
      readonly url: string;
      readonly body: 'json' | 'none';
      readonly auth: 'inherit';
    };
    readonly params?: readonly Item[];
    readonly headers?: readonly Item[];
    readonly body?: { readonly json?: string };
    /** Variables that are set from the answer. */
    readonly vars?: { readonly res?: readonly Item[] };
    readonly assertions?: readonly Item[];
    readonly docs?: string;
  }

  /** The file of a folder, or of the collection. */
  export interface BruFolder {
    readonly meta?: { readonly name: string; readonly seq: number | string };
    readonly auth: { readonly mode: 'inherit' | 'bearer'; readonly bearer?: { readonly token: string } };
    readonly docs?: string;
  }

  export interface BruEnvironment {
    readonly variables: readonly Item[];
  }

  export function jsonToBruV2(request: BruRequest): string;
  export function bruToJsonV2(text: string): BruRequest;
  export function jsonToCollectionBru(folder: BruFolder): string;
  export function collectionBruToJson(text: string): BruFolder;
  export function envJsonToBruV2(environment: BruEnvironment): string;
  export function bruToEnvJsonV2(text: string): BruEnvironment;
}
