import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { DeliveryQueue, type Ticket } from './delivery-queue.js';
import { NO_STATE, readState, type Attempt } from './delivery-state.js';
import { retryAfterMsOf, retryAt, type RetryPolicy } from './retry-policy.js';

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
const POLICY: RetryPolicy = {
  ...{ firstRetryMs: 1_000, longestRetryMs: 5 * MINUTE_MS, longestLateRetryMs: HOUR_MS },
  ...{ longestRetryAfterMs: HOUR_MS, giveUpAfterMs: HOUR_MS },
  ...{ dropAfterMs: 72 * HOUR_MS, switchOffAfterMs: 72 * HOUR_MS },
};

const keyOf = ({ position, index }: Pick<Ticket, 'position' | 'index'>) => `${position}.${index}`;

function attemptOf(ticket: Ticket, nowMs: number, status?: number): Attempt {
  const { position, index, accountId, number } = ticket;
  return {
    ...{ position, index, accountId, number, status, answer: 'x', durationMs: 1 },
    ...{ eventId: keyOf(ticket), type: 'transaction.posted.v1', startedAt: new Date(nowMs).toISOString() },
  };
}

/** One row of the log: the accounts of its events. */
const ROWS = fc.array(fc.array(fc.integer({ min: 1, max: 4 }), { maxLength: 4 }), { maxLength: 25 });

/** What happens next: time passes, a request is answered, a process dies. */
const STEP = fc.oneof(
  { weight: 6, arbitrary: fc.record({ do: fc.constant('accept' as const), which: fc.nat() }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('refuse' as const), which: fc.nat() }) },
  {
    weight: 2,
    arbitrary: fc.record({ do: fc.constant('wait' as const), ms: fc.integer({ min: 0, max: HOUR_MS }) }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('crash' as const) }) },
);
type Step = typeof STEP extends fc.Arbitrary<infer S> ? S : never;

/** An endpoint, the log, and what is remembered of both when the process dies. */
class World {
  nowMs = 1_800_000_000_000;
  readonly accepted: string[] = [];
  /** The places of each account's events, in order. */
  readonly ofAccount = new Map<number, string[]>();
  readonly givenUp = new Set<string>();
  private onTheirWay: Ticket[] = [];
  private queue = new DeliveryQueue(0, NO_STATE, POLICY);
  private remembered = { position: 0, state: JSON.stringify(NO_STATE) };

  constructor(private readonly rows: readonly (readonly number[])[]) {
    rows.forEach((accounts, row) =>
      accounts.forEach((accountId, index) => {
        const places = this.ofAccount.get(accountId) ?? [];
        this.ofAccount.set(accountId, [...places, keyOf({ position: row + 1, index })]);
      }),
    );
  }

  step(step: Step): void {
    if (step.do === 'wait') this.nowMs += step.ms;
    else if (step.do === 'crash') this.crash();
    else this.answer(step.which, step.do === 'accept');
    this.proceed();
    this.remember();
  }

  proceed(): void {
    for (let row = this.queue.readTo; row < this.rows.length && this.queue.room > 0; row++) {
      const accounts = this.rows[row] ?? [];
      this.queue.add(
        row + 1,
        accounts.map((accountId, index) => ({ index, accountId })),
      );
    }
    for (let ticket = this.queue.next(this.nowMs); ticket; ticket = this.queue.next(this.nowMs)) {
      this.checkOrder(ticket);
      this.onTheirWay.push(ticket);
    }
  }

  /** Everything is accepted from now on. */
  finish(): void {
    for (let turn = 0; turn < 1_000 && !this.isDone(); turn++) {
      while (this.onTheirWay.length > 0) this.answer(0, true);
      this.nowMs += HOUR_MS;
      this.proceed();
    }
  }

  isDone(): boolean {
    return (
      this.queue.position === this.rows.length && this.queue.failures === 0 && this.onTheirWay.length === 0
    );
  }

  get dropped(): number {
    return this.queue.state().dropped;
  }

  private answer(which: number, accept: boolean): void {
    if (this.onTheirWay.length === 0) return;
    const [ticket] = this.onTheirWay.splice(which % this.onTheirWay.length, 1) as [Ticket];
    if (accept) {
      this.accepted.push(keyOf(ticket));
      this.queue.accepted(ticket, attemptOf(ticket, this.nowMs, 200));
    } else this.queue.failed(ticket, attemptOf(ticket, this.nowMs, 500), this.nowMs);
    for (const { givenUp, position, index } of this.queue.state().failures)
      if (givenUp) this.givenUp.add(keyOf({ position, index }));
  }

  private remember(): void {
    this.remembered = { position: this.queue.position, state: JSON.stringify(this.queue.state()) };
  }

  private crash(): void {
    const state = readState(this.remembered.state);
    // What was written can be read.
    expect(state).toEqual(JSON.parse(this.remembered.state));
    this.queue = new DeliveryQueue(this.remembered.position, state, POLICY);
    this.onTheirWay = [];
  }

  /** All earlier events of its account were accepted or given up, and none of them is on its way. */
  private checkOrder(ticket: Ticket): void {
    const key = keyOf(ticket);
    if (this.givenUp.has(key)) return;
    const places = this.ofAccount.get(ticket.accountId) ?? [];
    for (const earlier of places.slice(0, places.indexOf(key))) {
      const isDone = this.accepted.includes(earlier) || this.givenUp.has(earlier) || this.dropped > 0;
      expect({ key, earlier, isDone }).toEqual({ key, earlier, isDone: true });
    }
    const beside = this.onTheirWay.filter(
      (other) => other.accountId === ticket.accountId && !this.givenUp.has(keyOf(other)),
    );
    expect(beside).toEqual([]);
  }
}

describe('what an endpoint is still to get', () => {
  it('arrives whole, and in order for each account, whatever fails and whenever a process dies', () => {
    fc.assert(
      fc.property(ROWS, fc.array(STEP, { maxLength: 120 }), (rows, steps) => {
        const world = new World(rows);
        world.proceed();
        for (const step of steps) world.step(step);
        world.finish();
        expect(world.isDone()).toBe(true);
        const all = [...world.ofAccount.values()].flat();
        const missing = all.filter((key) => !world.accepted.includes(key));
        expect(missing.length).toBe(world.dropped);
      }),
      { numRuns: 500 },
    );
  });

  const NOW = 1_800_000_000_000;
  const fail = (queue: DeliveryQueue, ticket: Ticket | undefined, nowMs: number, retryAfterMs?: number) =>
    queue.failed(ticket as Ticket, attemptOf(ticket as Ticket, nowMs, 500), nowMs, retryAfterMs);
  const accept = (queue: DeliveryQueue, ticket: Ticket | undefined, nowMs: number) =>
    queue.accepted(ticket as Ticket, attemptOf(ticket as Ticket, nowMs, 200));

  it('an event that is refused holds up its account alone, and the cursor goes on', () => {
    const queue = new DeliveryQueue(0, NO_STATE, POLICY);
    queue.add(1, [{ index: 0, accountId: 1 }]);
    queue.add(2, [
      { index: 0, accountId: 1 },
      { index: 1, accountId: 2 },
    ]);
    const first = queue.next(NOW);
    fail(queue, first, NOW);
    expect(queue.position).toBe(1);
    const other = queue.next(NOW);
    expect(other).toMatchObject({ accountId: 2, position: 2 });
    expect(queue.next(NOW)).toBeUndefined();
    accept(queue, other, NOW);
    expect(queue.position).toBe(2);
    expect(queue.state()).toMatchObject({
      failures: [{ position: 1, index: 0, givenUp: false, waiting: [[2, 0]] }],
    });
    const again = queue.next(NOW + 1_000);
    expect(again).toMatchObject({ position: 1, number: 2 });
    accept(queue, again, NOW + 1_000);
    const waited = queue.next(NOW + 1_000);
    expect(waited).toMatchObject({ position: 2, index: 0, number: 1 });
    accept(queue, waited, NOW + 1_000);
    expect(queue.state()).toMatchObject({ failures: [], failingSince: undefined });
  });

  it('is given up after an hour, tried beside the others for three days, and then dropped', () => {
    const queue = new DeliveryQueue(0, NO_STATE, POLICY);
    queue.add(1, [{ index: 0, accountId: 1 }]);
    queue.add(2, [{ index: 0, accountId: 1 }]);
    let nowMs = NOW;
    let later: Ticket | undefined;
    for (; !later; nowMs = queue.nextRetryMs() ?? nowMs) {
      const ticket = queue.next(nowMs);
      if (ticket?.position === 2) later = ticket;
      else fail(queue, ticket, nowMs);
    }
    expect(nowMs - NOW).toBeGreaterThanOrEqual(HOUR_MS);
    expect(nowMs - NOW).toBeLessThan(1.2 * HOUR_MS);
    accept(queue, later, nowMs);
    expect(queue.position).toBe(2);
    expect(queue.state().failures).toMatchObject([{ position: 1, givenUp: true, waiting: [] }]);
    while (queue.failures > 0) {
      nowMs = queue.nextRetryMs() as number;
      fail(queue, queue.next(nowMs), nowMs);
    }
    expect(nowMs - NOW).toBeGreaterThanOrEqual(72 * HOUR_MS);
    expect(nowMs - NOW).toBeLessThan(74 * HOUR_MS);
    expect(queue.state()).toMatchObject({ failures: [], dropped: 1 });
  });

  it('is dropped, not accepted, once the log has it no longer', () => {
    const queue = new DeliveryQueue(0, NO_STATE, POLICY);
    queue.add(1, [{ index: 0, accountId: 1 }]);
    queue.add(2, [{ index: 0, accountId: 1 }]);
    fail(queue, queue.next(NOW), NOW);
    queue.lost(queue.next(Infinity) as Ticket);
    expect(queue.state()).toMatchObject({ dropped: 1, failures: [{ position: 2 }] });
    accept(queue, queue.next(Infinity), NOW);
    expect(queue.state()).toMatchObject({ dropped: 1, failures: [] });
  });

  it('is read ahead within bounds, also where accounts wait for what failed', () => {
    const queue = new DeliveryQueue(0, NO_STATE, POLICY);
    let position = 0;
    const addRow = (accountId: number) => queue.add((position += 1), [{ index: 0, accountId }]);
    addRow(1);
    fail(queue, queue.next(NOW), NOW);
    while (queue.room > 0) addRow(1);
    expect(queue.state().failures[0]?.waiting.length).toBe(10_000);
    expect(queue.position).toBe(position);
    const other = new DeliveryQueue(0, NO_STATE, POLICY);
    position = 0;
    while (other.room > 0) other.add((position += 1), [{ index: 0, accountId: position }]);
    expect(position).toBe(1_000);
    for (let ticket = other.next(NOW); ticket; ticket = other.next(NOW)) fail(other, ticket, NOW);
    expect([other.failures, other.room, other.position]).toEqual([1_000, 0, 1_000]);
  });

  it('takes no state for one that is not', () => {
    for (const text of [null, '', '[]', '{"failures":[{}]}', '{"failures":1}', '{"__proto__":{}}'])
      expect(readState(text)).toEqual(NO_STATE);
  });
});

describe('the time of the next try', () => {
  it('doubles, with jitter, up to a bound, and is not before the endpoint asks for it', () => {
    const pauses = (tries: number, retryAfterMs = 0) =>
      Array.from({ length: 200 }, () => retryAt(POLICY, 0, tries, retryAfterMs, POLICY.longestRetryMs));
    for (const [tries, mostMs] of [
      [1, 1_000],
      [4, 8_000],
      [9, 256_000],
      [10, 300_000],
      [1_000, 300_000],
    ] as const) {
      const all = pauses(tries);
      expect(Math.min(...all)).toBeGreaterThanOrEqual(mostMs / 2);
      expect(Math.max(...all)).toBeLessThanOrEqual(mostMs);
      expect(new Set(all).size).toBeGreaterThan(50);
    }
    expect(Math.min(...pauses(1, 90_000))).toBe(90_000);
    expect(Math.max(...pauses(1, 1e12))).toBe(HOUR_MS);
  });

  it.each([
    ['120', 120_000],
    ['0', 0],
    [undefined, 0],
    ['soon', 0],
    ['-5', 0],
    ['1e9', 0],
    ['Fri, 15 Jan 2027 08:00:10 GMT', 10_000],
    ['Fri, 15 Jan 2027 07:00:00 GMT', 0],
  ])('Retry-After: %s asks for %s ms', (header, ms) => {
    expect(retryAfterMsOf(header, Date.parse('2027-01-15T08:00:00Z'))).toBe(ms);
  });
});
