import { pipeline } from 'node:stream/promises';
import { type Client, escapeIdentifier } from 'pg';
import { from as copyFrom, to as copyTo } from 'pg-copy-streams';
import { COMMIT_DURABLY } from '../storage/durability.js';
import { STORED_COLUMNS } from '../storage/rows.js';
import type { SchemaTables } from '../storage/tables.js';

/**
 * How far a copy has come: it holds every account and every transaction up to these ids. Transactions are only ever
 * added, and their ids are drawn under the lock that a cut excludes; so what was added since is what has greater ids,
 * and the accounts that changed since are theirs. In which of its two tables a transaction lies makes no difference:
 * one that is archived after it was copied stays outside the archive in the copy, until `archive` is run there.
 */
export interface Cut {
  readonly account: string;
  readonly transaction: string;
}

const ACCOUNT_COLUMNS = 'account_id, balance, version, owner, revision, head_hash';

/** Openings are only ever added, each together with its account. */
const OPENING_COLUMNS = 'account_id, owner, idempotency_key, opening_deposit';

/** The cut of an empty copy. */
export const NOTHING: Cut = { account: '0', transaction: '0' };

export interface CopiedRound {
  readonly cut: Cut;
  /** Transactions that this round brought. */
  readonly transactions: number;
}

export async function cutOf(client: Client, tables: SchemaTables): Promise<Cut> {
  const { rows } = await client.query<Cut>(
    `SELECT (SELECT coalesce(max(account_id), 0) FROM ${tables.accounts}) AS account,
            greatest((SELECT coalesce(max(transaction_id), 0) FROM ${tables.transactions}),
                     (SELECT coalesce(max(transaction_id), 0) FROM ${tables.archivedTransactions})) AS transaction`,
  );
  return rows[0] ?? NOTHING;
}

/**
 * Brings the target, in one transaction, from a cut to what the source shows.
 *
 * @param source in a transaction that sees one moment, at which nobody was writing
 * @param alongside further work in the target's transaction
 */
export async function copySince(
  source: Client,
  target: Client,
  tables: SchemaTables,
  since: Cut,
  alongside: () => Promise<void> = () => Promise.resolve(),
): Promise<CopiedRound> {
  const cut = await cutOf(source, tables);
  await target.query(`BEGIN; ${COMMIT_DURABLY}`);
  await target.query(
    `CREATE TEMPORARY TABLE changed (account_id bigint, balance numeric, version bigint, owner varchar, revision int,
       head_hash bytea) ON COMMIT DROP`,
  );
  const changed = `SELECT ${ACCOUNT_COLUMNS} FROM ${tables.accounts} ${accountsSince(tables, since)}`;
  // Into the empty copy at once: a detour would double the work of the longest round.
  const first = since.account === NOTHING.account;
  await copy(source, changed, target, first ? `${tables.accounts} (${ACCOUNT_COLUMNS})` : 'changed');
  await target.query(
    `INSERT INTO ${tables.accounts} (${ACCOUNT_COLUMNS}) SELECT * FROM changed
     ON CONFLICT (account_id) DO UPDATE SET balance = excluded.balance, version = excluded.version,
       owner = excluded.owner, revision = excluded.revision, head_hash = excluded.head_hash`,
  );
  const opened = `SELECT ${OPENING_COLUMNS} FROM ${tables.accountOpenings} WHERE account_id > ${since.account}`;
  await copy(source, opened, target, `${tables.accountOpenings} (${OPENING_COLUMNS})`);
  let transactions = 0;
  for (const table of [tables.transactions, tables.archivedTransactions]) {
    const added = `SELECT ${STORED_COLUMNS} FROM ${table} WHERE transaction_id > ${since.transaction}`;
    transactions += await copy(source, added, target, `${table} (${STORED_COLUMNS})`);
  }
  await alongside();
  await target.query('COMMIT');
  return { cut, transactions };
}

/** The owners of all accounts, which change without a transaction. Reads the source at the same moment as the rows before. */
export async function copyOwners(source: Client, target: Client, tables: SchemaTables): Promise<void> {
  await target.query(`BEGIN; ${COMMIT_DURABLY}`);
  await target.query(
    'CREATE TEMPORARY TABLE owned (account_id bigint, owner varchar, revision int) ON COMMIT DROP',
  );
  const owned = `SELECT account_id, owner, revision FROM ${tables.accounts} WHERE owner IS NOT NULL OR revision > 0`;
  await copy(source, owned, target, 'owned');
  await target.query(
    `UPDATE ${tables.accounts} changed SET owner = owned.owner, revision = coalesce(owned.revision, 0)
     FROM ${tables.accounts} a LEFT JOIN owned ON owned.account_id = a.account_id
     WHERE changed.account_id = a.account_id
       AND (a.owner, a.revision) IS DISTINCT FROM (owned.owner, coalesce(owned.revision, 0))`,
  );
  await target.query('COMMIT');
}

/**
 * What only the last round can bring: the events that are still to be published, the keys and the audit log, which are
 * few, and where each sequence stands.
 */
export async function copyRest(source: Client, target: Client, tables: SchemaTables): Promise<void> {
  for (const table of [tables.outbox, tables.apiKeys, tables.auditEvents]) {
    const columns = (await columnsOf(source, table)).map(escapeIdentifier).join(', ');
    await target.query(`DELETE FROM ${table}`);
    await copy(source, `SELECT ${columns} FROM ${table}`, target, `${table} (${columns})`);
  }
  for (const [table, column] of [
    [tables.accounts, 'account_id'],
    [tables.transactions, 'transaction_id'],
    [tables.outbox, 'outbox_id'],
    [tables.apiKeys, 'key_id'],
    [tables.auditEvents, 'event_id'],
  ] as const) {
    await setSequence(target, table, column, await sequenceState(source, table, column));
  }
}

/** All columns of a table, as its catalogue lists them: one that a migration adds can't be forgotten. */
export async function columnsOf(client: Client, table: string): Promise<string[]> {
  const { rows } = await client.query<{ name: string }>(
    `SELECT attname AS name FROM pg_attribute
     WHERE attrelid = $1::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = '' ORDER BY attnum`,
    [table],
  );
  return rows.map(({ name }) => name);
}

/** Where the sequence of an id column stands. `called`: `last` was handed out; else it is the next. */
export interface SequenceState {
  readonly last: string;
  readonly called: boolean;
}

export async function setSequence(
  client: Client,
  table: string,
  column: string,
  { last, called }: SequenceState,
): Promise<void> {
  await client.query('SELECT setval(pg_get_serial_sequence($1, $2)::regclass, $3, $4)', [
    table,
    column,
    last,
    called,
  ]);
}

export async function sequenceState(client: Client, table: string, column: string): Promise<SequenceState> {
  const named = await client.query<{ name: string }>('SELECT pg_get_serial_sequence($1, $2) AS name', [
    table,
    column,
  ]);
  const { rows } = await client.query<SequenceState>(
    `SELECT last_value AS last, is_called AS called FROM ${named.rows[0]?.name}`,
  );
  const [state] = rows;
  if (!state) throw new Error(`${table} has no sequence`);
  return state;
}

/** What two copies of a shard must have in common. */
export interface Digest {
  readonly accounts: string;
  readonly balances: string;
  readonly openings: string;
  readonly transactions: string;
  readonly hash: string;
}

/** A digest of every row, in any order; after a cut, of the rows that were added or changed since. */
export async function digestSince(client: Client, tables: SchemaTables, since: Cut): Promise<Digest> {
  const { rows } = await client.query<Digest>(
    `WITH a AS (
       SELECT count(*) AS rows, coalesce(sum(balance), 0) AS balances,
              coalesce(sum(hashtextextended(concat_ws('|', account_id, balance, version, coalesce(owner, chr(1)), revision, head_hash), 0)::numeric), 0) AS hash
       FROM ${tables.accounts} ${accountsSince(tables, since)}
     ), o AS (
       SELECT count(*) AS rows,
              coalesce(sum(hashtextextended(concat_ws('|', account_id, owner, idempotency_key,
                coalesce(opening_deposit::text, chr(1))), 0)::numeric), 0) AS hash
       FROM ${tables.accountOpenings} WHERE account_id > ${since.account}
     ), t AS (
       SELECT count(*) AS rows,
              coalesce(sum(hashtextextended(concat_ws('|', transaction_id, account_id, type, amount, balance_after,
                version_after, coalesce(idempotency_key, chr(1)), extract(epoch FROM timestamp), hash), 0)::numeric), 0) AS hash
       FROM ${tables.allTransactions} all_of_them WHERE transaction_id > ${since.transaction}
     )
     SELECT a.rows AS accounts, a.balances, o.rows AS openings, t.rows AS transactions, a.hash + o.hash + t.hash AS hash
     FROM a, o, t`,
  );
  return rows[0] as Digest;
}

function accountsSince(tables: SchemaTables, since: Cut): string {
  if (since.account === NOTHING.account) return '';
  return `WHERE account_id > ${since.account} OR account_id IN
            (SELECT account_id FROM ${tables.allTransactions} t WHERE transaction_id > ${since.transaction})`;
}

/** @returns the number of rows */
async function copy(source: Client, select: string, target: Client, into: string): Promise<number> {
  const sink = target.query(copyFrom(`COPY ${into} FROM STDIN (FORMAT binary)`));
  await pipeline(source.query(copyTo(`COPY (${select}) TO STDOUT (FORMAT binary)`)), sink);
  return sink.rowCount ?? 0;
}
