import type { Rejection } from './errors.js';
import type { Money } from './money.js';
import type { Transaction, TransactionDetails } from './transaction.js';

/** The most transfers to other shards that are under way in one shard, and in one account. */
export const MAX_PENDING_TRANSFERS = 10_000;
export const MAX_PENDING_OF_ACCOUNT = 1_000;

/**
 * `pending` from its first step on; then what its target decided, once the source has carried that out. A transfer
 * within one shard is completed at once.
 */
export type TransferStatus = 'pending' | 'completed' | 'failed';

/**
 * A transfer to an account of another shard, as the shard of its source records it. Each shard changes in a transaction
 * of its own, so it takes three steps, each a command that may be repeated:
 * 1. source: the money is put on hold, or a part of a hold becomes `capturing`, and the transfer is pending;
 * 2. target: the transfer is credited or refused, which is decided once and recorded ({@link IncomingTransfer});
 * 3. source: the held money is debited or given back, as step 2 says.
 */
export interface OutgoingTransfer {
  /** Drawn like the id of a transaction: that of the transaction that put the money on hold, unless it captures a hold. */
  readonly transferId: number;
  /** Tells it from another transfer that got the same id after its shard was restored or failed over. */
  readonly nonce: string;
  readonly accountId: number;
  readonly to: number;
  /** The version that the target must have. */
  readonly toVersion: number | undefined;
  readonly amount: Money;
  /** That of the source; undefined: the bank's. */
  readonly currency: string | undefined;
  readonly decimals: number;
  /** The hold that has the money: its own, with the id of the transfer, or the one that it captures. */
  readonly holdId: number;
  /** Whether the rest of a captured hold ends with it. */
  readonly final: boolean;
  readonly reverses: ReversedTransfer | undefined;
  /** How far a forced reversal has raised the overdraft limit: if it fails, that is taken back. */
  readonly raised: Money | undefined;
  readonly status: TransferStatus;
  readonly createdAt: Date;
  /** What the client said about it. */
  readonly details: TransactionDetails | undefined;
  /** Of one that is completed. */
  readonly debit: Transaction | undefined;
  readonly credit: ArrivedCredit | undefined;
  /** Of one that has failed. */
  readonly rejection: Rejection | undefined;
  /** The idempotency key of a capture, which has no transaction at first that could carry it. */
  readonly key: { readonly idempotencyKey: string; readonly fingerprint: string | undefined } | undefined;
}

/** A completed transfer between shards that another one reverses. */
export interface ReversedTransfer {
  readonly transferId: number;
  /** Its credit, which is in the shard of the account that pays back. */
  readonly creditId: number;
  /** Its debit. */
  readonly debitId: number;
}

/** What the source needs to know of the credit in the other shard. */
export type ArrivedCredit = Pick<
  Transaction,
  'transactionId' | 'timestamp' | 'balanceAfter' | 'versionAfter'
>;

/** What the shard of its target has decided about a transfer: the first decision stands, for ever. */
export interface IncomingTransfer {
  readonly transferId: number;
  readonly nonce: string;
  readonly accountId: number;
  readonly from: number;
  readonly amount: Money;
  readonly decimals: number;
  readonly decidedAt: Date;
  /** Exactly one of the two. */
  readonly credit: ArrivedCredit | undefined;
  readonly rejection: Rejection | undefined;
}

/** A name for (id, nonce), by which both sides know a transfer. */
export const transferKey = ({ transferId, nonce }: Pick<OutgoingTransfer, 'transferId' | 'nonce'>): string =>
  `${transferId}:${nonce}`;

/** Whether it captures a hold that a client placed, instead of having one of its own. */
export const isCapture = ({ transferId, holdId }: Pick<OutgoingTransfer, 'transferId' | 'holdId'>): boolean =>
  holdId !== transferId;
