import { EmbeddedPostgresError } from '@scalable-banking/embedded-postgres';
import { sqlStateOf } from '../storage/database-errors.js';
import { LedgerError, type LedgerFailure } from '../domain/errors.js';
import { codeOf, messageOf } from '../domain/error-message.js';
import { UserError } from '../domain/user-error.js';

/**
 * SQLSTATE classes that concern the server, or the user's rights on it, not a wrong statement: 08 connection,
 * 25 read-only server, 28 and 3D the URL, 42501 missing rights, 53 resources, 57 operator intervention, 58 system.
 */
const SERVER_TROUBLE = /^(08|25006|28|3D|42501|53|57|58)/;

/** The package does not know the variables that its user would change. */
const EMBEDDED_VARIABLES = 'DATA_DIR names the data folder; DATABASE_URL names a server to use instead.';

/** One sentence for what the user can put right; the stack for anything else, which is a defect. */
export function userMessage(error: unknown): string {
  if (error instanceof UserError) return error.message;
  if (error instanceof EmbeddedPostgresError) return `${error.message} (${EMBEDDED_VARIABLES})`;
  if (error instanceof LedgerError) return failureMessage(error.failure);
  if (isServerTrouble(error)) return `the database failed: ${messageOf(error)}`;
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}

/** The failures of the ledger, in a sentence. */
export function failureMessage(failure: LedgerFailure, account = 'the account'): string {
  switch (failure.code) {
    case 'ACCOUNT_NOT_FOUND':
      return `${account} does not exist`;
    case 'TRANSACTION_NOT_FOUND':
      return 'the transaction does not exist';
    case 'DUPLICATE_TRANSACTION':
    case 'IDEMPOTENCY_KEY_REUSED':
      return `the idempotency key was used by transaction txn${failure.original.transactionId} before`;
    case 'DUPLICATE_ACCOUNT':
    case 'OPENING_KEY_REUSED':
      return `the idempotency key was used for opening account ${failure.accountId} before`;
    case 'VERSION_MISMATCH':
    case 'PRECONDITION_FAILED':
      return `${account} has version ${failure.currentVersion}, not the expected one`;
    case 'INSUFFICIENT_BALANCE':
      return `${account} does not hold that much`;
    case 'BALANCE_LIMIT_EXCEEDED':
      return `${account} cannot hold that much`;
    case 'NOT_APPLIED':
      return 'another transaction of the batch was refused; nothing was posted';
    case 'DATABASE_FAILED':
      return 'the database failed; nothing was posted';
    case 'OVERLOADED':
      return 'the database is too slow just now; nothing was posted';
    case 'OUTCOME_UNKNOWN':
      return `the database was lost while it committed; look at ${account} before you try again`;
  }
}

function isServerTrouble(error: unknown): boolean {
  const state = sqlStateOf(error);
  if (state !== undefined) return SERVER_TROUBLE.test(state);
  // Without a SQLSTATE: errors of the operating system like ECONNREFUSED, or pg's words for a lost connection.
  if (!(error instanceof Error)) return false;
  return /^E[A-Z]{3,}$/.test(codeOf(error) ?? '') || /^(Connection terminated|timeout e)/.test(error.message);
}
