import { describe, expect, it } from '@jest/globals';
import { setTimeout as sleep } from 'node:timers/promises';
import fc from 'fast-check';
import { TARGET_MS, halfOf, AdaptiveConcurrencyLimiter } from './adaptive-concurrency-limiter.js';

const LIMITS = { maxInFlight: 2, queue: 3, maxWaitMs: 30_000 };

/** Notes what is decided of each request, by name. */
function requests(limiter: AdaptiveConcurrencyLimiter) {
  const decided: string[] = [];
  const gone = new Set<string>();
  const freeing: ((posted: boolean) => void)[] = [];
  /** @param user by default the same for all */
  const acquire = (name: string, user = 'one') =>
    limiter.acquire({
      user,
      isGone: () => gone.has(name),
      granted: (free, sinceMs) => {
        freeing.push(free);
        decided.push(`${name} ${sinceMs === undefined ? 'at once' : 'later'}`);
      },
      rejected: () => decided.push(`${name} refused`),
    });
  /** In the order in which they were admitted. */
  const free = (posted = true) => freeing.shift()?.(posted);
  return { decided, gone, acquire, free };
}

describe('AdaptiveConcurrencyLimiter', () => {
  it('admits up to its limit, holds the next in order of arrival, and refuses what comes beyond the queue', () => {
    const limiter = new AdaptiveConcurrencyLimiter(LIMITS);
    const { decided, acquire, free } = requests(limiter);
    for (const name of 'abcdef') acquire(name);
    expect(decided.splice(0)).toEqual(['a at once', 'b at once', 'f refused']);
    expect(limiter.waiting).toBe(3);
    free();
    free();
    expect(decided.splice(0)).toEqual(['c later', 'd later']);
    acquire('g');
    free();
    free();
    expect(decided).toEqual(['e later', 'g later']);
    expect(limiter.waiting).toBe(0);
  });

  it('does not let a newcomer pass those that wait', () => {
    let parked = 0;
    const limiter = new AdaptiveConcurrencyLimiter(LIMITS, () => parked);
    const { decided, acquire, free } = requests(limiter);
    for (const name of 'abc') acquire(name);
    parked = 1;
    acquire('d');
    expect(decided).toEqual(['a at once', 'b at once', 'c later']);
    free();
    expect(decided.slice(3)).toEqual(['d later']);
  });

  it('passes over those that are gone', () => {
    const limiter = new AdaptiveConcurrencyLimiter(LIMITS);
    const { decided, gone, acquire, free } = requests(limiter);
    for (const name of 'abcd') acquire(name);
    gone.add('c');
    free();
    expect(decided.slice(2)).toEqual(['d later']);
  });

  it('gives the places of those that wait for a foreign lock to others, without being told', async () => {
    let parked = 0;
    const limiter = new AdaptiveConcurrencyLimiter(LIMITS, () => parked);
    const { decided, acquire } = requests(limiter);
    for (const name of 'abcd') acquire(name);
    parked = 2;
    await sleep(300);
    expect(decided.slice(2)).toEqual(['c later', 'd later']);
  });

  it('rejects a request that has waited for too long', async () => {
    const limiter = new AdaptiveConcurrencyLimiter({ ...LIMITS, maxWaitMs: 200 });
    const { decided, acquire, free } = requests(limiter);
    for (const name of 'abc') acquire(name);
    await sleep(80);
    expect(decided).toEqual(['a at once', 'b at once']);
    await sleep(500);
    expect(decided.slice(2)).toEqual(['c refused']);
    free();
    acquire('d');
    expect(decided.slice(3)).toEqual(['d at once']);
  });

  it('does not take a database that is far away for one that has too much to do', async () => {
    const limiter = new AdaptiveConcurrencyLimiter({ ...LIMITS, maxInFlight: 100, queue: 1_000 });
    const { decided, acquire, free } = requests(limiter);
    for (let index = 0; index < 32; index++) acquire('few');
    await sleep(TARGET_MS + 100);
    for (let index = 0; index < 32; index++) free();
    for (let index = 0; index < 90; index++) acquire('many');
    expect(decided.filter((each) => each === 'many at once')).toHaveLength(90);
  });

  it('learns nothing from requests that never came to the database', async () => {
    const limiter = new AdaptiveConcurrencyLimiter({ ...LIMITS, maxInFlight: 100, queue: 1_000 });
    const { decided, acquire, free } = requests(limiter);
    for (let index = 0; index < 100; index++) acquire('slow');
    await sleep(TARGET_MS + 100);
    for (let index = 0; index < 60; index++) free();
    for (let index = 0; index < 500; index++) {
      free(false);
      acquire('refused');
    }
    // Its limit is still 40, and 40 are at work.
    for (let index = 0; index < 30; index++) acquire('more');
    expect(decided).not.toContain('more at once');
  });

  it('counts those that it refuses', () => {
    let refused = 0;
    const limiter = new AdaptiveConcurrencyLimiter(
      LIMITS,
      () => 0,
      () => (refused += 1),
    );
    const { acquire } = requests(limiter);
    for (const name of 'abcdefg') acquire(name);
    expect(refused).toBe(2);
  });

  it('lets fewer in while they take long, and more again when they do not', async () => {
    const limiter = new AdaptiveConcurrencyLimiter({ ...LIMITS, maxInFlight: 100, queue: 1_000 });
    const { decided, acquire, free } = requests(limiter);
    for (let index = 0; index < 140; index++) acquire('slow');
    expect(decided).toHaveLength(100);
    await sleep(TARGET_MS + 100);
    for (let index = 0; index < 40; index++) free();
    // Its limit is 60 now, and 60 are at work.
    expect(decided).toHaveLength(100);
    for (let index = 0; index < 60; index++) free();
    // Never fewer than 32, however long they take.
    expect(decided).toHaveLength(140 - 40 + 32);
    for (let index = 0; index < 1_000; index++) {
      free();
      acquire('fast');
    }
    for (let index = 0; index < 200; index++) acquire('more');
    expect(decided.filter((each) => each === 'more at once').length).toBeGreaterThan(30);
  });
});

describe('AdaptiveConcurrencyLimiter, between users', () => {
  it('lets who comes late have a turn before the many that another holds', () => {
    const { decided, acquire, free } = requests(new AdaptiveConcurrencyLimiter({ ...LIMITS, queue: 100 }));
    for (let n = 0; n < 50; n++) acquire(`many ${n}`, 'many');
    acquire('few', 'few');
    decided.length = 0;
    free();
    free();
    free();
    // A user with nothing at work goes first, however long others have waited.
    expect(decided).toEqual(['few later', 'many 2 later', 'many 3 later']);
  });

  it('gives up, of a full queue, the newest of who has most of it', () => {
    const { decided, acquire } = requests(new AdaptiveConcurrencyLimiter(LIMITS));
    for (const name of 'abcde') acquire(name, 'many');
    decided.length = 0;
    acquire('x', 'few');
    acquire('f', 'many');
    acquire('y', 'other');
    expect(decided).toEqual(['e refused', 'f refused', 'd refused']);
  });

  it('keeps half of the places for others where one user may have half', () => {
    const limiter = new AdaptiveConcurrencyLimiter({
      maxInFlight: 4,
      maxPerUser: halfOf(4),
      queue: 10,
      maxWaitMs: 30_000,
    });
    const { decided, acquire, free } = requests(limiter);
    for (const name of 'abcd') acquire(name, 'slow');
    expect(decided.splice(0)).toEqual(['a at once', 'b at once']);
    acquire('x', 'other');
    expect(decided.splice(0)).toEqual(['x later']);
    free();
    expect(decided).toEqual(['c later']);
  });

  it('counts for nobody what has left', async () => {
    const limiter = new AdaptiveConcurrencyLimiter({ maxInFlight: 1, queue: 10, maxWaitMs: 30_000 });
    const order: number[] = [];
    const failed = limiter.run('a', () => Promise.reject(new Error('failed')));
    const others = [1, 2, 3].map((n) => limiter.run('a', () => Promise.resolve(order.push(n))));
    await expect(failed).rejects.toThrow('failed');
    await Promise.all(others);
    expect(order).toEqual([1, 2, 3]);
  });

  it('never has more in flight than its bound, nor gives a user more than half while another with fewer waits', () => {
    const USERS = ['a', 'b', 'c', 'd'];
    const event = fc.oneof(
      fc.record({ acquires: fc.constantFrom(...USERS) }),
      fc.record({ frees: fc.nat(100) }),
    );
    const run = fc.record({
      maxInFlight: fc.integer({ min: 1, max: 8 }),
      share: fc.boolean(),
      events: fc.array(event, { maxLength: 120 }),
    });
    fc.assert(
      fc.property(run, ({ maxInFlight, share, events }) => {
        const half = halfOf(maxInFlight);
        const perUser = share ? half : undefined;
        const limiter = new AdaptiveConcurrencyLimiter({
          maxInFlight,
          maxPerUser: perUser,
          queue: 6,
          maxWaitMs: 30_000,
        });
        const inFlight: { user: string; free: () => void }[] = [];
        const waiting: string[] = [];
        const has = (user: string) => inFlight.filter((one) => one.user === user).length;
        const forget = (user: string) => waiting.splice(waiting.indexOf(user), 1);
        const acquire = (user: string) => {
          waiting.push(user);
          limiter.acquire({
            user,
            isGone: () => false,
            granted: (free) => {
              forget(user);
              if (has(user) >= half) expect(waiting.filter((other) => has(other) < half)).toEqual([]);
              inFlight.push({ user, free: () => free(false) });
            },
            rejected: () => {
              const mine = waiting.filter((each) => each === user).length;
              for (const other of USERS) {
                expect(waiting.filter((each) => each === other).length).toBeLessThanOrEqual(mine);
              }
              forget(user);
            },
          });
        };
        const free = (at: number) => inFlight.splice(at % Math.max(1, inFlight.length), 1)[0]?.free();
        for (const one of events) {
          if ('acquires' in one) acquire(one.acquires);
          else free(one.frees);
          expect(inFlight.length).toBeLessThanOrEqual(maxInFlight);
          expect(limiter.waiting).toBe(waiting.length);
          // No place is empty that one of those who wait may have.
          if (inFlight.length < maxInFlight)
            expect(waiting.filter((user) => has(user) < (perUser ?? maxInFlight))).toEqual([]);
        }
        // Nobody is left behind.
        while (inFlight.length > 0) free(0);
        expect(waiting).toEqual([]);
      }),
      { numRuns: 500 },
    );
  });
});
