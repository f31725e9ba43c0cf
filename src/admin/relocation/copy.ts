import { pipeline } from 'node:stream/promises';
import type { Client } from 'pg';
import { from as copyFrom, to as copyTo } from 'pg-copy-streams';
import { COMMIT_DURABLY } from '../../storage/durability.js';
import { columnList, quoted } from '../../storage/identifiers.js';
import { copiedTables, LEASE_COLUMNS, SHARD_IDENTITY, tablesOf } from '../../storage/tables.js';
import { into, readSequence, selectFrom, setSequence, type ShardTable } from '../catalogue.js';

/**
 * How far a copy has come. Rows are added to the ledger's tables with ids drawn under the lock that a cut excludes, so
 * later rows have greater ids. Accounts, their details and holds change, too, but only together with a new transaction, a
 * new event of the account, or a transfer to another shard. Such a transfer changes once, when it is no longer pending.
 * It does not matter which of its two tables a transaction is in: one that is archived after it was copied stays outside
 * the copy's archive until `archive` runs there. The log of events is added to in the order of its positions.
 */
export interface Cut {
  /** For each id column of the ledger's tables, the greatest id that the copy holds. */
  readonly ids: Readonly<Record<string, string>>;
  /** The transfers to other shards that are pending in it: no more than a shard may have. */
  readonly pending: readonly string[];
}

/** The cut of an empty copy. */
export const NOTHING: Cut = { ids: {}, pending: [] };

const TRANSACTIONS: readonly string[] = ['transactions', 'archived_transactions'];

export interface CopiedRound {
  readonly cut: Cut;
  /** Transactions copied in this round. */
  readonly transactions: number;
}

/** A shard's tables, and a session in it. */
export interface CopySide {
  readonly client: Client;
  readonly schema: string;
  /** The source and the target have the same. */
  readonly tables: readonly ShardTable[];
}

const followed = ({ tables }: CopySide) => tables.filter(({ ledger, log }) => ledger || log);

export async function cutOf(side: CopySide): Promise<Cut> {
  const byId = Object.entries(Object.groupBy(followed(side), ({ id }) => id));
  const greatest = byId.map(([id, tables = []]) => {
    const each = tables.map(({ sql }) => `(SELECT max(${id}) FROM ${sql})`);
    return `coalesce(greatest(${each.join(', ')}), 0) AS ${id}`;
  });
  const { transfers } = tablesOf(side.schema);
  const { rows } = await side.client.query<Record<string, string> & Pick<Cut, 'pending'>>(
    `SELECT ${greatest.join(', ')},
            ARRAY(SELECT transfer_id::text FROM ${transfers} WHERE status = 'pending') AS pending`,
  );
  const [{ pending, ...ids }] = rows as [(typeof rows)[0]];
  return { ids, pending };
}

/**
 * Brings the target, in one transaction, from a cut to the state of the source.
 *
 * @param source in a transaction whose snapshot was taken while nobody was writing
 * @param alongside further work in the target's transaction
 */
export async function copySince(
  source: CopySide,
  target: Client,
  since: Cut,
  alongside: () => Promise<void> = () => Promise.resolve(),
): Promise<CopiedRound> {
  const cut = await cutOf(source);
  let transactions = 0;
  await target.query(`BEGIN; ${COMMIT_DURABLY}`);
  for (const table of followed(source)) {
    const rows = `${selectFrom(table)} ${whereSince(source, table, since)}`;
    // An empty copy is filled directly: a detour would double the work of the longest round.
    const bring = changedSince(source, table, since) && isBegun(since, table) ? merge : copy;
    const copied = await bring(source.client, rows, target, table);
    if (TRANSACTIONS.includes(table.name)) transactions += copied;
    if (table.log) await removeOldest(source.client, target, table);
  }
  await alongside();
  await target.query('COMMIT');
  return { cut, transactions };
}

/** Whether the copy holds any of the table's ids. */
function isBegun(since: Cut, { id }: ShardTable): boolean {
  return (since.ids[id] ?? '0') !== '0';
}

/** Selects the rows of a ledger's table that were added or changed since the cut. */
function whereSince(side: CopySide, table: ShardTable, since: Cut): string {
  if (!isBegun(since, table)) return '';
  const { id } = table;
  const changed = changedSince(side, table, since);
  return `WHERE ${id} > ${since.ids[id]} ${changed === undefined ? '' : `OR ${id} IN (${changed})`}`;
}

/** Selects the ids of a table's rows that may have changed since the cut; undefined: its rows never change. */
function changedSince({ schema }: CopySide, { name }: ShardTable, since: Cut): string | undefined {
  const { allTransactions, accountEvents, transfers } = tablesOf(schema);
  const last = (id: string) => since.ids[id] ?? 0;
  const byTransactions = (id: string) =>
    `SELECT ${id} FROM ${allTransactions} t WHERE transaction_id > ${last('transaction_id')} AND ${id} IS NOT NULL`;
  const byEvents = `SELECT account_id FROM ${accountEvents} WHERE event_id > ${last('event_id')}`;
  const pending = `'{${since.pending.join(',')}}'::bigint[]`;
  switch (name) {
    case 'accounts':
      return `${byTransactions('account_id')} UNION ALL ${byEvents}`;
    case 'account_details':
      return byEvents;
    case 'holds':
      // A capture for another shard begins, and may fail, without a transaction.
      return `${byTransactions('hold_id')} UNION ALL
              SELECT hold_id FROM ${transfers}
              WHERE transfer_id > ${last('transfer_id')} OR transfer_id = ANY (${pending})`;
    case 'transfers':
      return `SELECT unnest(${pending})`;
    default:
      return undefined;
  }
}

/**
 * Copies what only the last round can: the few rows outside the ledger (unpublished events, keys, the audit log) and
 * the state of each sequence.
 */
export async function copyRest({ client, tables }: CopySide, target: Client): Promise<void> {
  for (const table of copiedTables(tables).filter(({ ledger, log }) => !ledger && !log)) {
    await target.query(`DELETE FROM ${table.sql}`);
    await copy(client, selectFrom(table), target, table);
  }
  for (const table of tables.filter(({ drawn }) => drawn))
    await setSequence(target, table, await readSequence(client, table));
}

/**
 * Copies the shard's identity to its new place. It replaces the claim, which an earlier release may have made with
 * fewer columns.
 */
export async function copyIdentity({ client, schema, tables }: CopySide, target: Client): Promise<void> {
  const identity = tables.find(({ name }) => name === SHARD_IDENTITY) as ShardTable;
  const columns = identity.columns.filter((name) => !LEASE_COLUMNS.includes(name));
  const { shardArriving: sql } = tablesOf(schema);
  await target.query(`DROP TABLE ${sql}`);
  await target.query(`CREATE TABLE ${sql} AS ${selectFrom({ ...identity, columns })} WITH NO DATA`);
  await copy(client, selectFrom({ ...identity, columns }), target, { sql, columns });
}

/** Removes what the source has removed since it was copied. */
async function removeOldest(source: Client, target: Client, { sql, id }: ShardTable): Promise<void> {
  const { rows } = await source.query<{ oldest: string | null }>(`SELECT min(${id}) AS oldest FROM ${sql}`);
  const oldest = rows[0]?.oldest ?? null;
  await target.query(`DELETE FROM ${sql} WHERE ${id} < $1 OR $1 IS NULL`, [oldest]);
}

/** What two copies of a shard must have in common. */
export interface Digest {
  /** By table of the ledger; archived transactions count among the transactions. */
  readonly rows: Readonly<Record<string, number>>;
  readonly hash: bigint;
}

/**
 * A digest of every row of the ledger's tables, in any order; after a cut, of the rows added or changed since. Rows are
 * hashed in binary form, which does not depend on any server setting.
 */
export async function digestSince(side: CopySide, since: Cut): Promise<Digest> {
  const selects = followed(side).map((table) => {
    const name = TRANSACTIONS.includes(table.name) ? 'transactions' : table.name;
    const row = `record_send(ROW(${columnList([...table.columns].sort())}))`;
    return `SELECT '${name}' AS name, count(*) AS count,
                   coalesce(sum(hashtextextended(encode(${row}, 'hex'), 0)::numeric), 0) AS hash
            FROM ${table.sql} ${whereSince(side, table, since)}`;
  });
  const found = await side.client.query<{ name: string; count: string; hash: string }>(
    selects.join(' UNION ALL '),
  );
  const rows: Record<string, number> = {};
  for (const { name, count } of found.rows) rows[name] = (rows[name] ?? 0) + Number(count);
  return { rows, hash: found.rows.reduce((sum, { hash }) => sum + BigInt(hash), 0n) };
}

/** Copies rows of which the target may have an older state. @returns the number of rows */
async function merge(source: Client, select: string, target: Client, table: ShardTable): Promise<number> {
  const columns = columnList(table.columns);
  const changed = `changed_${table.name}`;
  const newer = table.columns
    .filter((name) => name !== table.id)
    .map((name) => `${quoted(name)} = excluded.${quoted(name)}`);
  await target.query(`CREATE TEMPORARY TABLE ${changed} ON COMMIT DROP AS ${selectFrom(table)} WITH NO DATA`);
  const rows = await copy(source, select, target, { ...table, sql: changed });
  await target.query(
    `INSERT INTO ${into(table)} SELECT ${columns} FROM ${changed}
     ON CONFLICT (${table.id}) DO UPDATE SET ${newer.join(', ')}`,
  );
  return rows;
}

/** @returns the number of rows */
async function copy(
  source: Client,
  select: string,
  target: Client,
  table: Pick<ShardTable, 'sql' | 'columns'>,
): Promise<number> {
  const sink = target.query(copyFrom(`COPY ${into(table)} FROM STDIN (FORMAT binary)`));
  await pipeline(source.query(copyTo(`COPY (${select}) TO STDOUT (FORMAT binary)`)), sink);
  return sink.rowCount ?? 0;
}
