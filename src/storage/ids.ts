import type { PoolClient } from 'pg';
import { send } from './connection.js';

/** How many ids to draw from the sequence of an identity column. */
export interface Draw {
  /** With its schema, quoted. */
  readonly table: string;
  readonly column: string;
  readonly count: number;
}

export interface Drawn {
  /** One list for each draw, ascending. */
  readonly ids: readonly number[][];
  /** By the server's clock, in whole milliseconds, as the columns keep it. */
  readonly timestamp: Date;
}

/**
 * Draws ids, and the time, in one round trip. For rows that a statement inserts by the thousand: where a shard's
 * schema is distributed (Citus), such a statement runs on the server that holds the schema, and its identity columns
 * would draw from that server's own range. This one names no table, so it runs where the sequence is.
 *
 * To be called with the accounts of the batch, or their table, locked, or sent behind what locks them: whoever copies a
 * shard relies on it that no id is drawn while the accounts can't be locked.
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
