import { setTimeout as sleep } from 'node:timers/promises';
import type { ShardAddress } from '../../config/shard-address.js';
import { sqlStateOf } from '../../storage/database-errors.js';
import { hasTable } from '../catalogue.js';
import { CommandError } from '../command-error.js';
import { withSessions, type ShardSession } from '../shards.js';

/** Less than a service waits for a lock, so no step fails because of it. */
const QUICK_TIMEOUT_MS = 300;
/** Longer than the server's deadlock_timeout, 1 s by default: an autovacuum gives way only after that. */
const PATIENT_TIMEOUT_MS = 2_000;
const QUICK_ATTEMPTS = 5;
const MAX_ATTEMPTS = 8;
/** For the steps that have waited. */
const PAUSE_MS = 500;

/** Another session held a lock for too long, or waited for this one's. */
const GIVES_WAY = ['55P03', '40P01'];

/**
 * Runs work while no step of a transfer between shards is under way in any shard: each of them writes one of two tables.
 * Steps wait meanwhile, so the work must be over in an instant.
 *
 * @throws CommandError when steps are under way all the time
 */
export async function betweenSteps<T>(
  shards: readonly ShardAddress[],
  signal: AbortSignal | undefined,
  work: () => Promise<T>,
): Promise<T> {
  if (shards.length === 1) return work();
  return withSessions(shards, 'bank-backup', async (sessions) => {
    for (let attempt = 1; attempt <= MAX_ATTEMPTS; attempt++) {
      signal?.throwIfAborted();
      try {
        const timeoutMs = attempt <= QUICK_ATTEMPTS ? QUICK_TIMEOUT_MS : PATIENT_TIMEOUT_MS;
        await Promise.all(sessions.map((session) => lockSteps(session, timeoutMs)));
        return await work();
      } catch (error) {
        if (!GIVES_WAY.includes(sqlStateOf(error) ?? '')) throw error;
      } finally {
        await Promise.all(sessions.map(({ client }) => client.query('ROLLBACK')));
      }
      await sleep(PAUSE_MS * Math.random(), undefined, { signal });
    }
    throw new CommandError(
      'transfers between shards hold their tables all the time, so the shards have no common moment; try again later',
    );
  });
}

/** The tables in the order in which steps lock them. */
async function lockSteps({ client, tables }: ShardSession, timeoutMs: number): Promise<void> {
  const { transfers, incomingTransfers } = tables;
  // A schema of before transfers between shards.
  if (!(await hasTable(client, transfers))) return;
  await client.query(`BEGIN; SET LOCAL lock_timeout = ${timeoutMs}`);
  await client.query(`LOCK TABLE ${transfers}, ${incomingTransfers} IN SHARE MODE`);
}
