/** A time to live, shortened by up to a quarter: entries that are made together do not all expire together. */
export function jittered(ttlMs: number): number {
  return ttlMs * (1 - Math.random() / 4);
}
