type Edits = readonly (readonly [right: string, wrong: string])[];

/** By the name of the mistake, and the file. */
type Builds = Readonly<Record<string, Readonly<Record<string, Edits>>>>;

export const BUILDS: Builds;
export const MOVES: Builds;
export const SUBMISSIONS: Builds;
export const TRANSFERS: Builds;
