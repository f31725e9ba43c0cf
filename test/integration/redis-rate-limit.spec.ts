import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { ratePolicy, type RatePolicy } from '../../src/access/rate-limit/gcra.js';
import { LocalRateLimiter } from '../../src/access/rate-limit/local-rate-limiter.js';
import { RedisRateLimiter } from '../../src/access/rate-limit/redis-rate-limiter.js';
import { RedisConnection } from '../../src/redis/redis-connection.js';
import { startRedis, type RedisServer } from '../../tools/stack/servers/redis.js';
import { waitUntil } from '../support/service.js';

const TIMEOUT_MS = 50;
/** What a slow machine may add. */
const GRACE_MS = 1_000;

let redis: RedisServer;
let observer: Redis;
const connections: RedisConnection[] = [];

interface Instance {
  readonly limiter: RedisRateLimiter;
  readonly connection: RedisConnection;
  readonly counts: { redis: number; local: number };
}

async function instance(policy: RatePolicy, bankId: string = randomUUID()): Promise<Instance> {
  const ignore = () => undefined;
  const connection = await RedisConnection.open(
    { url: redis.url, timeoutMs: TIMEOUT_MS },
    { lost: ignore, back: ignore, failed: ignore },
  );
  connections.push(connection);
  const counts = { redis: 0, local: 0 };
  const local = new LocalRateLimiter(policy, () => (counts.local += 1));
  const limiter = new RedisRateLimiter(connection, bankId, policy, local, () => (counts.redis += 1));
  return { limiter, connection, counts };
}

const keyOf = (bankId: string, user: string) => `bank:${bankId}:rate:${user}`;

beforeAll(async () => {
  redis = await startRedis();
  observer = new Redis(redis.url, { retryStrategy: () => 20 });
  observer.on('error', () => undefined);
});

afterEach(async () => {
  await redis.kill('SIGCONT');
  for (const connection of connections.splice(0)) connection.close();
});

afterAll(async () => {
  observer.disconnect();
  await redis.stop();
});

/** One more in each hour: time plays no part in a test. */
const HOURLY: RatePolicy = { burst: 10, intervalMicros: 3_600_000_000 };

describe('the shared rate limit', () => {
  it('is counted over all instances, separately for each user and bank', async () => {
    const bankId = randomUUID();
    const [a, b] = [await instance(HOURLY, bankId), await instance(HOURLY, bankId)];
    const decisions = await Promise.all(
      Array.from({ length: 30 }, (_, index) => (index % 2 === 0 ? a : b).limiter.take('user')),
    );
    expect(decisions.filter(({ admitted }) => admitted)).toHaveLength(10);
    expect(await a.limiter.take('other')).toMatchObject({ admitted: true, remaining: 9 });
    expect(await (await instance(HOURLY)).limiter.take('user')).toMatchObject({
      admitted: true,
      remaining: 9,
    });
    expect(a.counts).toEqual({ redis: 16, local: 0 });
  });

  it('admits several together like the local one: all or none', async () => {
    const { limiter } = await instance(HOURLY);
    const local = new LocalRateLimiter(HOURLY, () => undefined);
    for (const several of [4, 1, 6, 5, 1, 11]) {
      const [shared, own] = [await limiter.take('user', several), local.take('user', several)];
      expect({ several, admitted: shared.admitted, remaining: shared.remaining }).toEqual({
        several,
        admitted: own.admitted,
        remaining: own.remaining,
      });
    }
  });

  it('decides like the local one', async () => {
    const { limiter } = await instance(HOURLY);
    const local = new LocalRateLimiter(HOURLY, () => undefined);
    for (let sent = 0; sent < 13; sent++) {
      const [shared, own] = [await limiter.take('user'), local.take('user')];
      expect({ admitted: shared.admitted, remaining: shared.remaining }).toEqual({
        admitted: own.admitted,
        remaining: own.remaining,
      });
      for (const time of ['retryAfterMicros', 'resetMicros'] as const) {
        expect(Math.abs(shared[time] - own[time])).toBeLessThan(5_000_000);
      }
    }
  });

  it('admits no more than the burst and the rate', async () => {
    const { limiter } = await instance(ratePolicy({ perSecond: 200, burst: 10 }));
    const startedMs = performance.now();
    let admitted = 0;
    while (performance.now() - startedMs < 500) {
      const decisions = await Promise.all(Array.from({ length: 5 }, () => limiter.take('user')));
      admitted += decisions.filter((decision) => decision.admitted).length;
    }
    const tookMs = performance.now() - startedMs;
    expect(admitted).toBeLessThanOrEqual(10 + (tookMs / 1_000) * 200 + 1);
    expect(admitted).toBeGreaterThan(10);
  });

  it('forgets a user when the whole burst is free again', async () => {
    const bankId = randomUUID();
    const { limiter } = await instance(ratePolicy({ perSecond: 100, burst: 10 }), bankId);
    const { resetMicros } = await limiter.take('user');
    expect(resetMicros).toBe(10_000);
    await waitUntil(async () => (await observer.exists(keyOf(bankId, 'user'))) === 0, 5_000);
  });

  it('locks nobody out when the clock of Redis was set back, or somebody else wrote there', async () => {
    const bankId = randomUUID();
    const { limiter } = await instance(ratePolicy({ perSecond: 20, burst: 2 }), bankId);
    const inAnHour = (Date.now() + 3_600_000) * 1_000;
    await observer.set(keyOf(bankId, 'user'), String(inAnHour));
    expect(await limiter.take('user')).toMatchObject({ admitted: false, retryAfterMicros: 50_000 });
    await sleep(55);
    expect((await limiter.take('user')).admitted).toBe(true);
    await observer.set(keyOf(bankId, 'user'), 'x');
    expect(await limiter.take('user')).toMatchObject({ admitted: true, remaining: 1 });
  });
});

describe('a Redis in trouble', () => {
  it('that is stopped: each instance counts for itself, quickly, and together again once it is back', async () => {
    const { limiter, connection, counts } = await instance(HOURLY);
    for (let sent = 0; sent < 4; sent++) await limiter.take('user');
    await redis.kill('SIGSTOP');
    const startedMs = performance.now();
    const decisions = [];
    for (let sent = 0; sent < 100; sent++) decisions.push(await limiter.take('user'));
    expect(performance.now() - startedMs).toBeLessThan(4 * TIMEOUT_MS + GRACE_MS);
    expect(decisions.filter(({ admitted }) => admitted)).toHaveLength(10);
    expect(counts).toEqual({ redis: 4, local: 100 });
    await redis.kill('SIGCONT');
    await waitUntil(() => connection.answers(), 10_000);
    const { admitted, remaining } = await limiter.take('user');
    // What it was sent while it was stopped may have been counted.
    expect({ admitted, few: remaining <= 5 }).toEqual({ admitted: true, few: true });
    expect(counts.redis).toBe(5);
  });

  it('that is killed: each instance counts for itself', async () => {
    const { limiter, connection, counts } = await instance(HOURLY);
    await redis.kill('SIGKILL');
    const decisions = await Promise.all(Array.from({ length: 20 }, () => limiter.take('user')));
    expect(decisions.filter(({ admitted }) => admitted)).toHaveLength(10);
    expect(counts).toEqual({ redis: 0, local: 20 });
    await redis.start();
    await waitUntil(() => connection.answers(), 10_000);
    expect(await limiter.take('user')).toMatchObject({ admitted: true, remaining: 9 });
  });
});
