/** How many shards are worked on at the same time. */
const AT_ONCE = 4;

/**
 * Works on several items at a time. The first failure stops the others, and is thrown when all have ended.
 *
 * @param work gets a signal that also aborts when the work on another item fails
 */
export async function someAtOnce<T, R>(
  items: readonly T[],
  signal: AbortSignal | undefined,
  work: (item: T, signal: AbortSignal) => Promise<R>,
): Promise<R[]> {
  const failure = new AbortController();
  const stop = AbortSignal.any([failure.signal, ...(signal ? [signal] : [])]);
  const results: R[] = [];
  const waiting = items.entries();
  const takeFromThem = async () => {
    for (const [index, item] of waiting) {
      stop.throwIfAborted();
      results[index] = await work(item, stop);
    }
  };
  const workers = Array.from({ length: AT_ONCE }, () =>
    takeFromThem().catch((error: unknown) => failure.abort(error)),
  );
  await Promise.all(workers);
  stop.throwIfAborted();
  return results;
}
