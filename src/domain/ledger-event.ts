import type { Hold } from './hold.js';
import type { Transaction } from './transaction.js';

/** What the bank tells others about, once it is committed. */
export type LedgerEvent = TransactionPosted | TransferCompleted | HoldEvent | AccountChanged;

export interface AnnouncedTransaction extends Transaction {
  /** The code of its account's currency; undefined: that of the bank, with two decimals. */
  readonly currency?: string;
}

export interface TransactionPosted {
  readonly kind: 'transaction.posted';
  readonly transaction: AnnouncedTransaction;
}

export interface TransferCompleted {
  readonly kind: 'transfer.completed';
  /** All of them, in order; there is at least one. */
  readonly legs: readonly AnnouncedTransaction[];
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
export interface AccountChanged {
  readonly kind: 'account.changed';
  readonly accountId: number;
  /** The account's revision after it. */
  readonly revision: number;
  readonly timestamp: Date;
  /** The code of the account's currency; undefined: that of the bank, with two decimals. */
  readonly currency?: string;
  /** A JSON object of the new values, as text; in place of metadata, a digest of them. */
  readonly changes: string;
}
