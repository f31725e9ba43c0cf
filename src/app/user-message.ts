import { EmbeddedPostgresError } from '@scalable-banking/embedded-postgres';
import { sqlStateOf } from '../storage/database-errors.js';
import {
  LedgerError,
  type InfrastructureFailure,
  type KeyHolder,
  type LedgerFailure,
} from '../domain/errors.js';
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

const NAMES = {
  TRANSACTION_NOT_FOUND: 'transaction',
  TRANSFER_NOT_FOUND: 'transfer',
  HOLD_NOT_FOUND: 'hold',
  SUBMISSION_NOT_FOUND: 'submission',
} as const;

/** Failures of which there is only one thing to say. */
const SENTENCES = {
  COUNTERPARTY_REFUSED: 'the other account is not open, or cannot hold that much',
  LEGS_UNBALANCED: 'the debits are not as much as the credits',
  CURRENCY_MISMATCH: 'the accounts have different currencies, and nothing is converted',
  DIFFERENT_SHARDS: 'the accounts are in different shards',
  TOO_MANY_PENDING_TRANSFERS: 'too many transfers to other shards are under way',
  TRANSFER_CANCELLED: 'the transfer was cancelled',
  HOLD_BEING_CAPTURED: 'a part of the hold, or all of it, is on its way to another shard',
  TOO_MANY_CAPTURES: 'the hold was captured in so many parts that only a capture that ends it is possible',
  HOLD_EXCEEDED: 'less than that remains of the hold',
  NOT_REVERSIBLE: 'holds, releases and reversals cannot be reversed',
  REVERSAL_EXCEEDED: 'less than that is left to be reversed',
  NOT_REVERSIBLE_IN_PART: 'a transfer with more than two legs can only be reversed as a whole',
  SENDER_REFUSED: "the sender's credential had ended or no longer allowed it",
  SUBMISSION_DISCARDED: 'the submission was discarded',
  NOT_APPLIED: 'another transaction of the batch was refused; nothing was posted',
} as const;

const saysAll = (
  failure: LedgerFailure,
): failure is Extract<LedgerFailure, { readonly code: keyof typeof SENTENCES }> => failure.code in SENTENCES;

/** The failures of the ledger, in a sentence. */
export function failureMessage(failure: LedgerFailure, account = 'the account'): string {
  if (saysAll(failure)) return SENTENCES[failure.code];
  switch (failure.code) {
    case 'ACCOUNT_NOT_FOUND':
      return `${account} does not exist`;
    case 'NOT_YET_OPENED':
    case 'VERSION_NOT_REACHED':
    case 'TIME_IN_FUTURE':
      return `${account} has no such balance`;
    case 'TRANSACTION_NOT_FOUND':
    case 'TRANSFER_NOT_FOUND':
    case 'HOLD_NOT_FOUND':
    case 'SUBMISSION_NOT_FOUND':
      return `the ${NAMES[failure.code]} does not exist`;
    case 'DUPLICATE_TRANSACTION':
    case 'IDEMPOTENCY_KEY_REUSED':
      return usedBefore(failure.original);
    case 'DUPLICATE_ACCOUNT':
    case 'OPENING_KEY_REUSED':
      return `the idempotency key was used for opening account ${failure.accountId} before`;
    case 'VERSION_MISMATCH':
    case 'PRECONDITION_FAILED':
      return `${account} has version ${failure.currentVersion}, not the expected one`;
    case 'DUPLICATE_TRANSFER':
    case 'DUPLICATE_HOLD':
      return usedBefore(failure);
    case 'REVISION_MISMATCH':
      return `${account} has revision ${failure.currentRevision}, not the expected one`;
    case 'ACCOUNT_FROZEN':
      return `${account} is frozen`;
    case 'DEBITS_BLOCKED':
      return `debits of ${account} are blocked`;
    case 'ACCOUNT_CLOSED':
      return `${account} is closed`;
    case 'TOO_MANY_DECIMALS':
      return `the currency of ${account} has ${failure.decimals} decimals`;
    case 'TOO_MANY_HOLDS':
      return `${account} has as many active holds as an account may have`;
    case 'HOLD_NOT_ACTIVE':
      return `the hold is ${failure.status}`;
    case 'TRANSFER_NOT_COMPLETED':
      return `the transfer is ${failure.status}`;
    case 'PART_OF_TRANSFER':
      return `it is a part of transfer tr${failure.transferId}, which can be reversed as a whole`;
    case 'ACCOUNT_NOT_EMPTY':
      return `${account} is not empty, or has active holds`;
    case 'OVERDRAFT_IN_USE':
      return `${account} uses more of its overdraft limit than that`;
    case 'INSUFFICIENT_BALANCE':
      return `${account} does not hold that much`;
    case 'BALANCE_LIMIT_EXCEEDED':
      return `${account} cannot hold that much`;
    case 'STATEMENT_TOO_LONG':
      return `${account} has more transactions than a statement may have`;
    case 'NO_LONGER_VALID':
      return `${failure.field} ${failure.message}`;
    case 'DATABASE_FAILED':
    case 'OVERLOADED':
    case 'OUTCOME_UNKNOWN':
    case 'BROKER_UNAVAILABLE':
      return interruption(failure.code, account);
  }
}

function interruption(code: InfrastructureFailure['code'], account: string): string {
  switch (code) {
    case 'DATABASE_FAILED':
      return 'the database failed; nothing was posted';
    case 'OVERLOADED':
      return 'the database is too slow just now; nothing was posted';
    case 'OUTCOME_UNKNOWN':
      return `the database was lost while it committed; look at ${account} before you try again`;
    case 'BROKER_UNAVAILABLE':
      return 'the broker takes nothing just now; nothing was queued';
  }
}

function isServerTrouble(error: unknown): boolean {
  const state = sqlStateOf(error);
  if (state !== undefined) return SERVER_TROUBLE.test(state);
  // Without a SQLSTATE: errors of the operating system like ECONNREFUSED, or pg's words for a lost connection.
  if (!(error instanceof Error)) return false;
  return /^E[A-Z]{3,}$/.test(codeOf(error) ?? '') || /^(Connection terminated|timeout e)/.test(error.message);
}

function usedBefore(original: KeyHolder): string {
  if ('refused' in original) return 'the idempotency key was used by a submission that was refused';
  const name =
    'transferId' in original
      ? `transfer tr${original.transferId}`
      : 'holdId' in original
        ? `hold${original.holdId}`
        : `transaction txn${original.transactionId}`;
  return `the idempotency key was used by ${name} before`;
}
