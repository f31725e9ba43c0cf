import type { LedgerAccount } from './account.js';
import { keyOf, type Books, type Decision } from './books.js';
import type { KeyedLinks, Outcome } from './checks.js';
import { fingerprintOf, fingerprintOfRequest, type Command, type PostingCommand } from './command.js';
import { decideIncoming, decideOutgoing, decideSettlement } from './decide-between-shards.js';
import { decideChange } from './decide-change.js';
import { decideCapture, decideExpiry, decideHold, decideVoid } from './decide-hold.js';
import { decidePosting, decideTransfer } from './decide-movement.js';
import { decideReversal, decideTransferReversal } from './decide-reversal.js';
import { exactCommand, type ExactCommand } from './exact-command.js';
import type { KeyHolder, Rejection } from './errors.js';
import type { RecordedRefusal } from './refusal.js';
import type { KeyedTransaction } from './transaction.js';

/**
 * Decides one command against the books as they are now. Pure, except that it may mark accounts as
 * {@link Books.lacking}: it reads no clock and no database, and changes no account.
 *
 * The order of checks is the contract's: account, decimals, key, version, status, balance; so the retry of a request that
 * succeeded is a duplicate, whatever has become of the account since.
 */
export function decide(command: Command, books: Books): Decision {
  const account = books.accounts.get(command.accountId);
  if (command.type === 'incoming')
    return { accepted: true, effects: decideIncoming(command, account, books) };
  if (!account) return rejected(notFound(command));
  const exact = exactCommand(command, account, books);
  if ('code' in exact && isMalformed(exact)) return rejected(exact);
  // Only what has a key needs a fingerprint.
  const fingerprint = command.idempotencyKey === undefined ? undefined : fingerprintOf(command);
  const used = checkKey(command, exact, fingerprint, books);
  if (used) return { accepted: false, rejection: used, repeated: true };
  if ('code' in exact) return rejected(exact);
  const outcome = decideKind(exact, account, books, {
    idempotencyKey: command.idempotencyKey,
    fingerprint,
    details: command.details,
  });
  return 'code' in outcome ? rejected(outcome) : { accepted: true, effects: outcome };
}

function decideKind(command: ExactCommand, account: LedgerAccount, books: Books, links: KeyedLinks): Outcome {
  switch (command.type) {
    case 'credit':
    case 'debit':
      return decidePosting(command, account, books, links);
    case 'transfer':
      return decideTransfer(command, books, links);
    case 'hold':
      return decideHold(command, account, books, links);
    case 'capture':
      return decideCapture(command, account, books, links);
    case 'void':
      return decideVoid(command, books, links);
    case 'expiry':
      return decideExpiry(command, books);
    case 'reversal':
      return decideReversal(command, account, books, links);
    case 'transfer-reversal':
      return decideTransferReversal(command, books, links);
    case 'change':
      return decideChange(command, account, books);
    case 'refusal':
      return command.rejection;
    case 'outgoing':
      return decideOutgoing(command, account, books, links);
    case 'settlement':
      return decideSettlement(command, books);
  }
}

/** What is wrong with a request as such is said first, like all that is refused before it comes here. */
const isMalformed = ({ code }: Rejection) => code === 'TOO_MANY_DECIMALS' || code === 'LEGS_UNBALANCED';

const rejected = (rejection: Rejection): Decision => ({ accepted: false, rejection });

/** Of several accounts, the answer says which. */
const notFound = ({ type, accountId }: Command): Rejection =>
  type === 'transfer' || type === 'outgoing'
    ? { code: 'ACCOUNT_NOT_FOUND', accountId }
    : { code: 'ACCOUNT_NOT_FOUND' };

function checkKey(
  command: Command,
  exact: ExactCommand | Rejection,
  fingerprint: string | undefined,
  books: Books,
): Rejection | undefined {
  if (command.idempotencyKey === undefined) return undefined;
  const earlier = books.keyed.get(keyOf(command.accountId, command.idempotencyKey));
  if (!earlier) return undefined;
  if ('rejection' in earlier) return refusedBefore(command, earlier);
  const same =
    earlier.fingerprint === fingerprint &&
    (fingerprint !== undefined ||
      (earlier.type === command.type && 'amount' in exact && earlier.amount === exact.amount));
  const original = madeBy(earlier);
  if (!same) return { code: 'IDEMPOTENCY_KEY_REUSED', original };
  if ('transferId' in original) return { code: 'DUPLICATE_TRANSFER', ...original };
  if ('holdId' in original) return { code: 'DUPLICATE_HOLD', ...original };
  return { code: 'DUPLICATE_TRANSACTION', original };
}

/** The same request is refused as before; so is any, where it is not known what was submitted. */
function refusedBefore(command: Command, earlier: RecordedRefusal): Rejection {
  const same =
    earlier.fingerprint === undefined ||
    command.type === 'refusal' ||
    earlier.fingerprint === fingerprintOfRequest(command as PostingCommand);
  return same ? earlier.rejection : { code: 'IDEMPOTENCY_KEY_REUSED', original: { refused: true } };
}

/** What the request made that this transaction carries the key of. */
function madeBy({
  type,
  transactionId,
  transferId,
  holdId,
}: KeyedTransaction): Exclude<KeyHolder, { readonly refused: true }> {
  if (transferId !== undefined) return { transferId };
  return type === 'hold' && holdId !== undefined ? { holdId } : { transactionId };
}
