import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { CommandQueue, type Waiting } from './command-queue.js';

interface Command extends Waiting {
  readonly name: number;
}

let lastName = 0;
const command = (accountId: number, deadlineMs = Infinity): Command => ({
  accountId,
  deadlineMs,
  name: ++lastName,
});

function queueOf(limit: number, ...commands: Command[]): CommandQueue<Command> {
  const queue = new CommandQueue<Command>(limit);
  for (const one of commands) queue.push(one);
  return queue;
}

describe('CommandQueue', () => {
  it('is bounded, and accepts commands again when there is room', () => {
    const queue = new CommandQueue<Command>(2);
    expect([queue.push(command(1)), queue.push(command(2)), queue.push(command(1))]).toEqual([
      true,
      true,
      false,
    ]);
    expect(queue.size).toBe(2);
    expect(queue.take(1)).toHaveLength(1);
    expect([queue.push(command(3)), queue.push(command(3))]).toEqual([true, false]);
  });

  it('keeps the commands of an account in order', () => {
    const commands = [command(1), command(1), command(1)];
    expect(queueOf(9, ...commands).take(9)).toEqual(commands);
  });

  it('holds back the commands of an account that has been taken, until it is released', () => {
    const [first, second, other] = [command(1), command(1), command(2)];
    const queue = queueOf(9, first);
    expect(queue.take(9)).toEqual([first]);
    queue.push(second);
    queue.push(other);
    expect(queue.take(9)).toEqual([other]);
    queue.release(2);
    expect(queue.take(9)).toEqual([]);
    queue.release(1);
    expect(queue.take(9)).toEqual([second]);
  });

  it('takes the rest of an account only when the first part is released', () => {
    const commands = [command(1), command(1), command(1)];
    const queue = queueOf(9, ...commands);
    expect(queue.take(2)).toEqual(commands.slice(0, 2));
    expect(queue.take(2)).toEqual([]);
    expect(queue.size).toBe(1);
    queue.release(1);
    expect(queue.take(2)).toEqual(commands.slice(2));
  });

  it('takes commands of no more accounts than asked', () => {
    const queue = queueOf(9, command(1), command(2), command(1), command(3));
    expect(queue.take(9, 1).map((one) => one.accountId)).toEqual([1, 1]);
    expect(queue.take(9, 1).map((one) => one.accountId)).toEqual([2]);
    expect(queue.take(0)).toEqual([]);
    expect(queue.take(9, 0)).toEqual([]);
    expect(queue.size).toBe(1);
  });

  it('knows whether an account has commands that wait, or that were taken and not released', () => {
    const queue = queueOf(9, command(1));
    expect([queue.holds(1), queue.holds(2)]).toEqual([true, false]);
    queue.take(9);
    expect(queue.holds(1)).toBe(true);
    queue.release(1);
    expect(queue.holds(1)).toBe(false);
  });

  it('expires the commands whose deadline has passed, even of an account that has been taken', () => {
    const [taken, late, alive] = [command(1, 10), command(1, 20), command(1, 30)];
    const other = command(2, 20);
    const queue = queueOf(9, taken);
    queue.take(1);
    for (const one of [late, alive, other]) queue.push(one);
    expect(queue.expire(9)).toEqual([]);
    expect(queue.expire(20)).toEqual([late, other]);
    expect(queue.size).toBe(1);
    expect(queue.holds(2)).toBe(false);
    queue.release(1);
    expect(queue.take(9)).toEqual([alive]);
  });

  it('expires late commands wherever they are in the queue, and keeps the order of the rest', () => {
    const [first, late, third] = [command(1, 30), command(1, 10), command(1, 20)];
    const queue = queueOf(9, first, late, third, command(2, 40));
    expect(queue.expire(10)).toEqual([late]);
    expect(queue.take(2, 1)).toEqual([first, third]);
  });

  it('checks waiting commands only when one may be late', () => {
    let looks = 0;
    const counted = Array.from({ length: 1_000 }, () => ({
      accountId: 1,
      name: ++lastName,
      get deadlineMs() {
        looks += 1;
        return 100;
      },
    }));
    const queue = queueOf(1_000, ...counted);
    looks = 0;
    for (let nowMs = 0; nowMs < 100; nowMs++) expect(queue.expire(nowMs)).toEqual([]);
    expect(looks).toBe(0);
    expect(queue.expire(100)).toHaveLength(1_000);
  });

  it('does not let a hot account starve the others', () => {
    const queue = queueOf(10_000, ...Array.from({ length: 1_000 }, () => command(1)), command(2), command(3));
    const turns: number[] = [];
    for (let turn = 0; turn < 4; turn++) {
      const [first] = queue.take(10, 1);
      turns.push(first?.accountId ?? 0);
      queue.push(command(1));
      queue.release(first?.accountId ?? 0);
    }
    expect(turns).toEqual([1, 2, 3, 1]);
  });

  it('empties a long queue in linear, not quadratic, time', () => {
    const size = 20_000;
    const queue = new CommandQueue<Command>(size);
    for (let i = 0; i < size; i++) queue.push(command(i % 10_000));
    const startedMs = performance.now();
    let taken = 0;
    for (let batch = queue.take(100); batch.length > 0; batch = queue.take(100)) {
      taken += batch.length;
      for (const one of batch) queue.release(one.accountId);
    }
    expect(taken).toBe(size);
    expect(performance.now() - startedMs).toBeLessThan(2_000);
  });
});

type Step =
  | { readonly do: 'push'; readonly accountId: number; readonly patienceMs: number }
  | { readonly do: 'take'; readonly commands: number; readonly accounts: number }
  | { readonly do: 'release'; readonly which: number }
  | { readonly do: 'wait'; readonly ms: number };

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant('push' as const),
      accountId: fc.integer({ min: 1, max: 5 }),
      // A command may have waited elsewhere before, so deadlines come in any order.
      patienceMs: fc.integer({ min: 1, max: 20 }),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant('take' as const),
      commands: fc.integer({ min: 0, max: 6 }),
      accounts: fc.constantFrom(1, 2, Infinity),
    }),
  },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('release' as const), which: fc.nat() }) },
  {
    weight: 1,
    arbitrary: fc.record({ do: fc.constant('wait' as const), ms: fc.integer({ min: 1, max: 15 }) }),
  },
);

/** One list of everything that waits, in the order of arrival, and the order in which accounts became ready. */
class Model {
  waiting: Command[] = [];
  ready: number[] = [];
  readonly busy = new Set<number>();

  constructor(private readonly limit: number) {}

  push(one: Command): boolean {
    if (this.waiting.length === this.limit) return false;
    this.waiting.push(one);
    this.makeReady(one.accountId);
    return true;
  }

  take(commands: number, accounts: number): Command[] {
    const taken: Command[] = [];
    for (const accountId of this.ready.slice(0, accounts)) {
      const own = this.waiting.filter((one) => one.accountId === accountId).slice(0, commands - taken.length);
      if (own.length === 0) break;
      taken.push(...own);
      this.busy.add(accountId);
    }
    this.waiting = this.waiting.filter((one) => !taken.includes(one));
    this.ready = this.ready.filter((accountId) => !this.busy.has(accountId));
    return taken;
  }

  release(accountId: number): void {
    this.busy.delete(accountId);
    this.makeReady(accountId);
  }

  expire(nowMs: number): Command[] {
    const expired = this.waiting.filter((one) => one.deadlineMs <= nowMs);
    this.waiting = this.waiting.filter((one) => one.deadlineMs > nowMs);
    this.ready = this.ready.filter((accountId) => this.waits(accountId));
    return expired;
  }

  waits(accountId: number): boolean {
    return this.waiting.some((one) => one.accountId === accountId);
  }

  private makeReady(accountId: number): void {
    const isNew = !this.ready.includes(accountId) && !this.busy.has(accountId);
    if (isNew && this.waits(accountId)) this.ready.push(accountId);
  }
}

describe('CommandQueue: any sequence of steps', () => {
  it('behaves like the model, and neither loses nor duplicates a command', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 80 }), fc.integer({ min: 1, max: 12 }), (steps, limit) => {
        const queue = new CommandQueue<Command>(limit);
        const model = new Model(limit);
        const running = new Set<number>();
        const pushed: Command[] = [];
        const late: Command[] = [];
        const out: Command[] = [];
        let nowMs = 0;
        for (const now of steps) {
          if (now.do === 'push') {
            const one = command(now.accountId, nowMs + now.patienceMs);
            const accepted = queue.push(one);
            expect(accepted).toBe(model.push(one));
            if (accepted) pushed.push(one);
          } else if (now.do === 'take') {
            const taken = queue.take(now.commands, now.accounts);
            expect(taken).toEqual(model.take(now.commands, now.accounts));
            const accounts = new Set(taken.map((one) => one.accountId));
            for (const accountId of accounts) {
              expect(running.has(accountId)).toBe(false);
              running.add(accountId);
            }
            expect(taken.length).toBeLessThanOrEqual(now.commands);
            expect(accounts.size).toBeLessThanOrEqual(now.accounts);
            out.push(...taken);
          } else if (now.do === 'release') {
            const accountId = [...running][now.which % running.size];
            if (accountId === undefined) continue;
            running.delete(accountId);
            queue.release(accountId);
            model.release(accountId);
          } else {
            nowMs += now.ms;
            const byName = (a: Command, b: Command) => a.name - b.name;
            const expired = queue.expire(nowMs);
            expect([...expired].sort(byName)).toEqual(model.expire(nowMs).sort(byName));
            late.push(...expired);
          }
          expect(queue.size).toBe(model.waiting.length);
          expect(queue.size).toBeLessThanOrEqual(limit);
          for (let accountId = 1; accountId <= 5; accountId++) {
            expect(queue.holds(accountId)).toBe(model.waits(accountId) || running.has(accountId));
          }
        }
        // Finally everything is released and taken: each command has come out once, each account's in their order.
        for (const accountId of running) queue.release(accountId);
        out.push(...queue.take(Infinity));
        for (let accountId = 1; accountId <= 5; accountId++) {
          const own = (commands: Command[]) => commands.filter((one) => one.accountId === accountId);
          expect(own(out)).toEqual(own(pushed).filter((one) => !late.includes(one)));
        }
        expect(out.length + late.length).toBe(pushed.length);
        expect(queue.size).toBe(0);
      }),
      { numRuns: 500 },
    );
  });

  it('gives every waiting account its turn within one round', () => {
    const arrivals = fc.array(fc.integer({ min: 1, max: 6 }), { minLength: 1, maxLength: 60 });
    fc.assert(
      fc.property(arrivals, fc.integer({ min: 1, max: 4 }), (accountIds, room) => {
        const queue = queueOf(1_000, ...accountIds.map((accountId) => command(accountId)));
        const all = [...new Set(accountIds)];
        const round = all.map(() => {
          const batch = queue.take(room, 1);
          const accountId = batch[0]?.accountId ?? 0;
          // However many commands it sends now, it has had its turn.
          queue.push(command(accountId));
          queue.release(accountId);
          return accountId;
        });
        expect(round).toEqual(all);
      }),
    );
  });
});
