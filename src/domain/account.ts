import type { Currency } from './currency.js';
import type { Decimal, Money } from './money.js';
import { directionProblem } from './text.js';

/**
 * Ids and versions are positive integers that JSON carries exactly. The database's sequences end before this number
 * (see the migrations), so it names nothing; a larger one in a request is read as this one.
 */
export const MAX_ID = Number.MAX_SAFE_INTEGER;

/** A new account is empty and has version 1; each accepted transaction adds exactly 1 to its version. */
export interface Account {
  readonly accountId: number;
  readonly balance: Money;
  readonly version: number;
  /** How many decimals its currency has. */
  readonly decimals: number;
}

/**
 * What an account lets happen. `debits_blocked` refuses debits and holds, but not captures of holds that were placed
 * before; `frozen` refuses everything but the end of holds; `closed` is for ever.
 */
export type AccountStatus = 'open' | 'debits_blocked' | 'frozen' | 'closed';

/** An account with all that decisions about it depend on. */
export interface LedgerAccount extends Account {
  /** The sum of what remains of its active holds. */
  readonly held: Money;
  readonly activeHolds: number;
  /** How far the balance less what is held may be below zero. */
  readonly overdraftLimit: Money;
  readonly status: AccountStatus;
  /** Counts changes that are not transactions, like a new owner. */
  readonly revision: number;
  /** The code of its currency; undefined: that of the bank, with two decimals. It never changes. */
  readonly currency: string | undefined;
}

/** What may be debited or put on hold: the balance less what is held, plus the overdraft limit. */
export function availableOf({ balance, held, overdraftLimit }: LedgerAccount): Money {
  return balance - held + overdraftLimit;
}

/** An account as a resource, including what no decision depends on. */
export interface OwnedAccount extends LedgerAccount {
  /** Undefined: the account has no owner. */
  readonly owner: string | undefined;
  /** The client's own name for it. */
  readonly reference: string | undefined;
  /** A JSON object, as text. */
  readonly metadata: string | undefined;
  /** Undefined: it was opened before this was recorded. */
  readonly createdAt: Date | undefined;
}

/** What an account is opened with. */
export interface AccountOpening {
  /** Undefined: none. */
  readonly openingDeposit?: Money | Decimal;
  /** Undefined: that of the bank. */
  readonly currency?: Currency;
  /** Undefined: the account has no owner. */
  readonly owner?: string;
  /** Unique per owner, for ever; undefined: a repeat opens another account. */
  readonly idempotencyKey?: string;
  /** An account whose shard the new one is to share. */
  readonly near?: number;
  /** The client's own name for it. */
  readonly reference?: string;
  /** A JSON object, as text. */
  readonly metadata?: string;
}

/** The name of an owner has 1 to 255 characters, none of them a control character. */
export function isOwner(text: string): boolean {
  return /^[^\p{Cc}\p{Cs}]{1,255}$/u.test(text);
}

const INVISIBLE = /^[\p{Default_Ignorable_Code_Point}\p{Separator}\p{Format}\p{Unassigned}\u2800]*$/u;

/**
 * Why an owner can't be given this name; undefined: it can. Stricter than {@link isOwner}, which also accepts the names
 * that identity providers and older banks use: this one rejects names that nobody could see or tell from another
 * encoding of the same text.
 */
export function ownerNameProblem(text: string): string | undefined {
  if (!isOwner(text)) return 'must be 1 to 255 characters, without control characters';
  const problem = directionProblem(text);
  if (problem !== undefined) return problem;
  if (INVISIBLE.test(text)) return 'must contain a visible character';
  if (text.normalize('NFC') !== text) return 'must be in the Unicode normalization form NFC';
  return undefined;
}

export const FIRST_VERSION = 1;
