import {
  isExpiry,
  type AccountEvent,
  type Books,
  type HoldBook,
  type Posting,
  type RecordedRefusal,
  type SentTransfer,
} from './books.js';
import { decimal } from './history.js';
import { wordFor } from './parts.js';
import type { Violations } from './rules.js';
import { remainingAt } from './states.js';

/** An event as it arrived. Money is text with two decimals. */
export interface Arrival {
  readonly id: string;
  readonly type: string;
  readonly data: Readonly<Record<string, unknown>>;
}

/** What must be published, by the books: every event by its id, and the order of those that belong together. */
interface Expected {
  readonly events: Map<string, Omit<Arrival, 'id'>>;
  /** The ids of the events of each account's transactions, and of each account's changes, in their order. */
  readonly streams: string[][];
}

/**
 * Checks the events in the order of their arrival, by the rule for consumers: of each stream, the next event is the one
 * behind the last that was taken, and any other is a repeat or will come again.
 */
export function checkEvents(books: Books, arrivals: readonly Arrival[], violations: Violations): void {
  const { events, streams } = expectedOf(books);
  const streamsOf = new Map<string, string[][]>();
  for (const stream of streams)
    for (const id of stream) streamsOf.set(id, [...(streamsOf.get(id) ?? []), stream]);
  const reached = new Map<string[], number>();
  for (const arrival of arrivals) {
    const event = events.get(arrival.id);
    if (event?.type !== arrival.type || !says(arrival.data, event.data))
      violations.add('event-wrong', `${JSON.stringify(arrival)}; by the books: ${describe(event)}`);
    for (const stream of streamsOf.get(arrival.id) ?? []) {
      const next = reached.get(stream) ?? 0;
      if (stream[next] === arrival.id) reached.set(stream, next + 1);
    }
  }
  for (const stream of streams) {
    const next = reached.get(stream) ?? 0;
    if (next < stream.length)
      violations.add(
        'event-missing',
        `${stream[next]} never came behind ${stream[next - 1] ?? 'nothing'}: ${describe(events.get(stream[next] ?? ''))}`,
      );
  }
}

function expectedOf(books: Books): Expected {
  const expected: Expected = { events: new Map(), streams: [] };
  const tell = (stream: string[], id: string, event: Omit<Arrival, 'id'>) => {
    expected.events.set(id, event);
    stream.push(id);
  };
  for (const [accountId, { postings, events }] of books.accounts) {
    const stream: string[] = [];
    for (const posting of postings) {
      const { id, holdId = '', version, transferId } = posting;
      tell(stream, id, postedEvent(posting));
      const hold = books.holds.get(holdId);
      const about = hold && holdEvent(posting, hold, books);
      if (about) tell(stream, `${holdId}/${version}`, about);
      if (transferId !== undefined && completes(posting, books))
        tell(stream, transferId, transferEvent(transferId, books.legs.get(transferId) ?? []));
    }
    const changes: string[] = [];
    for (const event of events)
      tell(changes, `account${accountId}/${event.revision}`, changeEvent(accountId, event));
    expected.streams.push(stream, changes);
  }
  for (const sent of books.sent.values()) {
    const stream: string[] = [];
    if (sent.status === 'failed') tell(stream, sent.id, failedTransferEvent(sent));
    expected.streams.push(stream);
  }
  for (const refusal of books.refusals.values()) {
    const stream: string[] = [];
    tell(stream, refusal.id, refusalEvent(refusal));
    expected.streams.push(stream);
  }
  return expected;
}

/** A transfer to another shard is told of where it was sent, once it is debited; any other on each of its accounts. */
function completes({ type, transferId = '' }: Posting, { sent }: Books): boolean {
  return type === 'debit' || (type === 'credit' && !sent.has(transferId));
}

/** What an event of the first version can't say makes it one of the second. */
function postedEvent(posting: Posting): Omit<Arrival, 'id'> {
  const { id, accountId, type, amount, balance, held, version, key, transferId, holdId, reverses } = posting;
  const isSecond = type === 'hold' || type === 'release' || balance < 0;
  return {
    type: `transaction.posted.v${isSecond ? 2 : 1}`,
    data: {
      ...{ transactionId: id, accountId, type: wordFor(type), version },
      ...{ amount: decimal(amount), balance: decimal(balance), held: isSecond ? decimal(held) : undefined },
      ...{ idempotencyKey: key, transferId, holdId, reverses },
    },
  };
}

/** Undefined for the release of a capture: the event of its debit tells of both. */
function holdEvent(
  posting: Posting,
  hold: HoldBook,
  { byOperation }: Books,
): Omit<Arrival, 'id'> | undefined {
  const { id, accountId, type, amount, version, holdId, transferId, op } = posting;
  const data = { holdId, accountId, transactionId: id, version, amount: decimal(amount) };
  if (type === 'hold') {
    const expiresAt = hold.expiresAt === undefined ? undefined : new Date(hold.expiresAt).toISOString();
    return { type: 'hold.placed.v1', data: { ...data, expiresAt } };
  }
  if (type === 'debit') {
    const remaining = decimal(remainingAt(hold, version));
    return { type: 'hold.captured.v1', data: { ...data, remaining, transferId } };
  }
  if (isExpiry(posting)) return { type: 'hold.expired.v1', data };
  const isOfCapture = byOperation.get(op ?? 0)?.some((other) => other.type === 'debit');
  return isOfCapture ? undefined : { type: 'hold.voided.v1', data };
}

function transferEvent(transferId: string, legs: readonly Posting[]): Omit<Arrival, 'id'> {
  return {
    type: 'transfer.completed.v1',
    data: {
      transferId,
      legs: legs.map(({ id, accountId, type, amount, version, reverses }) => ({
        ...{ transactionId: id, accountId, type: wordFor(type), amount: decimal(amount), version, reverses },
      })),
      holdId: legs.find((leg) => leg.holdId !== undefined)?.holdId,
    },
  };
}

/** The hold of a transfer of its own has its number, and is not told of. */
export function failedTransferEvent({
  id,
  accountId,
  to,
  amount,
  holdId,
}: Pick<SentTransfer, 'id' | 'accountId' | 'to' | 'amount' | 'holdId'>): Omit<Arrival, 'id'> {
  const isCapture = holdId !== id.replace('tr', 'hold');
  const data = { transferId: id, accountId, toAccountId: to, amount: decimal(amount) };
  return { type: 'transfer.failed.v1', data: { ...data, holdId: isCapture ? holdId : undefined } };
}

export function refusalEvent({ accountId, key, code }: RecordedRefusal): Omit<Arrival, 'id'> {
  return { type: 'submission.refused.v1', data: { accountId, idempotencyKey: key, code } };
}

function changeEvent(
  accountId: number,
  { revision, status, overdraftLimit }: AccountEvent,
): Omit<Arrival, 'id'> {
  const changes = {
    status,
    overdraftLimit: overdraftLimit === undefined ? undefined : decimal(overdraftLimit),
  };
  return { type: 'account.changed.v1', data: { accountId, revision, changes } };
}

/** Whether a value has what is expected, and nothing where nothing is; it may have other members, too. */
function says(value: unknown, expected: unknown): boolean {
  if (typeof expected !== 'object' || expected === null) return value === expected;
  if (typeof value !== 'object' || value === null) return false;
  if (Array.isArray(expected) && (value as unknown[]).length !== expected.length) return false;
  return Object.entries(expected).every(([name, member]) =>
    says((value as Record<string, unknown>)[name], member),
  );
}

function describe(value: unknown): string {
  return value === undefined ? 'nothing' : JSON.stringify(value);
}
