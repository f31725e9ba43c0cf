import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { CommandQueue, type Waiting } from './command-queue.js';

interface Command extends Waiting {
  readonly name: number;
}

let lastName = 0;
const over = (accountIds: readonly number[], deadlineMs = Infinity): Command => ({
  accountIds,
  deadlineMs,
  name: ++lastName,
});
const command = (accountId: number, deadlineMs = Infinity): Command => over([accountId], deadlineMs);

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
    expect(queue.take(9, 1).map((one) => one.accountIds[0])).toEqual([1, 1]);
    expect(queue.take(9, 1).map((one) => one.accountIds[0])).toEqual([2]);
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
      accountIds: [1],
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
      turns.push(first?.accountIds[0] ?? 0);
      queue.push(command(1));
      queue.release(first?.accountIds[0] ?? 0);
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
      for (const one of batch) queue.release(one.accountIds[0] ?? 0);
    }
    expect(taken).toBe(size);
    expect(performance.now() - startedMs).toBeLessThan(2_000);
  });
});

describe('CommandQueue: commands over several accounts', () => {
  const releaseAll = (queue: CommandQueue<Command>, batch: readonly Command[]) =>
    batch.flatMap(({ accountIds }) => accountIds).forEach((accountId) => queue.release(accountId));

  it('takes all that waits for the accounts of one batch, each account in its order', () => {
    const commands = [command(1), over([1, 2]), command(2), over([2, 3, 1]), command(1), command(3)];
    const taken = queueOf(9, ...commands).take(9);
    expect(taken).toHaveLength(6);
    for (const accountId of [1, 2, 3]) {
      const own = (of: readonly Command[]) => of.filter(({ accountIds }) => accountIds.includes(accountId));
      expect(own(taken)).toEqual(own(commands));
    }
  });

  it('waits until none of its accounts is busy, and lets nothing pass', () => {
    const [first, second, both, late] = [command(1), command(2), over([1, 2]), command(2)];
    const queue = queueOf(9, first);
    expect(queue.take(9)).toEqual([first]);
    queue.push(second);
    expect(queue.take(9)).toEqual([second]);
    queue.push(both);
    queue.push(late);
    expect(queue.take(9)).toEqual([]);
    queue.release(2);
    expect(queue.take(9)).toEqual([]);
    queue.release(1);
    expect(queue.take(9)).toEqual([both, late]);
  });

  it('is counted once, and expires once', () => {
    const [both, other] = [over([1, 2], 10), command(2)];
    const queue = queueOf(2, both, other);
    expect(queue.size).toBe(2);
    expect(queue.push(command(3))).toBe(false);
    expect(queue.expire(10)).toEqual([both]);
    expect(queue.size).toBe(1);
    expect(queue.holds(1)).toBe(false);
    expect(queue.take(9)).toEqual([other]);
  });

  it('does not block its other accounts while one is held, and joins the ends of its lines afterwards', () => {
    const [first, waiting, single] = [command(1), over([1, 2]), command(2)];
    const queue = queueOf(9, first);
    expect(queue.take(9)).toEqual([first]);
    [waiting, single].forEach((one) => queue.push(one));
    expect(queue.take(9)).toEqual([]);
    queue.hold(1);
    expect(queue.take(9)).toEqual([single]);
    queue.release(2);
    const [arrived, held, other] = [over([2, 1]), command(1), command(2)];
    [arrived, held, other].forEach((one) => queue.push(one));
    expect(queue.size).toBe(4);
    expect(queue.take(9)).toEqual([other]);
    queue.release(2);
    queue.release(1);
    expect(queue.take(9)).toEqual([held, waiting, arrived]);
  });

  it('may be set aside again, for another account, and expires there too', () => {
    const queue = queueOf(9, command(1), command(2));
    queue.take(9);
    queue.hold(1);
    queue.hold(2);
    const [late, both] = [over([1, 2], 10), over([1, 2], 20)];
    queue.push(late);
    queue.push(both);
    expect(queue.expire(10)).toEqual([late]);
    queue.release(1);
    expect(queue.take(9)).toEqual([]);
    expect(queue.size).toBe(1);
    queue.release(2);
    expect(queue.take(9)).toEqual([both]);
    expect(queue.size).toBe(0);
  });

  it('holds only an account that is busy', () => {
    const queue = queueOf(9, command(1));
    expect(() => queue.hold(1)).toThrow('account 1 is free, not busy');
    queue.take(9);
    queue.hold(1);
    expect(() => queue.hold(1)).toThrow('account 1 is held, not busy');
  });

  it.each([
    [5_000, 2],
    [500, 100],
  ])('takes linear time with %p commands over %p accounts, all of them hot', (size, legs) => {
    const queue = new CommandQueue<Command>(size);
    const startedMs = performance.now();
    for (let n = 0; n < size; n++) {
      queue.push(over(Array.from({ length: legs }, (_, leg) => 1 + ((n + leg) % legs))));
    }
    let taken = 0;
    for (let batch = queue.take(100); batch.length > 0; batch = queue.take(100)) {
      taken += batch.length;
      releaseAll(queue, batch);
    }
    expect(taken).toBe(size);
    expect(performance.now() - startedMs).toBeLessThan(2_000);
  });
});

const ACCOUNTS = [1, 2, 3, 4, 5];

type Step =
  | { readonly do: 'push'; readonly accountIds: readonly number[]; readonly patienceMs: number }
  | { readonly do: 'take'; readonly room: number; readonly turns: number }
  | { readonly do: 'release'; readonly which: number }
  | { readonly do: 'hold'; readonly which: number }
  | { readonly do: 'wait'; readonly ms: number };

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({
      do: fc.constant('push' as const),
      accountIds: fc.oneof(
        fc.constantFrom(...ACCOUNTS).map((accountId) => [accountId]),
        fc.uniqueArray(fc.constantFrom(...ACCOUNTS), { minLength: 2, maxLength: 4 }),
      ),
      // A command may have waited elsewhere before, so deadlines come in any order.
      patienceMs: fc.integer({ min: 1, max: 30 }),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant('take' as const),
      room: fc.integer({ min: 0, max: 8 }),
      turns: fc.constantFrom(1, 2, Infinity),
    }),
  },
  { weight: 4, arbitrary: fc.record({ do: fc.constant('release' as const), which: fc.nat() }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('hold' as const), which: fc.nat() }) },
  {
    weight: 1,
    arbitrary: fc.record({ do: fc.constant('wait' as const), ms: fc.integer({ min: 1, max: 15 }) }),
  },
);

/**
 * The rules as they are said, in lists that are searched from the front: what waits, in the order of arrival; what is
 * set aside; the accounts in the order in which they became ready.
 */
class Model {
  waiting: Command[] = [];
  aside: { readonly command: Command; readonly accountId: number }[] = [];
  ready: number[] = [];
  readonly busy = new Set<number>();
  readonly held = new Set<number>();
  /** In the order in which they came into use. */
  private inUse: number[] = [];

  constructor(private readonly limit: number) {}

  get size(): number {
    return this.waiting.length + this.aside.length;
  }

  push(one: Command): boolean {
    if (this.size === this.limit) return false;
    this.join(one);
    return true;
  }

  take(room: number, turns: number): Command[] {
    const taken: Command[] = [];
    const isFull = () => sizeOf(taken) >= room;
    /** The accounts of the batch, each with the command at which it stopped. */
    const inBatch = new Map<number, Command | undefined>();
    for (const turn of this.ready.slice(0, turns)) {
      if (isFull()) break;
      const accounts = [turn];
      for (const accountId of accounts) {
        while (!isFull()) {
          const first = this.firstOf(accountId);
          inBatch.set(accountId, first);
          if (!first || !this.mayTakeFirst(accountId, inBatch)) break;
          taken.push(first);
          this.waiting = this.waiting.filter((one) => one !== first);
          first.accountIds.forEach((id) => inBatch.set(id, undefined));
          accounts.push(...first.accountIds.filter((id) => id !== accountId));
        }
      }
    }
    for (const accountId of inBatch.keys()) this.busy.add(accountId);
    this.ready = this.ready.filter((accountId) => !inBatch.has(accountId));
    return taken;
  }

  release(accountId: number): void {
    this.busy.delete(accountId);
    this.held.delete(accountId);
    this.tidy();
    this.becomeReady(accountId);
    const back = this.aside.filter((one) => one.accountId === accountId);
    this.aside = this.aside.filter((one) => one.accountId !== accountId);
    for (const one of back) this.join(one.command);
  }

  hold(accountId: number): void {
    this.busy.delete(accountId);
    this.held.add(accountId);
    const leaving = this.waiting.filter(
      ({ accountIds }) => accountIds.length > 1 && accountIds.includes(accountId),
    );
    this.aside.push(...leaving.map((one) => ({ command: one, accountId })));
    this.remove(leaving, [...new Set(leaving.flatMap(({ accountIds }) => accountIds))]);
  }

  expire(nowMs: number): Command[] {
    const isLate = (one: Command) => one.deadlineMs <= nowMs;
    const late = [...this.waiting, ...this.aside.map((one) => one.command)].filter(isLate);
    this.aside = this.aside.filter((one) => !isLate(one.command));
    this.remove(late, [...this.inUse]);
    return late;
  }

  uses(accountId: number): boolean {
    return this.busy.has(accountId) || this.held.has(accountId) || this.firstOf(accountId) !== undefined;
  }

  /** Nothing is ahead of a command, and none of its accounts is among those given. */
  isAhead(one: Command, atWork: ReadonlySet<number>): boolean {
    return one.accountIds.every((id) => this.firstOf(id) === one && !atWork.has(id));
  }

  private join(one: Command): void {
    const held = one.accountIds.find((accountId) => this.held.has(accountId));
    if (one.accountIds.length > 1 && held !== undefined) {
      this.aside.push({ command: one, accountId: held });
      return;
    }
    this.waiting.push(one);
    this.inUse.push(...one.accountIds.filter((accountId) => !this.inUse.includes(accountId)));
    this.becomeReady(one.accountIds.at(-1) as number);
  }

  private remove(leaving: readonly Command[], accountIds: readonly number[]): void {
    const before = new Map(accountIds.map((accountId) => [accountId, this.firstOf(accountId)]));
    this.waiting = this.waiting.filter((one) => !leaving.includes(one));
    const hasNewFirst = (accountId: number) => this.firstOf(accountId) !== before.get(accountId);
    // Of the lines that get the same new first command, the last one completes it, and has the turn.
    const completes = (accountId: number) => {
      const its = this.firstOf(accountId)?.accountIds ?? [];
      const later = accountIds.slice(accountIds.indexOf(accountId) + 1);
      return !later.some((id) => its.includes(id) && hasNewFirst(id));
    };
    this.ready = this.ready.filter(
      (accountId) => this.mayTakeFirst(accountId) && (!hasNewFirst(accountId) || completes(accountId)),
    );
    for (const accountId of accountIds)
      if (hasNewFirst(accountId) && completes(accountId)) this.becomeReady(accountId);
    this.tidy();
  }

  private tidy(): void {
    this.inUse = this.inUse.filter((accountId) => this.uses(accountId));
    for (const accountId of this.busy) if (!this.inUse.includes(accountId)) this.inUse.push(accountId);
  }

  private firstOf(accountId: number): Command | undefined {
    return this.waiting.find((one) => one.accountIds.includes(accountId));
  }

  private mayTakeFirst(
    accountId: number,
    inBatch: ReadonlyMap<number, Command | undefined> = new Map(),
  ): boolean {
    const first = this.firstOf(accountId);
    const isFree = (id: number) =>
      inBatch.has(id) ? inBatch.get(id) === first : !(this.busy.has(id) || this.held.has(id));
    return !!first?.accountIds.every((id) => this.firstOf(id) === first && isFree(id));
  }

  /** Gives an account its turn, unless another one has it for the same command. */
  private becomeReady(accountId: number): void {
    const others = this.firstOf(accountId)?.accountIds;
    if (this.mayTakeFirst(accountId) && !others?.some((id) => this.ready.includes(id))) {
      this.ready.push(accountId);
    }
  }
}

const sizeOf = (batch: readonly Command[]) =>
  batch.reduce((sum, { accountIds }) => sum + accountIds.length, 0);

describe('CommandQueue: any sequence of steps', () => {
  it('behaves like the model, and neither loses nor duplicates a command', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 100 }), fc.integer({ min: 1, max: 16 }), (steps, limit) => {
        const queue = new CommandQueue<Command>(limit);
        const model = new Model(limit);
        const pushed: Command[] = [];
        const late: Command[] = [];
        const out: Command[] = [];
        const setAside = new Set<Command>();
        let nowMs = 0;
        const release = (accountId: number) => {
          queue.release(accountId);
          model.release(accountId);
        };
        for (const now of steps) {
          if (now.do === 'push') {
            const one = over(now.accountIds, nowMs + now.patienceMs);
            const accepted = queue.push(one);
            expect(accepted).toBe(model.push(one));
            if (accepted) pushed.push(one);
          } else if (now.do === 'take') {
            const atWork = new Set([...model.busy, ...model.held]);
            const taken = queue.take(now.room, now.turns);
            expect(taken).toEqual(model.take(now.room, now.turns));
            expect(taken.some(({ accountIds }) => accountIds.some((id) => atWork.has(id)))).toBe(false);
            expect(sizeOf(taken.slice(0, -1))).toBeLessThanOrEqual(Math.max(0, now.room - 1));
            // Whatever may join the batch is in it: a hot account fills batches.
            if (sizeOf(taken) < now.room && now.turns === Infinity) {
              expect(model.waiting.filter((one) => model.isAhead(one, atWork))).toEqual([]);
            }
            out.push(...taken);
          } else if (now.do === 'release') {
            const running = [...model.busy, ...model.held];
            const accountId = running[now.which % running.length];
            if (accountId !== undefined) release(accountId);
          } else if (now.do === 'hold') {
            const accountId = [...model.busy][now.which % model.busy.size];
            if (accountId === undefined) continue;
            queue.hold(accountId);
            model.hold(accountId);
          } else {
            nowMs += now.ms;
            const byName = (a: Command, b: Command) => a.name - b.name;
            const expired = queue.expire(nowMs);
            expect([...expired].sort(byName)).toEqual(model.expire(nowMs).sort(byName));
            late.push(...expired);
          }
          for (const one of model.aside) setAside.add(one.command);
          expect(queue.size).toBe(model.size);
          expect(queue.size).toBeLessThanOrEqual(limit);
          expect(ACCOUNTS.filter((id) => queue.holds(id))).toEqual(ACCOUNTS.filter((id) => model.uses(id)));
        }
        // Finally everything is released and taken: each command has come out once, each account's in their order.
        for (const accountId of ACCOUNTS) release(accountId);
        out.push(...queue.take(Infinity));
        for (const accountId of ACCOUNTS) {
          const own = (commands: Command[]) =>
            commands.filter((one) => one.accountIds.includes(accountId) && !setAside.has(one));
          expect(own(out)).toEqual(own(pushed).filter((one) => !late.includes(one)));
        }
        expect(out.length + late.length).toBe(pushed.length);
        expect(new Set([...out, ...late]).size).toBe(pushed.length);
        expect(queue.size).toBe(0);
      }),
      { numRuns: 1_000 },
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
          const accountId = batch[0]?.accountIds[0] ?? 0;
          // However many commands it sends now, it has had its turn.
          queue.push(command(accountId));
          queue.release(accountId);
          return accountId;
        });
        expect(round).toEqual(all);
      }),
    );
  });

  it('starves no command, however many come later', () => {
    const accountIds = fc.uniqueArray(fc.constantFrom(...ACCOUNTS), { minLength: 1, maxLength: 3 });
    const arrivals = fc.array(accountIds, { minLength: 1, maxLength: 40 });
    fc.assert(
      fc.property(arrivals, accountIds, fc.integer({ min: 1, max: 5 }), (before, own, room) => {
        const last = over(own);
        const queue = queueOf(10_000, ...before.map((ids) => over(ids)), last);
        // Two batches are at work. Each round, more arrives for every account, and the older batch ends.
        const atWork = [queue.take(room), queue.take(room)];
        let rounds = 0;
        while (!atWork.flat().includes(last)) {
          for (const accountId of ACCOUNTS) queue.push(command(accountId));
          for (const done of atWork.shift() ?? []) done.accountIds.forEach((id) => queue.release(id));
          atWork.push(queue.take(room));
          rounds += 1;
          // Within a turn for every account, one of those that arrived earlier is taken.
          expect(rounds).toBeLessThanOrEqual(2 * ACCOUNTS.length * (before.length + 1));
        }
      }),
    );
  });
});
