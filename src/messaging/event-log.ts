import type { PoolClient } from 'pg';
import type { LedgerEvent } from '../domain/ledger-event.js';
import { send } from '../storage/connection.js';
import type { SchemaTables } from '../storage/tables.js';
import type { TransactionRunner } from '../storage/transaction-runner.js';
import { ANNOUNCED_COLUMNS, announcedIdsFromRow, EventReader, type AnnouncedIdsRow } from './event-reader.js';
import { headOf } from './head-rows.js';

/** A row of the log with its events, in order. */
export interface LogRow {
  readonly position: number;
  readonly events: readonly LedgerEvent[];
}

/** Rows of the log up to a position, without a gap. */
export interface LogPage {
  readonly rows: readonly LogRow[];
  /** Whether more rows are behind them. */
  readonly more: boolean;
}

/** Where a receiver begins that is to get everything since a time is found this much earlier, to miss nothing. */
const SKEW_MS = 60_000;
/** The most rows that one call removes. */
const PRUNED_ROWS = 10_000;

interface LogRowRow extends AnnouncedIdsRow {
  position: string;
  traceparent: string | null;
}

/**
 * The retained log of one shard's events. A receiver remembers the position up to which it has taken them, so it can
 * begin late, fall behind, and go back. Positions ascend in the order in which rows become visible; some may be missing.
 */
export class EventLog {
  private readonly reader: EventReader;

  constructor(
    private readonly runner: TransactionRunner,
    private readonly tables: SchemaTables,
  ) {
    this.reader = new EventReader(tables);
  }

  /** The position of the last row ever written; 0: none was. */
  async end(): Promise<number> {
    return this.runner.run(async (_, client) => {
      const { rows } = await send<{ position: string }>(
        client,
        `SELECT position FROM ${this.tables.eventCursors} WHERE receiver = 'log'`,
      );
      return Number(rows[0]?.position ?? 0);
    });
  }

  /** @param maxEvents the most events, or nearly so, unless the first row alone has more */
  async readAfter(position: number, maxEvents: number): Promise<LogPage> {
    return this.runner.run((_, client) => readLog(client, this.tables, this.reader, position, maxEvents));
  }

  /**
   * The position behind which everything lies that was posted at or after a time, and is still retained; also something
   * that was posted in the minute before.
   */
  async positionBefore(time: Date): Promise<number> {
    const { eventLog } = this.tables;
    const rows = await this.runner.run((_, client) =>
      send<{ position: string }>(
        client,
        `SELECT position - 1 AS position FROM ${eventLog} WHERE created_at >= $1 ORDER BY created_at LIMIT 1`,
        [new Date(time.getTime() - SKEW_MS)],
      ),
    );
    const first = rows.rows[0];
    return first ? Number(first.position) : this.end();
  }

  /** Whether the log still has everything after a position, and has come as far. */
  async retains(position: number): Promise<boolean> {
    const { eventLog, eventCursors } = this.tables;
    const { rows } = await this.runner.run((_, client) =>
      send<{ retained: boolean }>(
        client,
        `SELECT $1 <= log_end AND $1 >= coalesce((SELECT position - 1 FROM ${eventLog} ORDER BY position LIMIT 1), log_end)
                  AS retained
         FROM (SELECT coalesce(max(position), 0) AS log_end FROM ${eventCursors} WHERE receiver = 'log') c`,
        [position],
      ),
    );
    return rows[0]?.retained === true;
  }

  /** How many rows are behind a position, and when the first of them was written. */
  async countAfter(position: number): Promise<{ readonly rows: number; readonly from: Date | undefined }> {
    const { rows } = await this.runner.run((_, client) =>
      send<{ rows: number; from: Date | null }>(
        client,
        `SELECT count(*)::int AS rows, min(created_at) AS from FROM ${this.tables.eventLog} WHERE position > $1`,
        [position],
      ),
    );
    return { rows: rows[0]?.rows ?? 0, from: rows[0]?.from ?? undefined };
  }

  /** Removes old rows, but none that the broker has not got yet. @returns whether there may be more */
  async prune(olderThanMs: number): Promise<boolean> {
    const { eventLog, eventCursors } = this.tables;
    return this.runner.run(async (_, client) => {
      const { rowCount } = await send(
        client,
        `DELETE FROM ${eventLog} WHERE position IN (
           SELECT position FROM ${eventLog}, (
             SELECT max(position) AS last FROM (
               SELECT position FROM ${eventLog} WHERE created_at < now() - $1 * interval '1 millisecond'
               ORDER BY created_at LIMIT ${PRUNED_ROWS}) old) old
           WHERE position <= old.last
             AND position <= coalesce((SELECT position FROM ${eventCursors} WHERE receiver = '${BROKER}'), old.last)
           ORDER BY position LIMIT ${PRUNED_ROWS})`,
        [olderThanMs],
      );
      return rowCount === PRUNED_ROWS;
    });
  }
}

/** What a receiver has not seen is not retained any more, or the log does not reach as far as its place. */
export class EventsGoneError extends Error {}

/** The receiver that is the broker. */
export const BROKER = 'rabbitmq';

/** Moves the end of the log, and locks it until the transaction ends. */
export function endOfLog(client: PoolClient, { eventCursors }: SchemaTables, by: number): Promise<unknown> {
  return send(
    client,
    `INSERT INTO ${eventCursors} AS c (receiver, position) VALUES ('log', $1::bigint)
     ON CONFLICT (receiver) DO UPDATE SET position = c.position + excluded.position`,
    [by],
  );
}

/** Reads rows of the log, in a transaction. */
export async function readLog(
  client: PoolClient,
  { eventLog }: SchemaTables,
  reader: EventReader,
  after: number,
  maxEvents: number,
): Promise<LogPage> {
  const { head, more } = await headOf(client, eventLog, 'position', after, maxEvents);
  if (head.length === 0) return { rows: [], more: false };
  const { rows } = await send<LogRowRow>(
    client,
    `SELECT position, traceparent, ${ANNOUNCED_COLUMNS} FROM ${eventLog}
     WHERE position = ANY($1::bigint[]) ORDER BY position`,
    [head.map(({ id }) => id)],
  );
  const events = await reader.read(client, rows.map(announcedIdsFromRow));
  return {
    rows: rows.map(({ position, traceparent }, row) => ({
      position: Number(position),
      events: traceparent === null ? (events[row] ?? []) : traced(events[row] ?? [], traceparent),
    })),
    more,
  };
}

const traced = (events: readonly LedgerEvent[], traceparent: string): LedgerEvent[] =>
  events.map((event) => ({ ...event, traceparent }));
