import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import type { Scope } from '../../src/auth/principal.js';
import { startInstance, type TestApp } from '../support/app.js';
import { bearer } from '../support/credentials.js';
import { OpenApiContract } from '../support/openapi.js';
import { createTestDatabase, type TestDatabase } from '../support/postgres.js';
import { RawClient } from '../support/raw-client.js';
import { ORDINARY, WalletWithTokens } from '../support/wallet.js';
import { deposit, JSON_TYPE } from './requests.js';

/*
 * Every route × every kind of sender. The routes come from openapi.json, which another test compares with what is
 * served; one that is not classified here fails.
 */

/** What is in ada's account, and nowhere else: it may show in nobody else's answer. */
const MARKED_AMOUNT = '7351.42';

interface Target {
  readonly accountId: number;
  /** Like txn1. */
  readonly transactionId: string;
}

interface Sent {
  readonly path: string;
  readonly body?: string;
}

interface RouteClass {
  /** What it takes; undefined: nothing, it is for everybody. */
  readonly scope: Scope | undefined;
  readonly sent: (target: Target) => Sent;
  /** What those are answered who may. */
  readonly right: number;
  /** What those are answered who may, but not see the target. */
  readonly foreign: number;
  /** It is for everybody, but a credential that is shown has to be good: whoever has one is told more. */
  readonly checked?: true;
  /** Names an account or a transaction, so what is another's must be as absent. */
  readonly named?: true;
}

const posting = JSON.stringify(deposit('0.01'));

const CLASSES: Readonly<Record<string, RouteClass>> = {
  'GET /accounts': {
    scope: 'accounts:read',
    sent: () => ({ path: '/accounts?limit=200' }),
    right: 200,
    foreign: 200,
  },
  'POST /accounts': {
    scope: 'accounts:write',
    sent: () => ({ path: '/accounts', body: '{}' }),
    right: 201,
    foreign: 201,
  },
  'GET /accounts/{accountId}': {
    scope: 'accounts:read',
    sent: ({ accountId }) => ({ path: `/accounts/${accountId}` }),
    right: 200,
    foreign: 404,
    named: true,
  },
  'GET /accounts/{accountId}/balance': {
    scope: 'accounts:read',
    sent: ({ accountId }) => ({ path: `/accounts/${accountId}/balance` }),
    right: 200,
    foreign: 404,
    named: true,
  },
  'GET /accounts/{accountId}/proof': {
    scope: 'accounts:read',
    sent: ({ accountId }) => ({ path: `/accounts/${accountId}/proof?fromVersion=1` }),
    right: 200,
    foreign: 404,
    named: true,
  },
  'GET /accounts/{accountId}/transactions': {
    scope: 'transactions:read',
    sent: ({ accountId }) => ({ path: `/accounts/${accountId}/transactions` }),
    right: 200,
    foreign: 404,
    named: true,
  },
  'POST /accounts/{accountId}/transactions': {
    scope: 'transactions:write',
    sent: ({ accountId }) => ({ path: `/accounts/${accountId}/transactions`, body: posting }),
    right: 201,
    foreign: 404,
    named: true,
  },
  'GET /transactions/{transactionId}': {
    scope: 'transactions:read',
    sent: ({ transactionId }) => ({ path: `/transactions/${transactionId}` }),
    right: 200,
    foreign: 404,
    named: true,
  },
  'POST /transactions/batch': {
    scope: 'transactions:write',
    sent: ({ accountId }) => ({
      path: '/transactions/batch?atomic=true',
      body: JSON.stringify([{ accountId, ...deposit('0.01') }]),
    }),
    right: 200,
    foreign: 404,
    named: true,
  },
  'GET /health/live': {
    scope: undefined,
    sent: () => ({ path: '/health/live' }),
    right: 200,
    foreign: 200,
  },
  'GET /health/ready': {
    scope: undefined,
    checked: true,
    sent: () => ({ path: '/health/ready' }),
    right: 200,
    foreign: 200,
  },
  'GET /metrics': { scope: 'admin', sent: () => ({ path: '/metrics' }), right: 200, foreign: 403 },
};

const contract = new OpenApiContract();
const ROUTES = contract.routes.map(({ method, path }) => `${method} ${path}`);
const classOf = (route: string) => CLASSES[route] as RouteClass;

const allBut = (scope: Scope | undefined) => ORDINARY.filter((other) => other !== scope);

/** What a sender is answered by a route. */
type Expected = (route: RouteClass) => number;
const unknown: Expected = ({ scope, right }) => (scope === undefined ? right : 401);
const refused: Expected = (route) => (route.checked ? 401 : unknown(route));
const forbidden: Expected = ({ scope, right }) => (scope === undefined ? right : 403);
const elsewhere: Expected = ({ scope, foreign }) => (scope === 'admin' ? 403 : foreign);
const admitted: Expected = ({ scope, right }) => (scope === 'admin' ? 403 : right);
const admin: Expected = ({ right }) => right;

interface Sender {
  readonly credential: (route: RouteClass) => Promise<string | undefined>;
  readonly expected: Expected;
}

/** Lets one credential be made once. */
function once(make: () => Promise<string>): Sender['credential'] {
  let made: Promise<string> | undefined;
  return () => (made ??= make());
}

let database: TestDatabase;
let wallet: WalletWithTokens;
let app: TestApp;
let target: Target;

const SENDERS: Readonly<Record<string, Sender>> = {
  'no credential': { credential: () => Promise.resolve(undefined), expected: unknown },
  garbage: { credential: () => Promise.resolve('x'.repeat(60)), expected: refused },
  'a key that never was': { credential: () => Promise.resolve(wallet.unknownKey()), expected: refused },
  'an expired key': {
    credential: once(() => wallet.expiredKey({ scopes: ORDINARY })),
    expected: refused,
  },
  'a revoked key': { credential: once(() => wallet.revokedKey({ scopes: ORDINARY })), expected: refused },
  'a key of the wrong scopes': {
    credential: ({ scope }) => wallet.key({ scopes: allBut(scope), owner: 'ada' }),
    expected: forbidden,
  },
  'the key of another owner': {
    credential: once(() => wallet.key({ scopes: ORDINARY, owner: 'bob' })),
    expected: elsewhere,
  },
  'the key of the owner': {
    credential: once(() => wallet.key({ scopes: ORDINARY, owner: 'ada' })),
    expected: admitted,
  },
  'the key of a service': { credential: once(() => wallet.key({ scopes: ORDINARY })), expected: admitted },
  'the key of an administrator': {
    credential: once(() => wallet.key({ scopes: ['admin'] })),
    expected: admin,
  },
  'a token of nobody’s': {
    credential: once(() => wallet.provider.token('ada', ORDINARY, { signedBy: 'stranger' })),
    expected: refused,
  },
  'an expired token': {
    credential: once(() => wallet.provider.token('ada', ORDINARY, { expiresInSeconds: -600 })),
    expected: refused,
  },
  'a token of the wrong scopes': {
    credential: ({ scope }) => wallet.provider.token('ada', allBut(scope)),
    expected: forbidden,
  },
  'the token of another user': { credential: once(() => wallet.token('bob')), expected: elsewhere },
  'the token of the owner': { credential: once(() => wallet.token('ada')), expected: admitted },
  'the token of an administrator': {
    credential: once(() => wallet.provider.token('ada', ['admin'])),
    expected: admin,
  },
};

/** Those to whom nothing of ada's may be shown. */
const seesNothing = (route: RouteClass, { expected }: Sender) =>
  ![200, 201].includes(expected({ ...route, right: 200, foreign: 404 }));

interface Answer {
  readonly status: number;
  /** All of it, but for what differs in any two answers. */
  readonly text: string;
}

async function send(
  method: string,
  { path, body = '' }: Sent,
  credential: string | undefined,
): Promise<Answer> {
  const headers = {
    host: 'bank',
    connection: 'close',
    ...(credential !== undefined && bearer(credential)),
    ...(method === 'POST' && { 'content-type': JSON_TYPE, 'content-length': String(body.length) }),
  };
  const client = await RawClient.open(app.url);
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
  client.send(`${method} ${path} HTTP/1.1\r\n${lines.join('')}\r\n${body}`);
  await client.closed;
  const text = client.received.replace(/^(date|x-request-id|ratelimit\S*): .*\r\n/gim, '');
  return { status: client.statuses[0] ?? 0, text };
}

beforeAll(async () => {
  database = await createTestDatabase('matrix');
  wallet = await WalletWithTokens.open(database.url);
  app = await startInstance(database.url, wallet.settings);
  const ada = await wallet.key({ scopes: ORDINARY, owner: 'ada' });
  const opened = await app.http
    .post('/accounts')
    .set(bearer(ada))
    .send({ openingDeposit: MARKED_AMOUNT })
    .expect(201);
  const { accountId } = JSON.parse(opened.text) as { accountId: number };
  const listed = await app.http.get(`/accounts/${accountId}/transactions`).set(bearer(ada)).expect(200);
  const [first] = (JSON.parse(listed.text) as { data: { id: string }[] }).data;
  target = { accountId, transactionId: first?.id ?? '' };
});

afterAll(async () => {
  await app.close();
  await wallet.close();
  await database.drop();
});

it('every route is classified', () => {
  expect(Object.keys(CLASSES).sort()).toEqual([...ROUTES].sort());
});

describe('every route by every sender', () => {
  let cells = 0;
  const leaks: string[] = [];

  describe.each(Object.entries(SENDERS))('%s', (name, sender) => {
    it.each(ROUTES)('%s', async (route) => {
      const of = classOf(route);
      const [method = ''] = route.split(' ');
      const { status, text } = await send(method, of.sent(target), await sender.credential(of));
      cells += 1;
      if (status !== sender.expected(of) || (seesNothing(of, sender) && text.includes(MARKED_AMOUNT)))
        leaks.push(`${name}: ${route}`);
      expect({ status, text }).toEqual({ status: sender.expected(of), text });
      if (seesNothing(of, sender)) expect(text).not.toMatch(/7351\.4|"ada"/);
      expect(text.includes('"shard-0"')).toBe(route === 'GET /health/ready' && sender.expected === admin);
      if (status === 401)
        expect(text).toMatch(/\r\nwww-authenticate: Bearer[\s\S]*{"error":"Unauthorized"}$/i);
      if (status === 403) {
        expect(text).toMatch(
          /\r\nwww-authenticate: Bearer error="insufficient_scope"[\s\S]*{"error":"Forbidden"}$/i,
        );
      }
    });
  });

  describe.each(['the key of another owner', 'the token of another user'])(
    '%s: absent or another’s',
    (name) => {
      const named = ROUTES.filter((route) => classOf(route).named);

      it.each(named)('%s', async (route) => {
        const of = classOf(route);
        const [method = ''] = route.split(' ');
        const credential = await SENDERS[name]?.credential(of);
        const absent = { accountId: 9_000_001, transactionId: 'txn9000001' };
        const foreign = await send(method, of.sent(target), credential);
        expect(foreign).toEqual(await send(method, of.sent(absent), credential));
        expect(foreign.status).toBe(404);
      });
    },
  );

  it('no transaction was posted but by those who may', async () => {
    const { text } = await send(
      'GET',
      { path: `/accounts/${target.accountId}` },
      await wallet.key({ scopes: ['admin'] }),
    );
    const mayPost = Object.values(SENDERS).filter(
      ({ expected }) => expected(classOf('POST /accounts/{accountId}/transactions')) === 201,
    );
    // Each by a call, and in a batch.
    expect(text).toContain(`"version":${2 + 2 * mayPost.length},`);
  });

  it('nothing leaks', () => {
    process.stderr.write(
      `access matrix: ${cells} cells (${ROUTES.length} routes × ${Object.keys(SENDERS).length} senders), ${leaks.length} leaks\n`,
    );
    expect(leaks).toEqual([]);
    expect(cells).toBe(ROUTES.length * Object.keys(SENDERS).length);
  });
});
