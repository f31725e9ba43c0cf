import { CURRENCIES } from '../../config/currencies.js';
import type { ShardPlace } from '../../storage/migrate.js';
import type { Sources } from './sources.js';

/** Amounts have at most 16 digits before the point. NaN and Infinity are greater, so they are not valid money either. */
const LIMIT = '10000000000000000';

const codesWith = (decimals: number) =>
  [...CURRENCIES.values()].flatMap((each) => (each.decimals === decimals ? [`'${each.code}'`] : [])).join();

/** The decimals of a currency. */
export const decimalsOf = (code: string) =>
  `CASE ${[0, 3, 4].map((decimals) => `WHEN ${code} IN (${codesWith(decimals)}) THEN ${decimals}`).join(' ')} ELSE 2 END`;

export const GENESIS = "decode(repeat('0', 64), 'hex')";

/** The rule of the chain for one transaction; the ledger's own is in `domain/hash-chain.ts`. */
export const CHAINED = `t.hash = sha256(convert_to(encode(t.hash_before, 'hex') || ':' || t.line, 'UTF8'))`;

/** Checks that need hashes, which older schemas lack. */
export const OF_CHAINS: readonly string[] = ['hashes_run_on', 'head_is_last'];

/** Anything but true is a fault: NULL, which a tampered column can cause, must not pass. */
interface Check {
  readonly says: string;
  /** A condition on each transaction `t`. */
  readonly each?: string;
  /** A condition on an account `a` and its {@link HISTORY}, `h`, all NULL if it has no transaction. */
  readonly sql?: string;
}

/** A check that is made once for a shard. */
export interface ShardCheck {
  readonly says: string;
  /** A SELECT of the accounts for which it is not so, in a column `account_id`; undefined: the schema is too old. */
  readonly sql: (sources: Sources, place: ShardPlace) => string | undefined;
}

/** Aggregates over the transactions `t` of an account, besides the number of those that fail each check. */
export const HISTORY: Readonly<Record<string, string>> = {
  transactions: 'count(*)',
  change: 'sum(t.change)',
  changes: 'count(t.change)',
  held: 'sum(t.held_change)',
  most_decimals: 'max(min_scale(t.amount))',
  keys: 'count(t.idempotency_key)',
  different_keys: 'count(DISTINCT t.idempotency_key)',
  first_changes: 'array_agg(t.change) FILTER (WHERE t.version_after = 2)',
  last_version: 'min(t.version_after) FILTER (WHERE t.is_last)',
  last_balance: 'min(t.balance_after) FILTER (WHERE t.is_last)',
  last_timestamp: 'min(t.timestamp) FILTER (WHERE t.is_last)',
  backwards: 'count(*) FILTER (WHERE (t.timestamp >= t.timestamp_before) IS NOT TRUE)',
};

/** The same, where there are hashes. `broken`: the first transaction with a wrong one. */
export const CHAINED_HISTORY: typeof HISTORY = {
  last_hash: '(array_agg(t.hash) FILTER (WHERE t.is_last))[1]',
  broken: `(min(ARRAY[t.place, t.transaction_id, t.version_after]) FILTER (WHERE (${CHAINED}) IS NOT TRUE))[2:3]::text[]`,
};

/**
 * The checks of every account. Deliberately written in SQL, without the ledger's code and without relying on the
 * schema's constraints: a check that shares a mistake with what it checks finds nothing.
 */
export const CHECKS: Readonly<Record<string, Check>> = {
  account_exists: {
    says: 'the account exists, once',
    sql: 'a.copies = 1',
  },
  balance_is_valid: {
    says: 'the balance has at most 16 digits before the point, and no more decimals than its currency',
    sql: `a.balance > -${LIMIT} AND a.balance < ${LIMIT} AND a.balance = round(a.balance, ${decimalsOf('a.currency')})`,
  },
  balance_is_sum: {
    says: 'the balance equals the credits less the debits',
    sql: 'a.balance = coalesce(h.change, 0) AND coalesce(h.changes = h.transactions, true)',
  },
  balance_is_last: {
    says: "the balance equals the last transaction's balance after it; without a transaction it is zero",
    sql: 'CASE WHEN a.version = 1 THEN a.balance = 0 ELSE h.last_version = a.version AND h.last_balance = a.balance END',
  },
  held_is_sum: {
    says: 'what is held equals the holds less the releases',
    sql: 'a.held = coalesce(h.held, 0)',
  },
  available_is_not_negative: {
    says: 'the balance, less what is held, plus the overdraft limit is not below zero; nor is what is held, or the limit',
    sql: 'a.balance - a.held + a.overdraft_limit >= 0 AND a.held >= 0 AND a.overdraft_limit >= 0',
  },
  status_is_valid: {
    says: 'the account is open, debits_blocked, frozen or closed; a closed one is empty',
    sql: `a.status IN ('open', 'debits_blocked', 'frozen') OR (a.status = 'closed' AND a.balance = 0 AND a.held = 0)`,
  },
  version_is_count: {
    says: 'the version is 1 more than the number of transactions',
    sql: 'a.version = 1 + coalesce(h.transactions, 0)',
  },
  versions_run_on: {
    says: "the transactions' versions run from 2 without a gap and without a repeat",
    each: 't.version_after = 1 + t.place',
  },
  times_run_on: {
    // Where the server's clock was set back, those of an account from before this rule may.
    says: "the transactions' times never run backwards, and the account has the time of the last one",
    sql: `(a.created_at IS NULL OR coalesce(h.backwards, 0) = 0) AND
          (a.posted_at IS NULL OR a.posted_at = h.last_timestamp)`,
  },
  balances_run_on: {
    says: 'each balance after is the one before plus the credit or less the debit',
    each: 't.balance_after = t.balance_before + t.change',
  },
  held_runs_on: {
    says: 'what is held after each transaction is what was held before, plus the hold or less the release',
    each: `num_nonnulls(t.held_after, t.held_before, t.held_change) = 0 OR
           coalesce(t.held_after, 0) = coalesce(t.held_before, 0) + coalesce(t.held_change, 0)`,
  },
  amounts_are_valid: {
    says: "each transaction is a credit, a debit, a hold or a release of a valid amount in the account's currency",
    each: `t.change IS NOT NULL AND t.amount > 0 AND t.amount < ${LIMIT}`,
    sql: `coalesce(h.most_decimals <= ${decimalsOf('a.currency')}, true)`,
  },
  keys_are_unique: {
    says: 'no idempotency key occurs twice',
    sql: 'coalesce(h.keys = h.different_keys, true)',
  },
  opening_is_first: {
    says: 'the opening deposit that was recorded with its idempotency key is the first transaction',
    sql: 'a.opening_deposit IS NULL OR a.opening_deposit = ANY (h.first_changes)',
  },
  hashes_run_on: {
    says: 'the hash of each transaction is that of the one before and of its own row',
    sql: 'h.broken IS NULL',
  },
  head_is_last: {
    says: "the account's head is the hash of the last transaction; without a transaction it is all zeros",
    sql: `CASE WHEN a.version = 1 THEN a.head_hash = ${GENESIS}
               ELSE h.last_version = a.version AND h.last_hash = a.head_hash END`,
  },
  opening_names_the_shard: {
    says: 'the idempotency key of its opening, or the account near which it was opened, belongs to the shard that holds it',
    sql: 'a.opened_here',
  },
  ids_name_the_shard: {
    says: 'the ids of the account and of its transactions belong to the shard that holds them',
    sql: ofShard('account_id'),
    each: ofShard('t.transaction_id'),
  },
};

/** Shard k of N hands out k+1, k+1+N, k+1+2N …; in another shard a row could never be found by its id. */
function ofShard(column: string): string {
  return `${column} > 0 AND (${column} - 1) % $4::bigint = $3::bigint`;
}
