import type { Client } from 'pg';
import { tablesOf } from '../../storage/tables.js';
import type { ShardAddress } from '../../config/shard-address.js';
import { formatMoney } from '../../domain/money.js';
import { readEvents } from '../audit/events.js';
import { columnsOf, hasTable } from '../catalogue.js';
import type { Control } from '../control.js';
import { asService, withSession } from '../shards.js';
import { CHAINED, CHECKS, GENESIS, OF_CHAINS } from './checks.js';

/** An account whose books are wrong. Id 0 stands for rows that name no account. */
export interface VerifyFault {
  accountId: number;
  /** The {@link CHECKS} that failed. */
  checks: string[];
  /** Where the hash chain first breaks: this row, or what was before it, was changed. */
  firstBroken?: { transactionId: number; version: number };
}

export interface VerifyReport {
  accounts: number;
  transactions: number;
  /** The sum of all balances, with two decimals; `NaN` if a balance is not a valid amount. */
  balance: string;
  /** At most {@link MAX_FAULTS}, by shard and account id. */
  faults: VerifyFault[];
  /** How many accounts failed, including those that don't fit into `faults`. */
  faulty: number;
  ok: boolean;
}

/** Maximum number of faults in a report: a thoroughly damaged bank must not fill the memory. */
export const MAX_FAULTS = 1_000;

/** Accounts per statement. */
const RANGE = 10_000;

const BELOW_ALL_IDS = '-9223372036854775808';
const ABOVE_ALL_IDS = '9223372036854775807';

/** Verifies every account of every shard. Safe while the service runs: each shard is read in one snapshot. */
export async function verifyBank(
  shards: readonly ShardAddress[],
  control: Control = {},
): Promise<VerifyReport> {
  const reports: VerifyReport[] = [];
  let before = 0;
  for (const [index, shard] of shards.entries()) {
    const report = await verifyShard(shard, index, shards.length, {
      ...control,
      onProgress: (done, total) => control.onProgress?.(before + done, before + total),
    });
    before += report.accounts;
    reports.push(report);
  }
  const faults = reports.flatMap((report) => report.faults).slice(0, MAX_FAULTS);
  const { accounts, transactions, balance, faulty } = sumTotals(reports);
  return { accounts, transactions, balance, faults, faulty, ok: faulty === 0 };
}

/** Like {@link verifyBank}, and checks the audit log as well. */
export async function verifyBankAndLog(
  shards: readonly ShardAddress[],
  control: Control = {},
): Promise<VerifyReport & { firstBrokenEvent: number | undefined }> {
  const report = await verifyBank(shards, control);
  const { firstBroken: firstBrokenEvent } = await readEvents(shards);
  return { ...report, ok: report.ok && firstBrokenEvent === undefined, firstBrokenEvent };
}

/** The totals of a bank, or of a part of it. */
export type Totals = Pick<VerifyReport, 'accounts' | 'transactions' | 'balance' | 'faulty'>;

export function sumTotals(parts: readonly Totals[]): Totals {
  return {
    accounts: sum(parts.map((part) => part.accounts)),
    transactions: sum(parts.map((part) => part.transactions)),
    balance: sumBalances(parts.map((part) => part.balance)),
    faulty: sum(parts.map((part) => part.faulty)),
  };
}

/**
 * Verifies one shard in one REPEATABLE READ READ ONLY transaction, which sees a single moment, whatever is posted
 * meanwhile.
 *
 * @param index the shard's place among the `count` shards of the bank
 */
export async function verifyShard(
  shard: ShardAddress,
  index = 0,
  count = 1,
  control: Control = {},
): Promise<VerifyReport> {
  // As the service connects: it must be able to read what it serves.
  return withSession(asService(shard), 'bank-verify', async ({ client }) => {
    await client.query('BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY');
    // A large account takes longer than a request may. JIT compilation of the same statement for each range does not
    // pay off.
    await client.query('SET LOCAL statement_timeout = 0; SET LOCAL jit = off');
    return verifyInSnapshot(client, shard.schema, index, count, control);
  });
}

/** @param client in a transaction with one snapshot */
export async function verifyInSnapshot(
  client: Client,
  schema: string,
  index: number,
  count: number,
  control: Control,
): Promise<VerifyReport> {
  const tables = await tablesIn(client, schema);
  const totals = await readTotals(client, tables);
  const doubled = await accountsOfDoubledIds(client, tables);
  const faults: VerifyFault[] = totals.nameless > 0 ? [{ accountId: 0, checks: ['account_exists'] }] : [];
  let faulty = faults.length;
  let done = 0;
  for (let after: string | undefined = BELOW_ALL_IDS; after !== undefined;) {
    control.signal?.throwIfAborted();
    const range = await nextRange(client, tables, after);
    const found = await verifyRange(client, tables, after, range.upTo, [index, count, doubled]);
    faults.push(...found.faults.slice(0, MAX_FAULTS - faults.length));
    faulty += found.faulty;
    done += range.accounts;
    control.onProgress?.(done, totals.accounts);
    after = range.upTo === ABOVE_ALL_IDS ? undefined : range.upTo;
  }
  const { accounts, transactions, balance } = totals;
  return { accounts, transactions, balance, faults, faulty, ok: faulty === 0 };
}

interface Tables {
  readonly accounts: string;
  /** Hot and archived ones, as a FROM item. */
  readonly transactions: string;
  /** Undefined: the schema is from before openings. */
  readonly openings: string | undefined;
  /** Undefined: the schema is from before the archive. */
  readonly parts: { readonly hot: string; readonly archived: string } | undefined;
  /** False: the schema is from before the hashes. */
  readonly chained: boolean;
}

async function tablesIn(client: Client, schema: string): Promise<Tables> {
  const { accounts, accountOpenings, transactions: hot, archivedTransactions: archived } = tablesOf(schema);
  const chained = (await columnsOf(client, accounts)).includes('head_hash');
  const parted = await hasTable(client, archived);
  const openings = (await hasTable(client, accountOpenings)) ? accountOpenings : undefined;
  if (!parted) return { accounts, openings, transactions: `${hot} t`, parts: undefined, chained };
  const columns =
    'transaction_id, account_id, type, amount, balance_after, version_after, idempotency_key' +
    (chained ? ', timestamp, hash' : '');
  const transactions = `(SELECT ${columns} FROM ${hot} UNION ALL SELECT ${columns} FROM ${archived}) t`;
  return { accounts, openings, transactions, parts: { hot, archived }, chained };
}

/** bigint and numeric arrive as text. */
interface TotalsRow {
  accounts: string;
  transactions: string;
  balance: string;
  nameless: string;
}

async function readTotals(client: Client, tables: Tables) {
  const { rows } = await client.query<TotalsRow>(`
    SELECT a.accounts, a.balance, t.transactions, a.nameless + t.nameless AS nameless
    FROM (SELECT count(*) AS accounts, round(coalesce(sum(balance), 0), 2) AS balance,
                 count(*) - count(account_id) AS nameless FROM ${tables.accounts}) a,
         (SELECT count(*) AS transactions, count(*) - count(account_id) AS nameless FROM ${tables.transactions}) t`);
  const [row] = rows as [TotalsRow];
  return {
    accounts: Number(row.accounts),
    transactions: Number(row.transactions),
    balance: row.balance,
    nameless: Number(row.nameless),
  };
}

/**
 * The accounts of ids that are in both tables, which no constraint prevents. Beyond the limit, later runs find the
 * rest.
 */
async function accountsOfDoubledIds(client: Client, { transactions, parts }: Tables): Promise<string[]> {
  if (!parts) return [];
  const { rows } = await client.query<{ account_id: string }>(
    `WITH doubled AS MATERIALIZED (
       SELECT transaction_id FROM ${parts.archived} JOIN ${parts.hot} USING (transaction_id) LIMIT ${MAX_FAULTS}
     )
     SELECT DISTINCT account_id FROM ${transactions}
     WHERE transaction_id IN (SELECT transaction_id FROM doubled) AND account_id IS NOT NULL`,
  );
  return rows.map((row) => row.account_id);
}

/** The ranges cover every id, gaps included: a transaction may name an account that does not exist. */
async function nextRange(
  client: Client,
  tables: Tables,
  after: string,
): Promise<{ upTo: string; accounts: number }> {
  const { rows } = await client.query<{ last: string; accounts: string }>(
    `SELECT max(account_id) AS last, count(*) AS accounts
     FROM (SELECT account_id FROM ${tables.accounts} WHERE account_id > $1 ORDER BY account_id LIMIT ${RANGE}) page`,
    [after],
  );
  const [row] = rows as [{ last: string; accounts: string }];
  const accounts = Number(row.accounts);
  return { upTo: accounts < RANGE ? ABOVE_ALL_IDS : row.last, accounts };
}

/** @param place the shard's index, the number of shards, and the accounts with a doubled id */
async function verifyRange(
  client: Client,
  tables: Tables,
  after: string,
  upTo: string,
  place: readonly [number, number, readonly string[]],
): Promise<{ faults: VerifyFault[]; faulty: number }> {
  const { rows } = await client.query<FaultRow>(rangeStatement(tables), [after, upTo, ...place]);
  return {
    faults: rows.map(faultFromRow),
    faulty: Number(rows[0]?.faulty ?? 0),
  };
}

interface FaultRow {
  account_id: string;
  checks: string[];
  /** The id and the version, or NULLs. */
  broken: readonly [string | null, string | null] | null;
  faulty: string;
}

function faultFromRow({ account_id, checks, broken }: FaultRow): VerifyFault {
  const fault = { accountId: Number(account_id), checks };
  if (!broken) return fault;
  const [transactionId, version] = broken.map(Number) as [number, number];
  return { ...fault, firstBroken: { transactionId, version } };
}

/**
 * Parameters: the id before the range, its last id, the shard's index, the number of shards, the accounts with a
 * doubled id. The window is ordered like the two indexes on (account_id, version_after), so that a long history is
 * streamed rather than sorted.
 */
function rangeStatement(tables: Tables): string {
  const { account_exists: exists, ...rest } = CHECKS;
  const failed = Object.entries(rest)
    .filter(([name]) => tables.chained || !OF_CHAINS.includes(name))
    .map(([name, check]) => `CASE WHEN (${check.sql}) IS NOT TRUE THEN '${name}' END`);
  const { headOfAccount, chainOfTransaction, firstBroken } = tables.chained ? CHAIN_SQL : NO_CHAIN_SQL;
  return `
    WITH a AS (
      SELECT account_id, min(balance) AS balance, min(version) AS version, count(copy) AS copies,
             min(opening_deposit) AS opening_deposit, coalesce(bool_and(opened_here), true) AS opened_here${headOfAccount}
      FROM (SELECT *, 1 AS copy FROM ${tables.accounts} WHERE account_id > $1 AND account_id <= $2) b
      FULL JOIN ${openingsIn(tables)} o USING (account_id)
      GROUP BY account_id
    ), h AS (
      SELECT account_id, transaction_id, amount, balance_after, version_after, idempotency_key,
             CASE type WHEN 'credit' THEN amount WHEN 'debit' THEN -amount END AS change,
             row_number() OVER past AS place,
             lag(balance_after, 1, 0::numeric) OVER past AS balance_before${chainOfTransaction}
      FROM ${tables.transactions} WHERE account_id > $1 AND account_id <= $2
      WINDOW past AS (PARTITION BY account_id ORDER BY version_after)
    ), checked AS (
      SELECT account_id,
             CASE WHEN (${exists?.sql}) IS NOT TRUE THEN ARRAY['account_exists']
                  ELSE array_remove(ARRAY[${failed.join(', ')}], NULL) END AS checks,
             ${firstBroken} AS broken
      FROM a FULL JOIN h USING (account_id)
      GROUP BY account_id, a.balance, a.version, a.copies, a.opening_deposit, a.opened_here${tables.chained ? ', a.head_hash' : ''}
    )
    SELECT account_id, checks, broken, count(*) OVER () AS faulty
    FROM checked WHERE checks <> '{}' ORDER BY account_id LIMIT ${MAX_FAULTS}`;
}

/** The openings of the range, including those of accounts that don't exist. */
function openingsIn({ openings }: Tables): string {
  if (openings === undefined)
    return '(SELECT NULL::bigint AS account_id, NULL::numeric AS opening_deposit, true AS opened_here WHERE false)';
  const hash = `sha256(convert_to(octet_length(convert_to(owner, 'UTF8')) || ':' || owner || idempotency_key, 'UTF8'))`;
  const number = `('x' || left(encode(${hash}, 'hex'), 12))::bit(48)::bigint`;
  return `(SELECT account_id, opening_deposit, ${number} % $4::bigint = $3::bigint AS opened_here
           FROM ${openings} WHERE account_id > $1 AND account_id <= $2)`;
}

/**
 * The parts of {@link rangeStatement} that need hashes. If an account has several rows, that is a fault already, so any
 * of their heads will do.
 */
const CHAIN_SQL = {
  headOfAccount: ', (array_agg(head_hash))[1] AS head_hash',
  chainOfTransaction: `, hash, lag(hash, 1, ${GENESIS}) OVER past AS hash_before,
             transaction_id || ':' || account_id || ':' || type || ':' || amount || ':' || balance_after || ':'
             || version_after || ':' || trunc(extract(epoch FROM timestamp) * 1000) || ':'
             || coalesce('=' || idempotency_key, '-') AS line`,
  firstBroken: `(min(ARRAY[h.place, h.transaction_id, h.version_after])
                   FILTER (WHERE (${CHAINED}) IS NOT TRUE AND h.place IS NOT NULL))[2:3]::text[]`,
};
const NO_CHAIN_SQL: typeof CHAIN_SQL = {
  headOfAccount: '',
  chainOfTransaction: '',
  firstBroken: 'NULL',
};

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0);
}

function sumBalances(balances: readonly string[]): string {
  if (balances.some((balance) => !/^-?\d+\.\d\d$/.test(balance))) return 'NaN';
  return formatMoney(balances.reduce((total, balance) => total + BigInt(balance.replace('.', '')), 0n));
}
