import { setTimeout as sleep } from 'node:timers/promises';
import type { PoolClient } from 'pg';
import type { QueryRunner } from 'typeorm';
import { recordActOn } from '../audit/audit-log.js';
import { send } from '../storage/connection.js';
import { columnList } from '../storage/identifiers.js';
import type { ShardAddress } from '../config/shard-address.js';
import type { SchemaTables } from '../storage/tables.js';
import { userMessage } from '../app/user-message.js';
import { columnsOf } from './catalogue.js';
import { CommandError } from './command-error.js';
import type { Control } from './control.js';
import { withShardRunners, type ShardRunner } from './shards.js';

/** Progress is counted in ids looked at, of all shards. When it is stopped, what was moved so far stays moved. */
export interface ArchiveOptions extends Omit<Control, 'onStep'> {
  /** Transactions looked at in one step. */
  readonly stepRows?: number;
}

export interface ArchiveReport {
  readonly before: Date;
  /** Transactions that this run moved. */
  readonly moved: number;
  readonly durationMs: number;
  /** All that were older have been moved; else it was stopped. */
  readonly complete: boolean;
}

/** So few that a step takes some 50 ms, and a kill loses no more. */
const STEP_ROWS = 5_000;

/** A step is followed by a pause as long as itself, so that no more than half of a disk is taken from who posts. */
const LONGEST_PAUSE_MS = 1_000;

/** Archives, on record. @throws as {@link archiveBank} does */
export async function archiveOnRecord(
  shards: readonly ShardAddress[],
  before: Date,
  options: ArchiveOptions = {},
): Promise<ArchiveReport> {
  await recordActOn(shards, { action: 'transactions.archived', details: { before } });
  return archiveBank(shards, before, options);
}

/**
 * Moves the transactions that are older than a time into the archive, shard by shard, while the bank is open. Nothing
 * that is told by the bank changes by it: whoever reads transactions reads both tables in one statement, which sees each
 * of them once. Safe to interrupt and to run again, and for several at once.
 *
 * Nobody who posts waits for it: it locks rows of transactions, which nobody else changes, and no account. Every step
 * looks at the next few ids and moves what is old among them; so a clock that once was wrong hides nothing, and no step
 * takes long. A transaction whose event is still to be published may be moved: the relay finds it.
 *
 * @throws CommandError that says how many transactions had been moved when the work failed
 */
export async function archiveBank(
  addresses: readonly ShardAddress[],
  before: Date,
  options: ArchiveOptions = {},
): Promise<ArchiveReport> {
  const startedMs = performance.now();
  return withShardRunners(addresses, 'bank-archive', async (shards) => {
    const spans = await Promise.all(shards.map((shard) => spanOf(shard, shards.length)));
    const total = spans.reduce((sum, { ids }) => sum + ids, 0);
    let moved = 0;
    let seen = 0;
    try {
      for (const span of spans) {
        for await (const step of stepsThrough(span, before, options)) {
          moved += step.moved;
          options.onProgress?.(seen + step.seen, total);
        }
        seen += span.ids;
        // Also where nothing was moved: an earlier run may have been stopped before it came to this.
        if (span.ids > 0 && !options.signal?.aborted) await clearAway(span.shard);
      }
    } catch (error) {
      throw new CommandError(
        `${moved} transactions were moved, perhaps also those of the last step. Run it again, it goes on. ${userMessage(error)}`,
        { cause: error },
      );
    }
    const complete = !options.signal?.aborted;
    return { before, moved, complete, durationMs: performance.now() - startedMs };
  });
}

/** The ids of a shard's transactions outside the archive, as they were at the start. */
interface Span {
  readonly shard: ShardRunner;
  readonly first: number;
  readonly last: number;
  /** As many as the shard has handed out between the two; there may be fewer transactions. */
  readonly ids: number;
  readonly idsApart: number;
}

async function spanOf(shard: ShardRunner, idsApart: number): Promise<Span> {
  const { transactions } = shard.tables;
  const [row] = await shard.runner.run(
    async (queryRunner) =>
      (await queryRunner.query(
        `SELECT coalesce(min(transaction_id), 1) AS first, coalesce(max(transaction_id), 0) AS last
         FROM ${transactions}`,
      )) as [{ first: string; last: string }],
  );
  const [first, last] = [Number(row.first), Number(row.last)];
  return { shard, first, last, idsApart, ids: last < first ? 0 : 1 + (last - first) / idsApart };
}

interface Step {
  readonly moved: number;
  /** Ids of the span that are done. */
  readonly seen: number;
}

async function* stepsThrough(
  { shard, first, last, idsApart }: Span,
  before: Date,
  { signal, stepRows = STEP_ROWS }: ArchiveOptions,
): AsyncGenerator<Step> {
  const { runner, tables } = shard;
  for (let after = first - 1; after < last && !signal?.aborted;) {
    const startedMs = performance.now();
    const step = await runner.run(async (queryRunner, client) => {
      const upTo = await nextStop(queryRunner, tables, after, last, stepRows);
      return { upTo, moved: await move(client, tables, after, upTo, before) };
    });
    after = step.upTo;
    yield { moved: step.moved, seen: 1 + (after - first) / idsApart };
    const pauseMs = Math.min(LONGEST_PAUSE_MS, performance.now() - startedMs);
    await sleep(pauseMs, undefined, { signal }).catch(() => undefined);
  }
}

/** @returns the id with which a step ends that begins after another one */
async function nextStop(
  queryRunner: QueryRunner,
  { transactions }: SchemaTables,
  after: number,
  last: number,
  stepRows: number,
): Promise<number> {
  const [row] = (await queryRunner.query(
    `SELECT coalesce(max(transaction_id), $2) AS stop
     FROM (SELECT transaction_id FROM ${transactions} WHERE transaction_id > $1 AND transaction_id <= $2
           ORDER BY transaction_id LIMIT $3) next`,
    [after, last, stepRows],
  )) as [{ stop: string }];
  return Number(row.stop);
}

/** All columns, in one statement, so that nothing sees a transaction in neither table, or in both. */
async function move(
  client: PoolClient,
  { transactions, archivedTransactions }: SchemaTables,
  after: number,
  upTo: number,
  before: Date,
): Promise<number> {
  const columns = columnList(await columnsOf(client, transactions));
  const { rowCount } = await send(
    client,
    `WITH moved AS (
       DELETE FROM ${transactions} WHERE transaction_id > $1 AND transaction_id <= $2 AND timestamp < $3
       RETURNING ${columns}
     )
     INSERT INTO ${archivedTransactions} (${columns})
     SELECT ${columns} FROM moved ORDER BY transaction_id`,
    [after, upTo, before],
  );
  return rowCount ?? 0;
}

/**
 * What was moved leaves entries in the indexes, through which a listing of the archive would wade until autovacuum comes
 * by. Empty pages stay with the table, for new transactions: to give them back takes a lock that postings wait for.
 */
async function clearAway({ dataSource, tables }: ShardRunner): Promise<void> {
  await dataSource.query(`VACUUM (ANALYZE, INDEX_CLEANUP ON, TRUNCATE OFF) ${tables.transactions}`);
  await dataSource.query(`ANALYZE ${tables.archivedTransactions}`);
}
