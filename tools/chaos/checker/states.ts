import type { AccountBook, HoldBook, Posting } from './books.js';
import type { Span } from './span.js';

/** Between the clocks of the history and of the servers, which are those of one machine, and for their rounding. */
export const CLOCK_SLACK_MS = 50;

/** The statuses that an account had at some time of a span. At the time of a change it had both. */
export function statusesIn({ events }: AccountBook, span: Span): readonly string[] {
  return valuesIn(events, ({ status }) => status, 'open', span);
}

/** The overdraft limits that an account had at some time of a span. */
export function limitsIn({ events }: AccountBook, span: Span): readonly number[] {
  return valuesIn(events, ({ overdraftLimit }) => overdraftLimit, 0, span);
}

function valuesIn<E extends { readonly time: number }, V>(
  events: readonly E[],
  valueOf: (event: E) => V | undefined,
  first: V,
  { from, to }: Span,
): readonly V[] {
  const changes = events.flatMap((event) => {
    const value = valueOf(event);
    return value === undefined ? [] : [{ time: event.time, value }];
  });
  const states = [{ time: -Infinity, value: first }, ...changes];
  return states.flatMap(({ time, value }, index) => {
    const end = states[index + 1]?.time ?? Infinity;
    return time <= to && end >= from ? [value] : [];
  });
}

/** When an account had a version. */
export function spanOf({ postings }: AccountBook, version: number): Span {
  return { from: postings[version - 2]?.time ?? -Infinity, to: postings[version - 1]?.time ?? Infinity };
}

/** What remained of a hold at a version of its account. */
export function remainingAt({ postings }: HoldBook, version: number): number {
  return postings
    .filter((posting) => posting.version <= version)
    .reduce(
      (sum, { type, amount }) => sum + (type === 'hold' ? amount : type === 'release' ? -amount : 0),
      0,
    );
}

/** How much of what it reverses a transaction claims: between shards with a hold, which a release gives back. */
export const claimOf = ({ type, amount }: Posting): number => (type === 'release' ? -amount : amount);

/** The most of a hold that may have been on its way to other shards at some time of a span. */
export function capturingIn({ underWay }: HoldBook, { from, to }: Span): number {
  return underWay
    .filter(({ span }) => span.from <= to && span.to >= from)
    .reduce((sum, { amount }) => sum + amount, 0);
}

/** What was captured of a hold up to a version of its account. */
export function capturedAt({ postings }: HoldBook, version: number): number {
  return postings
    .filter((posting) => posting.version <= version && posting.type === 'debit')
    .reduce((sum, { amount }) => sum + amount, 0);
}

/**
 * The least that was available at a version for a command that began at a time: holds that had expired by then count no
 * more, whether or not their end was written down.
 */
export function leastAvailableAt(book: AccountBook, version: number, since: number): number {
  const posting = book.postings[version - 2];
  const { from, to } = spanOf(book, version);
  const limit = Math.min(...limitsIn(book, { from: Math.max(from, since), to: Math.max(to, since) }));
  const due = book.holds
    .filter(({ expiresAt }) => expiresAt !== undefined && expiresAt <= since)
    // One of which a part is on its way to another shard can't end yet.
    .filter((hold) => capturingIn(hold, { from: since, to: Infinity }) === 0)
    .reduce((sum, hold) => sum + remainingAt(hold, version), 0);
  return (posting?.balance ?? 0) - (posting?.held ?? 0) + due + limit;
}
