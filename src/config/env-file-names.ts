/** The names in `.env`, if this process has read it. In a module of its own, so that asking for them reads no file. */
export const ENV_FILE_NAMES = new Set<string>();
