import type { PoolClient } from 'pg';
import type { AccountStatus } from '../domain/account.js';
import type { TransactionType } from '../domain/transaction.js';
import { send } from '../storage/connection.js';
import type { StoredSum, StoredSums, StoredTotals } from '../storage/entities/ledger-summary.entity.js';
import type { SchemaTables } from '../storage/tables.js';

/** Transactions that are summed at a time: a fraction of a second. */
const CHUNK = 20_000;

/** The sums of all transactions of a shard up to an id. */
export interface Progress {
  readonly summedTo: number;
  readonly sums: StoredSums;
}

export const NOTHING_SUMMED: Progress = { summedTo: 0, sums: {} };

/** The books of a shard at one moment. */
export interface Snapshot {
  readonly asOf: Date;
  readonly summary: Readonly<Record<string, StoredTotals>>;
  /** The currencies in which the accounts are not what their transactions come to. */
  readonly unbalanced: readonly string[];
}

interface SumRow {
  currency: string;
  type: TransactionType;
  count: string;
  amount: string;
}

interface SnapshotRow {
  as_of: Date;
  /** Null: there are no rows at all. */
  currency: string | null;
  status: AccountStatus | null;
  type: TransactionType | null;
  count: string;
  amount: string;
  held: string;
  transactions: string;
  in_flight: string;
}

/** The empty currency is that of the bank. */
const CURRENCY = `coalesce(a.currency, '')`;
/** In ten-thousandths, which are whole numbers in every currency. */
const whole = (amount: string) => `(sum(${amount}) * 10000)::numeric(60)::text`;

/**
 * Adds the next transactions to the sums, in the order of their ids. Ids are drawn by batches that may commit in another
 * order, so it stops before the first one that is younger than any batch can take. Should one with a lower id be
 * committed all the same, a snapshot shows it: the numbers of transactions differ.
 *
 * @param settledMs longer than a batch can take
 * @returns `isLast`: there are no more that are old enough
 */
export async function sumNext(
  client: PoolClient,
  { accounts, allTransactions }: SchemaTables,
  { summedTo, sums }: Progress,
  settledMs: number,
): Promise<Progress & { readonly isLast: boolean }> {
  const { rows } = await send<SumRow & { summed_to: string }>(
    client,
    `WITH next AS (
       SELECT transaction_id, account_id, type, amount, timestamp FROM ${allTransactions} t
       WHERE transaction_id > $1 ORDER BY transaction_id LIMIT ${CHUNK}
     ), recent AS (
       SELECT min(transaction_id) AS first FROM next
       WHERE timestamp > clock_timestamp() - $2 * interval '1 millisecond'
     )
     SELECT ${CURRENCY} AS currency, type, count(*) AS count, ${whole('amount')} AS amount,
            max(transaction_id) AS summed_to
     FROM recent, next JOIN ${accounts} a USING (account_id)
     WHERE first IS NULL OR transaction_id < first GROUP BY 1, 2`,
    [summedTo, settledMs],
  );
  const count = rows.reduce((sum, row) => sum + Number(row.count), 0);
  return {
    summedTo: rows.reduce((greatest, row) => Math.max(greatest, Number(row.summed_to)), summedTo),
    sums: added(sums, rows),
    isLast: count < CHUNK,
  };
}

/** Sums up accounts and transactions in one statement, so at one moment: the transactions after those in the sums. */
export async function takeSnapshot(
  client: PoolClient,
  { accounts, allTransactions, transfers }: SchemaTables,
  { summedTo, sums }: Progress,
): Promise<Snapshot> {
  const { rows } = await send<SnapshotRow>(
    client,
    `SELECT statement_timestamp() AS as_of, r.* FROM (VALUES (true)) AS one LEFT JOIN (
       SELECT ${CURRENCY} AS currency, status, NULL AS type, count(*) AS count, ${whole('balance')} AS amount,
              ${whole('held')} AS held, sum(version - 1)::bigint AS transactions, '0' AS in_flight
       FROM ${accounts} a GROUP BY 1, 2
       UNION ALL
       SELECT ${CURRENCY}, NULL, t.type, count(*), ${whole('amount')}, '0', 0, '0'
       FROM ${accounts} a JOIN ${allTransactions} t USING (account_id) WHERE transaction_id > $1 GROUP BY 1, 3
       UNION ALL
       SELECT ${CURRENCY}, NULL, NULL, 0, '0', '0', 0, ${whole('amount')}
       FROM ${transfers} o JOIN ${accounts} a USING (account_id) WHERE o.status = 'pending' GROUP BY 1
     ) r ON true`,
    [summedTo],
  );
  const found = rows.filter((row): row is SnapshotRow & { currency: string } => row.currency !== null);
  const recent = found.filter((row): row is SnapshotRow & SumRow => row.type !== null);
  const ofAccounts = Object.entries(Object.groupBy(found, ({ currency }) => currency)).map(
    ([currency, ofCurrency = []]) => [currency, ofCurrency.filter(({ type }) => type === null)] as const,
  );
  const all = added(sums, recent);
  const summary: Record<string, StoredTotals> = {};
  const unbalanced = Object.keys(all).filter((currency) => !found.some((row) => row.currency === currency));
  for (const [currency, ofCurrency] of ofAccounts) {
    const totals = totalsOf(ofCurrency, all[currency] ?? {});
    summary[currency] = totals;
    const transactions = ofCurrency.reduce((sum, row) => sum + Number(row.transactions), 0);
    if (!isBalanced(totals, transactions, all[currency] ?? {})) unbalanced.push(currency);
  }
  return { asOf: (rows[0] as SnapshotRow).as_of, summary, unbalanced };
}

function added(sums: StoredSums, rows: readonly SumRow[]): StoredSums {
  const all: Record<string, Partial<Record<TransactionType, StoredSum>>> = structuredClone(sums);
  for (const { currency, type, count, amount } of rows) {
    const ofCurrency = (all[currency] ??= {});
    const before = ofCurrency[type] ?? NO_SUM;
    ofCurrency[type] = {
      count: before.count + Number(count),
      amount: String(BigInt(before.amount) + BigInt(amount)),
    };
  }
  return all;
}

const NO_SUM: StoredSum = { count: 0, amount: '0' };

function totalsOf(rows: readonly SnapshotRow[], sums: StoredSums[string]): StoredTotals {
  const sum = (column: 'amount' | 'held' | 'in_flight') =>
    String(rows.reduce((total, row) => total + BigInt(row[column]), 0n));
  return {
    accounts: Object.fromEntries(
      rows.flatMap(({ status, count }) => (status === null ? [] : [[status, Number(count)]])),
    ),
    balance: sum('amount'),
    held: sum('held'),
    inFlight: sum('in_flight'),
    credits: (sums.credit ?? NO_SUM).amount,
    debits: (sums.debit ?? NO_SUM).amount,
  };
}

/** Whether the accounts have as many transactions as were summed, and what these come to. */
function isBalanced(
  { balance, held }: StoredTotals,
  transactions: number,
  { credit = NO_SUM, debit = NO_SUM, hold = NO_SUM, release = NO_SUM }: StoredSums[string],
): boolean {
  return (
    transactions === credit.count + debit.count + hold.count + release.count &&
    BigInt(balance) === BigInt(credit.amount) - BigInt(debit.amount) &&
    BigInt(held) === BigInt(hold.amount) - BigInt(release.amount)
  );
}
