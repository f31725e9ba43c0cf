import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { randomUUID } from 'node:crypto';
import { setImmediate as turn, setTimeout as sleep } from 'node:timers/promises';
import fc from 'fast-check';
import { Redis } from 'ioredis';
import { RedisBalanceCache } from '../../src/cache/redis-balance-cache.js';
import type { Account } from '../../src/domain/account.js';
import { Metrics } from '../../src/observability/metrics.js';
import { RedisConnection } from '../../src/redis/redis-connection.js';
import { startRedis, type RedisServer } from '../../tools/stack/servers/redis.js';
import { waitUntil } from '../support/service.js';
import { TcpProxy } from '../../tools/stack/proxies/tcp-proxy.js';

const TIMEOUT_MS = 50;
/** What a slow machine may add to it. */
const GRACE_MS = 1_000;
const TTL_MS = 60_000;
/** So many failures open the circuit. */
const FAILURES = 3;

/** One instance's view of the cache. */
interface Instance {
  readonly cache: RedisBalanceCache;
  readonly connection: RedisConnection;
  readonly said: string[];
  metric(name: string): Promise<number>;
}

interface InstanceSettings {
  readonly url?: string;
  readonly bankId?: string;
  readonly ttlMs?: number;
  readonly entries?: number;
  readonly servesReads?: boolean;
}

let redis: RedisServer;
let observer: Redis;
const open: Instance[] = [];

async function instance(settings: InstanceSettings = {}): Promise<Instance> {
  const { url = redis.url, bankId = randomUUID(), ...rest } = settings;
  const metrics = new Metrics();
  const said: string[] = [];
  const connection = await RedisConnection.open(
    { url, timeoutMs: TIMEOUT_MS },
    {
      lost: (problem) => said.push(problem),
      back: () => said.push('back'),
      failed: (failure) => metrics.redisFailed(failure),
    },
  );
  const cache = await RedisBalanceCache.open(
    connection,
    { bankId, entries: 10_000, ttlMs: TTL_MS, servesReads: true, ...rest },
    metrics,
  );
  const metric = async (name: string) => {
    const line = (await metrics.registry.metrics()).split('\n').find((text) => text.startsWith(`${name} `));
    return Number(line?.split(' ').at(-1) ?? 0);
  };
  const opened = { cache, connection, said, metric };
  open.push(opened);
  return opened;
}

/** Two instances of one bank. */
async function pair(settings: InstanceSettings = {}): Promise<[Instance, Instance]> {
  const bankId = randomUUID();
  return [await instance({ ...settings, bankId }), await instance({ ...settings, bankId })];
}

/** Those with odd numbers are overdrawn. */
const account = (accountId: number, version: number): Account => ({
  accountId,
  version,
  decimals: 2,
  balance: BigInt(accountId * 1_000 + version) * (accountId % 2 === 0 ? 1n : -1n),
});

const now = () => performance.now();

/** How long something takes. */
async function timed<T>(work: () => Promise<T>): Promise<{ result: T; tookMs: number }> {
  const startedMs = now();
  const result = await work();
  return { result, tookMs: now() - startedMs };
}

beforeAll(async () => {
  redis = await startRedis();
  observer = new Redis(redis.url, { retryStrategy: () => 20 });
  observer.on('error', () => undefined);
});

afterEach(() => {
  for (const { connection } of open.splice(0)) connection.close();
});

afterAll(async () => {
  observer.disconnect();
  await redis.stop();
});

describe('the shared balance cache', () => {
  it('is read by every instance, exactly', async () => {
    const [a, b] = await pair();
    expect(await b.cache.get(1)).toBeUndefined();
    const rich = {
      accountId: 1,
      version: Number.MAX_SAFE_INTEGER,
      balance: 999_999_999_999_999_999n,
      decimals: 2,
    };
    await a.cache.record([rich, account(2, 7)], now());
    expect(await b.cache.get(1)).toEqual(rich);
    expect(await Promise.all([2, 3, 2].map(async (accountId) => b.cache.get(accountId)))).toEqual([
      account(2, 7),
      undefined,
      account(2, 7),
    ]);
    expect(b.cache.lastKnownVersion(2)).toBe(7);
    expect(await b.metric('bank_balance_cache_lookups_total{result="hit"}')).toBe(3);
    expect(await b.metric('bank_balance_cache_lookups_total{result="miss"}')).toBe(2);
  });

  it('keeps banks separate', async () => {
    const [a, other] = [await instance(), await instance()];
    await a.cache.record([account(1, 2)], now());
    expect(await other.cache.get(1)).toBeUndefined();
  });

  it('accepts batches of any size', async () => {
    const [a, b] = await pair();
    const accounts = Array.from({ length: 2_500 }, (_, index) => account(index + 1, 3));
    await a.cache.record(accounts, now());
    expect(await Promise.all(accounts.map(async ({ accountId }) => b.cache.get(accountId)))).toEqual(
      accounts,
    );
  });

  it('gets the writes of an instance that does not read it', async () => {
    const bankId = randomUUID();
    const [silent, reader] = [await instance({ bankId, servesReads: false }), await instance({ bankId })];
    await silent.cache.record([account(1, 2)], now());
    expect(silent.cache.get(1)).toBeUndefined();
    expect(await reader.cache.get(1)).toEqual(account(1, 2));
  });

  it('keeps the newest version that instances write, in any order', async () => {
    const told = fc.array(
      fc.record({
        by: fc.integer({ min: 0, max: 1 }),
        batch: fc.array(fc.tuple(fc.integer({ min: 1, max: 4 }), fc.integer({ min: 1, max: 20 })), {
          minLength: 1,
          maxLength: 6,
        }),
      }),
      { maxLength: 15 },
    );
    await fc.assert(
      fc.asyncProperty(told, async (batches) => {
        const bankId = randomUUID();
        const [a, b, reader] = [
          await instance({ bankId }),
          await instance({ bankId }),
          await instance({ bankId }),
        ];
        const writers = [a, b];
        await Promise.all(
          batches.map(async ({ by, batch }) =>
            writers[by]?.cache.record(
              batch.map(([accountId, version]) => account(accountId, version)),
              now(),
            ),
          ),
        );
        for (let accountId = 1; accountId <= 4; accountId++) {
          const versions = batches
            .flatMap(({ batch }) => batch)
            .filter(([of]) => of === accountId)
            .map(([, version]) => version);
          const newest = versions.length > 0 ? account(accountId, Math.max(...versions)) : undefined;
          expect(await reader.cache.get(accountId)).toEqual(newest);
        }
        for (const { connection } of open.splice(0)) connection.close();
      }),
      { numRuns: 30 },
    );
  });

  it('lets no slow reader restore what a writer has replaced meanwhile', async () => {
    const [writer, reader] = await pair();
    await writer.cache.record([account(1, 1)], now());
    // The reader has read version 1 from the database; before it stores it, the writer commits version 2.
    const readAtMs = now();
    await writer.cache.record([account(1, 2)], now());
    await reader.cache.record([account(1, 1)], readAtMs);
    expect(await writer.cache.get(1)).toEqual(account(1, 2));
    expect(await reader.cache.get(1)).toEqual(account(1, 2));
  });

  it.each([
    '',
    'x',
    '12',
    '12:',
    ':5',
    '0:5',
    '-1:5',
    '1.5:5',
    '12:5:6',
    '12:-',
    '12:--5',
    '12:- 5',
    '99999999999999999:5',
    '1:5\n',
  ])('treats %j, written by somebody else, as a miss, and overwrites it', async (text) => {
    const bankId = randomUUID();
    const { cache } = await instance({ bankId });
    await observer.set(`bank:${bankId}:balance:1`, text);
    expect(await cache.get(1)).toBeUndefined();
    await cache.record([account(1, 2)], now());
    expect(await cache.get(1)).toEqual(account(1, 2));
  });

  it('overwrites a value that is not a string', async () => {
    const bankId = randomUUID();
    const { cache } = await instance({ bankId });
    await observer.lpush(`bank:${bankId}:balance:1`, 'a', 'b');
    expect(await cache.get(1)).toBeUndefined();
    await cache.record([account(1, 2)], now());
    expect(await cache.get(1)).toEqual(account(1, 2));
  });

  it('sends its script again when Redis has forgotten it', async () => {
    const [a, b] = await pair();
    await a.cache.record([account(1, 2)], now());
    await observer.script('FLUSH');
    await a.cache.record([account(1, 3)], now());
    expect(await b.cache.get(1)).toEqual(account(1, 3));
  });
});

describe('the time to live', () => {
  const ttlOf = (bankId: string, accountId: number) => observer.pttl(`bank:${bankId}:balance:${accountId}`);

  it('is between three quarters and the whole of the setting, different for each entry', async () => {
    const bankId = randomUUID();
    const { cache } = await instance({ bankId });
    const accounts = Array.from({ length: 50 }, (_, index) => account(index + 1, 2));
    const { tookMs } = await timed(async () => cache.record(accounts, now()));
    const ttls = await Promise.all(accounts.map(({ accountId }) => ttlOf(bankId, accountId)));
    expect(Math.max(...ttls)).toBeLessThanOrEqual(TTL_MS);
    expect(Math.min(...ttls)).toBeGreaterThan(0.75 * TTL_MS - tookMs - GRACE_MS);
    expect(new Set(ttls.map((ttl) => Math.round(ttl / 100))).size).toBeGreaterThan(10);
  });

  it('counts from the start of the reading', async () => {
    const bankId = randomUUID();
    const { cache } = await instance({ bankId });
    await cache.record([account(1, 2)], now() - 0.6 * TTL_MS);
    expect(await ttlOf(bankId, 1)).toBeLessThanOrEqual(0.4 * TTL_MS);
  });

  it('has passed for a version that was read too long ago, which still removes an older one', async () => {
    const [a, b] = await pair();
    await a.cache.record([account(1, 1)], now());
    await a.cache.record([account(1, 2)], now() - TTL_MS);
    expect(await b.cache.get(1)).toBeUndefined();
    await a.cache.record([account(1, 3)], now());
    await a.cache.record([account(1, 3)], -Infinity);
    expect(await b.cache.get(1)).toEqual(account(1, 3));
  });

  it('does not start again when a stopped Redis continues with earlier commands', async () => {
    const ttlMs = 1_000;
    const bankId = randomUUID();
    const { cache } = await instance({ bankId, ttlMs });
    await redis.kill('SIGSTOP');
    await cache.record([account(1, 1)], now());
    await sleep(ttlMs);
    await redis.kill('SIGCONT');
    expect(await observer.ping()).toBe('PONG');
    expect(await ttlOf(bankId, 1)).toBe(-2);
  });
});

describe('what this process has seen', () => {
  it('is never followed by an older version, even if Redis has lost the newer one', async () => {
    const bankId = randomUUID();
    const { cache } = await instance({ bankId });
    await cache.record([account(1, 5)], now());
    await observer.set(`bank:${bankId}:balance:1`, '4:-1004');
    expect(await cache.get(1)).toBeUndefined();
    expect(cache.lastKnownVersion(1)).toBe(5);
  });

  it('includes what it has read', async () => {
    const bankId = randomUUID();
    const [a, b] = [await instance({ bankId }), await instance({ bankId })];
    await a.cache.record([account(1, 5)], now());
    expect(await b.cache.get(1)).toEqual(account(1, 5));
    await observer.set(`bank:${bankId}:balance:1`, '4:-1004');
    expect(await b.cache.get(1)).toBeUndefined();
  });

  it('is bounded: the least recently used account is forgotten first', async () => {
    const { cache } = await instance({ entries: 2 });
    await cache.record([account(1, 2), account(2, 2)], now());
    await cache.get(1);
    await cache.record([account(3, 2)], now());
    expect([1, 2, 3].map((accountId) => cache.lastKnownVersion(accountId))).toEqual([2, undefined, 2]);
  });
});

describe('a Redis in trouble', () => {
  afterEach(async () => {
    await redis.kill('SIGCONT');
  });

  const isBack = ({ connection }: Instance) => waitUntil(() => connection.answers(), 10_000);

  it('that is down at the start does not prevent the start', async () => {
    const { proxy, url } = await TcpProxy.start(redis.url);
    proxy.takeDown();
    const { result: late, tookMs } = await timed(() => instance({ url }));
    expect(tookMs).toBeLessThan(1_000 + GRACE_MS);
    expect(await late.cache.get(1)).toBeUndefined();
    await waitUntil(() => Promise.resolve(!late.connection.up), 5_000);
    proxy.heal();
    await isBack(late);
    await late.cache.record([account(1, 2)], now());
    await late.cache.record([account(1, 2)], now());
    expect(await late.cache.get(1)).toEqual(account(1, 2));
    await proxy.stop();
  });

  it('that is stopped delays a few calls by the timeout, and then none', async () => {
    const stopped = await instance();
    await stopped.cache.record([account(1, 2)], now());
    await redis.kill('SIGSTOP');
    for (let failures = 0; failures < FAILURES; failures++) {
      const { result, tookMs } = await timed(async () => stopped.cache.get(1));
      expect(result).toBeUndefined();
      expect(tookMs).toBeLessThan(TIMEOUT_MS + GRACE_MS);
    }
    expect(stopped.connection.up).toBe(false);
    const { tookMs } = await timed(async () => {
      for (let calls = 0; calls < 500; calls++) {
        expect(await stopped.cache.get(1)).toBeUndefined();
        await stopped.cache.record([account(1, 3)], now());
      }
    });
    // A thousand calls, which would wait 50 s if each waited.
    expect(tookMs).toBeLessThan(5_000);
    await redis.kill('SIGCONT');
    await isBack(stopped);
    // The write was lost, but not on the process that made it.
    expect(await stopped.cache.get(1)).toBeUndefined();
    await stopped.cache.record([account(1, 3)], now());
    expect(await stopped.cache.get(1)).toEqual(account(1, 3));
    expect(stopped.said).toEqual([`no answer within ${TIMEOUT_MS} ms`, 'back']);
    expect(await stopped.metric('bank_redis_failures_total{failure="timeout"}')).toBeGreaterThanOrEqual(3);
    expect(await stopped.metric('bank_balance_cache_writes_lost_total')).toBeGreaterThanOrEqual(500);
  });

  it('that stays stopped is tried once a second by one call, and no other waits for it', async () => {
    const stopped = await instance();
    await redis.kill('SIGSTOP');
    const failures = () => stopped.metric('bank_redis_failures_total{failure="timeout"}');
    const startedMs = now();
    for (let tries = 0; tries < FAILURES + 2; tries++) {
      const before = await failures();
      while ((await failures()) === before) {
        let waiting = 2;
        const calls = [1, 2].map(() => stopped.connection.answers().then(() => (waiting -= 1)));
        await turn();
        if (!stopped.connection.up) expect(waiting).toBeLessThanOrEqual(1);
        await Promise.all(calls);
        await sleep(5);
      }
    }
    expect(now() - startedMs).toBeGreaterThan(2_000);
    await redis.kill('SIGCONT');
    await isBack(stopped);
  });

  it('that is killed and comes back empty: misses, then it is filled again', async () => {
    const [a, b] = await pair();
    await a.cache.record([account(1, 2), account(2, 2)], now());
    await redis.kill('SIGKILL');
    expect(await b.cache.get(1)).toBeUndefined();
    await a.cache.record([account(1, 3)], now());
    await redis.start();
    await Promise.all([isBack(a), isBack(b)]);
    expect(await b.cache.get(1)).toBeUndefined();
    expect(await b.cache.get(2)).toBeUndefined();
    await b.cache.record([account(1, 3)], now());
    expect(await a.cache.get(1)).toEqual(account(1, 3));
    expect(a.said.at(-1)).toBe('back');
    expect(a.said).toHaveLength(2);
  });

  it('that comes back is noticed even without requests', async () => {
    const { connection, cache, said } = await instance();
    await redis.kill('SIGSTOP');
    for (let failures = 0; failures < FAILURES; failures++) await cache.get(1);
    expect(connection.up).toBe(false);
    await redis.kill('SIGCONT');
    await waitUntil(() => Promise.resolve(connection.up), 10_000);
    expect(said).toHaveLength(2);
  });

  it('that is slow: what takes longer than the timeout is a miss', async () => {
    const { proxy, url } = await TcpProxy.start(redis.url);
    const slow = await instance({ url });
    await slow.cache.record([account(1, 2)], now());
    expect(await slow.cache.get(1)).toEqual(account(1, 2));
    proxy.delayMs = 2 * TIMEOUT_MS;
    const { result, tookMs } = await timed(async () => slow.cache.get(1));
    expect(result).toBeUndefined();
    expect(tookMs).toBeLessThan(TIMEOUT_MS + GRACE_MS);
    proxy.delayMs = 0;
    await isBack(slow);
    await waitUntil(async () => (await slow.cache.get(1)) !== undefined, 5_000);
    await proxy.stop();
  });

  it('that is full: a version that it can not store must not leave the older one behind', async () => {
    const [a, b] = await pair();
    await a.cache.record([account(1, 2), account(2, 2)], now());
    await observer.config('SET', 'maxmemory-policy', 'noeviction');
    await observer.config('SET', 'maxmemory', '1mb');
    try {
      await a.cache.record([account(1, 3)], now());
      expect(await b.cache.get(1)).toBeUndefined();
      expect(await b.cache.get(2)).toEqual(account(2, 2));
      expect(await a.metric('bank_balance_cache_writes_lost_total')).toBe(1);
      expect(a.connection.up).toBe(true);
    } finally {
      await observer.config('SET', 'maxmemory', '0');
    }
    await a.cache.record([account(1, 3)], now());
    expect(await b.cache.get(1)).toEqual(account(1, 3));
  });
});
