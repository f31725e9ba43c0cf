import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { setTimeout as sleep } from 'node:timers/promises';
import { resetAccount } from '../../src/admin/reset.js';
import { loadConfig } from '../../src/config/config.js';
import { bootstrapShards } from '../../src/sharding/bootstrap-shards.js';
import { parseMoney } from '../../src/domain/money.js';
import { createLogger } from '../../src/observability/logging.js';
import { startRedis, type RedisServer } from '../../tools/stack/servers/redis.js';
import { openAccount, startInstance, type TestApp } from '../support/app.js';
import { createTestDatabase, type TestDatabase } from '../support/postgres.js';
import { TcpProxy } from '../../tools/stack/proxies/tcp-proxy.js';
import { deposit, post, receiptIn } from '../support/requests.js';

const TTL_MS = 2_000;
const TIMEOUT_MS = 50;
/** What a slow machine may add to a request. */
const GRACE_MS = 1_000;

let redis: RedisServer;
let database: TestDatabase;
let proxy: TcpProxy;
/** Two instances of one service; `a` reaches Redis through the proxy. */
let a: TestApp;
let b: TestApp;

const settings = (url: string) => ({
  REDIS_URL: url,
  REDIS_TIMEOUT_MS: String(TIMEOUT_MS),
  BALANCE_CACHE: 'auto',
  BALANCE_CACHE_TTL_MS: String(TTL_MS),
});
/**
 * Turns the outbox off in effect: it would also tell the instances of each other's writes, which Redis alone must do
 * here.
 */
const NO_OUTBOX = { outbox: { pollMs: 60_000 } };

beforeAll(async () => {
  [redis, database] = await Promise.all([startRedis(), createTestDatabase('redis')]);
});

beforeEach(async () => {
  const started = await TcpProxy.start(redis.url);
  proxy = started.proxy;
  a = await startInstance(database.url, settings(started.url), NO_OUTBOX);
  b = await startInstance(database.url, settings(redis.url), NO_OUTBOX);
});

afterEach(async () => {
  await redis.kill('SIGCONT');
  await Promise.all([a.close(), b.close()]);
  await proxy.stop();
});

afterAll(async () => {
  await redis.stop();
  await database.drop();
});

interface Balance {
  readonly balance: number;
  readonly version: number;
}

async function read(
  app: TestApp,
  accountId: number,
  query = '',
  headers: Record<string, string> = {},
): Promise<Balance> {
  const response = await app.http.get(`/accounts/${accountId}/balance${query}`).set(headers).expect(200);
  return JSON.parse(response.text) as Balance;
}

async function metric(app: TestApp, name: string): Promise<number> {
  const { text } = await app.http.get('/metrics');
  const line = text.split('\n').find((found) => found.startsWith(`${name} `));
  return Number(line?.split(' ').at(-1) ?? 0);
}

const hits = (app: TestApp) => metric(app, 'bank_balance_cache_lookups_total{result="hit"}');

describe('two instances over one Redis', () => {
  it('the other one answers from Redis with what one has acknowledged, at once', async () => {
    const accountId = await openAccount(a, '350.00');
    expect(await read(b, accountId)).toEqual({ balance: 350, version: 2 });
    await post(b, accountId, deposit('1')).then(({ status }) => expect(status).toBe(201));
    expect(await read(a, accountId)).toEqual({ balance: 351, version: 3 });
    expect(await hits(a)).toBe(1);
    expect(await hits(b)).toBe(1);
  });

  it('no reader sees a balance older than one acknowledged before, at any instance', async () => {
    const instances = [a, b];
    const accountIds = await Promise.all([1, 2, 3].map(() => openAccount(a, '1.00')));
    const acknowledged = new Map(accountIds.map((accountId) => [accountId, 2]));
    const giveUpAt = performance.now() + 2_500;
    const pick = <T>(items: readonly T[]) => items[Math.floor(Math.random() * items.length)] as T;
    const write = async () => {
      while (performance.now() < giveUpAt) {
        const accountId = pick(accountIds);
        const response = await post(pick(instances), accountId, deposit('0.01'));
        expect(response.status).toBe(201);
        const version = Number(receiptIn(response).newVersion);
        acknowledged.set(accountId, Math.max(version, acknowledged.get(accountId) ?? 0));
      }
    };
    const check = async () => {
      while (performance.now() < giveUpAt) {
        const accountId = pick(accountIds);
        const known = acknowledged.get(accountId) ?? 0;
        const noCache: Record<string, string> = Math.random() < 0.1 ? { 'cache-control': 'no-cache' } : {};
        const { balance, version } = await read(pick(instances), accountId, '', noCache);
        expect(version).toBeGreaterThanOrEqual(known);
        expect(balance).toBeCloseTo(1 + (version - 2) / 100, 10);
      }
    };
    await Promise.all([...[1, 2, 3].map(write), ...[1, 2, 3, 4].map(check)]);
    // Otherwise this would have tested the database.
    expect(await hits(a)).toBeGreaterThan(0);
    expect(await hits(b)).toBeGreaterThan(0);
  });

  it('a reset by the command line is seen at once', async () => {
    const accountId = await openAccount(a, '350.00');
    expect(await read(b, accountId)).toEqual({ balance: 350, version: 2 });
    const config = loadConfig({ DATABASE_URL: database.url, LOG_LEVEL: 'silent', ...settings(redis.url) });
    const bank = await bootstrapShards(config.database.shards ?? []);
    const logger = createLogger(config.log);
    await resetAccount({ config, bank, logger }, accountId, parseMoney('1000.00', 2) ?? 0n);
    for (const instance of [a, b])
      expect(await read(instance, accountId)).toEqual({ balance: 1_000, version: 3 });
  });
});

describe('an instance that can not reach Redis', () => {
  /** For how long `b` answers an old balance after `a`, which can't tell Redis, has acknowledged a new one. */
  const staleForMs = async (): Promise<number> => {
    proxy.heal();
    const accountId = await openAccount(b, '350.00');
    expect(await read(b, accountId)).toEqual({ balance: 350, version: 2 });
    proxy.takeDown();
    expect((await post(a, accountId, deposit('1'))).status).toBe(201);
    const acknowledgedAtMs = performance.now();
    expect(await read(a, accountId)).toEqual({ balance: 351, version: 3 });
    for (let staleMs = 0; ; await sleep(5)) {
      const sinceMs = performance.now() - acknowledgedAtMs;
      if ((await read(b, accountId)).version === 3) return staleMs;
      staleMs = sinceMs;
    }
  };

  it('never answers with less than it acknowledged itself; others do so for at most the time to live', async () => {
    let staleMs = 0;
    // A machine may be so slow that the entry has expired before the new balance is acknowledged.
    for (let tries = 0; tries < 5 && staleMs === 0; tries++) staleMs = await staleForMs();
    expect(staleMs).toBeGreaterThan(0);
    expect(staleMs).toBeLessThanOrEqual(TTL_MS);
    expect(await metric(a, 'bank_balance_cache_writes_lost_total')).toBeGreaterThanOrEqual(1);
  });

  it('minVersion and no-cache get the newest balance meanwhile, and write it to the cache', async () => {
    for (const [query, headers] of [
      ['?minVersion=3', {}],
      ['', { 'cache-control': 'no-cache' }],
    ] as const) {
      proxy.heal();
      const accountId = await openAccount(b, '350.00');
      expect(await read(b, accountId)).toEqual({ balance: 350, version: 2 });
      proxy.takeDown();
      expect((await post(a, accountId, deposit('1'))).status).toBe(201);
      expect(await read(b, accountId, query, headers)).toEqual({ balance: 351, version: 3 });
      expect(await read(b, accountId)).toEqual({ balance: 351, version: 3 });
    }
  });

  it('reads from the database, and from Redis again once it is back', async () => {
    proxy.takeDown();
    const accountId = await openAccount(a, '350.00');
    for (let reads = 0; reads < 5; reads++)
      expect(await read(a, accountId)).toEqual({ balance: 350, version: 2 });
    expect(await hits(a)).toBe(0);
    expect(await metric(a, 'bank_redis_up')).toBe(0);
    proxy.heal();
    for (const giveUpAt = performance.now() + 10_000; (await hits(a)) === 0; await sleep(20)) {
      expect(await read(a, accountId)).toEqual({ balance: 350, version: 2 });
      expect(performance.now()).toBeLessThan(giveUpAt);
    }
    expect(await metric(a, 'bank_redis_up')).toBe(1);
  });
});

describe('a Redis in trouble', () => {
  it('that is stopped: every answer is right and hardly delayed', async () => {
    const accountId = await openAccount(a, '1.00');
    await read(b, accountId);
    await redis.kill('SIGSTOP');
    for (let version = 3; version <= 12; version++) {
      for (const instance of [a, b]) {
        const startedMs = performance.now();
        if (instance === a) expect((await post(a, accountId, deposit('1'))).status).toBe(201);
        expect(await read(instance, accountId)).toEqual({ balance: version - 1, version });
        expect(performance.now() - startedMs).toBeLessThan(3 * TIMEOUT_MS + GRACE_MS);
      }
    }
  });

  it('that is killed and comes back empty: every answer is right', async () => {
    const accountId = await openAccount(a, '1.00');
    let version = 2;
    const postAndRead = async () => {
      expect((await post(a, accountId, deposit('1'))).status).toBe(201);
      version += 1;
      for (const instance of [a, b])
        expect(await read(instance, accountId)).toEqual({ balance: version - 1, version });
    };
    await postAndRead();
    await redis.kill('SIGKILL');
    for (let times = 0; times < 5; times++) await postAndRead();
    await redis.start();
    const before = await hits(b);
    for (const giveUpAt = performance.now() + 10_000; (await hits(b)) === before; await sleep(20)) {
      await postAndRead();
      expect(performance.now()).toBeLessThan(giveUpAt);
    }
  });

  it('that is full: every answer is right', async () => {
    const full = await startRedis(['--maxmemory', '1mb', '--maxmemory-policy', 'noeviction']);
    const instance = await startInstance(database.url, settings(full.url), NO_OUTBOX);
    try {
      const accountId = await openAccount(instance, '1.00');
      for (let version = 3; version <= 12; version++) {
        expect((await post(instance, accountId, deposit('1'))).status).toBe(201);
        expect(await read(instance, accountId)).toEqual({ balance: version - 1, version });
      }
      expect(await hits(instance)).toBe(0);
      expect(await metric(instance, 'bank_balance_cache_writes_lost_total')).toBeGreaterThan(0);
    } finally {
      await instance.close();
      await full.stop();
    }
  });
});
