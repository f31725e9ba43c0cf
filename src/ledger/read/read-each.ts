import type { ShardRouter } from '../../sharding/shard-router.js';
import type { ShardReader } from './shard-reader.js';

/**
 * Reads several things that have ids, those of each shard together. A shard that fails affects only its own.
 *
 * @param read what is found of these ids, which are all of one shard
 * @param missing what to say of an id that is not found
 */
export async function readEach<T>(
  router: ShardRouter<ShardReader>,
  ids: Iterable<number>,
  read: (shard: ShardReader, ids: readonly number[]) => Promise<ReadonlyMap<number, T>>,
  missing: () => Error,
): Promise<ReadonlyMap<number, T | Error>> {
  const outcomes = new Map<number, T | Error>();
  const byShard = Map.groupBy(new Set(ids), (id) => router.of(id));
  const reads = [...byShard].map(async ([shard, ofShard]) => {
    try {
      const found = await read(shard, ofShard);
      for (const id of ofShard) outcomes.set(id, found.get(id) ?? missing());
    } catch (error) {
      for (const id of ofShard) outcomes.set(id, error as Error);
    }
  });
  await Promise.all(reads);
  return outcomes;
}
