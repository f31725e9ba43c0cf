import type { PoolClient } from 'pg';
import { send } from './connection.js';

/** How many ids to draw from the sequence of an identity column. */
export interface Draw {
  /** Qualified with its schema and quoted. */
  readonly table: string;
  readonly column: string;
  readonly count: number;
}

export interface Drawn {
  /** One ascending list per draw. */
  readonly ids: readonly number[][];
  /** The server's clock, in whole milliseconds, as the columns store it. */
  readonly timestamp: Date;
}

/**
 * Draws ids and the time in one round trip, for rows that one statement inserts by the thousand. Where the shard's
 * schema is distributed (Citus), that statement runs on the node that holds the schema, and its identity columns would
 * draw from that node's own range. This query names no table, so it runs where the sequence is.
 *
 * Call it only while the accounts of the batch, or their table, are locked, or send it after the statement that locks
 * them: copying a shard relies on no id being drawn while the accounts can't be locked.
 */
export async function drawIds(client: PoolClient, draws: readonly Draw[]): Promise<Drawn> {
  const lists = draws.map(
    (_, index) => `ARRAY(
      SELECT nextval(sequence) FROM generate_series(1, $${3 * index + 3}::int),
        (SELECT pg_get_serial_sequence($${3 * index + 1}, $${3 * index + 2})::regclass AS sequence OFFSET 0) named
    ) AS ids_${index}`,
  );
  const { rows } = await send<Record<string, string[]> & { drawn_at: Date }>(
    client,
    `SELECT ${[...lists, "date_trunc('milliseconds', clock_timestamp()) AS drawn_at"].join(', ')}`,
    draws.flatMap(({ table, column, count }) => [table, column, count]),
  );
  const [row] = rows as [Record<string, string[]> & { drawn_at: Date }];
  return {
    ids: draws.map((_, index) => (row[`ids_${index}`] ?? []).map(Number)),
    timestamp: row.drawn_at,
  };
}
