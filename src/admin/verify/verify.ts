import type { Client } from 'pg';
import type { ShardAddress } from '../../config/shard-address.js';
import { currencyOf } from '../../config/currencies.js';
import { decimalsIn, formatMoney } from '../../domain/money.js';
import { UNLIMITED } from '../../storage/durability.js';
import type { ShardPlace } from '../../storage/migrate.js';
import { readEvents } from '../audit/events.js';
import type { Control } from '../control.js';
import { asService, withSession, withSessions, type ShardSession } from '../shards.js';
import { CHAINED_HISTORY, CHECKS, GENESIS, HISTORY, OF_CHAINS } from './checks.js';
import { PAIRS, unpairedAccounts } from './pairs.js';
import { measured, SHARD_CHECKS } from './shard-checks.js';
import { sourcesIn, type Sources } from './sources.js';

/** An account whose books are wrong. Id 0 stands for rows that name no account. */
export interface VerifyFault {
  accountId: number;
  /** The {@link CHECKS}, {@link SHARD_CHECKS} and {@link PAIRS} that failed. */
  checks: string[];
  /** Where the hash chain first breaks: this row, or what was before it, was changed. */
  firstBroken?: { transactionId: number; version: number };
}

export interface VerifyReport {
  accounts: number;
  transactions: number;
  /** The sum of all balances in the bank's currency; `NaN` if a balance is not a valid amount. */
  balance: string;
  /** The same for each other currency, by its code; left out if no account has one. */
  otherBalances?: Record<string, string>;
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

/**
 * Verifies every account of every shard, and every transfer between them. Safe while the service runs: each shard is read
 * in one snapshot.
 */
export async function verifyBank(
  shards: readonly ShardAddress[],
  control: Control = {},
): Promise<VerifyReport> {
  const unpaired = shards.length > 1 ? await pairAll(shards, control) : [];
  const reports: VerifyReport[] = [];
  let before = 0;
  for (const [index, shard] of shards.entries()) {
    const ofShard: Control = {
      ...control,
      onProgress: (done, total) => control.onProgress?.(before + done, before + total),
    };
    const report = await verifyShard(shard, index, shards.length, ofShard, unpaired[index]);
    before += report.accounts;
    reports.push(report);
  }
  const faults = reports.flatMap((report) => report.faults).slice(0, MAX_FAULTS);
  const { faulty, ...totals } = sumTotals(reports);
  return { ...totals, faults, faulty, ok: faulty === 0 };
}

/** In no snapshot: transfers go on. */
async function pairAll(shards: readonly ShardAddress[], { signal }: Control) {
  return withSessions(shards.map(asService), 'bank-verify', async (sessions) => {
    for (const { client } of sessions) {
      await client.query('BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY; SET LOCAL jit = off');
      await client.query(UNLIMITED);
    }
    return unpairedIn(sessions, signal);
  });
}

/** @returns for each shard of a bank the accounts with transfers that another shard knows otherwise */
export function unpairedIn(
  sessions: readonly ShardSession[],
  signal?: AbortSignal,
): Promise<readonly ReadonlySet<string>[]> {
  const shards = sessions.map(({ client, address: { schema } }) => ({ client, schema }));
  return unpairedAccounts(shards, MAX_FAULTS, signal);
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
export type Totals = Pick<VerifyReport, 'accounts' | 'transactions' | 'balance' | 'otherBalances' | 'faulty'>;

export function sumTotals(parts: readonly Totals[]): Totals {
  return {
    accounts: sum(parts.map((part) => part.accounts)),
    transactions: sum(parts.map((part) => part.transactions)),
    balance: sumBalances(parts.map((part) => part.balance)),
    ...sumOthers(parts),
    faulty: sum(parts.map((part) => part.faulty)),
  };
}

/**
 * Verifies one shard in one REPEATABLE READ READ ONLY transaction, which sees a single moment, whatever is posted
 * meanwhile.
 *
 * @param index the shard's place among the `count` shards of the bank
 * @param unpaired its accounts with transfers that other shards know otherwise
 */
export async function verifyShard(
  shard: ShardAddress,
  index = 0,
  count = 1,
  control: Control = {},
  unpaired: ReadonlySet<string> = new Set(),
): Promise<VerifyReport> {
  // As the service connects: it must be able to read what it serves.
  return withSession(asService(shard), 'bank-verify', async ({ client }) => {
    await client.query('BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY');
    // A large account takes longer than a request may. JIT compilation of the same statement for each range does not
    // pay off.
    await client.query('SET LOCAL statement_timeout = 0; SET LOCAL jit = off');
    return verifyInSnapshot(client, shard.schema, index, count, control, unpaired);
  });
}

/** @param client in a transaction with one snapshot */
export async function verifyInSnapshot(
  client: Client,
  schema: string,
  index: number,
  count: number,
  control: Control,
  unpaired: ReadonlySet<string> = new Set(),
): Promise<VerifyReport> {
  const sources = await sourcesIn(client, schema);
  const totals = await readTotals(client, sources);
  const found = await findings(client, sources, { index, count }, control);
  for (const accountId of unpaired) found.push({ accountId, check: PAIRS.name });
  const given = [found.map(({ accountId }) => accountId), found.map(({ check }) => check)] as const;
  const faults: VerifyFault[] = totals.nameless > 0 ? [{ accountId: 0, checks: ['account_exists'] }] : [];
  let faulty = faults.length;
  let done = 0;
  for (let after: string | undefined = BELOW_ALL_IDS; after !== undefined;) {
    control.signal?.throwIfAborted();
    const range = await nextRange(client, sources, after);
    const failed = await verifyRange(client, sources, after, range.upTo, [index, count, ...given]);
    faults.push(...failed.faults.slice(0, MAX_FAULTS - faults.length));
    faulty += failed.faulty;
    done += range.accounts;
    control.onProgress?.(done, totals.accounts);
    after = range.upTo === ABOVE_ALL_IDS ? undefined : range.upTo;
  }
  const { accounts, transactions, balance, otherBalances } = totals;
  const books = { accounts, transactions, balance, ...(otherBalances && { otherBalances }) };
  return { ...books, faults, faulty, ok: faulty === 0 };
}

/** bigint and numeric arrive as text. */
interface TotalsRow {
  accounts: string;
  transactions: string;
  balance: string;
  nameless: string;
}

async function readTotals(client: Client, sources: Sources) {
  const bank = sources.currency;
  const { decimals } = currencyOf(bank);
  const { rows } = await client.query<TotalsRow>(`
    SELECT a.accounts, a.balance, t.transactions, a.nameless + t.nameless AS nameless
    FROM (SELECT count(*) AS accounts,
                 round(coalesce(sum(balance) FILTER (WHERE coalesce(currency, '${bank}') = '${bank}'), 0), ${decimals}) AS balance,
                 count(*) - count(account_id) AS nameless FROM ${sources.accounts} a) a,
         (SELECT count(*) AS transactions, count(*) - count(account_id) AS nameless FROM ${sources.transactions} t) t`);
  const [row] = rows as [TotalsRow];
  const others = await client.query<{ currency: string; balance: string }>(
    `SELECT currency, sum(balance) AS balance FROM ${sources.accounts} a
     WHERE currency IS NOT NULL AND currency <> '${bank}' GROUP BY currency ORDER BY currency`,
  );
  const otherBalances = others.rows.map(({ currency, balance }) => [currency, balance] as const);
  return {
    accounts: Number(row.accounts),
    transactions: Number(row.transactions),
    balance: row.balance,
    otherBalances: otherBalances.length === 0 ? undefined : Object.fromEntries(otherBalances),
    nameless: Number(row.nameless),
  };
}

/** An account, and a check that it fails. */
interface Finding {
  readonly accountId: string;
  readonly check: string;
}

/** What the {@link SHARD_CHECKS} find. Each finds a limited number; later runs find the rest. */
async function findings(
  client: Client,
  sources: Sources,
  place: ShardPlace,
  { signal }: Control,
): Promise<Finding[]> {
  const found: Finding[] = [];
  for (const [check, { sql: ofSources }] of Object.entries(SHARD_CHECKS)) {
    signal?.throwIfAborted();
    const sql = ofSources(sources, place);
    if (sql === undefined) continue;
    const { rows } = await client.query<{ account_id: string }>(
      `SELECT DISTINCT coalesce(account_id, 0) AS account_id FROM (${sql}) wrong LIMIT ${MAX_FAULTS}`,
    );
    for (const row of rows) found.push({ accountId: row.account_id, check });
  }
  return found;
}

/** The ranges cover every id, gaps included: a transaction may name an account that does not exist. */
async function nextRange(
  client: Client,
  sources: Sources,
  after: string,
): Promise<{ upTo: string; accounts: number }> {
  const { rows } = await client.query<{ last: string; accounts: string }>(
    `SELECT max(account_id) AS last, count(*) AS accounts
     FROM (SELECT account_id FROM ${sources.accounts} a WHERE account_id > $1 ORDER BY account_id LIMIT ${RANGE}) page`,
    [after],
  );
  const [row] = rows as [{ last: string; accounts: string }];
  const accounts = Number(row.accounts);
  return { upTo: accounts < RANGE ? ABOVE_ALL_IDS : row.last, accounts };
}

/** @param given the shard's index, the number of shards, and the findings of the shard */
async function verifyRange(
  client: Client,
  sources: Sources,
  after: string,
  upTo: string,
  given: readonly [number, number, readonly string[], readonly string[]],
): Promise<{ faults: VerifyFault[]; faulty: number }> {
  const { rows } = await client.query<FaultRow>(rangeStatement(sources), [after, upTo, ...given]);
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
 * Parameters: the id before the range, its last id, the shard's index, the number of shards, the accounts with findings
 * and the checks that they fail. The window is ordered like the two indexes on (account_id, version_after), and grouped
 * in that order, so that a long history is streamed rather than sorted.
 */
function rangeStatement(sources: Sources): string {
  const { chained } = sources;
  const { account_exists: exists, ...rest } = CHECKS;
  const checks = Object.entries(rest).filter(([name]) => chained || !OF_CHAINS.includes(name));
  const ofEach = checks.flatMap(([name, { each }]) =>
    each === undefined ? [] : [`count(*) FILTER (WHERE (${each}) IS NOT TRUE) AS ${name}`],
  );
  const history = Object.entries({ ...HISTORY, ...(chained ? CHAINED_HISTORY : {}) });
  const failed = checks.map(([name, { each, sql }]) => {
    const ofHistory = each === undefined ? [] : [`coalesce(h.${name}, 0) = 0`];
    const conditions = [...ofHistory, ...(sql === undefined ? [] : [`(${sql})`])];
    return `CASE WHEN (${conditions.join(' AND ')}) IS NOT TRUE THEN '${name}' END`;
  });
  return `
    WITH a AS (
      SELECT account_id, min(balance) AS balance, min(version) AS version, count(copy) AS copies,
             min(held) AS held, min(currency) AS currency, min(overdraft_limit) AS overdraft_limit, min(status) AS status,
             min(created_at) AS created_at, min(posted_at) AS posted_at, min(opening_deposit) AS opening_deposit,
             coalesce(bool_and(opened_here), true) AS opened_here, min(found) AS found
             ${chained ? `, (array_agg(head_hash))[1] AS head_hash` : ''}
      FROM (SELECT *, 1 AS copy FROM ${sources.accounts} b WHERE account_id > $1 AND account_id <= $2) b
      FULL JOIN ${openingsIn(sources)} o USING (account_id)
      FULL JOIN (SELECT account_id, string_agg(name, ',') AS found FROM unnest($5::bigint[], $6::text[])
                   AS f (account_id, name) WHERE account_id > $1 AND account_id <= $2 GROUP BY account_id) f
        USING (account_id)
      GROUP BY account_id
    ), t AS (
      SELECT account_id, transaction_id, amount, balance_after, version_after, idempotency_key, timestamp, held_after,
             CASE type WHEN 'credit' THEN amount WHEN 'debit' THEN -amount
                       WHEN 'hold' THEN 0 WHEN 'release' THEN 0 END AS change,
             CASE type WHEN 'hold' THEN amount WHEN 'release' THEN -amount END AS held_change,
             row_number() OVER past AS place, lead(1) OVER past IS NULL AS is_last,
             lag(balance_after, 1, 0::numeric) OVER past AS balance_before,
             lag(held_after) OVER past AS held_before, lag(timestamp, 1, timestamp) OVER past AS timestamp_before
             ${chained ? `, hash, lag(hash, 1, ${GENESIS}) OVER past AS hash_before, ${lineOfTransaction(sources)} AS line` : ''}
      FROM ${sources.transactions} t WHERE account_id > $1 AND account_id <= $2
      WINDOW past AS (PARTITION BY account_id ORDER BY version_after)
    ), h AS (
      SELECT account_id, ${[...ofEach, ...history.map(([name, sql]) => `${sql} AS ${name}`)].join(', ')}
      FROM t GROUP BY account_id
    ), checked AS (
      SELECT account_id, ${chained ? 'h.broken' : 'NULL::text[] AS broken'},
             CASE WHEN (${exists?.sql}) IS NOT TRUE THEN ARRAY['account_exists']
                  ELSE array_remove(ARRAY[${failed.join(', ')}], NULL) || string_to_array(coalesce(found, ''), ',')
             END AS checks
      FROM a FULL JOIN h USING (account_id)
    )
    SELECT account_id, checks, broken, count(*) OVER () AS faulty
    FROM checked WHERE checks <> '{}' ORDER BY account_id LIMIT ${MAX_FAULTS}`;
}

/** The openings of the range, including those of accounts that don't exist. */
function openingsIn({ openings, whole }: Sources): string {
  if (openings === undefined)
    return '(SELECT NULL::bigint AS account_id, NULL::numeric AS opening_deposit, true AS opened_here WHERE false)';
  const hash = `sha256(convert_to(octet_length(convert_to(owner, 'UTF8')) || ':' || owner || idempotency_key, 'UTF8'))`;
  const number = `('x' || left(encode(${hash}, 'hex'), 12))::bit(48)::bigint`;
  const shard = whole ? `coalesce(near - 1, ${number})` : number;
  return `(SELECT account_id, opening_deposit, ${shard} % $4::bigint = $3::bigint AS opened_here
           FROM ${openings} WHERE account_id > $1 AND account_id <= $2)`;
}

/**
 * The text of a transaction that is hashed: the first form, or the second where there is anything that the first does
 * not hold. Details are looked up for each transaction by itself, which keeps the order of the window.
 */
function lineOfTransaction({ transactionDetails }: Sources): string {
  const common = `transaction_id || ':' || account_id || ':' || type || ':' || amount || ':' || balance_after || ':'
             || version_after || ':' || trunc(extract(epoch FROM timestamp) * 1000) || ':'`;
  const links = ['held_after', 'transfer_id', 'hold_id', 'reverses_id', 'fingerprint'];
  const linked = `'v2:' || ${common} || ${links.map((name) => `coalesce(${name}::text, '-') || ':'`).join(' || ')}`;
  const key = measured('idempotency_key');
  const withoutDetails = `CASE WHEN num_nonnulls(${links.join(', ')}) = 0
             THEN ${common} || coalesce('=' || idempotency_key, '-') ELSE ${linked} || '-:-:' || ${key} || ':-:-' END`;
  if (transactionDetails === undefined) return withoutDetails;
  return `coalesce(${linked} || (
             SELECT coalesce(to_char(d.effective_date, 'YYYY-MM-DD'), '-') || ':' || coalesce(encode(d.digest, 'hex'), '-')
                    || ':' || ${measured('t.idempotency_key')} || ':' || ${measured('d.reference')} || ':'
                    || ${measured('d.actor')}
             FROM ${transactionDetails} d WHERE d.transaction_id = t.transaction_id), ${withoutDetails})`;
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0);
}

function sumBalances(balances: readonly string[]): string {
  if (balances.some((balance) => !/^-?\d+(\.\d{1,4})?$/.test(balance))) return 'NaN';
  const total = balances.reduce((sum, balance) => sum + BigInt(balance.replace('.', '')), 0n);
  return formatMoney(total, decimalsIn(balances[0] ?? ''));
}

function sumOthers(parts: readonly Totals[]): Pick<Totals, 'otherBalances'> {
  const each = parts.flatMap(({ otherBalances = {} }) => Object.entries(otherBalances));
  if (each.length === 0) return {};
  const byCode = [...Map.groupBy(each, ([code]) => code)].sort(([a], [b]) => (a < b ? -1 : 1));
  return {
    otherBalances: Object.fromEntries(
      byCode.map(([code, sums]) => [code, sumBalances(sums.map(([, balance]) => balance))]),
    ),
  };
}
