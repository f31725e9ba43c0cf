import { hash } from 'node:crypto';
import { formatMoney } from './money.js';
import type { Transaction, TransactionDetails } from './transaction.js';

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
 * `-` stands for none. The time is in milliseconds since 1970-01-01T00:00:00Z.
 *
 * Most transactions have the first form, in which the idempotency key is last, because it may contain any character.
 * One that places or ends a hold, is part of a transfer, reverses another, has details, or leaves something on hold,
 * has the second form, which begins with `v2:` and gives the length of each free text, so that none of them can pass
 * for a part of another.
 */
export function canonicalForm(transaction: Transaction): string {
  const { transactionId, accountId, type, amount, balanceAfter, versionAfter, timestamp, decimals } =
    transaction;
  const common =
    `${transactionId}:${accountId}:${type}:${formatMoney(amount, decimals)}:${formatMoney(balanceAfter, decimals)}:` +
    `${versionAfter}:${timestamp.getTime()}`;
  const { idempotencyKey } = transaction;
  if (isPlain(transaction)) return `${common}:${idempotencyKey === undefined ? '-' : `=${idempotencyKey}`}`;
  const { heldAfter, transferId, holdId, reversesId, fingerprint, details = {} } = transaction;
  const held = heldAfter === 0n ? undefined : formatMoney(heldAfter, decimals);
  const fixed = [held, transferId, holdId, reversesId, fingerprint, details.effectiveDate, details.digest];
  const free = [idempotencyKey, details.reference, details.actor];
  return `v2:${common}:${[...fixed.map((value) => value ?? '-'), ...free.map(measured)].join(':')}`;
}

/** Whether a transaction has nothing but what the first form holds. */
export function isPlain({
  heldAfter,
  transferId,
  holdId,
  reversesId,
  fingerprint,
  details,
}: Transaction): boolean {
  return (
    heldAfter === 0n &&
    transferId === undefined &&
    holdId === undefined &&
    reversesId === undefined &&
    fingerprint === undefined &&
    details === undefined
  );
}

/** `=5:hello`, with the number of bytes in UTF-8; `-` for none, which differs from the empty text, `=0:`. */
function measured(text: string | undefined): string {
  return text === undefined ? '-' : `=${Buffer.byteLength(text)}:${text}`;
}

/**
 * The digest that stands for description and metadata in the chain. Without the salt it tells nothing about them, so
 * once text and salt are erased, nobody can guess what they were.
 *
 * @param salt hexadecimal digits
 */
export function digestOf(salt: string, { description, metadata }: TransactionDetails): string {
  return hash('sha256', `${salt}:${measured(description)}:${measured(metadata)}`);
}

/** The text of a change of an account that is hashed. The changes are last, because they may contain any character. */
export function lineOfAccountEvent(event: {
  readonly eventId: number;
  readonly accountId: number;
  readonly revision: number;
  readonly timestamp: Date;
  readonly actor: string | undefined;
  /** A JSON object. */
  readonly changes: string;
}): string {
  const { eventId, accountId, revision, timestamp, actor, changes } = event;
  return `${eventId}:${accountId}:${revision}:${timestamp.getTime()}:${measured(actor)}:${changes}`;
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
