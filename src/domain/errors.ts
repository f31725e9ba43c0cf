/** An earlier transaction that holds an idempotency key. */
export interface KeyHolder {
  readonly transactionId: number;
}

/**
 * Why the ledger did not apply a command. The codes are stable; what status and body they become over HTTP is known
 * to the exception filter alone. Every code but OUTCOME_UNKNOWN promises that nothing was applied.
 */
export type Refusal =
  | { readonly code: 'ACCOUNT_NOT_FOUND' }
  | { readonly code: 'TRANSACTION_NOT_FOUND' }
  /** The key was used on this account for the same posting: the retry of a request that had succeeded. */
  | { readonly code: 'DUPLICATE_TRANSACTION'; readonly original: KeyHolder }
  /** The key was used on this account for a posting of another amount or type. */
  | { readonly code: 'IDEMPOTENCY_KEY_REUSED'; readonly original: KeyHolder }
  /** The key was used to open an account, by the same request. */
  | { readonly code: 'DUPLICATE_ACCOUNT'; readonly accountId: number }
  /** The key was used to open an account with another deposit. */
  | { readonly code: 'OPENING_KEY_REUSED'; readonly accountId: number }
  | { readonly code: 'VERSION_MISMATCH'; readonly currentVersion: number }
  /** The same by If-Match, which HTTP answers differently. */
  | { readonly code: 'PRECONDITION_FAILED'; readonly currentVersion: number }
  | { readonly code: 'INSUFFICIENT_BALANCE' }
  | { readonly code: 'BALANCE_LIMIT_EXCEEDED' }
  /** Nothing is wrong with it, but another command of its batch was refused, and they are applied together or not at all. */
  | { readonly code: 'NOT_APPLIED' }
  /** The database failed and it is certain that nothing was applied; null: its version could not be learnt. */
  | { readonly code: 'DATABASE_FAILED'; readonly currentVersion: number | null }
  /** The queue is full, the wait in it was too long, or the service is stopping. */
  | { readonly code: 'OVERLOADED' }
  /** The database was lost during COMMIT and did not come back in time: a retry with the same key settles it. */
  | { readonly code: 'OUTCOME_UNKNOWN' };

export type RefusalCode = Refusal['code'];

/** A refusal on its way to the caller. */
export class LedgerError extends Error {
  constructor(readonly refusal: Refusal) {
    super(refusal.code);
    this.name = 'LedgerError';
  }
}
