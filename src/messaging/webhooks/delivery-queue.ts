import { retryAt, type RetryPolicy } from './retry-policy.js';
import type { Attempt, DeliveryState, EventPlace, Failure } from './delivery-state.js';

/** Events of rows that are read ahead of the position. */
const MOST_AHEAD = 1_000;
/** Events that have failed, and events that wait for one that has: at more, nothing new is read. */
const MOST_FAILURES = 200;
const MOST_WAITING = 10_000;
/** Attempts that are kept to be looked at. */
const MOST_RECENT = 50;

/** An event that is to be sent now. Give it back with {@link DeliveryQueue.accepted} or {@link DeliveryQueue.failed}. */
export interface Ticket extends EventPlace {
  readonly accountId: number;
  /** Which try it is, 1 for the first. */
  readonly number: number;
}

interface Single extends EventPlace {
  readonly accountId: number;
  tries: number;
  last: Attempt | undefined;
  firstFailedMs: number | undefined;
  nextMs: number;
}

/**
 * The events of one account that the endpoint has not accepted, in order. As long as its first event has not failed, the
 * cursor waits for it; after that the line is an exception, which the cursor passes by.
 */
interface Line {
  readonly accountId: number;
  /** The first is next. */
  readonly places: EventPlace[];
  isBusy: boolean;
  /** About the first of the places. */
  failed: Omit<Single, keyof EventPlace | 'accountId'> | undefined;
}

type BusySingle = Single & { isBusy: boolean };

type FailedLine = Line & { failed: NonNullable<Line['failed']> };

/**
 * What one endpoint is still to get of one shard, and in which order: an account's events one after the other, accounts
 * beside each other. An event that is not accepted holds up its account's later ones until it is accepted or given up;
 * given up, it is tried again beside them, until it is dropped. Everything here has a bound: at its bounds it reads no
 * further, and the log keeps the rest.
 *
 * It knows no clock, no network and no database.
 */
export class DeliveryQueue {
  private readonly lines = new Map<number, Line>();
  /** Those of them that are exceptions. */
  private readonly exceptions = new Set<FailedLine>();
  /** Lines whose first event has not been tried, or not since the last success; those that came first are first. */
  private readonly ready = new Set<Line>();
  /** Events that hold up nothing: they were given up, or asked for again. */
  private readonly singles = new Map<string, BusySingle>();
  /** The rows behind the position, in order, with how many of their events are left. */
  private readonly rows = new Map<number, number>();
  /** What was remembered of rows behind the position, which are about to be read again. */
  private readonly remembered = new Set<string>();
  private recent: readonly Attempt[];
  private failingSinceMs: number | undefined;
  private dropped: number;
  private ahead = 0;
  private waiting = 0;
  private read: number;

  constructor(
    private settled: number,
    state: DeliveryState,
    private readonly policy: RetryPolicy,
  ) {
    this.read = settled;
    this.recent = state.recent;
    this.dropped = state.dropped;
    this.failingSinceMs = msOf(state.failingSince);
    for (const failure of state.failures) this.restore(failure);
  }

  /** All rows up to here are settled, but for the exceptions. */
  get position(): number {
    return this.settled;
  }

  /** The last row that it was given. */
  get readTo(): number {
    return this.read;
  }

  /** How many more events it takes; 0: it is full. */
  get room(): number {
    if (this.failures >= MOST_FAILURES || this.waiting >= MOST_WAITING) return 0;
    return Math.max(0, MOST_AHEAD - this.ahead);
  }

  get failures(): number {
    return this.singles.size + this.exceptions.size;
  }

  /** Since when nothing was accepted, by Date.now(); undefined: the last one tried was. */
  get failingSince(): number | undefined {
    return this.failingSinceMs;
  }

  /** Takes the next row of the log. @param events those that the endpoint wants */
  add(position: number, events: readonly { readonly index: number; readonly accountId: number }[]): void {
    let left = 0;
    this.read = position;
    for (const { index, accountId } of events) {
      if (this.remembered.delete(keyOf({ position, index }))) continue;
      const line = this.lineOf(accountId);
      line.places.push({ position, index });
      if (line.failed) this.waiting += 1;
      else {
        left += 1;
        this.ahead += 1;
        if (!line.isBusy) this.ready.add(line);
      }
    }
    this.rows.set(position, left);
    this.settle();
  }

  /** Delivers one event again, beside the others. */
  request(place: EventPlace, accountId: number, nowMs: number): void {
    const key = keyOf(place);
    if (this.singles.has(key)) return;
    const untried = { tries: 0, last: undefined, firstFailedMs: undefined, nextMs: nowMs, isBusy: false };
    this.singles.set(key, { ...place, accountId, ...untried });
  }

  /**
   * The next event to send.
   *
   * @param probing the endpoint fails altogether: rather one that has failed, even if it is not due, than a new one
   */
  next(nowMs: number, probing = false): Ticket | undefined {
    const retry = this.nextRetry(probing ? Infinity : nowMs);
    if (retry) return retry;
    const [line] = this.ready;
    if (!line) return undefined;
    this.ready.delete(line);
    line.isBusy = true;
    const [place] = line.places as [EventPlace];
    return { ...place, accountId: line.accountId, number: 1 };
  }

  /** When the next retry is due; undefined: there is none. */
  nextRetryMs(): number | undefined {
    const due = [
      ...[...this.exceptions].flatMap(({ isBusy, failed }) => (isBusy ? [] : [failed.nextMs])),
      ...[...this.singles.values()].flatMap(({ isBusy, nextMs }) => (isBusy ? [] : [nextMs])),
    ];
    return due.length === 0 ? undefined : Math.min(...due);
  }

  /** @param attempt undefined: it was not sent, because the endpoint does not want it any more */
  accepted(ticket: Ticket, attempt: Attempt | undefined): void {
    if (attempt) {
      this.note(attempt);
      this.failingSinceMs = undefined;
    }
    if (this.singles.get(keyOf(ticket))?.isBusy) return void this.singles.delete(keyOf(ticket));
    this.leave(this.lines.get(ticket.accountId) as Line);
  }

  /** The log has it no longer. */
  lost(ticket: Ticket): void {
    this.dropped += 1;
    this.accepted(ticket, undefined);
  }

  /** It could not be read, and so was not sent. */
  postponed(ticket: Ticket, nowMs: number): void {
    const single = this.singles.get(keyOf(ticket));
    if (single?.isBusy) {
      single.isBusy = false;
      single.nextMs = nowMs + this.policy.firstRetryMs;
      return;
    }
    const line = this.lines.get(ticket.accountId) as Line;
    line.isBusy = false;
    if (line.failed) line.failed.nextMs = nowMs + this.policy.firstRetryMs;
    else this.ready.add(line);
  }

  failed(ticket: Ticket, attempt: Attempt, nowMs: number, retryAfterMs = 0): void {
    this.note(attempt);
    this.failingSinceMs ??= nowMs;
    const single = this.singles.get(keyOf(ticket));
    if (single?.isBusy) return this.singleFailed(single, attempt, nowMs, retryAfterMs);
    const line = this.lines.get(ticket.accountId) as Line;
    line.isBusy = false;
    const before = line.failed;
    if (!before) this.becomeException(line);
    const tries = (before?.tries ?? 0) + 1;
    const firstFailedMs = before?.firstFailedMs ?? nowMs;
    const nextMs = retryAt(this.policy, nowMs, tries, retryAfterMs, this.policy.longestRetryMs);
    line.failed = { tries, last: attempt, firstFailedMs, nextMs };
    if (nowMs - firstFailedMs < this.policy.giveUpAfterMs) return;
    const [place] = line.places as [EventPlace];
    const { accountId } = line;
    this.singles.set(keyOf(place), { ...place, accountId, ...line.failed, isBusy: false });
    this.leave(line);
  }

  /** All that has failed is due. */
  retryAll(nowMs: number): void {
    for (const { failed } of this.exceptions) failed.nextMs = Math.min(failed.nextMs, nowMs);
    for (const single of this.singles.values()) single.nextMs = Math.min(single.nextMs, nowMs);
  }

  /** What is to be remembered with {@link position}. */
  state(): DeliveryState {
    const lines = [...this.exceptions].map((line): Failure => {
      const [place, ...waiting] = line.places as [EventPlace, ...EventPlace[]];
      const { accountId, failed } = line;
      return failureOf(
        { ...place, accountId, ...failed },
        false,
        waiting.map(({ position, index }) => [position, index]),
      );
    });
    const singles = [...this.singles.values()].map((single) => failureOf(single, true, []));
    return {
      failures: [...lines, ...singles],
      recent: [...this.recent],
      failingSince: this.failingSinceMs === undefined ? undefined : timeOf(this.failingSinceMs),
      dropped: this.dropped,
    };
  }

  /** What has been due for longest. */
  private nextRetry(nowMs: number): Ticket | undefined {
    let [single, line]: [BusySingle?, FailedLine?] = [];
    let dueMs = nowMs;
    for (const each of this.singles.values())
      if (!each.isBusy && each.nextMs <= dueMs) [single, dueMs] = [each, each.nextMs];
    for (const each of this.exceptions)
      if (!each.isBusy && each.failed.nextMs <= dueMs) [line, dueMs] = [each, each.failed.nextMs];
    if (line) {
      line.isBusy = true;
      const [place] = line.places as [EventPlace];
      return ticketOf({ ...place, accountId: line.accountId, tries: line.failed.tries });
    }
    if (!single) return undefined;
    single.isBusy = true;
    return ticketOf(single);
  }

  private singleFailed(single: BusySingle, attempt: Attempt, nowMs: number, retryAfterMs: number): void {
    single.isBusy = false;
    single.tries += 1;
    single.last = attempt;
    single.firstFailedMs ??= nowMs;
    single.nextMs = retryAt(this.policy, nowMs, single.tries, retryAfterMs, this.policy.longestLateRetryMs);
    if (nowMs - single.firstFailedMs < this.policy.dropAfterMs) return;
    this.singles.delete(keyOf(single));
    this.dropped += 1;
  }

  /** The first event of a line is done with. */
  private leave(line: Line): void {
    const [place] = line.places.splice(0, 1) as [EventPlace];
    line.isBusy = false;
    if (line.failed) {
      // What waited is tried now; the line stays an exception until nothing waits any more.
      if (line.places.length > 0) {
        this.waiting -= 1;
        line.failed = { tries: 0, last: undefined, firstFailedMs: undefined, nextMs: 0 };
      }
    } else {
      this.take([place]);
    }
    if (line.places.length === 0) {
      this.lines.delete(line.accountId);
      this.exceptions.delete(line as FailedLine);
    } else if (!line.failed) this.ready.add(line);
  }

  /** From now on the cursor passes by what is in the line. */
  private becomeException(line: Line): void {
    this.exceptions.add(line as FailedLine);
    this.waiting += line.places.length - 1;
    this.take(line.places);
  }

  /** The cursor need not wait for them any more. */
  private take(places: readonly EventPlace[]): void {
    for (const { position } of places) this.rows.set(position, (this.rows.get(position) ?? 0) - 1);
    this.ahead -= places.length;
    this.settle();
  }

  private settle(): void {
    for (const [position, left] of this.rows) {
      if (left > 0) return;
      this.settled = position;
      this.rows.delete(position);
    }
  }

  private lineOf(accountId: number): Line {
    const known = this.lines.get(accountId);
    if (known) return known;
    const line: Line = { accountId, places: [], isBusy: false, failed: undefined };
    this.lines.set(accountId, line);
    return line;
  }

  private note(attempt: Attempt): void {
    this.recent = [attempt, ...this.recent.slice(0, MOST_RECENT - 1)];
  }

  private restore({
    position,
    index,
    accountId,
    last,
    firstFailedAt,
    nextAt,
    givenUp,
    waiting,
  }: Failure): void {
    const failed = {
      ...{ tries: last?.number ?? 0, last, firstFailedMs: msOf(firstFailedAt) },
      nextMs: Date.parse(nextAt),
    };
    const places = [{ position, index }, ...waiting.map(([at, which]) => ({ position: at, index: which }))];
    for (const place of places) if (place.position > this.settled) this.remembered.add(keyOf(place));
    if (givenUp) {
      this.singles.set(keyOf({ position, index }), { position, index, accountId, ...failed, isBusy: false });
      return;
    }
    const line = { accountId, places, isBusy: false, failed };
    this.lines.set(accountId, line);
    this.exceptions.add(line);
    this.waiting += waiting.length;
  }
}

const keyOf = ({ position, index }: EventPlace): string => `${position}.${index}`;

const ticketOf = ({
  position,
  index,
  accountId,
  tries,
}: EventPlace & { accountId: number; tries: number }) => ({
  ...{ position, index, accountId },
  number: tries + 1,
});

function failureOf(single: Single, givenUp: boolean, waiting: Failure['waiting']): Failure {
  const { position, index, accountId, last, firstFailedMs, nextMs } = single;
  return {
    ...{ position, index, accountId, last, givenUp, waiting },
    firstFailedAt: firstFailedMs === undefined ? undefined : timeOf(firstFailedMs),
    nextAt: timeOf(nextMs),
  };
}

const timeOf = (ms: number): string => new Date(ms).toISOString();
const msOf = (time: string | undefined): number | undefined =>
  time === undefined ? undefined : Date.parse(time);
