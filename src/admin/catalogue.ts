import type { Client } from 'pg';
import { sqlStateOf } from '../storage/database-errors.js';
import { UNLIMITED } from '../storage/durability.js';
import { columnList, quoted } from '../storage/identifiers.js';
import { describeShard } from '../config/shard-address.js';
import { BANK_TABLES, copiedTables, type BankTable } from '../storage/tables.js';
import { CommandError } from './command-error.js';
import type { ShardSession } from './shards.js';

/** A table of the bank as a shard has it. */
export interface ShardTable extends BankTable {
  /** Its name for SQL: qualified and quoted. */
  readonly sql: string;
  /** Every column that the catalogue lists, so that one added by a migration can't be forgotten. */
  readonly columns: readonly string[];
}

/** The bank's tables that exist, in the bank's order: the schema of an older release lacks some. */
export async function readTables(client: Client, schema: string): Promise<ShardTable[]> {
  const there: ShardTable[] = [];
  for (const table of BANK_TABLES) {
    const sql = quoted(schema, table.name);
    const columns = await columnsOf(client, sql);
    if (columns.length > 0) there.push({ ...table, sql, columns });
  }
  return there;
}

/** All columns of a table, in the table's order; empty if there is no such table. */
export async function columnsOf(client: Pick<Client, 'query'>, sql: string): Promise<string[]> {
  const { rows } = await client.query<{ name: string }>(
    `SELECT attname::text AS name FROM pg_attribute
     WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped AND attgenerated = '' ORDER BY attnum`,
    [sql],
  );
  return rows.map(({ name }) => name);
}

export async function hasTable(client: Pick<Client, 'query'>, sql: string): Promise<boolean> {
  return (await columnsOf(client, sql)).length > 0;
}

/** The text of a SELECT of entire rows. */
export function selectFrom({ columns, sql }: Pick<ShardTable, 'columns' | 'sql'>): string {
  return `SELECT ${columnList(columns)} FROM ${sql}`;
}

/** The table and its columns, for INSERT INTO and COPY. */
export function into({ columns, sql }: Pick<ShardTable, 'columns' | 'sql'>): string {
  return `${sql} (${columnList(columns)})`;
}

const LOCK_TIMEOUT_MS = 60_000;

/**
 * Begins a transaction that may take long, and locks the shard's tables before its snapshot is taken, so that nobody
 * migrates or moves them meanwhile. Fixes the settings that affect how values are written as text. The next statement
 * takes the snapshot.
 */
export async function beginLocked(
  { client, address }: ShardSession,
  begin: string,
  mode: 'ACCESS SHARE' | 'ACCESS EXCLUSIVE',
): Promise<void> {
  const there = await readTables(client, address.schema);
  await client.query(
    `${begin}; SET LOCAL lock_timeout = ${LOCK_TIMEOUT_MS}; SET LOCAL jit = off; SET LOCAL TimeZone = 'UTC'; SET LOCAL DateStyle = 'ISO'`,
  );
  try {
    await client.query(`LOCK TABLE ${there.map(({ sql }) => sql).join(', ')} IN ${mode} MODE`);
  } catch (error) {
    if (sqlStateOf(error) !== '55P03') throw error;
    throw new CommandError(
      `the tables of ${describeShard(address)} are held by another session; try again later`,
    );
  }
}

/**
 * Lifts the time limits of the transaction.
 *
 * @returns the tables whose rows a copy holds
 */
export async function tablesToCopy({ client, address }: ShardSession): Promise<ShardTable[]> {
  await client.query(UNLIMITED);
  return copiedTables(await readTables(client, address.schema));
}

/** State of an id column's sequence. `called`: `last` has been handed out; otherwise it is the next id. */
export interface SequenceState {
  readonly last: string;
  readonly called: boolean;
}

export async function readSequence(client: Client, { sql, id }: ShardTable): Promise<SequenceState> {
  const named = await client.query<{ name: string }>('SELECT pg_get_serial_sequence($1, $2) AS name', [
    sql,
    id,
  ]);
  const { rows } = await client.query<SequenceState>(
    `SELECT last_value AS last, is_called AS called FROM ${named.rows[0]?.name}`,
  );
  const [state] = rows;
  if (!state) throw new Error(`${sql} has no sequence`);
  return state;
}

export async function setSequence(
  client: Client,
  { sql, id }: ShardTable,
  { last, called }: SequenceState,
): Promise<void> {
  await client.query('SELECT setval(pg_get_serial_sequence($1, $2)::regclass, $3, $4)', [
    sql,
    id,
    last,
    called,
  ]);
}
