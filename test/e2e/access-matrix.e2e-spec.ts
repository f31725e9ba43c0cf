import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { isBankScope, type Scope } from '../../src/access/principal.js';
import { startInstance, type TestApp } from '../support/app.js';
import { bearer } from '../support/credentials.js';
import { OpenApiContract } from '../../tools/fuzz/contract.js';
import { createTestDatabase, type TestDatabase } from '../support/postgres.js';
import { idOfSubmission } from '../support/submissions.js';
import { NOTHING_SENT, rememberDelivery, WEBHOOK_KEYS } from '../support/webhooks.js';
import { RawClient } from '../support/raw-client.js';
import { OF_OWNERS, ORDINARY, WalletWithTokens } from '../support/wallet.js';
import { deposit, JSON_TYPE, withdrawal } from '../support/requests.js';

/*
 * Every route × every kind of sender. The routes come from openapi.json, which another test compares with the service;
 * a route that is not classified here makes a test fail. A route whose scopes depend on the request has several rows.
 */

/** An amount that only ada's account has: it must not appear in anybody else's answer. */
const MARKED_AMOUNT = '7351.42';

interface Target {
  readonly accountId: number;
  /** Of the same owner. */
  readonly otherId: number;
  /** Like hold1, and like tr1: between both accounts. */
  readonly holdId: string;
  readonly transferId: string;
  /** Like txn1. */
  readonly transactionId: string;
  readonly submissionId: string;
  /** Like wh1. */
  readonly webhookId: string;
}

interface Sent {
  readonly path: string;
  readonly body?: string;
}

interface RouteClass {
  /** All the scopes that the route needs; undefined: none, it is public. */
  readonly needs: readonly Scope[] | undefined;
  readonly sent: (target: Target) => Sent;
  /** The status for senders who are allowed. */
  readonly right: number;
  /** The status for senders with the scopes who may not see the target. */
  readonly foreign: number;
  /** Public, but a credential in the request must be valid, because it makes the answer more detailed. */
  readonly checked?: true;
  /** The path names an account or a transaction, so one of another owner must seem not to exist. */
  readonly named?: true;
  /** Posts a transaction to the target. */
  readonly posts?: true;
  /** Answers 200 with a result per item; the status of the first item counts. */
  readonly perItem?: true;
}

/**
 * The same posting as a single call, as an item of a batch, and as an atomic batch.
 *
 * @param tried whether each is a dry run, because it could be carried out once only
 */
function posting(
  route: string,
  name: string,
  scope: Scope,
  {
    path,
    body = () => ({}),
    item,
    tried = false,
  }: {
    path: (target: Target) => string;
    body?: (target: Target) => object;
    item: (target: Target) => object;
    tried?: boolean;
  },
): Record<string, RouteClass> {
  const common = {
    needs: [scope],
    foreign: 404,
    named: true,
    ...(tried ? {} : { posts: true as const }),
  } as const;
  const right = tried ? 200 : 201;
  const query = tried ? '?dryRun=true' : '';
  const inBatch = (target: Target) => JSON.stringify([{ ...item(target), ...body(target) }]);
  return {
    [`${route} (${name})`]: {
      ...common,
      sent: (target) => ({ path: `${path(target)}${query}`, body: JSON.stringify(body(target)) }),
      right,
    },
    [`POST /transactions/batch (${name})`]: {
      ...common,
      sent: (target) => ({ path: `/transactions/batch${query}`, body: inBatch(target) }),
      right,
      perItem: true,
    },
    [`POST /transactions/batch (${name}, atomic)`]: {
      ...common,
      sent: (target) => ({
        path: `/transactions/batch?atomic=true${tried ? '&dryRun=true' : ''}`,
        body: inBatch(target),
      }),
      right: 200,
    },
  };
}

const movement = (name: string, scope: Scope, body: object) =>
  posting('POST /accounts/{accountId}/transactions', name, scope, {
    path: ({ accountId }) => `/accounts/${accountId}/transactions`,
    body: () => body,
    item: ({ accountId }) => ({ accountId }),
  });

/** Reads something of the target. */
const reading = (path: (target: Target) => string, scope: Scope = 'transactions:read'): RouteClass => ({
  needs: [scope],
  sent: (target) => ({ path: path(target) }),
  right: 200,
  foreign: 404,
  named: true,
});

const CLASSES: Readonly<Record<string, RouteClass>> = {
  'GET /accounts': {
    needs: ['accounts:read'],
    sent: () => ({ path: '/accounts?limit=200' }),
    right: 200,
    foreign: 200,
  },
  'POST /accounts (empty)': {
    needs: ['accounts:write'],
    sent: () => ({ path: '/accounts', body: '{}' }),
    right: 201,
    foreign: 201,
  },
  'POST /accounts (with a deposit)': {
    needs: ['accounts:write', 'deposits:write'],
    sent: () => ({ path: '/accounts', body: '{"openingDeposit":1}' }),
    right: 201,
    foreign: 201,
  },
  'GET /accounts/{accountId}': {
    needs: ['accounts:read'],
    sent: ({ accountId }) => ({ path: `/accounts/${accountId}` }),
    right: 200,
    foreign: 404,
    named: true,
  },
  'GET /accounts/{accountId}/balance': {
    needs: ['accounts:read'],
    sent: ({ accountId }) => ({ path: `/accounts/${accountId}/balance` }),
    right: 200,
    foreign: 404,
    named: true,
  },
  'GET /accounts/{accountId}/proof (the head)': {
    needs: ['accounts:read'],
    sent: ({ accountId }) => ({ path: `/accounts/${accountId}/proof` }),
    right: 200,
    foreign: 404,
    named: true,
  },
  'GET /accounts/{accountId}/proof (with lines)': {
    needs: ['accounts:read', 'transactions:read'],
    sent: ({ accountId }) => ({ path: `/accounts/${accountId}/proof?fromVersion=1` }),
    right: 200,
    foreign: 404,
    named: true,
  },
  'GET /accounts/{accountId}/transactions': {
    needs: ['transactions:read'],
    sent: ({ accountId }) => ({ path: `/accounts/${accountId}/transactions` }),
    right: 200,
    foreign: 404,
    named: true,
  },
  'GET /accounts/{accountId}/statement': reading(
    ({ accountId }) => `/accounts/${accountId}/statement?from=2025-01-01&to=2025-02-01`,
  ),
  'GET /accounts/{accountId}/events': reading(({ accountId }) => `/accounts/${accountId}/events`),
  'GET /events': {
    ...{ needs: ['admin'], sent: () => ({ path: '/events' }), right: 200, foreign: 403 },
  },
  ...movement('deposit', 'deposits:write', deposit('0.01')),
  ...movement('withdrawal', 'withdrawals:write', withdrawal('0.01')),
  'GET /transactions/{transactionId}': reading(({ transactionId }) => `/transactions/${transactionId}`),
  ...posting('POST /transactions/{transactionId}/reversal', 'reversal of a deposit', 'withdrawals:write', {
    path: ({ transactionId }) => `/transactions/${transactionId}/reversal`,
    body: () => ({ amount: '0.01' }),
    item: ({ transactionId }) => ({ type: 'Reversal', transactionId }),
    tried: true,
  }),
  ...posting('POST /transfers', 'transfer', 'transfers:write', {
    path: () => '/transfers',
    body: ({ accountId, otherId }) => ({ from: accountId, to: otherId, amount: '0.01' }),
    item: () => ({ type: 'Transfer' }),
  }),
  ...posting('POST /transfers/{transferId}/reversal', 'reversal of a transfer', 'transfers:write', {
    path: ({ transferId }) => `/transfers/${transferId}/reversal`,
    item: ({ transferId }) => ({ type: 'Reversal', transferId }),
    tried: true,
  }),
  'GET /transfers/{transferId}': reading(({ transferId }) => `/transfers/${transferId}`),
  'GET /accounts/{accountId}/transfers': reading(({ accountId }) => `/accounts/${accountId}/transfers`),
  ...posting('POST /accounts/{accountId}/holds', 'hold', 'withdrawals:write', {
    path: ({ accountId }) => `/accounts/${accountId}/holds`,
    body: () => ({ amount: '0.01' }),
    item: ({ accountId }) => ({ type: 'Hold', accountId }),
  }),
  'GET /accounts/{accountId}/holds': reading(({ accountId }) => `/accounts/${accountId}/holds`),
  'GET /holds/{holdId}': reading(({ holdId }) => `/holds/${holdId}`),
  'GET /submissions/{submissionId}': reading(({ submissionId }) => `/submissions/${submissionId}`),
  ...posting('POST /holds/{holdId}/capture', 'capture', 'withdrawals:write', {
    path: ({ holdId }) => `/holds/${holdId}/capture`,
    item: ({ holdId }) => ({ type: 'Capture', holdId }),
    tried: true,
  }),
  ...posting('POST /holds/{holdId}/capture', 'capture to an account', 'transfers:write', {
    path: ({ holdId }) => `/holds/${holdId}/capture`,
    body: ({ otherId }) => ({ to: otherId }),
    item: ({ holdId }) => ({ type: 'Capture', holdId }),
    tried: true,
  }),
  ...posting('POST /holds/{holdId}/void', 'void', 'withdrawals:write', {
    path: ({ holdId }) => `/holds/${holdId}/void`,
    item: ({ holdId }) => ({ type: 'Void', holdId }),
    tried: true,
  }),
  'PATCH /accounts/{accountId} (reference)': {
    needs: ['accounts:write'],
    sent: ({ accountId }) => ({ path: `/accounts/${accountId}`, body: '{"reference":"r"}' }),
    right: 200,
    foreign: 404,
    named: true,
  },
  'PATCH /accounts/{accountId} (status)': {
    needs: ['accounts:manage'],
    sent: ({ accountId }) => ({ path: `/accounts/${accountId}`, body: '{"status":"open"}' }),
    right: 200,
    foreign: 403,
  },
  'PATCH /accounts/{accountId} (limit)': {
    needs: ['accounts:manage'],
    sent: ({ accountId }) => ({ path: `/accounts/${accountId}`, body: '{"overdraftLimit":"0.00"}' }),
    right: 200,
    foreign: 403,
  },
  'GET /webhooks': {
    needs: ['webhooks:write'],
    sent: () => ({ path: '/webhooks' }),
    right: 200,
    foreign: 200,
  },
  'POST /webhooks': {
    needs: ['webhooks:write'],
    // The bank has room for a hundred.
    sent: () => ({ path: '/webhooks', body: '{"url":"http://a.invalid","eventTypes":["*"]}' }),
    right: 400,
    foreign: 400,
  },
  'GET /webhooks/{webhookId}': reading(({ webhookId }) => `/webhooks/${webhookId}`, 'webhooks:write'),
  'PATCH /webhooks/{webhookId}': {
    ...reading(({ webhookId }) => `/webhooks/${webhookId}`, 'webhooks:write'),
    sent: ({ webhookId }) => ({ path: `/webhooks/${webhookId}`, body: '{"status":"enabled"}' }),
  },
  // It has a parameter too many, so nobody deletes it.
  'DELETE /webhooks/{webhookId}': {
    ...reading(({ webhookId }) => `/webhooks/${webhookId}?x`, 'webhooks:write'),
    ...{ right: 400, foreign: 400, named: undefined },
  },
  'POST /webhooks/{webhookId}/secret': {
    ...reading(({ webhookId }) => `/webhooks/${webhookId}/secret`, 'webhooks:write'),
    sent: ({ webhookId }) => ({ path: `/webhooks/${webhookId}/secret`, body: '{}' }),
  },
  'GET /webhooks/{webhookId}/deliveries': reading(
    ({ webhookId }) => `/webhooks/${webhookId}/deliveries`,
    'webhooks:write',
  ),
  'GET /webhooks/{webhookId}/deliveries/{eventId}': reading(
    ({ webhookId }) => `/webhooks/${webhookId}/deliveries/txn1`,
    'webhooks:write',
  ),
  'POST /webhooks/{webhookId}/redeliveries': {
    ...reading(({ webhookId }) => `/webhooks/${webhookId}/redeliveries`, 'webhooks:write'),
    sent: ({ webhookId }) => ({
      path: `/webhooks/${webhookId}/redeliveries`,
      body: '{"since":"2026-01-01"}',
    }),
    right: 202,
  },
  'GET /health/live': {
    needs: undefined,
    sent: () => ({ path: '/health/live' }),
    right: 200,
    foreign: 200,
  },
  'GET /health/ready': {
    needs: undefined,
    checked: true,
    sent: () => ({ path: '/health/ready' }),
    right: 200,
    foreign: 200,
  },
  'GET /ledger/summary': {
    ...{ needs: ['admin'], sent: () => ({ path: '/ledger/summary' }), right: 200, foreign: 403 },
  },
  'GET /metrics': { needs: ['admin'], sent: () => ({ path: '/metrics' }), right: 200, foreign: 403 },
};

const contract = new OpenApiContract();
const ROUTES = contract.routes.map(({ method, path }) => `${method} ${path}`);
const ROWS = Object.keys(CLASSES);
const routeOf = (row: string) => row.replace(/ \(.*$/, '');
const classOf = (row: string) => CLASSES[row] as RouteClass;

/** The scopes that one scope includes. */
function standsFor(scope: Scope, owner: string | undefined): readonly Scope[] {
  if (owner !== undefined && isBankScope(scope)) return [];
  if (scope !== 'transactions:write') return [scope];
  return owner === undefined ? ['deposits:write', 'withdrawals:write'] : ['withdrawals:write'];
}

/** All scopes except those that include the last one that a route needs. */
const tooFew = ({ needs = [] }: RouteClass, owner: string) =>
  OF_OWNERS.filter((scope) => !standsFor(scope, owner).includes(needs.at(-1) as Scope));

/** The error codes of answers that refuse a sender. */
const CODES: Readonly<Record<number, string>> = {
  401: 'UNAUTHORIZED',
  403: 'FORBIDDEN',
  400: 'INVALID_REQUEST',
  404: '(ACCOUNT|TRANSACTION|TRANSFER|HOLD|SUBMISSION|WEBHOOK)_NOT_FOUND',
};

/** The expected status of a route for a sender. */
type Expected = (route: RouteClass) => number;
const isForAdmins = ({ needs }: RouteClass) => needs?.includes('admin') === true;
const isForTheBank = ({ needs = [] }: RouteClass) => needs.some(isBankScope);
const unknown: Expected = ({ needs, right }) => (needs === undefined ? right : 401);
const refused: Expected = (route) => (route.checked ? 401 : unknown(route));
const forbidden: Expected = ({ needs, right }) => (needs === undefined ? right : 403);
const elsewhere: Expected = (route) => (isForAdmins(route) ? 403 : route.foreign);
const admitted: Expected = (route) => (isForAdmins(route) ? 403 : route.right);
const owning: Expected = (route) => (isForTheBank(route) ? 403 : admitted(route));
const admin: Expected = ({ right }) => right;
const allowedBy =
  (scope: Scope, owner?: string): Expected =>
  ({ needs = [], right }) =>
    needs.every((needed) => standsFor(scope, owner).includes(needed)) ? right : 403;

interface Sender {
  readonly credential: (route: RouteClass) => Promise<string | undefined>;
  readonly expected: Expected;
}

/** Creates a credential only once for all routes whose last scopes are the same. */
function oncePerScope(make: (route: RouteClass) => Promise<string>): Sender['credential'] {
  const made = new Map<Scope | undefined, Promise<string>>();
  return (route) => {
    const scope = route.needs?.at(-1);
    const credential = made.get(scope) ?? make(route);
    made.set(scope, credential);
    return credential;
  };
}

/** Creates a credential only once. */
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
    credential: oncePerScope((route) => wallet.key({ scopes: tooFew(route, 'ada'), owner: 'ada' })),
    expected: forbidden,
  },
  'the key of another owner': {
    credential: once(() => wallet.key({ owner: 'bob' })),
    expected: elsewhere,
  },
  'the key of the owner': {
    credential: once(() => wallet.key({ owner: 'ada' })),
    expected: owning,
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
    credential: oncePerScope((route) => wallet.provider.token('ada', tooFew(route, 'ada'))),
    expected: forbidden,
  },
  'the token of another user': { credential: once(() => wallet.token('bob')), expected: elsewhere },
  'the token of the owner': { credential: once(() => wallet.token('ada')), expected: owning },
  'the token of an administrator': {
    credential: once(() => wallet.provider.token('ada', ['admin'])),
    expected: admin,
  },
  ...Object.fromEntries(ORDINARY.flatMap(sendersOfOneScope)),
};

function sendersOfOneScope(scope: Scope): [string, Sender][] {
  const scopes = [scope];
  const key: [string, Sender] = [
    `the owner’s key of ${scope} alone`,
    {
      credential: once(() => wallet.key({ scopes, owner: 'ada' })),
      expected: allowedBy(scope, 'ada'),
    },
  ];
  return [
    // There is no such key.
    ...(isBankScope(scope) ? [] : [key]),
    [
      `the owner’s token of ${scope} alone`,
      {
        credential: once(() => wallet.provider.token('ada', scopes)),
        expected: allowedBy(scope, 'ada'),
      },
    ],
    [
      `a service’s key of ${scope} alone`,
      { credential: once(() => wallet.key({ scopes })), expected: allowedBy(scope) },
    ],
  ];
}

/** Whether a sender may see nothing of ada's. */
const seesNothing = (route: RouteClass, { expected }: Sender) =>
  ![200, 201].includes(expected({ ...route, right: 200, foreign: 404 }));

interface Answer {
  /** The status of the first item, if each has its own. */
  readonly status: number;
  /** The whole answer, except what differs between any two answers. */
  readonly text: string;
}

async function send(
  method: string,
  { path, body = '' }: Sent,
  credential: string | undefined,
  { perItem }: Pick<RouteClass, 'perItem'> = {},
): Promise<Answer> {
  const headers = {
    host: 'bank',
    connection: 'close',
    ...(credential !== undefined && bearer(credential)),
    ...(['POST', 'PATCH'].includes(method) && {
      'content-type': JSON_TYPE,
      'content-length': String(body.length),
    }),
  };
  const client = await RawClient.open(app.url);
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
  // A stream has no end.
  client.socket.on('data', () => {
    if (client.received.includes('text/event-stream')) client.destroy();
  });
  client.send(`${method} ${path} HTTP/1.1\r\n${lines.join('')}\r\n${body}`);
  await client.closed;
  const text = client.received.replace(/^(date|x-request-id|ratelimit\S*): .*\r\n/gim, '');
  const [status = 0] = client.statuses;
  const [, itemStatus = 0] = /{"status":(\d+),/.exec(text) ?? [];
  return { status: perItem && status === 200 ? Number(itemStatus) : status, text };
}

/** Without the ids that the request named itself, and the lengths that follow from them. */
const anonymous = ({ status, text }: Answer): Answer => ({
  status,
  text: text
    .replace(/"accountId":\d+/g, '"accountId":N')
    .replace(/content-length: \d+/i, 'content-length: N')
    .replace(/\r\n[\da-f]+\r\n/gi, '\r\n'),
});

beforeAll(async () => {
  database = await createTestDatabase('matrix');
  wallet = await WalletWithTokens.open(database.url);
  app = await startInstance(database.url, { ...wallet.settings, WEBHOOK_KEYS }, NOTHING_SENT);
  const ada = bearer(await wallet.key({ owner: 'ada' }));
  const post = async (path: string, body: object) =>
    (await app.http.post(path).set(ada).send(body).expect(201)).text;
  const open = async (openingDeposit: string) =>
    (JSON.parse(await post('/accounts', { openingDeposit })) as { accountId: number }).accountId;
  const [accountId, otherId] = [await open(MARKED_AMOUNT), await open('1.00')];
  const listed = await app.http.get(`/accounts/${accountId}/transactions`).set(ada).expect(200);
  const [first] = (JSON.parse(listed.text) as { data: { id: string }[] }).data;
  const idOf = async (path: string, body: object) =>
    (JSON.parse(await post(path, body)) as { id: string }).id;
  target = {
    ...{ accountId, otherId, transactionId: first?.id ?? '' },
    transferId: await idOf('/transfers', { from: otherId, to: accountId, amount: '0.01' }),
    holdId: await idOf(`/accounts/${accountId}/holds`, { amount: '0.01' }),
    submissionId: await idOfSubmission(database.url, accountId, 'submitted'),
    webhookId: await idOf('/webhooks', { url: 'https://a.invalid', eventTypes: ['*'] }),
  };
  await rememberDelivery(database.url, target.webhookId);
});

afterAll(async () => {
  await app.close();
  await wallet.close();
  await database.drop();
});

it('every route is classified', () => {
  expect([...new Set(ROWS.map(routeOf))].sort()).toEqual([...ROUTES].sort());
});

describe('every route by every sender', () => {
  let cells = 0;
  const leaks: string[] = [];

  describe.each(Object.entries(SENDERS))('%s', (name, sender) => {
    it.each(ROWS)('%s', async (row) => {
      const of = classOf(row);
      const [method = ''] = row.split(' ');
      const { status, text } = await send(method, of.sent(target), await sender.credential(of), of);
      cells += 1;
      if (status !== sender.expected(of) || (seesNothing(of, sender) && text.includes(MARKED_AMOUNT)))
        leaks.push(`${name}: ${row}`);
      expect({ status, text }).toEqual({ status: sender.expected(of), text });
      if (seesNothing(of, sender)) expect(text).not.toMatch(/7351\.4|"ada"/);
      expect(text.includes('"shard-0"')).toBe(row === 'GET /health/ready' && sender.expected === admin);
      if (status === 401)
        expect(text).toMatch(/\r\nwww-authenticate: Bearer[\s\S]*{"error":"Unauthorized"}$/i);
      if (status >= 400 && text.startsWith(`HTTP/1.1 ${status}`))
        expect(text).toMatch(new RegExp(`\r\nx-error-code: ${CODES[status]}\r\n`, 'i'));
      if (status === 403 && text.startsWith('HTTP/1.1 200 ')) {
        expect(text).toMatch(/{"status":403,"code":"FORBIDDEN","body":{"error":"Forbidden"}}/);
      } else if (status === 403) {
        expect(text).toMatch(
          /\r\nwww-authenticate: Bearer error="insufficient_scope"[\s\S]*{"error":"Forbidden"}(}])?$/i,
        );
      }
    });
  });

  describe.each(['the key of another owner', 'the token of another user'])(
    '%s, for an account that is absent or of another owner',
    (name) => {
      const named = ROWS.filter((row) => classOf(row).named);

      it.each(named)('%s', async (row) => {
        const of = classOf(row);
        const [method = ''] = row.split(' ');
        const credential = await SENDERS[name]?.credential(of);
        const absent = {
          ...{ accountId: 9_000_001, otherId: 9_000_002, transactionId: 'txn9000001' },
          ...{ transferId: 'tr9000001', holdId: 'hold9000001' },
          submissionId: await idOfSubmission(database.url, 9_000_001, 'submitted'),
          webhookId: 'wh9000001',
        };
        const foreign = await send(method, of.sent(target), credential, of);
        expect(anonymous(foreign)).toEqual(anonymous(await send(method, of.sent(absent), credential, of)));
        expect(foreign.status).toBe(404);
      });
    },
  );

  it.each(ROWS.filter((row) => row.startsWith('GET ')))('HEAD is guarded like %s', async (row) => {
    const of = classOf(row);
    for (const name of [
      'no credential',
      'a key of the wrong scopes',
      'the key of another owner',
      'the key of the owner',
    ]) {
      const { credential, expected } = SENDERS[name] as Sender;
      const { status, text } = await send('HEAD', of.sent(target), await credential(of));
      expect({ name, status }).toEqual({ name, status: expected(of) });
      expect(text).toMatch(/\r\n\r\n$/);
    }
  });

  it('only senders who may post have posted a transaction', async () => {
    const { text } = await send(
      'GET',
      { path: `/accounts/${target.accountId}` },
      await wallet.key({ scopes: ['admin'] }),
    );
    const posted = Object.values(SENDERS).flatMap(({ expected }) =>
      ROWS.map(classOf).filter((of) => of.posts && expected(of) === of.right),
    );
    // Its deposit, the transfer and the hold of the beginning are the first three.
    expect(text).toContain(`"version":${4 + posted.length},`);
  });

  it('nothing leaks', () => {
    process.stderr.write(
      `access matrix: ${cells} cells (${ROWS.length} rows × ${Object.keys(SENDERS).length} senders), ${leaks.length} leaks\n`,
    );
    expect(leaks).toEqual([]);
    expect(cells).toBe(ROWS.length * Object.keys(SENDERS).length);
  });
});
