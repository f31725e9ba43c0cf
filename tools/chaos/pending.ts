import { setTimeout as sleep } from 'node:timers/promises';
import { Client, escapeIdentifier } from 'pg';
import type { DirectShard } from './faults.js';

const POLL_MS = 50;

/**
 * Waits until no transfer between shards is pending that had begun when the wait began.
 *
 * @param isOver ends the wait in vain
 * @returns how long it took, in milliseconds; undefined: it ended in vain
 */
export async function untilSettled(
  shards: readonly DirectShard[],
  isOver: () => boolean,
): Promise<number | undefined> {
  const since = performance.now();
  const begunBy = new Date();
  while (!isOver()) {
    const left = await Promise.all(shards.map((shard) => pendingIn(shard, begunBy))).catch(() => undefined);
    if (left?.every((count) => count === 0)) return Math.round(performance.now() - since);
    await sleep(POLL_MS);
  }
  return undefined;
}

/** The servers' clocks are that of this machine. */
async function pendingIn({ url, schema }: DirectShard, begunBy: Date): Promise<number> {
  const client = new Client({ connectionString: url });
  client.on('error', () => undefined);
  await client.connect();
  try {
    const { rowCount } = await client.query(
      `SELECT FROM ${escapeIdentifier(schema)}.transfers WHERE status = 'pending' AND created_at <= $1`,
      [begunBy],
    );
    return rowCount ?? 0;
  } finally {
    await client.end();
  }
}
