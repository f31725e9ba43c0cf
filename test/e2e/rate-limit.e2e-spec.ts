import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import type { Response } from 'supertest';
import { startRedis, type RedisServer } from '../../tools/stack/servers/redis.js';
import { openAccount, startInstance, type TestApp } from '../support/app.js';
import { createTestDatabase, type TestDatabase } from '../support/postgres.js';
import { balanceOf, deposit, fieldsIn, post } from '../support/requests.js';

const POLICY = '"transactions";q=3;w=3';
const TIGHT = { RATE_LIMIT_TRANSACTIONS_PER_SECOND: '1', RATE_LIMIT_BURST: '3' };
/** So large that nobody uses it up: the remainder shows which requests were counted together. */
const WIDE_BURST = 100_000;
const WIDE = { RATE_LIMIT_TRANSACTIONS_PER_SECOND: '1', RATE_LIMIT_BURST: String(WIDE_BURST) };
/** More than the seconds that a test may take, after each of which one more transaction is left. */
const MANY = 40;

let database: TestDatabase;
let accountId: number;
let openApps: TestApp[] = [];

async function start(settings: Record<string, string>): Promise<TestApp> {
  const app = await startInstance(database.url, settings);
  openApps.push(app);
  return app;
}

beforeAll(async () => {
  database = await createTestDatabase('rate');
  const app = await startInstance(database.url);
  accountId = await openAccount(app, '100.00');
  await app.close();
});

afterEach(async () => {
  await Promise.all(openApps.map((app) => app.close()));
  openApps = [];
});

afterAll(() => database.drop());

/** Sends until the answer is another one than the first. */
async function untilOther(
  send: () => Promise<Response>,
): Promise<{ first: Response; other: Response; sent: number }> {
  const first = await send();
  const giveUpMs = performance.now() + 10_000;
  for (let sent = 2; performance.now() < giveUpMs; sent++) {
    const other = await send();
    if (other.status !== first.status) return { first, other, sent };
  }
  throw new Error(`always ${first.status}`);
}

function remaining(response: Response): number {
  expect([201, 404]).toContain(response.status);
  return Number(/^"transactions";r=(\d+);t=\d+$/.exec(response.headers.ratelimit ?? '')?.[1]);
}

describe('the rate limit', () => {
  it('rejects what exceeds it, says when to retry, and applies nothing', async () => {
    const app = await start(TIGHT);
    const before = await balanceOf(app, accountId);
    const { first, other, sent } = await untilOther(() => post(app, accountId, deposit('0.01')));
    expect(first.status).toBe(201);
    expect(first.headers['ratelimit-policy']).toBe(POLICY);
    expect(first.headers.ratelimit).toBe('"transactions";r=2;t=1');
    expect(other.status).toBe(429);
    expect(other.text).toBe('{"error":"Too many requests"}');
    expect(other.headers['x-error-code']).toBe('TOO_MANY_REQUESTS');
    expect(other.headers['retry-after']).toBe('1');
    expect(other.headers['ratelimit-policy']).toBe(POLICY);
    expect(other.headers.ratelimit).toMatch(/^"transactions";r=0;t=3$/);
    expect(other.headers['x-request-id']).toBeDefined();
    expect(sent).toBeGreaterThan(3);
    const version = (text: string) => (JSON.parse(text) as { version: number }).version;
    expect(version(await balanceOf(app, accountId)) - version(before)).toBe(sent - 1);
  });

  it('admits requests again after the time that it stated', async () => {
    const app = await start(TIGHT);
    const { other } = await untilOther(() => post(app, accountId, deposit('0.01')));
    const retryAfterMs = Number(other.headers['retry-after']) * 1_000;
    await new Promise((resolve) => setTimeout(resolve, retryAfterMs));
    expect((await post(app, accountId, deposit('0.01'))).status).toBe(201);
  });

  it('is applied after validation: a malformed request is a 400 and is not counted', async () => {
    const app = await start(TIGHT);
    const malformed = async () => {
      const answers = [
        await post(app, accountId, { amount: '-1', type: 'Deposit' }),
        await post(app, accountId, '{'),
        await post(app, 'x', deposit('1')),
        await post(app, accountId, deposit('1'), { 'idempotency-key': 'a b' }),
        await post(app, accountId, deposit('1'), { 'if-match': '7' }),
      ];
      for (const answer of answers) {
        expect(answer.status).toBe(400);
        expect(answer.headers.ratelimit).toBeUndefined();
      }
      expect(fieldsIn(answers[0] as Response)).toEqual(['amount']);
    };
    await malformed();
    const { other } = await untilOther(() => post(app, accountId, deposit('0.01')));
    expect(other.status).toBe(429);
    await malformed();
  });

  it('is applied before the look-up of the account and of the idempotency key', async () => {
    const app = await start(TIGHT);
    const unknown = await untilOther(() => post(app, 999_999, deposit('1')));
    expect([unknown.first.status, unknown.other.status]).toEqual([404, 429]);
    const other = await start(TIGHT);
    const send = () => post(other, accountId, deposit('1'), { 'idempotency-key': 'once' });
    expect((await send()).status).toBe(201);
    const duplicate = await untilOther(send);
    expect([duplicate.first.status, duplicate.other.status]).toEqual([409, 429]);
    expect(duplicate.first.headers.ratelimit).toBeDefined();
  });

  it('applies to transactions and to opening accounts, not to reads', async () => {
    const app = await start(TIGHT);
    await untilOther(() => post(app, accountId, deposit('0.01')));
    const opened = await untilOther(() => app.http.post('/accounts').send({ openingDeposit: '1.00' }));
    expect([opened.first.status, opened.other.status].sort()).toEqual([201, 429]);
    expect((await app.http.post('/accounts').send({ openingDeposit: 'much' })).status).toBe(400);
    for (let requests = 0; requests < 5; requests++) {
      expect((await app.http.get(`/accounts/${accountId}/balance`)).status).toBe(200);
    }
  });

  it('counts a transfer as its legs, alone and in a batch, and refuses what it could never admit', async () => {
    const legs = [3, 1, 1, 1].map((amount, index) => ({
      ...{ accountId: index === 0 ? accountId : 900_000 + index, amount },
      type: index === 0 ? 'Withdraw' : 'Deposit',
    }));
    const app = await start(WIDE);
    const send = (path: string, body: object) => app.http.post(path).send(body);
    const before = remaining(await send('/transfers', { legs: [...legs] }));
    expect(WIDE_BURST - before).toBe(4);
    const atomic = await send('/transactions/batch?atomic=true', [{ type: 'Transfer', legs }]);
    expect(atomic.status).toBe(404);
    await send('/transactions/batch', [{ type: 'Transfer', legs }]);
    const last = remaining(await post(app, accountId, deposit('0.01')));
    // One, and one more each second, may have been given back.
    expect(before - last).toBeGreaterThanOrEqual(9 - MANY);
    expect(before - last).toBeLessThanOrEqual(9);
    const tight = await start(TIGHT);
    expect((await tight.http.post('/transfers').send({ legs })).status).toBe(400);
    const answer = await tight.http.post('/transactions/batch').send([{ type: 'Transfer', legs }]);
    expect(JSON.parse(answer.text)).toMatchObject([{ status: 400, code: 'INVALID_REQUEST' }]);
  });

  it('has no effect when it is off', async () => {
    const response = await post(await start({}), accountId, deposit('0.01'));
    expect(response.status).toBe(201);
    expect(Object.keys(response.headers).filter((name) => name.startsWith('ratelimit'))).toEqual([]);
  });
});

describe('whom it counts', () => {
  /** What is left to the user of these X-Forwarded-For after one more request of theirs. */
  const left = async (app: TestApp, forwardedFor?: string): Promise<number> =>
    remaining(
      await post(
        app,
        accountId,
        deposit('0.01'),
        forwardedFor === undefined ? {} : { 'x-forwarded-for': forwardedFor },
      ),
    );
  const sendMany = async (app: TestApp, forwardedFor?: string) => {
    for (let sent = 0; sent < MANY; sent++) await left(app, forwardedFor);
  };
  const FRESH = WIDE_BURST - 1;

  it('the address of the connection, because X-Forwarded-For is not trusted', async () => {
    const app = await start(WIDE);
    await sendMany(app, '192.0.2.1');
    expect(await left(app, '192.0.2.2')).toBeLessThan(FRESH);
    expect(await left(app)).toBeLessThan(FRESH);
  });

  it('the address of a proxy that is not trusted', async () => {
    const app = await start({ ...WIDE, AUTH: 'off', TRUSTED_PROXIES: '10.0.0.0/8' });
    await sendMany(app, '192.0.2.1');
    expect(await left(app, '192.0.2.2')).toBeLessThan(FRESH);
  });

  it('the client that a trusted proxy names', async () => {
    const app = await start({ ...WIDE, AUTH: 'off', TRUSTED_PROXIES: '127.0.0.0/8, 10.0.0.0/8' });
    await sendMany(app, '192.0.2.1');
    expect(await left(app, '192.0.2.2')).toBe(FRESH);
    expect(await left(app, '192.0.2.1')).toBeLessThan(FRESH);
    // In front of other trusted proxies, and in another notation.
    expect(await left(app, '192.0.2.1, 10.0.0.7')).toBeLessThan(FRESH);
    expect(await left(app, '::ffff:192.0.2.1')).toBeLessThan(FRESH);
  });

  it('the client that a trusted proxy names together with a port', async () => {
    const app = await start({ ...WIDE, AUTH: 'off', TRUSTED_PROXIES: '127.0.0.0/8, 10.0.0.0/8' });
    await sendMany(app, '192.0.2.1:1000');
    expect(await left(app, '192.0.2.2:1000')).toBe(FRESH);
    for (const same of ['192.0.2.1', '192.0.2.1:2000', '[::ffff:192.0.2.1]:1', '192.0.2.1:9, 10.0.0.7:443']) {
      expect(await left(app, same)).toBeLessThan(FRESH);
    }
    await sendMany(app, '[2001:db8:1:2::1]:1000');
    expect(await left(app, '[2001:db8:1:3::1]:1000')).toBe(FRESH);
    expect(await left(app, '2001:db8:1:2::2')).toBeLessThan(FRESH);
    // Another header for the same, which is not read.
    const named = await post(app, accountId, deposit('0.01'), { forwarded: 'for=192.0.2.77' });
    expect(remaining(named)).toBe(FRESH);
    expect(await left(app)).toBeLessThan(FRESH);
  });

  it('the client that the first trusted proxy saw, not the one that it claims to be', async () => {
    const app = await start({ ...WIDE, AUTH: 'off', TRUSTED_PROXIES: '127.0.0.1' });
    await sendMany(app, '192.0.2.1');
    for (const spoofed of [
      '198.51.100.1, 192.0.2.1',
      '127.0.0.1, 192.0.2.1',
      'nobody, 192.0.2.1',
      ', 192.0.2.1',
    ]) {
      expect(await left(app, spoofed)).toBeLessThan(FRESH);
    }
    // What is no address at all is counted as the proxy.
    await sendMany(app, 'nobody');
    expect(await left(app, 'somebody')).toBeLessThan(FRESH);
  });

  it('an IPv6 network of 64 bits', async () => {
    const app = await start({ ...WIDE, AUTH: 'off', TRUSTED_PROXIES: '127.0.0.1' });
    await sendMany(app, '2001:db8:1:2::1');
    expect(await left(app, '2001:db8:1:2:ffff::9')).toBeLessThan(FRESH);
    expect(await left(app, '2001:db8:1:3::1')).toBe(FRESH);
  });

  describe('over Redis', () => {
    let redis: RedisServer;
    beforeAll(async () => {
      redis = await startRedis();
    });
    afterAll(() => redis.stop());

    it('for all instances together', async () => {
      const [a, b] = [
        await start({ ...WIDE, REDIS_URL: redis.url }),
        await start({ ...WIDE, REDIS_URL: redis.url }),
      ];
      expect(await left(a)).toBe(FRESH);
      await sendMany(a);
      expect(await left(b)).toBeLessThan(FRESH);
    });

    it('for each instance by itself while Redis is down', async () => {
      const app = await start({ ...TIGHT, REDIS_URL: redis.url });
      await redis.kill('SIGKILL');
      const { first, other } = await untilOther(() => post(app, accountId, deposit('0.01')));
      expect([first.status, other.status]).toEqual([201, 429]);
      const { text } = await app.http.get('/metrics');
      expect(text).toMatch(/^bank_rate_limit_decisions_total{counter="local",decision="refused"} [1-9]/m);
      await redis.start();
    });
  });
});
