type Edits = readonly (readonly [right: string, wrong: string])[];

/** By the name of the mistake, and the file. */
export const BUILDS: Readonly<Record<string, Readonly<Record<string, Edits>>>>;
