import { createServer, type Server } from 'node:http';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, describe, expect, it, jest } from '@jest/globals';
import { Redis } from 'ioredis';
import type { Scope } from '../../src/access/principal.js';
import { startRedis } from '../../tools/stack/servers/redis.js';
import { startInstance, type TestApp } from '../support/app.js';
import { pass } from '../support/clock.js';
import { bearer } from '../support/credentials.js';
import type { KeysAnswer } from '../support/identity-provider.js';
import { OpenApiContract } from '../../tools/fuzz/contract.js';
import { createTestDatabase, type TestDatabase } from '../support/postgres.js';
import { RawClient } from '../support/raw-client.js';
import { routesOf } from '../support/routes.js';
import { spawnService } from '../support/service.js';
import { ORDINARY, WalletWithTokens } from '../support/wallet.js';
import { deposit, fieldsIn, JSON_TYPE, sendRaw, withdrawal } from '../support/requests.js';

/*
 * The OWASP API Security Top 10 of 2023, one by one. To make the list complete, it repeats some checks that other tests
 * make in more detail: ownership.e2e-spec, access-matrix.e2e-spec, rate-limit.e2e-spec, bad-input.e2e-spec.
 */

const MARKED_AMOUNT = '7351.42';

let database: TestDatabase;
let wallet: WalletWithTokens;
let app: TestApp;
let ada: Record<string, string>;
let bob: Record<string, string>;
let admin: Record<string, string>;
let adasAccount: number;
let adasTransaction: string;

beforeAll(async () => {
  database = await createTestDatabase('owasp');
  wallet = await WalletWithTokens.open(database.url);
  app = await startInstance(database.url, wallet.settings);
  ada = bearer(await wallet.key({ owner: 'ada' }));
  bob = bearer(await wallet.key({ owner: 'bob' }));
  admin = bearer(await wallet.key({ scopes: ['admin'] }));
  adasAccount = await open(ada, `{"openingDeposit":${MARKED_AMOUNT}}`);
  const { text } = await app.http.get(`/accounts/${adasAccount}/transactions`).set(ada).expect(200);
  adasTransaction = (JSON.parse(text) as { data: { id: string }[] }).data[0]?.id ?? '';
});

afterAll(async () => {
  await app.close();
  await wallet.close();
  await database.drop();
});

async function open(sender: Record<string, string>, body = '{}', on = app): Promise<number> {
  const { text } = await on.http
    .post('/accounts')
    .set({ ...sender, 'content-type': JSON_TYPE })
    .send(body)
    .expect(201);
  return (JSON.parse(text) as { accountId: number }).accountId;
}

const get = (path: string, sender: Record<string, string>, on = app) => on.http.get(path).set(sender);
const post = (path: string, sender: Record<string, string>, body: string | object, on = app) =>
  on.http
    .post(path)
    .set({ 'content-type': JSON_TYPE, ...sender })
    .send(typeof body === 'string' ? body : JSON.stringify(body));
const postingTo = (accountId: number) => `/accounts/${accountId}/transactions`;

describe('API1:2023 Broken Object Level Authorization', () => {
  it('another owner’s id, wherever an id is used, gets the answer of one that does not exist', async () => {
    const own = await open(bob);
    const item = { accountId: adasAccount, ...deposit('1.00') };
    const answers = {
      account: await get(`/accounts/${adasAccount}`, bob),
      balance: await get(`/accounts/${adasAccount}/balance`, bob),
      proof: await get(`/accounts/${adasAccount}/proof?fromVersion=1`, bob),
      transactions: await get(`/accounts/${adasAccount}/transactions`, bob),
      transaction: await get(`/transactions/${adasTransaction}`, bob),
      posting: await post(postingTo(adasAccount), bob, deposit('1.00')),
      'atomic batch': await post('/transactions/batch?atomic=true', bob, [
        { accountId: own, ...deposit('1.00') },
        item,
      ]),
    };
    for (const [name, { status, text }] of Object.entries(answers)) {
      expect({ name, status, text }).toEqual({ name, status: 404, text });
      expect(text).not.toMatch(/7351|ada/);
    }
    const each = await post('/transactions/batch', bob, [item]).expect(200);
    expect(each.text).toContain('"status":404');
    expect((await get(`/accounts/${own}`, bob)).text).toContain('"balance":0.00,"version":1,');
    expect((await get(`/accounts/${adasAccount}`, ada)).text).toContain(`${MARKED_AMOUNT},"version":2,`);
  });

  it('a cursor is useless to anybody else', async () => {
    await open(ada);
    const { text } = await get('/accounts?limit=1', ada).expect(200);
    const { nextCursor } = JSON.parse(text) as { nextCursor: string };
    await get(`/accounts?cursor=${nextCursor}`, ada).expect(200);
    await get(`/accounts?cursor=${nextCursor}`, bob).expect(400);
  });
});

describe('API2:2023 Broken Authentication', () => {
  const refused = async (headers: Readonly<Record<string, string>>, path = '/accounts') => {
    const { status, headers: answered, text } = await get(path, headers);
    expect({ headers, status, text }).toEqual({ headers, status: 401, text: '{"error":"Unauthorized"}' });
    expect(answered['www-authenticate']).toMatch(/^Bearer/);
  };

  it('a token that has expired or was not issued for this service is rejected', async () => {
    await get('/accounts', bearer(await wallet.token('ada'))).expect(200);
    const bad = await wallet.provider.badTokens('ada', ORDINARY);
    const answers = Object.entries(bad).map(async ([what, token]) => {
      const { status } = await get('/accounts', bearer(token));
      return [what, status] as const;
    });
    for (const [what, status] of await Promise.all(answers))
      expect({ what, status }).toEqual({ what, status: 401 });
  });

  it('a key that was altered, shortened or lengthened is rejected', async () => {
    const key = await wallet.key();
    await get('/accounts', bearer(key)).expect(200);
    const other = key.at(20) === 'a' ? 'b' : 'a';
    for (const wrong of [
      key.slice(0, -1),
      `${key}a`,
      key.slice(0, 20) + other + key.slice(21),
      key.toUpperCase(),
      key.slice(0, 12),
    ]) {
      await refused(bearer(wrong));
    }
  });

  it('credentials are read from one place only', async () => {
    const key = await wallet.key();
    await refused({ 'x-api-key': key });
    await refused({ cookie: `authorization=${key}; access_token=${key}` });
    await refused({ authorization: key });
    await refused({ authorization: `Basic ${Buffer.from(`${key}:`).toString('base64')}` });
    await refused({ authorization: `Bearer ${key} ${key}` });
    await refused({}, `/accounts?access_token=${key}`);
  });
});

describe('API2:2023 Broken Authentication: no way round', () => {
  it.each([
    ...[
      '/accounts/',
      '//accounts',
      '/./accounts',
      '/x/../accounts',
      '/%61ccounts',
      '/accounts%2f',
      '/ACCOUNTS',
    ],
    ...['/accounts;a=b', '/accounts%00', '/accounts?', '/accounts#', '/accounts/1/', '/health/../accounts'],
    ...['/docs/../accounts', '/docs/..%2faccounts', '/openapi.json/../accounts', '/metrics/', '/%6detrics'],
    ...[
      '/health/live/../../metrics',
      '/health/ready%2f..%2f..%2fmetrics',
      '/metrics?x=/health/live',
      '/METRICS',
    ],
  ])('%s tells nothing without a credential', async (path) => {
    const overrides =
      'X-HTTP-Method-Override: GET\r\nX-Original-URL: /health/live\r\nX-Rewrite-URL: /docs\r\n';
    for (const method of ['GET', 'HEAD', 'POST', 'OPTIONS', 'TRACE', 'PROPFIND']) {
      const { status, text } = await sendRaw(
        app,
        `${method} ${path} HTTP/1.1\r\nHost: bank\r\nConnection: close\r\n${overrides}\r\n`,
      );
      const refused = [400, 401, 403, 404, 405].includes(status) || (method === 'OPTIONS' && status === 204);
      expect({ method, status, refused }).toEqual({ method, status, refused: true });
      expect(text).not.toMatch(/accountId|bank_/);
    }
  });

  it('each request of a connection is checked by itself', async () => {
    const client = await RawClient.open(app.url);
    const senders = [ada, {}, bob, ada, admin];
    for (const [index, sender] of senders.entries()) {
      const [name = 'x-none', value = ''] = Object.entries(sender)[0] ?? [];
      const last = index === senders.length - 1 ? 'Connection: close\r\n' : '';
      client.send(`GET /accounts/${adasAccount} HTTP/1.1\r\nHost: bank\r\n${name}: ${value}\r\n${last}\r\n`);
    }
    await client.closed;
    expect(client.statuses).toEqual([200, 401, 404, 200, 200]);
  });
});

describe('API3:2023 Broken Object Property Level Authorization', () => {
  it.each([
    ['version', 9],
    ['balance', 5],
    ['accountId', 1],
    ['owner', 'ada'],
    ['headHash', ''],
  ])('a sender can’t choose the %s of a new account', async (field, value) => {
    const response = await post('/accounts', bob, { [field]: value }).expect(400);
    expect(fieldsIn(response)).toEqual([field]);
  });

  it.each(['version', 'balance', 'newBalance', 'owner', 'accountId', 'id', 'timestamp', 'hash'])(
    'a sender can’t choose the %s of a transaction',
    async (field) => {
      const own = await open(bob);
      const response = await post(postingTo(own), bob, { ...deposit('1.00'), [field]: '7' }).expect(400);
      expect(fieldsIn(response)).toEqual([field]);
      expect((await get(`/accounts/${own}`, bob)).text).toContain('"balance":0.00,"version":1,');
    },
  );

  it('accounts and transactions show exactly the documented fields', async () => {
    const keys = async (path: string) => Object.keys(JSON.parse((await get(path, ada)).text) as object);
    expect(await keys(`/accounts/${adasAccount}`)).toEqual([
      ...['accountId', 'balance', 'version', 'held', 'available', 'overdraftLimit', 'currency', 'status'],
      ...['owner', 'createdAt'],
    ]);
    expect(await keys(`/accounts/${adasAccount}/balance`)).toEqual(['balance', 'version']);
    expect(await keys(`/transactions/${adasTransaction}`)).toEqual([
      ...['id', 'accountId', 'type', 'amount', 'newBalance', 'newVersion', 'timestamp'],
    ]);
  });
});

describe('API4:2023 Unrestricted Resource Consumption', () => {
  it('bodies, lines, headers, pages and batches are bounded', async () => {
    const own = await open(bob);
    await post(postingTo(own), bob, `{"amount":"1","type":"Deposit"}${' '.repeat(20_000)}`).expect(413);
    await post('/transactions/batch', bob, `[${'0,'.repeat(10_001)}0]`).expect(413);
    await get('/accounts?limit=201', bob).expect(400);
    await get(`/accounts/${own}/transactions?limit=201`, bob).expect(400);
    const raw = (lines: string) => sendRaw(app, `GET / HTTP/1.1\r\nHost: bank\r\n${lines}\r\n`);
    expect((await raw(`X-Long: ${'x'.repeat(20_000)}\r\n`)).status).toBe(431);
    expect((await raw(`X: 1\r\n`.repeat(5_000))).status).toBe(431);
    expect((await sendRaw(app, `GET /${'x'.repeat(20_000)} HTTP/1.1\r\nHost: bank\r\n\r\n`)).status).toBe(
      431,
    );
  });

  it('no body is read before the sender is authorised', async () => {
    const response = await sendRaw(
      app,
      `POST /accounts HTTP/1.1\r\nHost: bank\r\nConnection: close\r\nContent-Type: ${JSON_TYPE}\r\n` +
        'Content-Length: 10000\r\n\r\n',
    );
    expect(response.status).toBe(401);
  });
});

describe('API5:2023 Broken Function Level Authorization', () => {
  it.each(ORDINARY)('the scope %s alone allows nothing else', async (scope) => {
    // A token, because no key with an owner has accounts:manage.
    const sender = bearer(await wallet.provider.token('ada', [scope]));
    // An owner's transactions:write stands for withdrawals, and accounts:manage for nothing.
    const stands: Readonly<Partial<Record<Scope, readonly string[]>>> = {
      'transactions:write': ['withdrawals:write'],
      'accounts:manage': [],
    };
    const held = stands[scope] ?? [scope];
    const transfer = { from: adasAccount, to: adasAccount + 900_000, amount: '0.01' };
    const posted = (body: object) => () => post(postingTo(adasAccount), sender, body);
    const asked: Readonly<Partial<Record<Scope, () => Promise<{ status: number }>>>> = {
      'accounts:read': () => get('/accounts', sender),
      'accounts:write': () => post('/accounts', sender, '{}'),
      'transactions:read': () => get(`/transactions/${adasTransaction}`, sender),
      'deposits:write': posted(deposit('0.01')),
      'withdrawals:write': posted(withdrawal('0.01')),
      'transfers:write': () => post('/transfers', sender, transfer),
      'accounts:manage': () =>
        app.http.patch(`/accounts/${adasAccount}`).set(sender).send({ status: 'open' }),
      admin: () => get('/metrics', sender),
    };
    for (const [needed, ask] of Object.entries(asked)) {
      const { status } = await ask();
      expect({ needed, forbidden: status === 403 }).toEqual({ needed, forbidden: !held.includes(needed) });
    }
  });

  it('other methods do nothing, even for an administrator', async () => {
    const { routes } = new OpenApiContract();
    const known = new Set(routes.map(({ method, path }) => `${method} ${path}`));
    for (const { path } of routes) {
      const filled = path
        .replace('{accountId}', String(adasAccount))
        .replace('{transactionId}', adasTransaction)
        .replace('{transferId}', 'tr1')
        .replace('{holdId}', 'hold1')
        .replace('{webhookId}', 'wh1')
        .replace('{eventId}', 'txn1');
      for (const method of ['put', 'patch', 'delete'] as const) {
        if (known.has(`${method.toUpperCase()} ${path}`)) continue;
        await app.http[method](filled).set(admin).expect(405);
      }
    }
  });
});

describe('API6:2023 Unrestricted Access to Sensitive Business Flows', () => {
  it('transactions are limited per sender, from any address, and nobody else is held up', async () => {
    const limited = await startInstance(database.url, {
      ...wallet.settings,
      RATE_LIMIT_TRANSACTIONS_PER_SECOND: '1',
      RATE_LIMIT_BURST: '3',
      TRUSTED_PROXIES: '127.0.0.1',
    });
    try {
      const statuses: number[] = [];
      for (let count = 0; count < 6; count++) {
        const headers = { ...bearer(await wallet.token('eve')), 'x-forwarded-for': `198.51.100.${count}` };
        statuses.push((await post('/accounts', headers, '{}', limited)).status);
      }
      expect(statuses.slice(0, 3)).toEqual([201, 201, 201]);
      expect(statuses.slice(3)).toContain(429);
      const other = { ...bearer(await wallet.token('sam')), 'x-forwarded-for': '198.51.100.0' };
      await post('/accounts', other, '{}', limited).expect(201);
    } finally {
      await limited.close();
    }
  });
});

describe('API7:2023 Server Side Request Forgery', () => {
  let trap: Server;
  let calls = 0;

  beforeAll(async () => {
    trap = createServer((_, response) => {
      calls += 1;
      response.end('{"keys":[]}');
    });
    trap.on('connection', () => (calls += 1));
    trap.listen(0, '127.0.0.1');
    await once(trap, 'listening');
  });
  afterAll(() => void trap.close());

  it('nothing in a request or a token makes the service connect anywhere', async () => {
    const url = `http://127.0.0.1:${(trap.address() as AddressInfo).port}/keys`;
    for (const token of await wallet.provider.tokensThatPointTo(url, 'ada', ORDINARY)) {
      await get('/accounts', bearer(token)).expect(401);
    }
    const names = [
      'origin',
      'referer',
      'x-forwarded-host',
      'x-original-url',
      'forwarded',
      'x-callback-url',
      'link',
    ];
    const headers = Object.fromEntries(names.map((name) => [name, url]));
    await get(`/accounts?cursor=${encodeURIComponent(url)}`, { ...ada, ...headers }).expect(400);
    await post('/accounts', { ...admin, ...headers }, { owner: url }).expect(201);
    await post(
      postingTo(adasAccount),
      { ...ada, 'idempotency-key': url },
      { ...deposit('1'), webhook: url },
    ).expect(400);
    await sendRaw(app, `GET ${url} HTTP/1.1\r\nHost: bank\r\nConnection: close\r\n\r\n`);
    expect(calls).toBe(0);
  });
});

describe('API8:2023 Security Misconfiguration', () => {
  it.each([
    ['another address, and nobody has a credential', { HOST: '0.0.0.0' }],
    ['behind a proxy, and nobody has a credential', { TRUSTED_PROXIES: '10.0.0.0/8' }],
    ['production, and nobody has a credential', { NODE_ENV: 'production' }],
    ['production, with authentication off', { NODE_ENV: 'production', AUTH: 'off' }],
  ])('it does not start: %s', async (_, environment) => {
    const empty = await createTestDatabase('owasp');
    const service = await spawnService({ environment: { DATABASE_URL: empty.url, ...environment } });
    try {
      const end = await Promise.race([service.exited, sleep(25_000, 'it runs', { ref: false })]);
      expect(service.output()).toMatch(/Can't start\.[\s\S]*AUTH/);
      expect(end).toBe(1);
      expect(service.output()).not.toContain(new URL(empty.url).password);
    } finally {
      service.child.kill('SIGKILL');
      await empty.drop();
    }
  });

  it('answers do not reveal the software, and other sites may not frame, sniff or read them', async () => {
    for (const response of [
      await get('/accounts', ada),
      await get('/accounts', {}),
      await get('/nothing', ada),
      await post('/accounts', ada, '{'),
    ]) {
      const { headers, text } = response;
      expect(Object.keys(headers)).not.toEqual(
        expect.arrayContaining([
          expect.stringMatching(/^(x-powered-by|server|access-control-allow-origin)$/),
        ]),
      );
      expect(headers['x-content-type-options']).toBe('nosniff');
      expect(headers['x-frame-options'] ?? headers['content-security-policy']).toBeDefined();
      expect(text).not.toMatch(/node_modules|\.js:|\.ts:|SELECT|at [\w.]+ \(/);
    }
  });
});

describe('API9:2023 Improper Inventory Management', () => {
  it('exactly the documented routes are served', async () => {
    const documented = new OpenApiContract().routes.map(({ method, path }) => `${method} ${path}`);
    expect(documented.sort()).toEqual((await routesOf(database.url)).sort());
  });

  it.each(['/v1/accounts', '/api/accounts', '/admin', '/debug', '/.env', '/graphql', '/keys', '/audit'])(
    'there is no %s',
    async (path) => {
      await get(path, admin).expect(404);
    },
  );
});

describe('API10:2023 Unsafe Consumption of APIs', () => {
  it('what others write to Redis is not taken for a balance', async () => {
    const redis = await startRedis();
    const client = new Redis(redis.url);
    const cached = await startInstance(database.url, {
      ...wallet.settings,
      REDIS_URL: redis.url,
      BALANCE_CACHE: 'auto',
    });
    try {
      const accountId = await open(ada, '{"openingDeposit":5}', cached);
      const [key = ''] = await client.keys(`bank:*:balance:${accountId}`);
      expect(key).not.toBe('');
      for (const poison of [
        'x',
        '-1:5',
        '1:99999999999999999999',
        '{"balance":1}',
        '2:--5',
        '2:-',
        '2:5:5',
        '2:5\n',
      ]) {
        await client.set(key, poison);
        const { text } = await get(`/accounts/${accountId}/balance`, ada, cached).expect(200);
        expect(text).toBe('{"balance":5.00,"version":2}');
      }
      await client.del(key);
      await client.lpush(key, 'x');
      await get(`/accounts/${accountId}/balance`, ada, cached).expect(200);
    } finally {
      client.disconnect();
      await cached.close();
      await redis.stop();
    }
  });

  it('an identity provider that answers nonsense lets nobody in and breaks nothing', async () => {
    const elsewhere = await WalletWithTokens.open(database.url);
    const key = bearer(await elsewhere.key());
    const relying = await startInstance(database.url, elsewhere.settings);
    const answerFromNowOn = (answer: KeysAnswer) => {
      elsewhere.provider.keysAnswer = answer;
      // Sooner it would not be asked again.
      pass(6_000);
    };
    try {
      for (const answer of ['nonsense', 'redirect', 'failure', 'flood'] as const) {
        answerFromNowOn(answer);
        const { text } = await get('/accounts', bearer(await elsewhere.token('ada')), relying).expect(503);
        expect(text).not.toContain(elsewhere.provider.issuer);
        await get('/accounts', key, relying).expect(200);
      }
      answerFromNowOn('symmetric');
      await get('/accounts', bearer(await elsewhere.token('ada')), relying).expect(401);
      expect(elsewhere.provider.keysAsked).toBe(5);
    } finally {
      jest.restoreAllMocks();
      await relying.close();
      await elsewhere.close();
    }
  });
});
