import type { PoolClient } from 'pg';
import { send } from '../storage/connection.js';
import type { Backlog } from './event-source.js';

/** The most rows in one chunk. The relay bounds the events too, but at least one row is always taken. */
const CHUNK_ROWS = 200;
/** The most rows that are counted. */
const COUNTED_ROWS = 1_000;
/** How many things a row of the outbox or of the log announces. */
const SIZE =
  'cardinality(transaction_ids) + cardinality(account_event_ids) + cardinality(refusal_ids)' +
  ' + cardinality(failed_transfer_ids)';

export interface HeadRow {
  id: string;
  /** Null: it announces no transactions. */
  first_id: string | null;
}

interface CountedRow extends HeadRow {
  /** How many rows wait, counted up to the size of a chunk. */
  waiting: number;
}

/**
 * The first rows of the outbox, or of the log, in order.
 *
 * @param after the id after which they begin
 * @param maxEvents the most transactions and other things that they announce, unless the first row alone has more
 */
export async function headOf(
  client: PoolClient,
  table: string,
  id: string,
  after: number,
  maxEvents: number,
): Promise<{ readonly head: readonly HeadRow[]; readonly more: boolean }> {
  const { rows: head } = await send<CountedRow>(
    client,
    `SELECT id, first_id, waiting FROM (
       SELECT ${id} AS id, transaction_ids[1] AS first_id, row_number() OVER up_to_here AS place,
              (count(*) OVER ())::int AS waiting,
              sum(${SIZE}) OVER up_to_here AS events
       FROM (SELECT * FROM ${table} WHERE ${id} > $2 ORDER BY ${id} LIMIT ${CHUNK_ROWS}) head
       WINDOW up_to_here AS (ORDER BY ${id})
     ) counted
     WHERE events <= $1 OR place = 1 ORDER BY id`,
    [maxEvents, after],
  );
  const waiting = head[0]?.waiting ?? 0;
  return { head, more: waiting === CHUNK_ROWS || head.length < waiting };
}

/** Counts what waits behind an id. */
export async function countBacklog(
  client: PoolClient,
  table: string,
  id: string,
  after: number,
): Promise<Backlog> {
  const { rows } = await send<{ rows: number; events: number; age_ms: number }>(
    client,
    `SELECT count(*)::int AS rows, coalesce(sum(${SIZE}), 0)::int AS events,
            coalesce(extract(epoch FROM clock_timestamp() - min(created_at)) * 1000, 0)::float8 AS age_ms
     FROM (SELECT * FROM ${table} WHERE ${id} > $1 ORDER BY ${id} LIMIT ${COUNTED_ROWS}) head`,
    [after],
  );
  const [row] = rows as [{ rows: number; events: number; age_ms: number }];
  return { rows: row.rows, events: row.events, ageMs: Math.max(0, row.age_ms) };
}
