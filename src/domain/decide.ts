import { availableOf, type LedgerAccount } from './account.js';
import { Draft } from './draft.js';
import { keyOf, type Books, type Decision, type Effects, type Original } from './books.js';
import {
  fingerprintOf,
  type CaptureCommand,
  type ChangeCommand,
  type Command,
  type ExpiryCommand,
  type HoldCommand,
  type Leg,
  type PostingCommand,
  type ReversalCommand,
  type TransferCommand,
  type TransferReversalCommand,
  type VoidCommand,
} from './command.js';
import type { Rejection } from './errors.js';
import { MAX_ACTIVE_HOLDS, MAX_EXPIRED_AT_ONCE, statusAt, type Hold } from './hold.js';
import { MAX_MONEY, type Money } from './money.js';
import type { MovementType, TransactionLinks } from './transaction.js';

/**
 * Decides one command against the books as they are now. Pure, except that it uses up ids and may mark accounts as
 * {@link Books.lacking}: it reads no clock and no database, and changes no account.
 *
 * The order of checks is the contract's: account, key, version, status, balance; so the retry of a request that
 * succeeded is a duplicate, whatever has become of the account since.
 */
export function decide(command: Command, books: Books): Decision {
  const account = books.accounts.get(command.accountId);
  if (!account) return rejected({ code: 'ACCOUNT_NOT_FOUND' });
  // Only what has a key needs a fingerprint.
  const fingerprint = command.idempotencyKey === undefined ? undefined : fingerprintOf(command);
  const used = checkKey(command, fingerprint, books);
  if (used) return rejected(used);
  const outcome = decideKind(command, account, books, {
    idempotencyKey: command.idempotencyKey,
    fingerprint,
    details: command.details,
  });
  return 'code' in outcome ? rejected(outcome) : { accepted: true, effects: outcome };
}

/** What the row that carries the key has besides its movement. */
type KeyedLinks = Pick<TransactionLinks, 'idempotencyKey' | 'fingerprint' | 'details'>;

type Outcome = Effects | Rejection;

function decideKind(command: Command, account: LedgerAccount, books: Books, links: KeyedLinks): Outcome {
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
  }
}

const rejected = (rejection: Rejection): Decision => ({ accepted: false, rejection });

function checkKey(command: Command, fingerprint: string | undefined, books: Books): Rejection | undefined {
  if (command.idempotencyKey === undefined) return undefined;
  const earlier = books.keyed.get(keyOf(command.accountId, command.idempotencyKey));
  if (!earlier) return undefined;
  const { transactionId, transferId, holdId } = earlier;
  const same =
    earlier.fingerprint === fingerprint &&
    (fingerprint !== undefined ||
      (earlier.type === command.type && earlier.amount === (command as PostingCommand).amount));
  if (!same) return { code: 'IDEMPOTENCY_KEY_REUSED', original: { transactionId } };
  if (transferId !== undefined) return { code: 'DUPLICATE_TRANSFER', transferId };
  if (earlier.type === 'hold' && holdId !== undefined) return { code: 'DUPLICATE_HOLD', holdId };
  return { code: 'DUPLICATE_TRANSACTION', original: { transactionId } };
}

function checkVersion(
  { version: currentVersion }: LedgerAccount,
  { expectedVersion, allowedVersions }: Pick<PostingCommand, 'expectedVersion' | 'allowedVersions'>,
): Rejection | undefined {
  if (allowedVersions && !allowedVersions.includes(currentVersion)) {
    return { code: 'PRECONDITION_FAILED', currentVersion };
  }
  if (expectedVersion !== undefined && expectedVersion !== currentVersion) {
    return { code: 'VERSION_MISMATCH', currentVersion };
  }
  return undefined;
}

/** What the status of an account refuses. */
function checkStatus(
  { status }: LedgerAccount,
  type: MovementType | 'hold' | 'capture',
): Rejection | undefined {
  if (status === 'open') return undefined;
  if (status === 'closed') return { code: 'ACCOUNT_CLOSED' };
  if (status === 'frozen') return { code: 'ACCOUNT_FROZEN' };
  return type === 'debit' || type === 'hold' ? { code: 'DEBITS_BLOCKED' } : undefined;
}

/**
 * Makes an amount available for a debit or a hold. Holds of the account that have expired end first, if it would not
 * do otherwise.
 */
function secure(draft: Draft, accountId: number, amount: Money, books: Books): Rejection | undefined {
  if (availableOf(draft.account(accountId)) >= amount) return undefined;
  if (draft.account(accountId).held > 0n) expireDue(draft, accountId, books);
  if (availableOf(draft.account(accountId)) >= amount) return undefined;
  return { code: 'INSUFFICIENT_BALANCE' };
}

function checkRoom({ balance }: LedgerAccount, amount: Money): Rejection | undefined {
  return balance + amount > MAX_MONEY ? { code: 'BALANCE_LIMIT_EXCEEDED' } : undefined;
}

function decidePosting(
  command: PostingCommand,
  account: LedgerAccount,
  books: Books,
  links: KeyedLinks,
): Outcome {
  const { accountId, type, amount } = command;
  const draft = new Draft(books);
  const problem =
    checkVersion(account, command) ??
    checkStatus(account, type) ??
    (type === 'credit' ? checkRoom(account, amount) : secure(draft, accountId, amount, books));
  if (problem) return problem;
  draft.post(accountId, type, amount, links);
  return draft.effects;
}

function decideTransfer(
  { accountId, legs, details }: TransferCommand,
  books: Books,
  keyed: KeyedLinks,
): Outcome {
  const draft = new Draft(books);
  const problem = checkLegs(draft, legs, books);
  if (problem) return problem;
  const transferId = draft.reserveId();
  for (const leg of legs) {
    const carriesKey = leg.accountId === accountId;
    draft.post(leg.accountId, leg.type, leg.amount, { ...(carriesKey ? keyed : { details }), transferId });
  }
  return draft.effects;
}

/** All versions, then all statuses, then all amounts: like the order of checks of one account. */
function checkLegs(draft: Draft, legs: readonly Leg[], books: Books): Rejection | undefined {
  const missing = legs.find(({ accountId }) => !books.accounts.has(accountId));
  if (missing) return { code: 'ACCOUNT_NOT_FOUND', accountId: missing.accountId };
  return (
    firstAbout(legs, (leg) => checkVersion(draft.account(leg.accountId), leg)) ??
    firstAbout(legs, (leg) => checkStatus(draft.account(leg.accountId), leg.type)) ??
    firstAbout(legs, ({ accountId, type, amount }) =>
      type === 'credit'
        ? checkRoom(draft.account(accountId), amount)
        : secure(draft, accountId, amount, books),
    )
  );
}

/** The first leg's problem. About an account that the sender may not see, it says nothing more. */
function firstAbout(
  legs: readonly Leg[],
  problemOf: (leg: Leg) => Rejection | undefined,
): Rejection | undefined {
  for (const leg of legs) {
    const problem = problemOf(leg);
    if (problem)
      return {
        ...(leg.foreign ? { code: 'COUNTERPARTY_REFUSED' } : problem),
        accountId: leg.accountId,
      } as Rejection;
  }
  return undefined;
}

function decideHold(command: HoldCommand, account: LedgerAccount, books: Books, links: KeyedLinks): Outcome {
  const { accountId, amount, expiresAt, expiresInMs } = command;
  const draft = new Draft(books);
  const problem =
    checkVersion(account, command) ?? checkStatus(account, 'hold') ?? secure(draft, accountId, amount, books);
  if (problem) return problem;
  if (draft.account(accountId).activeHolds >= MAX_ACTIVE_HOLDS) return { code: 'TOO_MANY_HOLDS' };
  const holdId = draft.reserveId();
  draft.post(accountId, 'hold', amount, { ...links, holdId });
  const until = expiresInMs === undefined ? expiresAt : new Date(books.now.getTime() + expiresInMs);
  draft.setHold({
    ...{ holdId, accountId, amount, remaining: amount, captured: 0n },
    ...{ status: 'active', expiresAt: until, createdAt: books.now },
  });
  return draft.effects;
}

/** A hold that can still be captured or voided, or why it can't. */
function activeHold(holdId: number, accountId: number, books: Books): Hold | Rejection {
  const hold = books.holds.get(holdId);
  if (hold?.accountId !== accountId) return { code: 'HOLD_NOT_FOUND' };
  const status = statusAt(hold, books.now);
  return status === 'active' ? hold : { code: 'HOLD_NOT_ACTIVE', status };
}

function decideCapture(
  { accountId, holdId, amount: wanted, final, to, details }: CaptureCommand,
  account: LedgerAccount,
  books: Books,
  keyed: KeyedLinks,
): Outcome {
  const hold = activeHold(holdId, accountId, books);
  if ('code' in hold) return hold;
  const amount = wanted ?? hold.remaining;
  if (amount > hold.remaining) return { code: 'HOLD_EXCEEDED' };
  const draft = new Draft(books);
  const target = to && books.accounts.get(to.accountId);
  if (to && !target) return { code: 'ACCOUNT_NOT_FOUND', accountId: to.accountId };
  const problem =
    checkStatus(account, 'capture') ??
    (to &&
      target &&
      firstAbout(
        [{ ...to, type: 'credit', amount }],
        () => checkStatus(target, 'credit') ?? checkRoom(target, amount),
      ));
  if (problem) return problem;
  const released = final ? hold.remaining : amount;
  draft.post(accountId, 'release', released, { holdId, details });
  const transferId = to && draft.reserveId();
  draft.post(accountId, 'debit', amount, { ...keyed, holdId, transferId });
  if (to) draft.post(to.accountId, 'credit', amount, { details, transferId });
  draft.setHold({
    ...hold,
    remaining: hold.remaining - released,
    captured: hold.captured + amount,
    status: released === hold.remaining ? 'captured' : 'active',
  });
  return draft.effects;
}

function decideVoid({ accountId, holdId }: VoidCommand, books: Books, links: KeyedLinks): Outcome {
  const hold = activeHold(holdId, accountId, books);
  if ('code' in hold) return hold;
  const draft = new Draft(books);
  draft.post(accountId, 'release', hold.remaining, { ...links, holdId });
  draft.setHold({ ...hold, remaining: 0n, status: 'voided' });
  return draft.effects;
}

function decideExpiry({ accountId }: ExpiryCommand, books: Books): Outcome {
  const draft = new Draft(books);
  expireDue(draft, accountId, books);
  return draft.effects;
}

function expireDue(draft: Draft, accountId: number, books: Books): void {
  for (const hold of books.dueOf(accountId).slice(0, MAX_EXPIRED_AT_ONCE)) {
    draft.post(accountId, 'release', hold.remaining, { holdId: hold.holdId });
    draft.setHold({ ...hold, remaining: 0n, status: 'expired' });
  }
}

function decideReversal(
  { accountId, transactionId, amount: wanted, force }: ReversalCommand,
  account: LedgerAccount,
  books: Books,
  links: KeyedLinks,
): Outcome {
  const original = books.original(transactionId);
  if (original?.transaction.accountId !== accountId) return { code: 'TRANSACTION_NOT_FOUND' };
  const { type, transferId } = original.transaction;
  if (transferId !== undefined) return { code: 'PART_OF_TRANSFER', transferId };
  const amount = wanted ?? leftOf(original);
  const problem = checkReversible(original, amount) ?? checkStatus(account, oppositeOf(type as MovementType));
  if (problem) return problem;
  const draft = new Draft(books);
  const refused = postOpposite(draft, original, amount, { links, force }, books);
  return refused ?? draft.effects;
}

function decideTransferReversal(
  { accountId, transferId: reversed, amount: wanted, force, foreign, details }: TransferReversalCommand,
  books: Books,
  keyed: KeyedLinks,
): Outcome {
  const originals = books.legsOf(reversed);
  const [first] = originals;
  if (!first) return { code: 'TRANSFER_NOT_FOUND' };
  if (originals.length > 2 && wanted !== undefined) return { code: 'NOT_REVERSIBLE_IN_PART' };
  const draft = new Draft(books);
  const amountOf = (original: Original) => wanted ?? leftOf(original);
  const legs = originals.map((original): Leg & { original: Original } => {
    const { accountId: of, type } = original.transaction;
    const isForeign = foreign?.includes(of);
    return {
      ...{ accountId: of, type: oppositeOf(type as MovementType), amount: amountOf(original) },
      ...{ foreign: isForeign, original },
    };
  });
  const impossible = originals
    .map((original) => checkReversible(original, amountOf(original)))
    .find((problem) => problem);
  if (impossible) return impossible;
  const refused = firstAbout(legs, (leg) => checkStatus(draft.account(leg.accountId), leg.type));
  if (refused) return refused;
  // Holds that have expired end first: the transfer has the id of its first leg, and its legs follow one another.
  for (const { accountId: of, type, amount } of legs) if (type === 'debit') secure(draft, of, amount, books);
  const transferId = draft.reserveId();
  const problem = firstAbout(legs, (leg) => {
    const own = leg.accountId === accountId ? keyed : { details };
    const { original, amount } = leg as (typeof legs)[number];
    return postOpposite(draft, original, amount, { links: { ...own, transferId }, force }, books);
  });
  return problem ?? draft.effects;
}

const oppositeOf = (type: MovementType): MovementType => (type === 'credit' ? 'debit' : 'credit');

const leftOf = ({ transaction, reversed }: Original): Money => transaction.amount - reversed;

function checkReversible(original: Original, amount: Money): Rejection | undefined {
  const { type, reversesId } = original.transaction;
  if (reversesId !== undefined || (type !== 'credit' && type !== 'debit')) return { code: 'NOT_REVERSIBLE' };
  const left = leftOf(original);
  return left === 0n || amount > left ? { code: 'REVERSAL_EXCEEDED' } : undefined;
}

/** Money that is gone is a rejection, or with `force` an overdraft, whose limit is raised as far as needed. */
function postOpposite(
  draft: Draft,
  { transaction }: Original,
  amount: Money,
  { links, force }: { readonly links: TransactionLinks; readonly force: boolean | undefined },
  books: Books,
): Rejection | undefined {
  const { accountId, transactionId } = transaction;
  const type = oppositeOf(transaction.type as MovementType);
  const problem =
    type === 'credit' ? checkRoom(draft.account(accountId), amount) : secure(draft, accountId, amount, books);
  if (problem?.code === 'INSUFFICIENT_BALANCE' && force === true) {
    const { overdraftLimit } = draft.account(accountId);
    const missing = amount - availableOf(draft.account(accountId));
    draft.change(accountId, { overdraftLimit: overdraftLimit + missing }, links.details?.actor);
  } else if (problem) return problem;
  draft.post(accountId, type, amount, { ...links, reversesId: transactionId });
  return undefined;
}

function decideChange(command: ChangeCommand, account: LedgerAccount, books: Books): Outcome {
  const { accountId, changes, allowedRevisions, actor } = command;
  if (allowedRevisions && !allowedRevisions.includes(account.revision))
    return { code: 'REVISION_MISMATCH', currentRevision: account.revision };
  const { status = account.status, overdraftLimit = account.overdraftLimit, ...others } = changes;
  if (account.status === 'closed' && (status !== 'closed' || overdraftLimit !== account.overdraftLimit))
    return { code: 'ACCOUNT_CLOSED' };
  if (status === 'closed' && (account.balance !== 0n || account.held !== 0n))
    return { code: 'ACCOUNT_NOT_EMPTY' };
  if (availableOf({ ...account, overdraftLimit }) < 0n) return { code: 'OVERDRAFT_IN_USE' };
  const draft = new Draft(books);
  const made = {
    ...(status !== account.status && { status }),
    ...(overdraftLimit !== account.overdraftLimit && { overdraftLimit }),
    ...others,
  };
  if (Object.keys(made).length > 0) draft.change(accountId, made, actor);
  return draft.effects;
}
