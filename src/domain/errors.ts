import type { HoldStatus } from './hold.js';

/** What the request made that used an idempotency key before. */
export type KeyHolder =
  | { readonly transactionId: number }
  | { readonly transferId: number }
  | { readonly holdId: number }
  /** It was a submission, and made nothing. */
  | { readonly refused: true };

/** The account of a transfer that a rejection is about; undefined: that of the command. */
interface AboutAccount {
  readonly accountId?: number;
}

/**
 * The bank's rules do not allow a command, or a query has no answer. Nothing was applied. The codes are stable; only
 * the exception filter knows the HTTP status and body of each.
 */
export type Rejection =
  | ({ readonly code: 'ACCOUNT_NOT_FOUND' } & AboutAccount)
  /** The account was opened after the time that is asked for. */
  | { readonly code: 'NOT_YET_OPENED' }
  /** The account has not reached the version that is asked for. */
  | { readonly code: 'VERSION_NOT_REACHED' }
  /** What an account will have is not known. */
  | { readonly code: 'TIME_IN_FUTURE' }
  | { readonly code: 'TRANSACTION_NOT_FOUND' }
  | { readonly code: 'TRANSFER_NOT_FOUND' }
  | { readonly code: 'HOLD_NOT_FOUND' }
  | { readonly code: 'SUBMISSION_NOT_FOUND' }
  /** The key was used on this account for the same request: this is the retry of one that succeeded. */
  | { readonly code: 'DUPLICATE_TRANSACTION'; readonly original: { readonly transactionId: number } }
  | { readonly code: 'DUPLICATE_TRANSFER'; readonly transferId: number }
  | { readonly code: 'DUPLICATE_HOLD'; readonly holdId: number }
  /** The key was used on this account for another request. */
  | { readonly code: 'IDEMPOTENCY_KEY_REUSED'; readonly original: KeyHolder }
  /** The key was used to open an account by the same request. */
  | { readonly code: 'DUPLICATE_ACCOUNT'; readonly accountId: number }
  /** The key was used to open an account by another request. */
  | { readonly code: 'OPENING_KEY_REUSED'; readonly accountId: number }
  | ({ readonly code: 'VERSION_MISMATCH'; readonly currentVersion: number } & AboutAccount)
  /** The same for If-Match, which has another HTTP status. */
  | { readonly code: 'PRECONDITION_FAILED'; readonly currentVersion: number }
  /** If-Match names other revisions of the account. */
  | { readonly code: 'REVISION_MISMATCH'; readonly currentRevision: number }
  | ({ readonly code: 'ACCOUNT_FROZEN' } & AboutAccount)
  | ({ readonly code: 'DEBITS_BLOCKED' } & AboutAccount)
  | ({ readonly code: 'ACCOUNT_CLOSED' } & AboutAccount)
  | ({ readonly code: 'INSUFFICIENT_BALANCE' } & AboutAccount)
  | ({ readonly code: 'BALANCE_LIMIT_EXCEEDED' } & AboutAccount)
  /** An amount was written with more decimals than the currency of its account has. */
  | ({ readonly code: 'TOO_MANY_DECIMALS'; readonly field: string; readonly decimals: number } & AboutAccount)
  /** All accounts have one currency, and the debits are not as much as the credits. */
  | { readonly code: 'LEGS_UNBALANCED' }
  /** The accounts have different currencies, and in one of them the debits are not as much as the credits. */
  | ({ readonly code: 'CURRENCY_MISMATCH' } & AboutAccount)
  /** One answer for all that is refused about an account that the sender may not see. */
  | ({ readonly code: 'COUNTERPARTY_REFUSED' } & AboutAccount)
  /** More than two accounts, or the accounts of an atomic batch, are in different shards. */
  | { readonly code: 'DIFFERENT_SHARDS' }
  /** Too many transfers to other shards are under way, from the account or in all of its shard. */
  | { readonly code: 'TOO_MANY_PENDING_TRANSFERS' }
  /** An operator has cancelled the transfer before its target had decided. */
  | { readonly code: 'TRANSFER_CANCELLED' }
  /** Only a completed transfer can be reversed. */
  | { readonly code: 'TRANSFER_NOT_COMPLETED'; readonly status: 'pending' | 'failed' }
  | { readonly code: 'TOO_MANY_HOLDS' }
  | { readonly code: 'HOLD_NOT_ACTIVE'; readonly status: HoldStatus }
  /** A part of the hold is on its way to another shard, or all of it: it can't end before that is decided. */
  | { readonly code: 'HOLD_BEING_CAPTURED' }
  /** Only what ends the hold may still be captured. */
  | { readonly code: 'TOO_MANY_CAPTURES' }
  /** More than remains of the hold. */
  | { readonly code: 'HOLD_EXCEEDED' }
  /** A hold, a release or a reversal. */
  | { readonly code: 'NOT_REVERSIBLE' }
  /** Only the transfer as a whole can be reversed. */
  | { readonly code: 'PART_OF_TRANSFER'; readonly transferId: number }
  /** More than is left of the original. */
  | { readonly code: 'REVERSAL_EXCEEDED' }
  /** A transfer with more than two legs is reversed as a whole. */
  | { readonly code: 'NOT_REVERSIBLE_IN_PART' }
  /** Only an empty account with nothing on hold can be closed. */
  | { readonly code: 'ACCOUNT_NOT_EMPTY' }
  /** The new overdraft limit is lower than what is used of the present one. */
  | { readonly code: 'OVERDRAFT_IN_USE' }
  /** More transactions than a statement of its form may cover. */
  | { readonly code: 'STATEMENT_TOO_LONG' }
  /** When the submission was to be posted, its sender's credential had ended or did not allow it any more. */
  | { readonly code: 'SENDER_REFUSED' }
  /** An operator has discarded the submission. */
  | { readonly code: 'SUBMISSION_DISCARDED' }
  /** When the submission was to be posted, something in it was not valid any more. */
  | { readonly code: 'NO_LONGER_VALID'; readonly field: string; readonly message: string }
  /** The command itself is fine, but another one in its atomic batch was rejected. */
  | { readonly code: 'NOT_APPLIED' };

/** The command was not decided or not carried out, because the database failed or there was no capacity. */
export type InfrastructureFailure =
  /** The database failed, and it is certain that nothing was applied. null: the version could not be read. */
  | { readonly code: 'DATABASE_FAILED'; readonly currentVersion: number | null }
  /** The queue is full, the wait in it was too long, or the service is stopping. Nothing was applied. */
  | { readonly code: 'OVERLOADED' }
  /** The broker takes no submissions just now. Nothing was queued. */
  | { readonly code: 'BROKER_UNAVAILABLE' }
  /**
   * The database was lost during COMMIT and did not come back in time, or the broker did not confirm a submission in
   * time. A retry with the same key finds out.
   */
  | { readonly code: 'OUTCOME_UNKNOWN' };

/** Why the ledger did not carry out a command or answer a query. */
export type LedgerFailure = Rejection | InfrastructureFailure;

const INFRASTRUCTURE: readonly string[] = [
  'DATABASE_FAILED',
  'OVERLOADED',
  'BROKER_UNAVAILABLE',
  'OUTCOME_UNKNOWN',
] satisfies InfrastructureFailure['code'][];

/** Whether it is a decision, which stands. */
export const isRejection = (failure: LedgerFailure): failure is Rejection =>
  !INFRASTRUCTURE.includes(failure.code);

export type LedgerFailureCode = LedgerFailure['code'];

/** A failure on its way to the caller. */
export class LedgerError extends Error {
  /** @param transferId the transfer between shards that has failed with it, and has used the key up */
  constructor(
    readonly failure: LedgerFailure,
    readonly transferId?: number,
  ) {
    super(failure.code);
    this.name = 'LedgerError';
  }
}
