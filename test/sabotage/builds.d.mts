export const BUILDS: Readonly<
  Record<
    string,
    { readonly file: string; readonly edits: readonly (readonly [right: string, wrong: string])[] }
  >
>;
