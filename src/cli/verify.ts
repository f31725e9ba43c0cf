import { Client, escapeIdentifier } from 'pg';
import type { ShardAddress } from '../config/shard-address.js';
import { formatMoney } from '../domain/money.js';

/** An account whose books are wrong. Id 0 stands for rows that name no account at all. */
export interface VerifyFault {
  accountId: number;
  /** The failed ones of {@link CHECKS}. */
  checks: string[];
  /** Where the chain of hashes breaks first: this row was changed, or what was before it. */
  firstBroken?: { transactionId: number; version: number };
}

export interface VerifyReport {
  accounts: number;
  transactions: number;
  /** The sum of all balances, with two decimals; `NaN` if one of them is. */
  balance: string;
  /** At most {@link MAX_FAULTS}, by shard and account id. */
  faults: VerifyFault[];
  /** How many accounts failed, those that `faults` has no room for included. */
  faulty: number;
  ok: boolean;
}

export interface VerifyOptions {
  /** Accounts done, of all shards, and how many there are; called now and then. */
  readonly onProgress?: (done: number, total: number) => void;
  /** Stops between two ranges; the verification then throws the signal's reason. */
  readonly signal?: AbortSignal;
}

/** Faults that a report holds: a bank that is wrong throughout must not fill the memory. */
export const MAX_FAULTS = 1_000;

/** Accounts in one statement. */
const RANGE = 10_000;

const BELOW_ALL_IDS = '-9223372036854775808';
const ABOVE_ALL_IDS = '9223372036854775807';

/** DECIMAL(18,2). NaN and Infinity are greater, so they are not valid money either. */
const MAX_AMOUNT = '9999999999999999.99';

const GENESIS = "decode(repeat('0', 64), 'hex')";

/** The rule of the chain, for one transaction; the ledger's is in `domain/chain.ts`. */
const CHAINED = `h.hash = sha256(convert_to(encode(h.hash_before, 'hex') || ':' || h.line, 'UTF8'))`;

/** Those that need hashes, which a schema of before them does not have. */
const OF_CHAINS: readonly string[] = ['hashes_run_on', 'head_is_last'];

interface Check {
  readonly says: string;
  /**
   * An aggregate over an account `a` and its transactions `h`. Anything but true is a fault: NULL, which a tampered
   * column leads to, must not pass as true.
   */
  readonly sql: string;
}

/**
 * What is checked of every account. Written in SQL on purpose and without the ledger's own code, and none of it takes
 * the schema's constraints for granted: a check that shares a mistake with what it checks finds nothing.
 */
export const CHECKS: Readonly<Record<string, Check>> = {
  account_exists: {
    says: 'the account exists, once',
    sql: 'a.copies = 1',
  },
  balance_is_valid: {
    says: `the balance is an amount from 0.00 to ${MAX_AMOUNT}`,
    sql: `a.balance >= 0 AND a.balance <= ${MAX_AMOUNT} AND a.balance = round(a.balance, 2)`,
  },
  balance_is_sum: {
    says: 'the balance equals the credits less the debits',
    sql: 'a.balance = coalesce(sum(h.change), 0) AND count(h.change) = count(h.place)',
  },
  balance_is_last: {
    says: "the balance equals the last transaction's balance after it; without a transaction it is 0.00",
    sql: `CASE WHEN a.version = 1 THEN a.balance = 0
               ELSE bool_and(h.balance_after = a.balance) FILTER (WHERE h.version_after = a.version) END`,
  },
  version_is_count: {
    says: 'the version is 1 more than the number of transactions',
    sql: 'a.version = 1 + count(h.place)',
  },
  versions_run_on: {
    says: "the transactions' versions run from 2 without a gap and without a repeat",
    sql: everyTransaction('h.version_after = 1 + h.place'),
  },
  balances_run_on: {
    says: 'each balance after is the one before plus the credit or less the debit',
    sql: everyTransaction('h.balance_after = h.balance_before + h.change'),
  },
  amounts_are_valid: {
    says: `each transaction is a credit or a debit of 0.01 to ${MAX_AMOUNT}`,
    sql: everyTransaction(
      `h.change IS NOT NULL AND h.amount > 0 AND h.amount <= ${MAX_AMOUNT} AND h.amount = round(h.amount, 2)`,
    ),
  },
  keys_are_unique: {
    says: 'no idempotency key occurs twice',
    sql: 'count(h.idempotency_key) = count(DISTINCT h.idempotency_key)',
  },
  ids_are_unique: {
    says: 'no id of a transaction is in the archive and outside of it',
    sql: 'account_id <> ALL ($5::bigint[])',
  },
  opening_is_first: {
    says: 'the opening deposit that was recorded with its idempotency key is the first transaction',
    sql: 'a.opening_deposit IS NULL OR bool_or(h.version_after = 2 AND h.change = a.opening_deposit)',
  },
  hashes_run_on: {
    says: 'the hash of each transaction is that of the one before and of its own row',
    sql: everyTransaction(CHAINED),
  },
  head_is_last: {
    says: "the account's head is the hash of the last transaction; without a transaction it is all zeros",
    sql: `CASE WHEN a.version = 1 THEN a.head_hash = ${GENESIS}
               ELSE bool_and(h.hash = a.head_hash) FILTER (WHERE h.version_after = a.version) END`,
  },
  opening_names_the_shard: {
    says: 'the idempotency key of its opening belongs to the shard that holds the account',
    sql: 'a.opened_here',
  },
  ids_name_the_shard: {
    says: 'the ids of the account and of its transactions belong to the shard that holds them',
    sql: `${ofShard('account_id')} AND ${everyTransaction(ofShard('h.transaction_id'))}`,
  },
};

/** Verifies every account of every shard. Safe while the service runs: each shard is read in one snapshot. */
export async function verifyBank(
  shards: readonly ShardAddress[],
  options: VerifyOptions = {},
): Promise<VerifyReport> {
  const reports: VerifyReport[] = [];
  let before = 0;
  for (const [index, shard] of shards.entries()) {
    const report = await verifyShard(shard, index, shards.length, {
      ...options,
      onProgress: (done, total) => options.onProgress?.(before + done, before + total),
    });
    before += report.accounts;
    reports.push(report);
  }
  const faults = reports.flatMap((report) => report.faults).slice(0, MAX_FAULTS);
  const { accounts, transactions, balance, faulty } = sumTotals(reports);
  return { accounts, transactions, balance, faults, faulty, ok: faulty === 0 };
}

/** What the books of a bank, or of a part of it, come to. */
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
 * Verifies one shard in one REPEATABLE READ READ ONLY transaction: all of it as it was at one moment, whatever is
 * posted meanwhile.
 *
 * @param index the shard's place among the `count` shards of the bank
 */
export async function verifyShard(
  shard: ShardAddress,
  index = 0,
  count = 1,
  options: VerifyOptions = {},
): Promise<VerifyReport> {
  const client = new Client({ connectionString: shard.url, application_name: 'bank-verify' });
  // The query in hand reports a lost connection; the event must not end the process besides.
  client.on('error', () => undefined);
  await client.connect();
  try {
    await client.query('BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY');
    // A large account takes longer than what a request may take. Compiling the same statement for each range does not pay.
    await client.query('SET LOCAL statement_timeout = 0; SET LOCAL jit = off');
    return await verifyInSnapshot(client, shard.schema, index, count, options);
  } finally {
    await client.end().catch(() => undefined);
  }
}

/** @param client in a transaction that sees one moment */
export async function verifyInSnapshot(
  client: Client,
  schema: string,
  index: number,
  count: number,
  options: VerifyOptions,
): Promise<VerifyReport> {
  const tables = await tablesIn(client, schema);
  const totals = await readTotals(client, tables);
  const doubled = await accountsOfDoubledIds(client, tables);
  const faults: VerifyFault[] = totals.nameless > 0 ? [{ accountId: 0, checks: ['account_exists'] }] : [];
  let faulty = faults.length;
  let done = 0;
  for (let after: string | undefined = BELOW_ALL_IDS; after !== undefined;) {
    options.signal?.throwIfAborted();
    const range = await nextRange(client, tables, after);
    const found = await verifyRange(client, tables, after, range.upTo, [index, count, doubled]);
    faults.push(...found.faults.slice(0, MAX_FAULTS - faults.length));
    faulty += found.faulty;
    done += range.accounts;
    options.onProgress?.(done, totals.accounts);
    after = range.upTo === ABOVE_ALL_IDS ? undefined : range.upTo;
  }
  const { accounts, transactions, balance } = totals;
  return { accounts, transactions, balance, faults, faulty, ok: faulty === 0 };
}

interface Tables {
  readonly accounts: string;
  /** All of them, for a FROM. */
  readonly transactions: string;
  /** Undefined: the schema is older than they are. */
  readonly openings: string | undefined;
  /** Undefined: the schema is older than the archive. */
  readonly parts: { readonly hot: string; readonly archived: string } | undefined;
  /** False: the schema is older than the hashes. */
  readonly chained: boolean;
}

async function tablesIn(client: Client, schema: string): Promise<Tables> {
  const quoted = escapeIdentifier(schema);
  const [accounts, accountOpenings, hot, archived] = [
    'accounts',
    'account_openings',
    'transactions',
    'archived_transactions',
  ].map((table) => `${quoted}.${table}`) as [string, string, string, string];
  const { rows } = await client.query<{ parted: boolean; chained: boolean; keyed: boolean }>(
    `SELECT to_regclass($1) IS NOT NULL AS parted, to_regclass($3) IS NOT NULL AS keyed,
            EXISTS (SELECT FROM pg_attribute WHERE attrelid = to_regclass($2) AND attname = 'head_hash') AS chained`,
    [archived, accounts, accountOpenings],
  );
  const { parted, chained, keyed } = rows[0] as { parted: boolean; chained: boolean; keyed: boolean };
  const openings = keyed ? accountOpenings : undefined;
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

/** The accounts of ids that both tables have, which no constraint rules out. Of many not all: they are found at the next run. */
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

/** The ranges cover every id, gaps included: a transaction may name an account that is not there. */
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

/** @param place the shard's index, the number of shards, and the accounts that have a doubled id */
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
 * Parameters: after which id, up to which id, the shard's index, the number of shards, the accounts that have a doubled
 * id. The order of the window is that of the two indexes on (account_id, version_after), so that a long history is
 * streamed, not sorted.
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

/** The openings of the range, including any of an account that does not exist. */
function openingsIn({ openings }: Tables): string {
  if (openings === undefined)
    return '(SELECT NULL::bigint AS account_id, NULL::numeric AS opening_deposit, true AS opened_here WHERE false)';
  const hash = `sha256(convert_to(octet_length(convert_to(owner, 'UTF8')) || ':' || owner || idempotency_key, 'UTF8'))`;
  const number = `('x' || left(encode(${hash}, 'hex'), 12))::bit(48)::bigint`;
  return `(SELECT account_id, opening_deposit, ${number} % $4::bigint = $3::bigint AS opened_here
           FROM ${openings} WHERE account_id > $1 AND account_id <= $2)`;
}

/** The parts of {@link rangeStatement} that need hashes. Heads of several copies of one account are the same fault as they. */
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

/** True when a condition holds for each transaction of the account, of which there may be none. */
function everyTransaction(condition: string): string {
  return `count(*) FILTER (WHERE (${condition}) IS NOT TRUE AND h.place IS NOT NULL) = 0`;
}

/** Shard k of N hands out k+1, k+1+N, k+1+2N …; elsewhere a row could never be found by its id. */
function ofShard(column: string): string {
  return `${column} > 0 AND (${column} - 1) % $4::bigint = $3::bigint`;
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0);
}

function sumBalances(balances: readonly string[]): string {
  if (balances.some((balance) => !/^-?\d+\.\d\d$/.test(balance))) return 'NaN';
  return formatMoney(balances.reduce((total, balance) => total + BigInt(balance.replace('.', '')), 0n));
}
