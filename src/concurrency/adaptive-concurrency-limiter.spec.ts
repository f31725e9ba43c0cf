import { describe, expect, it } from '@jest/globals';
import { setTimeout as sleep } from 'node:timers/promises';
import fc from 'fast-check';
import { AT_WORK_MS, halfOf, AdaptiveConcurrencyLimiter } from './adaptive-concurrency-limiter.js';

const LIMITS = { atWork: 2, queue: 3, holdMs: 30_000 };

/** Notes what is decided of each entrant, by name. */
function visitors(turnstile: AdaptiveConcurrencyLimiter) {
  const decided: string[] = [];
  const gone = new Set<string>();
  const leaving: ((posted: boolean) => void)[] = [];
  /** @param user by default the same for all */
  const enter = (name: string, user = 'one') =>
    turnstile.enter({
      user,
      isGone: () => gone.has(name),
      admitted: (leave, sinceMs) => {
        leaving.push(leave);
        decided.push(`${name} ${sinceMs === undefined ? 'at once' : 'later'}`);
      },
      refused: () => decided.push(`${name} refused`),
    });
  /** In the order in which they were admitted. */
  const leave = (posted = true) => leaving.shift()?.(posted);
  return { decided, gone, enter, leave };
}

describe('AdaptiveConcurrencyLimiter', () => {
  it('admits up to its limit, holds the next in order of arrival, and refuses what comes beyond the queue', () => {
    const turnstile = new AdaptiveConcurrencyLimiter(LIMITS);
    const { decided, enter, leave } = visitors(turnstile);
    for (const name of 'abcdef') enter(name);
    expect(decided.splice(0)).toEqual(['a at once', 'b at once', 'f refused']);
    expect(turnstile.heldNow).toBe(3);
    leave();
    leave();
    expect(decided.splice(0)).toEqual(['c later', 'd later']);
    enter('g');
    leave();
    leave();
    expect(decided).toEqual(['e later', 'g later']);
    expect(turnstile.heldNow).toBe(0);
  });

  it('does not let a newcomer pass those that are held', () => {
    let parked = 0;
    const turnstile = new AdaptiveConcurrencyLimiter(LIMITS, () => parked);
    const { decided, enter, leave } = visitors(turnstile);
    for (const name of 'abc') enter(name);
    parked = 1;
    enter('d');
    expect(decided).toEqual(['a at once', 'b at once', 'c later']);
    leave();
    expect(decided.slice(3)).toEqual(['d later']);
  });

  it('passes over those that are gone', () => {
    const turnstile = new AdaptiveConcurrencyLimiter(LIMITS);
    const { decided, gone, enter, leave } = visitors(turnstile);
    for (const name of 'abcd') enter(name);
    gone.add('c');
    leave();
    expect(decided.slice(2)).toEqual(['d later']);
  });

  it('gives the places of those that wait for a foreign lock to others, without being told', async () => {
    let parked = 0;
    const turnstile = new AdaptiveConcurrencyLimiter(LIMITS, () => parked);
    const { decided, enter } = visitors(turnstile);
    for (const name of 'abcd') enter(name);
    parked = 2;
    await sleep(300);
    expect(decided.slice(2)).toEqual(['c later', 'd later']);
  });

  it('refuses whom it has held for too long', async () => {
    const turnstile = new AdaptiveConcurrencyLimiter({ ...LIMITS, holdMs: 200 });
    const { decided, enter, leave } = visitors(turnstile);
    for (const name of 'abc') enter(name);
    await sleep(80);
    expect(decided).toEqual(['a at once', 'b at once']);
    await sleep(500);
    expect(decided.slice(2)).toEqual(['c refused']);
    leave();
    enter('d');
    expect(decided.slice(3)).toEqual(['d at once']);
  });

  it('does not take a database that is far away for one that has too much to do', async () => {
    const turnstile = new AdaptiveConcurrencyLimiter({ ...LIMITS, atWork: 100, queue: 1_000 });
    const { decided, enter, leave } = visitors(turnstile);
    for (let index = 0; index < 32; index++) enter('few');
    await sleep(AT_WORK_MS + 100);
    for (let index = 0; index < 32; index++) leave();
    for (let index = 0; index < 90; index++) enter('many');
    expect(decided.filter((each) => each === 'many at once')).toHaveLength(90);
  });

  it('learns nothing from requests that never came to the database', async () => {
    const turnstile = new AdaptiveConcurrencyLimiter({ ...LIMITS, atWork: 100, queue: 1_000 });
    const { decided, enter, leave } = visitors(turnstile);
    for (let index = 0; index < 100; index++) enter('slow');
    await sleep(AT_WORK_MS + 100);
    for (let index = 0; index < 60; index++) leave();
    for (let index = 0; index < 500; index++) {
      leave(false);
      enter('refused');
    }
    // Its limit is still 40, and 40 are at work.
    for (let index = 0; index < 30; index++) enter('more');
    expect(decided).not.toContain('more at once');
  });

  it('counts those that it refuses', () => {
    let refused = 0;
    const turnstile = new AdaptiveConcurrencyLimiter(
      LIMITS,
      () => 0,
      () => (refused += 1),
    );
    const { enter } = visitors(turnstile);
    for (const name of 'abcdefg') enter(name);
    expect(refused).toBe(2);
  });

  it('lets fewer in while they take long, and more again when they do not', async () => {
    const turnstile = new AdaptiveConcurrencyLimiter({ ...LIMITS, atWork: 100, queue: 1_000 });
    const { decided, enter, leave } = visitors(turnstile);
    for (let index = 0; index < 140; index++) enter('slow');
    expect(decided).toHaveLength(100);
    await sleep(AT_WORK_MS + 100);
    for (let index = 0; index < 40; index++) leave();
    // Its limit is 60 now, and 60 are at work.
    expect(decided).toHaveLength(100);
    for (let index = 0; index < 60; index++) leave();
    // Never fewer than 32, however long they take.
    expect(decided).toHaveLength(140 - 40 + 32);
    for (let index = 0; index < 1_000; index++) {
      leave();
      enter('fast');
    }
    for (let index = 0; index < 200; index++) enter('more');
    expect(decided.filter((each) => each === 'more at once').length).toBeGreaterThan(30);
  });
});

describe('AdaptiveConcurrencyLimiter, between users', () => {
  it('lets who comes late have a turn before the many that another holds', () => {
    const { decided, enter, leave } = visitors(new AdaptiveConcurrencyLimiter({ ...LIMITS, queue: 100 }));
    for (let n = 0; n < 50; n++) enter(`many ${n}`, 'many');
    enter('few', 'few');
    decided.length = 0;
    leave();
    leave();
    leave();
    // A user with nothing at work goes first, however long others have waited.
    expect(decided).toEqual(['few later', 'many 2 later', 'many 3 later']);
  });

  it('gives up, of a full queue, the newest of who has most of it', () => {
    const { decided, enter } = visitors(new AdaptiveConcurrencyLimiter(LIMITS));
    for (const name of 'abcde') enter(name, 'many');
    decided.length = 0;
    enter('x', 'few');
    enter('f', 'many');
    enter('y', 'other');
    expect(decided).toEqual(['e refused', 'f refused', 'd refused']);
  });

  it('keeps half of the places for others where one user may have half', () => {
    const turnstile = new AdaptiveConcurrencyLimiter({
      atWork: 4,
      perUser: halfOf(4),
      queue: 10,
      holdMs: 30_000,
    });
    const { decided, enter, leave } = visitors(turnstile);
    for (const name of 'abcd') enter(name, 'slow');
    expect(decided.splice(0)).toEqual(['a at once', 'b at once']);
    enter('x', 'other');
    expect(decided.splice(0)).toEqual(['x later']);
    leave();
    expect(decided).toEqual(['c later']);
  });

  it('counts for nobody what has left', async () => {
    const turnstile = new AdaptiveConcurrencyLimiter({ atWork: 1, queue: 10, holdMs: 30_000 });
    const order: number[] = [];
    const failed = turnstile.within('a', () => Promise.reject(new Error('failed')));
    const others = [1, 2, 3].map((n) => turnstile.within('a', () => Promise.resolve(order.push(n))));
    await expect(failed).rejects.toThrow('failed');
    await Promise.all(others);
    expect(order).toEqual([1, 2, 3]);
  });

  it('never has more at work than its bound, nor gives one beyond half while another with fewer waits', () => {
    const USERS = ['a', 'b', 'c', 'd'];
    const event = fc.oneof(
      fc.record({ enters: fc.constantFrom(...USERS) }),
      fc.record({ leaves: fc.nat(100) }),
    );
    const run = fc.record({
      atWork: fc.integer({ min: 1, max: 8 }),
      share: fc.boolean(),
      events: fc.array(event, { maxLength: 120 }),
    });
    fc.assert(
      fc.property(run, ({ atWork, share, events }) => {
        const half = halfOf(atWork);
        const perUser = share ? half : undefined;
        const turnstile = new AdaptiveConcurrencyLimiter({ atWork, perUser, queue: 6, holdMs: 30_000 });
        const working: { user: string; leave: () => void }[] = [];
        const held: string[] = [];
        const has = (user: string) => working.filter((one) => one.user === user).length;
        const forget = (user: string) => held.splice(held.indexOf(user), 1);
        const enter = (user: string) => {
          held.push(user);
          turnstile.enter({
            user,
            isGone: () => false,
            admitted: (leave) => {
              forget(user);
              if (has(user) >= half) expect(held.filter((other) => has(other) < half)).toEqual([]);
              working.push({ user, leave: () => leave(false) });
            },
            refused: () => {
              const mine = held.filter((each) => each === user).length;
              for (const other of USERS) {
                expect(held.filter((each) => each === other).length).toBeLessThanOrEqual(mine);
              }
              forget(user);
            },
          });
        };
        const leave = (at: number) => working.splice(at % Math.max(1, working.length), 1)[0]?.leave();
        for (const one of events) {
          if ('enters' in one) enter(one.enters);
          else leave(one.leaves);
          expect(working.length).toBeLessThanOrEqual(atWork);
          expect(turnstile.heldNow).toBe(held.length);
          // No place is empty that one of those who wait may have.
          if (working.length < atWork)
            expect(held.filter((user) => has(user) < (perUser ?? atWork))).toEqual([]);
        }
        // Nobody is left behind.
        while (working.length > 0) leave(0);
        expect(held).toEqual([]);
      }),
      { numRuns: 500 },
    );
  });
});
