/** The largest amount: 16 digits before the point. NaN and Infinity are greater, so they are not valid money either. */
const MAX_AMOUNT = '9999999999999999.99';

export const GENESIS = "decode(repeat('0', 64), 'hex')";

/** The rule of the chain for one transaction; the ledger's own is in `domain/hash-chain.ts`. */
export const CHAINED = `h.hash = sha256(convert_to(encode(h.hash_before, 'hex') || ':' || h.line, 'UTF8'))`;

/** Checks that need hashes, which older schemas lack. */
export const OF_CHAINS: readonly string[] = ['hashes_run_on', 'head_is_last'];

interface Check {
  readonly says: string;
  /**
   * An aggregate over an account `a` and its transactions `h`. Anything but true is a fault: NULL, which a tampered
   * column can cause, must not pass.
   */
  readonly sql: string;
}

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
    says: `the balance is an amount from -${MAX_AMOUNT} to ${MAX_AMOUNT}`,
    sql: `a.balance >= -${MAX_AMOUNT} AND a.balance <= ${MAX_AMOUNT} AND a.balance = round(a.balance, 2)`,
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
  held_is_sum: {
    says: 'what is held equals the holds less the releases',
    sql: 'a.held = coalesce(sum(h.held_change), 0)',
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
    sql: 'a.version = 1 + count(h.place)',
  },
  versions_run_on: {
    says: "the transactions' versions run from 2 without a gap and without a repeat",
    sql: everyTransaction('h.version_after = 1 + h.place'),
  },
  times_run_on: {
    // Where the server's clock was set back, those of an account from before this rule may.
    says: "the transactions' times never run backwards, and the account has the time of the last one",
    sql: `(a.created_at IS NULL OR ${everyTransaction('h.timestamp >= h.timestamp_before')}) AND
          (a.posted_at IS NULL OR bool_and(h.timestamp = a.posted_at) FILTER (WHERE h.version_after = a.version))`,
  },
  balances_run_on: {
    says: 'each balance after is the one before plus the credit or less the debit',
    sql: everyTransaction('h.balance_after = h.balance_before + h.change'),
  },
  held_runs_on: {
    says: 'what is held after each transaction is what was held before, plus the hold or less the release',
    sql: everyTransaction('h.held = h.held_before + coalesce(h.held_change, 0)'),
  },
  amounts_are_valid: {
    says: `each transaction is a credit, a debit, a hold or a release of 0.01 to ${MAX_AMOUNT}`,
    sql: everyTransaction(
      `h.change IS NOT NULL AND h.amount > 0 AND h.amount <= ${MAX_AMOUNT} AND h.amount = round(h.amount, 2)`,
    ),
  },
  keys_are_unique: {
    says: 'no idempotency key occurs twice',
    sql: 'count(h.idempotency_key) = count(DISTINCT h.idempotency_key)',
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
    says: 'the idempotency key of its opening, or the account near which it was opened, belongs to the shard that holds it',
    sql: 'a.opened_here',
  },
  ids_name_the_shard: {
    says: 'the ids of the account and of its transactions belong to the shard that holds them',
    sql: `${ofShard('account_id')} AND ${everyTransaction(ofShard('h.transaction_id'))}`,
  },
};

/** True when a condition holds for every transaction of the account, also if there is none. */
function everyTransaction(condition: string): string {
  return `count(*) FILTER (WHERE (${condition}) IS NOT TRUE AND h.place IS NOT NULL) = 0`;
}

/** Shard k of N hands out k+1, k+1+N, k+1+2N …; in another shard a row could never be found by its id. */
function ofShard(column: string): string {
  return `${column} > 0 AND (${column} - 1) % $4::bigint = $3::bigint`;
}
