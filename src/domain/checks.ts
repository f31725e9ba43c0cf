import { availableOf, type LedgerAccount } from './account.js';
import type { Books, Effects } from './books.js';
import type { Leg, PostingCommand } from './command.js';
import type { Draft } from './draft.js';
import type { Rejection } from './errors.js';
import { MAX_EXPIRED_AT_ONCE } from './hold.js';
import { maxMoney, type Money } from './money.js';
import type { MovementType, TransactionLinks } from './transaction.js';

export type Outcome = Effects | Rejection;

/** What the row that carries the key has besides its movement. */
export type KeyedLinks = Pick<TransactionLinks, 'idempotencyKey' | 'fingerprint' | 'details'>;

export function checkVersion(
  { version: currentVersion }: LedgerAccount,
  { expectedVersion, allowedVersions }: Pick<PostingCommand, 'expectedVersion' | 'allowedVersions'>,
): Rejection | undefined {
  if (allowedVersions && !allowedVersions.includes(currentVersion)) {
    return { code: 'PRECONDITION_FAILED', currentVersion };
  }
  if (expectedVersion !== undefined && expectedVersion !== currentVersion) {
    return { code: 'VERSION_MISMATCH', currentVersion };
  }
  return undefined;
}

/** What the status of an account refuses. */
export function checkStatus(
  { status }: LedgerAccount,
  type: MovementType | 'hold' | 'capture',
): Rejection | undefined {
  if (status === 'open') return undefined;
  if (status === 'closed') return { code: 'ACCOUNT_CLOSED' };
  if (status === 'frozen') return { code: 'ACCOUNT_FROZEN' };
  return type === 'debit' || type === 'hold' ? { code: 'DEBITS_BLOCKED' } : undefined;
}

/**
 * Makes an amount available for a debit or a hold. Holds of the account that have expired end first, if it would not
 * do otherwise.
 */
export function secure(draft: Draft, accountId: number, amount: Money, books: Books): Rejection | undefined {
  if (availableOf(draft.account(accountId)) >= amount) return undefined;
  if (draft.account(accountId).held > 0n) expireDue(draft, accountId, books);
  if (availableOf(draft.account(accountId)) >= amount) return undefined;
  return { code: 'INSUFFICIENT_BALANCE' };
}

export function checkRoom({ balance, decimals }: LedgerAccount, amount: Money): Rejection | undefined {
  return balance + amount > maxMoney(decimals) ? { code: 'BALANCE_LIMIT_EXCEEDED' } : undefined;
}

/** Nothing is converted silently. */
export function checkSameCurrency(a: LedgerAccount, b: LedgerAccount): Rejection | undefined {
  return a.currency === b.currency ? undefined : { code: 'CURRENCY_MISMATCH' };
}

export function expireDue(draft: Draft, accountId: number, books: Books): void {
  for (const hold of books.dueOf(accountId).slice(0, MAX_EXPIRED_AT_ONCE)) {
    draft.post(accountId, 'release', hold.remaining, { holdId: hold.holdId });
    draft.setHold({ ...hold, remaining: 0n, status: 'expired' });
  }
}

/** Whoever can't pay an amount must not learn whether another's account has room for it. */
export const debitsFirst = <L extends Pick<Leg, 'type'>>(legs: readonly L[]): readonly L[] =>
  [...legs].sort((a, b) => Number(a.type === 'credit') - Number(b.type === 'credit'));

/** The first leg's problem. About an account that the sender may not see, it says nothing more. */
export function firstAbout<L extends Pick<Leg, 'accountId' | 'foreign'>>(
  legs: readonly L[],
  problemOf: (leg: L) => Rejection | undefined,
): Rejection | undefined {
  for (const leg of legs) {
    const problem = problemOf(leg);
    if (problem)
      return {
        ...(leg.foreign ? { code: 'COUNTERPARTY_REFUSED' } : problem),
        accountId: leg.accountId,
      } as Rejection;
  }
  return undefined;
}
