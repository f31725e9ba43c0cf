/** The earlier transaction that used an idempotency key. */
export interface KeyHolder {
  readonly transactionId: number;
}

/**
 * The bank's rules do not allow a command, or a query has no answer. Nothing was applied. The codes are stable; only
 * the exception filter knows the HTTP status and body of each.
 */
export type Rejection =
  | { readonly code: 'ACCOUNT_NOT_FOUND' }
  | { readonly code: 'TRANSACTION_NOT_FOUND' }
  /** The key was used on this account for the same posting: this is the retry of a request that succeeded. */
  | { readonly code: 'DUPLICATE_TRANSACTION'; readonly original: KeyHolder }
  /** The key was used on this account for a posting with another amount or type. */
  | { readonly code: 'IDEMPOTENCY_KEY_REUSED'; readonly original: KeyHolder }
  /** The key was used to open an account by the same request. */
  | { readonly code: 'DUPLICATE_ACCOUNT'; readonly accountId: number }
  /** The key was used to open an account with another deposit. */
  | { readonly code: 'OPENING_KEY_REUSED'; readonly accountId: number }
  | { readonly code: 'VERSION_MISMATCH'; readonly currentVersion: number }
  /** The same for If-Match, which has another HTTP status. */
  | { readonly code: 'PRECONDITION_FAILED'; readonly currentVersion: number }
  | { readonly code: 'INSUFFICIENT_BALANCE' }
  | { readonly code: 'BALANCE_LIMIT_EXCEEDED' }
  /** The command itself is fine, but another one in its atomic batch was rejected. */
  | { readonly code: 'NOT_APPLIED' };

/** The command was not decided or not carried out, because the database failed or there was no capacity. */
export type InfrastructureFailure =
  /** The database failed, and it is certain that nothing was applied. null: the version could not be read. */
  | { readonly code: 'DATABASE_FAILED'; readonly currentVersion: number | null }
  /** The queue is full, the wait in it was too long, or the service is stopping. Nothing was applied. */
  | { readonly code: 'OVERLOADED' }
  /** The database was lost during COMMIT and did not come back in time. A retry with the same key finds out. */
  | { readonly code: 'OUTCOME_UNKNOWN' };

/** Why the ledger did not carry out a command or answer a query. */
export type LedgerFailure = Rejection | InfrastructureFailure;

export type LedgerFailureCode = LedgerFailure['code'];

/** A failure on its way to the caller. */
export class LedgerError extends Error {
  constructor(readonly failure: LedgerFailure) {
    super(failure.code);
    this.name = 'LedgerError';
  }
}
