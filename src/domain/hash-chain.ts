import { hash } from 'node:crypto';
import { formatMoney } from './money.js';
import type { Transaction } from './transaction.js';

/** The hash before an account's first transaction. A hash is written as 64 hexadecimal digits in lower case. */
export const GENESIS_HASH = '0'.repeat(64);

/**
 * The hash of the next row of a chain: SHA-256 of the text `previous:line`, as `sha256sum` computes it too. Whoever
 * keeps one hash can tell whether anything before it was changed, left out, added or reordered since.
 */
export function nextHash(previous: string, line: string): string {
  return hash('sha256', `${previous}:${line}`);
}

/**
 * The text of a transaction that is hashed: every column in a fixed order, so that no two transactions share a text.
 * The idempotency key is last, because it may contain any character; `-` stands for none. The time is in milliseconds
 * since 1970-01-01T00:00:00Z.
 *
 * @throws Error when the transaction has no id or no time yet
 */
export function canonicalForm(transaction: Transaction): string {
  const { transactionId, accountId, type, amount, balanceAfter, versionAfter, timestamp, idempotencyKey } =
    transaction;
  if (transactionId === 0 || !timestamp)
    throw new Error('a transaction is chained once it has its id and time');
  const key = idempotencyKey === undefined ? '-' : `=${idempotencyKey}`;
  return (
    `${transactionId}:${accountId}:${type}:${formatMoney(amount)}:${formatMoney(balanceAfter)}:` +
    `${versionAfter}:${timestamp.getTime()}:${key}`
  );
}

/**
 * The hashes of transactions that are posted together, each chained to the previous one of its account.
 *
 * @param headOf the hash of the last transaction of an account before these
 * @returns one hash per transaction, in the same order
 * @throws Error when an account has no head
 */
export function chain(
  transactions: readonly Transaction[],
  headOf: (accountId: number) => string | undefined,
): string[] {
  const heads = new Map<number, string>();
  return transactions.map((transaction) => {
    const { accountId } = transaction;
    const previous = heads.get(accountId) ?? headOf(accountId);
    if (previous === undefined) throw new Error(`account ${accountId} has no head to chain to`);
    const next = nextHash(previous, canonicalForm(transaction));
    heads.set(accountId, next);
    return next;
  });
}
