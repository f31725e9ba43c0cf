import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { FairQueue } from './fair-queue.js';

interface Waiter {
  readonly user: string;
  readonly item: number;
}

/** The same rules, as simply as they can be written. */
class Model {
  /** In order of arrival. */
  waiting: Waiter[] = [];
  round: string[] = [];

  constructor(private readonly limit: number) {}

  of = (user: string) => this.waiting.filter((waiter) => waiter.user === user);

  push(user: string, item: number): number | undefined {
    let givenUp: Waiter | undefined;
    if (this.waiting.length >= this.limit) {
      const most = Math.max(...this.round.map((each) => this.of(each).length), 0);
      if (most <= this.of(user).length + 1) return item;
      const users = this.round.filter((each) => this.of(each).length === most);
      // Which of those who have equally many is left open.
      givenUp = this.of(this.chosen(users)).at(-1);
      this.remove(givenUp?.item);
    }
    this.waiting.push({ user, item });
    if (!this.round.includes(user)) this.round.push(user);
    return givenUp?.item;
  }

  /** Set by the test to whom the queue itself has chosen. */
  choose: string | undefined;

  private chosen(users: readonly string[]): string {
    if (this.choose === undefined || !users.includes(this.choose)) throw new Error('not one who has most');
    return this.choose;
  }

  take(suits: (user: string) => boolean): number | undefined {
    const user = this.round.find(suits);
    if (user === undefined) return undefined;
    const oldest = this.of(user)[0];
    this.remove(oldest?.item);
    if (this.round.includes(user)) this.round = [...this.round.filter((each) => each !== user), user];
    return oldest?.item;
  }

  remove(item: number | undefined): void {
    this.waiting = this.waiting.filter((waiter) => waiter.item !== item);
    this.round = this.round.filter((user) => this.of(user).length > 0);
  }
}

const user = fc.constantFrom('a', 'b', 'c', 'd');
const step = fc.oneof(
  { weight: 5, arbitrary: fc.record({ kind: fc.constant('push' as const), user }) },
  {
    weight: 3,
    arbitrary: fc.record({ kind: fc.constant('take' as const), not: fc.subarray(['a', 'b', 'c', 'd']) }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('remove' as const), at: fc.nat(20) }) },
);

describe('FairQueue', () => {
  it('does what the rules say', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 8 }), fc.array(step, { maxLength: 80 }), (limit, steps) => {
        const queue = new FairQueue<number>(limit);
        const model = new Model(limit);
        steps.forEach((one, item) => {
          if (one.kind === 'push') {
            const givenUp = queue.push(one.user, item);
            model.choose = givenUp?.user;
            expect(givenUp?.item).toBe(model.push(one.user, item));
          } else if (one.kind === 'take') {
            const suits = (name: string) => !one.not.includes(name);
            expect(queue.take(suits)?.item).toBe(model.take(suits));
          } else {
            const some = [...queue.waiting()][one.at];
            if (!some) return;
            queue.remove(some);
            queue.remove(some);
            model.remove(some.item);
          }
          expect([...queue.waiting()].map(({ item: each }) => each)).toEqual(
            model.waiting.map(({ item: each }) => each),
          );
          expect(queue.size).toBeLessThanOrEqual(limit);
        });
      }),
      { numRuns: 1_000 },
    );
  });

  it('starves nobody: between two turns of a user each other one has a turn at most', () => {
    fc.assert(
      fc.property(fc.array(user, { minLength: 1, maxLength: 60 }), (arrivals) => {
        const queue = new FairQueue<number>(100);
        arrivals.forEach((each, item) => queue.push(each, item));
        const taken = arrivals.map(() => queue.take(() => true) as Waiter);
        for (const each of 'abcd') {
          const turns = taken.flatMap((one, at) => (one.user === each ? [at] : []));
          [-1, ...turns].forEach((at, nth, all) => {
            const others = taken.slice(at + 1, all[nth + 1] ?? at + 1).map((one) => one.user);
            expect(new Set(others).size).toBe(others.length);
          });
          expect(turns.map((at) => taken[at]?.item)).toEqual(
            arrivals.flatMap((name, item) => (name === each ? [item] : [])),
          );
        }
      }),
    );
  });

  it('keeps out nobody who has few for one who has many', () => {
    const queue = new FairQueue<string>(100);
    for (let n = 0; n < 1_000; n++) queue.push('many', `${n}`);
    for (let n = 0; n < 10; n++) {
      expect(queue.push('few', `few ${n}`)?.item).toBe(`${99 - n}`);
    }
    expect(queue.take(() => true)?.item).toBe('0');
    expect(queue.take(() => true)?.item).toBe('few 0');
  });

  it('takes about as long for a step, however many wait', () => {
    const stepNs = (size: number) => {
      const queue = new FairQueue<number>(size);
      for (let n = 0; n < size; n++) queue.push(n % 3 === 0 ? `user ${n}` : 'many', n);
      const before = process.cpuUsage();
      for (let n = 0; n < 20_000; n++) {
        // Full, then not, then one is taken out of the middle.
        queue.push(`other ${n % 7}`, n);
        const taken = queue.take(() => true);
        if (taken) queue.push(taken.user, taken.item);
      }
      return (process.cpuUsage(before).user * 1_000) / 20_000;
    };
    stepNs(1_000);
    const ratios = [0, 1, 2].map(() => stepNs(100_000) / stepNs(1_000));
    // By a look at all of them it would be a hundred times as long. (More memory is slower memory.)
    expect(Math.min(...ratios)).toBeLessThan(30);
  });
});
