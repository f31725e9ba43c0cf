/** Shortens a time to live by up to a quarter, so that entries made together don't all expire together. */
export function jittered(ttlMs: number): number {
  return ttlMs * (1 - Math.random() / 4);
}
