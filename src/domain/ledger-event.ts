import type { Rejection } from './errors.js';
import type { Hold } from './hold.js';
import type { Money } from './money.js';
import type { Transaction } from './transaction.js';

/** What the bank tells others about, once it is committed. */
export type LedgerEvent = (
  TransactionPosted | TransferCompleted | TransferFailed | HoldEvent | AccountChanged | SubmissionRefused
) & {
  /** The trace context (W3C) of the batch that it is from; undefined: it was not traced. */
  readonly traceparent?: string;
};

/** What is told of the account of an event. */
interface AboutAccount {
  /** The code of its currency; undefined: that of the bank, with two decimals. */
  readonly currency?: string;
  /** Who owns it when the event is read; undefined: the bank does. */
  readonly owner?: string;
}

export interface AnnouncedTransaction extends Transaction, AboutAccount {}

export interface TransactionPosted {
  readonly kind: 'transaction.posted';
  readonly transaction: AnnouncedTransaction;
}

export interface TransferCompleted {
  readonly kind: 'transfer.completed';
  /** All of them, in order; there is at least one. */
  readonly legs: readonly AnnouncedTransaction[];
}

/** A transfer to another shard was refused there, or cancelled: the money is back. */
export interface TransferFailed extends AboutAccount {
  readonly kind: 'transfer.failed';
  readonly transferId: number;
  /** Its source. */
  readonly accountId: number;
  readonly to: number;
  readonly amount: Money;
  readonly decimals: number;
  /** The hold that it was to capture. */
  readonly holdId: number | undefined;
  readonly timestamp: Date;
}

/** A submission was accepted, and refused when it was to be posted. */
export interface SubmissionRefused extends AboutAccount {
  readonly kind: 'submission.refused';
  readonly refusalId: number;
  readonly accountId: number;
  readonly idempotencyKey: string;
  readonly rejection: Rejection;
  readonly timestamp: Date;
}

export interface HoldEvent {
  readonly kind: 'hold.placed' | 'hold.captured' | 'hold.voided' | 'hold.expired';
  /** The hold's own, a capture's debit, or the release that ended the hold. */
  readonly transaction: AnnouncedTransaction;
  readonly expiresAt: Hold['expiresAt'];
  /** What the transaction left of the hold. */
  readonly remaining: Hold['remaining'];
}

/** A change of an account that is not a transaction. */
export interface AccountChanged extends AboutAccount {
  readonly kind: 'account.changed';
  readonly accountId: number;
  /** The account's revision after it. */
  readonly revision: number;
  readonly timestamp: Date;
  /** A JSON object of the new values, as text; in place of metadata, a digest of them. */
  readonly changes: string;
}

/** The accounts that an event tells of. */
export function accountsOfEvent(
  event: LedgerEvent,
): readonly (AboutAccount & { readonly accountId: number })[] {
  if ('transaction' in event) return [event.transaction];
  return event.kind === 'transfer.completed' ? event.legs : [event];
}

/** The version of an account that an event tells of; undefined: it tells of none. */
export function versionIn(event: LedgerEvent, accountId: number): number | undefined {
  if ('transaction' in event) return event.transaction.versionAfter;
  if (event.kind !== 'transfer.completed') return undefined;
  return event.legs.find((leg) => leg.accountId === accountId)?.versionAfter;
}
