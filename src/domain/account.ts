import type { Money } from './money.js';

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
}

/** An account as a resource, including what does not follow from its transactions. */
export interface OwnedAccount extends Account {
  /** Undefined: the account has no owner. */
  readonly owner: string | undefined;
  /** Counts changes that are not transactions, like a new owner. */
  readonly revision: number;
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
  if (/\p{Bidi_Control}/u.test(text)) return 'must not contain characters that change the direction of text';
  if (INVISIBLE.test(text)) return 'must contain a visible character';
  if (text.normalize('NFC') !== text) return 'must be in the Unicode normalization form NFC';
  return undefined;
}

export const FIRST_VERSION = 1;
