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

/** Progress counts the ids examined, over all shards. If stopped, it keeps what it moved. */
export interface ArchiveOptions extends Omit<Control, 'onStep'> {
  /** Transactions examined per step. */
  readonly stepRows?: number;
}

export interface ArchiveReport {
  readonly before: Date;
  /** Transactions moved by this run. */
  readonly moved: number;
  readonly durationMs: number;
  /** Whether all older transactions were moved; false: it was stopped. */
  readonly complete: boolean;
}

/** Few enough that a step takes some 50 ms, and a kill loses no more. */
const STEP_ROWS = 5_000;

/** Each step is followed by an equally long pause, which leaves at least half of the disk's capacity to postings. */
const LONGEST_PAUSE_MS = 1_000;

/** Archives, and records it in the audit log. @throws as {@link archiveBank} does */
export async function archiveOnRecord(
  shards: readonly ShardAddress[],
  before: Date,
  options: ArchiveOptions = {},
): Promise<ArchiveReport> {
  await recordActOn(shards, { action: 'transactions.archived', details: { before } });
  return archiveBank(shards, before, options);
}

/**
 * Moves the transactions older than a given time into the archive, shard by shard, while the bank is open. No answer of
 * the bank changes: readers query both tables in one statement, which sees each transaction once. Safe to interrupt, to
 * run again, and to run several times at once.
 *
 * No posting waits for it: it locks no account, only rows of transactions, which nobody else changes. Every step
 * examines the next few ids and moves the old ones among them, so a clock that was once wrong hides nothing, and no
 * step takes long. A transaction whose event is not published yet may be moved: the relay finds it.
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
        // Even if nothing was moved: an earlier run may have been stopped before cleaning up.
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
  /** How many ids the shard has handed out in this span; there may be fewer transactions. */
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
  /** How many ids of the span are done. */
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

/** @returns the last id of the step that begins after the given id */
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

/** Moves all columns in one statement, so that no reader sees a transaction in neither table, or in both. */
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
 * Moved rows leave dead index entries, through which a listing of the archive would wade until autovacuum runs. Empty
 * pages are kept for new transactions: giving them back takes a lock that would block postings.
 */
async function clearAway({ dataSource, tables }: ShardRunner): Promise<void> {
  await dataSource.query(`VACUUM (ANALYZE, INDEX_CLEANUP ON, TRUNCATE OFF) ${tables.transactions}`);
  await dataSource.query(`ANALYZE ${tables.archivedTransactions}`);
}
