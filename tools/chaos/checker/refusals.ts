import type { AccountBook, Books, HoldBook, Posting } from './books.js';
import {
  accountsOf,
  commandKeyOf,
  keyAccountOf,
  type AnswerBody,
  type Change,
  type Command,
} from './history.js';
import {
  capturedAt,
  capturingIn,
  claimOf,
  leastAvailableAt,
  limitsIn,
  remainingAt,
  statusesIn,
} from './states.js';
import type { Span } from './span.js';

/** When a request was decided: at one of these versions of its accounts, within this time. */
export interface Window {
  readonly span: Span;
  /** The versions that an account may have had, ascending. */
  readonly versionsOf: (accountId: number) => readonly number[];
}

/** Errors of commands by their kind. {@link isPossible} knows all but those on behalf of another owner. */
export const REFUSALS: Readonly<Record<(Command | Change)['kind'], readonly string[]>> = {
  post: ['Insufficient Balance', 'Account frozen', 'Debits blocked', 'Account closed'],
  transfer: [
    ...['Insufficient Balance', 'Account frozen', 'Debits blocked', 'Account closed'],
    'Counterparty refused',
  ],
  hold: ['Insufficient Balance', 'Account frozen', 'Debits blocked'],
  capture: [
    ...['Hold not active', 'Hold exceeded', 'Hold being captured', 'Account frozen'],
    'Counterparty refused',
  ],
  void: ['Hold not active', 'Hold being captured'],
  reverse: [
    ...['Insufficient Balance', 'Account frozen', 'Debits blocked', 'Account closed'],
    ...['Reversal exceeded', 'Not reversible', 'Part of a transfer'],
  ],
  'reverse-transfer': [
    ...['Insufficient Balance', 'Account frozen', 'Debits blocked'],
    ...['Reversal exceeded', 'Not reversible', 'Not reversible in part', 'Counterparty refused'],
    'Transfer not completed',
  ],
  change: ['Overdraft in use', 'Account closed', 'Account not empty'],
};

/** Whether a refusal was true at some moment of its window. */
export function isPossible(
  op: number,
  command: Command | Change,
  body: AnswerBody,
  window: Window,
  books: Books,
): boolean {
  const named = body.accountId === undefined ? accountsOf(command) : [body.accountId];
  const accounts = named.flatMap((id) => {
    const book = books.accounts.get(id);
    return book ? [{ id, book, versions: window.versionsOf(id) }] : [];
  });
  switch (body.error ?? '') {
    case 'Insufficient Balance':
      if ('force' in command && command.force === true) return false;
      return accounts.some(({ id, book, versions }) =>
        versions.some(
          (version) =>
            leastAvailableAt(book, version, window.span.from) < debitOf(op, command, id, version, books),
        ),
      );
    case 'Account frozen':
      return accounts.some(({ book }) => statusesIn(book, window.span).includes('frozen'));
    case 'Account closed':
      return accounts.some(({ book }) => statusesIn(book, window.span).includes('closed'));
    case 'Account not empty':
      return accounts.some(({ book, versions }) => versions.some((version) => isNotEmpty(book, version)));
    case 'Debits blocked':
      return accounts.some(
        ({ id, book, versions }) =>
          statusesIn(book, window.span).includes('debits_blocked') &&
          versions.some((version) => debitOf(op, command, id, version, books) > -Infinity),
      );
    case 'Overdraft in use':
      return accounts.some(({ book, versions }) =>
        versions.some((version) => isInUse(command, book, version)),
      );
    case 'Hold not active':
    case 'Hold exceeded':
    case 'Hold being captured':
      return isPossibleOfHold(command, body, window, books);
    default:
      return isPossibleOfReversal(command, body, window, books);
  }
}

/** Whether another request has used the key of a command: the one that is named or, if none is, a refused one. */
export function isReused(op: number, command: Command, body: AnswerBody, books: Books): boolean {
  const named = body.transactionId ?? body.transferId ?? body.holdId;
  if (named === undefined) return books.refusals.has(commandKeyOf(command));
  const sent = books.sent.get(named);
  if (sent?.key !== undefined)
    return sent.key === command.key && sent.accountId === keyAccountOf(command) && sent.op !== op;
  const first = books.byId.get(named.replace(/^(tr|hold)(?=\d)/, 'txn'));
  const postings = (first?.op !== undefined && books.byOperation.get(first.op)) || [];
  const isKeyed = ({ key, accountId }: Posting) => key === command.key && accountId === keyAccountOf(command);
  return postings.some(isKeyed) && first?.op !== op;
}

/** What a command takes from an account, or puts on hold; -Infinity: nothing. */
function debitOf(
  op: number,
  command: Command | Change,
  accountId: number,
  version: number,
  books: Books,
): number {
  switch (command.kind) {
    case 'post':
      return command.type === 'debit' ? op : -Infinity;
    case 'hold':
      return op;
    case 'transfer':
      return command.accountIds.indexOf(accountId) < command.accountIds.length / 2 ? op : -Infinity;
    case 'reverse': {
      const original = books.byId.get(command.transactionId);
      if (original?.type !== 'credit') return -Infinity;
      return command.amount ?? leftOf(original.id, version, books);
    }
    case 'reverse-transfer': {
      const credit = legsOf(command.transferId, books).find((leg) => leg.accountId === accountId);
      if (credit?.type !== 'credit') return -Infinity;
      return command.amount ?? leftOf(credit.id, version, books);
    }
    case 'capture':
    case 'void':
    case 'change':
      return -Infinity;
  }
}

function isInUse(command: Command | Change, book: AccountBook, version: number): boolean {
  if (command.kind !== 'change' || command.overdraftLimit === undefined) return false;
  const posting = book.postings[version - 2];
  return (posting?.balance ?? 0) - (posting?.held ?? 0) + command.overdraftLimit < 0;
}

function isNotEmpty({ postings }: AccountBook, version: number): boolean {
  const { balance = 0, held = 0 } = postings[version - 2] ?? {};
  return balance !== 0 || held !== 0;
}

function isPossibleOfHold(
  command: Command | Change,
  { error, holdStatus = '' }: AnswerBody,
  { span, versionsOf }: Window,
  { holds }: Books,
): boolean {
  const hold = 'holdId' in command ? holds.get(command.holdId) : undefined;
  if (!hold) return false;
  const versions = versionsOf(hold.accountId);
  if (error === 'Hold not active')
    return versions.some((version) => statusesOf(hold, version, span).includes(holdStatus));
  const capturing = capturingIn(hold, span);
  if (error === 'Hold being captured') return capturing > 0;
  const amount = command.kind === 'capture' ? (command.amount ?? 0) : 0;
  return versions.some((version) => remainingAt(hold, version) - capturing < amount);
}

/** What a hold can be said to be at a version: it reads as expired from its time on, until it has another end. */
function statusesOf(hold: HoldBook, version: number, span: Span): string[] {
  const isOver = remainingAt(hold, version) === 0;
  if (isOver) return [hold.status];
  return (hold.expiresAt ?? Infinity) <= span.to ? ['active', 'expired'] : ['active'];
}

/** Whether a hold was at some version what an answer says of it. */
export function wasHold(hold: HoldBook, body: AnswerBody, { span, versionsOf }: Window): boolean {
  return versionsOf(hold.accountId).some((version) => {
    const isIt =
      statusesOf(hold, version, span).includes(body.holdStatus ?? '') &&
      capturedAt(hold, version) === body.captured &&
      hold.amount === body.amount;
    // What is left of a hold that is due is nobody's promise.
    return isIt && (body.holdStatus === 'expired' || remainingAt(hold, version) === body.remaining);
  });
}

function isPossibleOfReversal(
  command: Command | Change,
  { error, transferId }: AnswerBody,
  { span, versionsOf }: Window,
  books: Books,
): boolean {
  const originals =
    command.kind === 'reverse'
      ? [books.byId.get(command.transactionId)]
      : command.kind === 'reverse-transfer'
        ? legsOf(command.transferId, books)
        : [];
  if (error === 'Transfer not completed') return wasNotCompleted(command, span, books);
  const [first] = originals;
  if (!first) return false;
  const amount = 'amount' in command ? command.amount : undefined;
  const [payer] = accountsOf(command);
  const paidBack = originals.find((original) => original?.accountId === payer) ?? first;
  switch (error ?? '') {
    case 'Reversal exceeded':
      return versionsOf(paidBack.accountId).some((version) => {
        const left = leftOf(paidBack.id, version, books);
        return left === 0 || left < (amount ?? 0);
      });
    case 'Not reversible':
      return first.reverses !== undefined || !['credit', 'debit'].includes(first.type);
    case 'Not reversible in part':
      return originals.length > 2 && amount !== undefined;
    case 'Part of a transfer':
      return first.transferId !== undefined && first.transferId === transferId;
    default:
      return false;
  }
}

const legsOf = (transferId: string, { legs }: Books): readonly Posting[] => legs.get(transferId) ?? [];

/** Whether a transfer to another shard was pending or had failed at some time of a span. */
function wasNotCompleted(command: Command | Change, span: Span, { sent, legs }: Books): boolean {
  if (command.kind !== 'reverse-transfer' || !sent.has(command.transferId)) return false;
  const debit = legs.get(command.transferId)?.find(({ type }) => type === 'debit');
  return debit === undefined || debit.time >= span.from;
}

/** What was left of a transaction to be reversed, at a version of its account. */
function leftOf(id: string, version: number, { byId, reversals }: Books): number {
  const earlier = (reversals.get(id) ?? []).filter((reversal) => reversal.version <= version);
  return (byId.get(id)?.amount ?? 0) - earlier.reduce((sum, one) => sum + claimOf(one), 0);
}

/** Whether an account may have had a limit or a status that a change asked for, at the end of a span. */
export function hasChanged({ status, overdraftLimit }: Change, book: AccountBook, span: Span): boolean {
  return (
    (status === undefined || statusesIn(book, span).includes(status)) &&
    (overdraftLimit === undefined || limitsIn(book, span).includes(overdraftLimit))
  );
}
