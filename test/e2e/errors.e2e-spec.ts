import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Client } from 'pg';
import type { Response } from 'supertest';
import { ERRORS, type ErrorCode } from '../../src/http/errors/catalogue.js';
import type { Answer } from '../../tools/fuzz/contract.js';
import { NDJSON_TYPE, postBatch } from './batches.js';
import { openAccount, startApp, type TestApp } from '../support/app.js';
import { capture, change, placed, placeHold, voidHold } from '../support/holds.js';
import { openWithHistory } from '../support/history.js';
import { query } from '../support/postgres.js';
import {
  balanceOf,
  deposit,
  fieldsIn,
  JSON_TYPE,
  post,
  receiptIn,
  sendRaw,
  withdrawal,
} from '../support/requests.js';

let app: TestApp;

beforeAll(async () => {
  app = await startApp();
});

afterAll(() => app.close());

const NOBODY = 999_999;
const withKey = (key: string) => ({ 'idempotency-key': key });

const CATALOGUE = Object.entries(ERRORS) as [ErrorCode, { status: number; error: string }][];

/** The code of an error, by its status and its text. */
function codeOf(status: number, body: string): ErrorCode | undefined {
  const { error } = JSON.parse(body) as { error: string };
  return CATALOGUE.find(([, entry]) => entry.status === status && entry.error === error)?.[0];
}

/** What all error answers have in common: a code, JSON and a request id. A duplicate has the location of the original. */
function expectAnswer(response: Response, status: number, body: string, location?: string): void {
  expect(response.status).toBe(status);
  expect(response.text).toBe(body);
  expect(response.headers['x-error-code']).toBe(codeOf(status, body));
  expect(response.headers['content-type']).toBe('application/json; charset=utf-8');
  expect(response.headers['x-request-id']).toMatch(/^[0-9a-f-]{36}$/);
  expect(response.headers.etag).toBeUndefined();
  expect(response.headers.location).toBe(location);
}

describe('the table of statuses, row by row', () => {
  it('400 for a request that is not well-formed, naming the field', async () => {
    const accountId = await openAccount(app, '100.00');
    const response = await post(app, accountId, '{"amount":-1,"type":"Deposit"}');
    expectAnswer(
      response,
      400,
      '{"error":"Invalid request","details":[{"field":"amount","message":"must be an amount greater than zero, ' +
        'with at most 16 digits before the point and 4 after, like 49.50"}]}',
    );
  });

  it('404 for an account that does not exist', async () => {
    expectAnswer(await post(app, NOBODY, deposit('1')), 404, '{"error":"Account not found"}');
    for (const path of ['', '/balance', '/transactions']) {
      expectAnswer(await app.http.get(`/accounts/${NOBODY}${path}`), 404, '{"error":"Account not found"}');
    }
  });

  it('409 for an expectedVersion that is not the current one', async () => {
    const accountId = await openAccount(app, '100.00');
    for (let version = 3; version <= 6; version++) await post(app, accountId, deposit('1'));
    for (const expectedversion of [5, 7, '5', 1, '9223372036854775807']) {
      const response = await post(app, accountId, { ...withdrawal('1'), expectedversion });
      expectAnswer(response, 409, '{"error":"Version mismatch","CurrentVersion":6}');
    }
    expect(await balanceOf(app, accountId)).toBe('{"balance":104.00,"version":6}');
  });

  it('409 for a key that was used with the same request', async () => {
    const accountId = await openAccount(app, '100.00');
    const { id } = receiptIn(await post(app, accountId, deposit('5'), withKey('k')));
    const response = await post(app, accountId, deposit('5'), withKey('k'));
    const duplicate = `{"error":"Duplicate transaction","transactionId":"${id}"}`;
    expectAnswer(response, 409, duplicate, `/transactions/${id}`);
  });

  it('409 and 422 for a key with which an account was opened', async () => {
    const open = (openingDeposit: number) =>
      app.http.post('/accounts').set(withKey('opening')).send({ openingDeposit });
    const { accountId } = JSON.parse((await open(5)).text) as { accountId: number };
    const duplicate = `{"error":"Duplicate account","accountId":${accountId}}`;
    expectAnswer(await open(5), 409, duplicate, `/accounts/${accountId}`);
    expectAnswer(await open(6), 422, `{"error":"Idempotency key reused","accountId":${accountId}}`);
  });

  it('412 for an If-Match that does not name the current version', async () => {
    const accountId = await openAccount(app, '100.00');
    const response = await post(app, accountId, deposit('5'), { 'if-match': '"1"' });
    expectAnswer(response, 412, '{"error":"Version mismatch","CurrentVersion":2}');
    expect(await balanceOf(app, accountId)).toBe('{"balance":100.00,"version":2}');
  });

  it('413 for a body over 16 KiB', async () => {
    const accountId = await openAccount(app);
    const response = await post(app, accountId, JSON.stringify(deposit('5')).padEnd(17 * 1024));
    expectAnswer(response, 413, '{"error":"Body too large"}');
  });

  it('415 for a body that is not JSON', async () => {
    const accountId = await openAccount(app);
    const response = await post(app, accountId, 'amount=5&type=Deposit', {
      'content-type': 'application/x-www-form-urlencoded',
    });
    expectAnswer(response, 415, '{"error":"Content type must be application/json"}');
  });

  it('422 for a withdrawal over the balance, even by one cent', async () => {
    const accountId = await openAccount(app, '100.00');
    for (const amount of ['100.01', '9999999999999999.99']) {
      const response = await post(app, accountId, withdrawal(amount));
      expectAnswer(response, 422, '{"error":"Insufficient Balance"}');
    }
    expect(await balanceOf(app, accountId)).toBe('{"balance":100.00,"version":2}');
    expectAnswer(
      await post(app, await openAccount(app), withdrawal('0.01')),
      422,
      '{"error":"Insufficient Balance"}',
    );
  });

  it('422 for a deposit over the limit, even by one cent', async () => {
    const accountId = await openAccount(app, '9999999999999999.98');
    const response = await post(app, accountId, deposit('0.02'));
    expectAnswer(response, 422, '{"error":"Balance limit exceeded"}');
    expect((await post(app, accountId, deposit('0.01'))).status).toBe(201);
    expect(await balanceOf(app, accountId)).toBe('{"balance":9999999999999999.99,"version":3}');
  });

  it('422 for a key that was used with another request', async () => {
    const accountId = await openAccount(app, '100.00');
    const { id } = receiptIn(await post(app, accountId, deposit('5'), withKey('k')));
    const response = await post(app, accountId, deposit('6'), withKey('k'));
    expectAnswer(response, 422, `{"error":"Idempotency key reused","transactionId":"${id}"}`);
  });

  it('404 for a path that does not exist, whatever the method', async () => {
    const body = '{"error":"Not found"}';
    for (const path of [
      '/',
      '/accounts/',
      '/accounts/1/nothing',
      '/accounts//balance',
      '/docs/package.json',
    ]) {
      expectAnswer(await app.http.get(path), 404, body);
      expectAnswer(await app.http.post(path).set('content-type', JSON_TYPE).send('{}'), 404, body);
      expectAnswer(await app.http.delete(path), 404, body);
      expectAnswer(await app.http.options(path), 404, body);
    }
  });
});

describe('the methods of a path', () => {
  const READ = 'GET, HEAD, OPTIONS';
  const BOTH = 'GET, HEAD, OPTIONS, POST';
  const CHANGE = 'GET, HEAD, OPTIONS, PATCH';
  const PATHS: readonly (readonly [path: string, allow: string])[] = [
    ['/accounts', BOTH],
    ['/accounts?limit=1', BOTH],
    ['/%61ccounts', BOTH],
    ['http://bank/accounts', BOTH],
    ['/accounts/1', CHANGE],
    ['/accounts/x', CHANGE],
    ['/accounts/batch', CHANGE],
    ['/accounts/1/balance', READ],
    ['/accounts/1/transactions', BOTH],
    ['/accounts/1/holds', BOTH],
    ['/holds/hold1', READ],
    ['/holds/hold1/capture', 'OPTIONS, POST'],
    ['/transactions/txn1', READ],
    ['/transactions/txn1/reversal', 'OPTIONS, POST'],
    ['/transactions/batch', 'OPTIONS, POST'],
    ['/transfers', 'OPTIONS, POST'],
    ['/transfers/tr1', READ],
    ['/transfers/tr1/reversal', 'OPTIONS, POST'],
    ['/webhooks', BOTH],
    ['/webhooks/wh1', `DELETE, ${CHANGE}`],
    ['/webhooks/wh1/secret', 'OPTIONS, POST'],
    ['/webhooks/wh1/deliveries/hold1%2F2', READ],
    ['/accounts/1/transfers', READ],
    ['/health/ready', READ],
    ['/metrics', READ],
    ['/docs', READ],
    ['/docs/swagger-ui.css', READ],
    ['/openapi.json', READ],
  ];
  const METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'TRACE', 'PROPFIND'];
  const send = (method: string, path: string) =>
    sendRaw(app, `${method} ${path} HTTP/1.1\r\nHost: bank\r\nConnection: close\r\n\r\n`);

  it.each(PATHS)('OPTIONS %s is told: %s', async (path, allow) => {
    const { status, headers, text } = await send('OPTIONS', path);
    expect({ status, text, allow: headers['allow'] }).toEqual({ status: 204, text: '', allow });
    expect(headers['x-request-id']).toBeDefined();
  });

  it.each(PATHS)('%s answers 405 to all others, and to none of these: %s', async (path, allow) => {
    for (const method of METHODS) {
      const { status, headers, text } = await send(method, path);
      const allowed = allow.split(', ').includes(method);
      expect({ method, refused: status === 405 }).toEqual({ method, refused: !allowed });
      if (allowed) continue;
      expect(text).toBe(method === 'HEAD' ? '' : '{"error":"Method not allowed"}');
      expect(headers['allow']).toBe(allow);
      expect(headers['x-error-code']).toBe('METHOD_NOT_ALLOWED');
    }
  });

  it('OPTIONS * asks for those of the service', async () => {
    const { status, headers } = await send('OPTIONS', '*');
    expect({ status, allow: headers['allow'] }).toEqual({
      status: 204,
      allow: 'DELETE, GET, HEAD, OPTIONS, PATCH, POST',
    });
    expect((await send('GET', '*')).status).toBe(404);
  });
});

describe('the code of an error', () => {
  const PROBLEM = { accept: 'application/problem+json' };
  const seen = new Set<ErrorCode>();
  let accountId: number;
  let key: Record<string, string>;
  let full: number;
  /** Has more transactions than a statement as PDF may have. */
  let long: number;
  /** Holds 1.00, active, of the account above. */
  let activeHold: string;
  let endedHold: string;
  /** Captured in so many parts that the next capture must end it. */
  let wornHold: string;
  /** An account in each state. */
  const inState = new Map<string, number>();
  let other: number;
  /** A transfer, one of its legs, one with three legs, and a reversal. */
  let [transferId, leg, split, reversal] = ['', '', '', ''];

  beforeAll(async () => {
    accountId = await openAccount(app, '100.00');
    full = await openAccount(app, '9999999999999999.99');
    key = withKey('in-each-form');
    await post(app, accountId, deposit('5'), key).then(({ status }) => expect(status).toBe(201));
    await app.http.post('/accounts').set(key).send({ openingDeposit: 5 }).expect(201);
    await placeHold(app, accountId, { amount: 2 }, withKey('hold')).then(({ status }) =>
      expect(status).toBe(201),
    );
    const client = new Client({ connectionString: app.databaseUrl });
    await client.connect();
    long = await openWithHistory(client, 10_001);
    await client.end();
    activeHold = await placed(app, accountId, '1.00');
    endedHold = await placed(app, accountId, '1.00');
    await voidHold(app, endedHold);
    for (const status of ['frozen', 'debits_blocked', 'closed']) {
      const id = await openAccount(app);
      inState.set(status, id);
      await change(app, id, { status }).then((response) => expect(response.status).toBe(200));
    }
    const overdrawn = await openAccount(app);
    await change(app, overdrawn, { overdraftLimit: 5 });
    await post(app, overdrawn, withdrawal('5'));
    inState.set('overdrawn', overdrawn);
    const crowded = await openAccount(app, '1000.00');
    inState.set('crowded', crowded);
    await query(
      app.databaseUrl,
      `INSERT INTO bank.holds
       SELECT 1e9 + n, $1, 0.01, 0.01, 0, 'active', NULL, now(), 0 FROM generate_series(1, 10000) n`,
      [crowded],
    );
    await query(
      app.databaseUrl,
      `UPDATE bank.accounts SET held = 100, active_holds = 10000 WHERE account_id = $1`,
      [crowded],
    );
    const wearing = await openAccount(app, '10.02');
    wornHold = await placed(app, wearing, '10.02');
    const part = { type: 'Capture', holdId: wornHold, amount: '0.01', final: false };
    const parts = await postBatch(app, new Array<object>(1_000).fill(part), { query: '?atomic=true' });
    expect(parts.status).toBe(200);
    const posted = receiptIn(await post(app, accountId, deposit('1')));
    reversal = receiptIn(await reversed(`transactions/${posted.id}`)({})).id;
    other = await openAccount(app);
    const third = await openAccount(app);
    const made = async (body: object, own = {}) => receiptIn(await transferred(() => body, own)({})).id;
    transferId = await made({ from: accountId, to: other, amount: 1 }, withKey('transfer'));
    leg = transferId.replace('tr', 'txn');
    const legs = [
      { accountId, type: 'Withdraw', amount: 3 },
      { accountId: other, type: 'Deposit', amount: 1 },
      { accountId: third, type: 'Deposit', amount: 2 },
    ];
    split = await made({ legs });
  });

  type Send = (headers: Record<string, string>) => PromiseLike<Answer>;
  const get =
    (path: string, own: Record<string, string> = {}): Send =>
    (headers) =>
      app.http.get(path).set({ ...own, ...headers });
  const posted =
    (body: string | object, own: Record<string, string> = {}, id = () => accountId): Send =>
    (headers) =>
      post(app, id(), body, { ...own, ...headers });
  const inStateOf = (state: string) => () => inState.get(state) ?? 0;
  const held =
    (body: object, id: () => number = () => accountId, own: Record<string, string> = {}): Send =>
    (headers) =>
      placeHold(app, id(), body, { ...own, ...headers });
  const captured =
    (body: object, holdId: () => string): Send =>
    (headers) =>
      capture(app, holdId(), body, headers);
  const changed =
    (body: object, id: () => number = () => accountId, own: Record<string, string> = {}): Send =>
    (headers) =>
      change(app, id(), body, { ...own, ...headers });
  const transferred =
    (body: () => object, own: Record<string, string> = {}): Send =>
    (headers) =>
      app.http
        .post('/transfers')
        .set({ ...own, ...headers })
        .send(body());
  const reversed =
    (path: string, body: object = {}): Send =>
    (headers) =>
      app.http.post(`/${path}/reversal`).set(headers).send(body);
  const raw =
    (head: string): Send =>
    (headers) => {
      const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
      return sendRaw(app, `${head}\r\nConnection: close\r\n${lines.join('')}\r\n`);
    };

  const ROWS: readonly (readonly [ErrorCode, string, Send])[] = [
    ['INVALID_REQUEST', 'a body', posted('{"amount":-1,"type":"x"}')],
    ['INVALID_REQUEST', 'what is not JSON', posted('{')],
    ['INVALID_REQUEST', 'a path that is no URL', get('/accounts/%zz')],
    ['INVALID_REQUEST', 'no Host', raw('GET /accounts HTTP/1.1')],
    ['ACCOUNT_NOT_FOUND', 'a balance', get(`/accounts/${NOBODY}/balance`)],
    ['ACCOUNT_NOT_FOUND', 'a posting', posted(deposit('1'), {}, () => NOBODY)],
    ['NOT_YET_OPENED', 'a balance', (own) => get(`/accounts/${accountId}/balance?at=2020-01-01`)(own)],
    ['VERSION_NOT_REACHED', 'a balance', (own) => get(`/accounts/${accountId}/balance?version=999`)(own)],
    ['TRANSACTION_NOT_FOUND', 'a transaction', get(`/transactions/txn${NOBODY}`)],
    ['HOLD_NOT_FOUND', 'a hold', get(`/holds/hold${NOBODY}`)],
    ['HOLD_NOT_FOUND', 'a capture', captured({}, () => `hold${NOBODY}`)],
    ['ACCOUNT_NOT_FOUND', 'a capture', captured({ to: NOBODY }, () => activeHold)],
    ['TRANSFER_NOT_FOUND', 'a transfer', get(`/transfers/tr${NOBODY}`)],
    ['NOT_FOUND', 'no path', get('/nothing')],
    ['NOT_FOUND', 'no file', get('/docs/nothing')],
    ['NOT_FOUND', 'CONNECT', raw('CONNECT bank:80 HTTP/1.1\r\nHost: bank')],
    ['METHOD_NOT_ALLOWED', 'another method', (headers) => app.http.put('/accounts').set(headers).send({})],
    ['VERSION_MISMATCH', 'a posting', posted({ ...deposit('1'), expectedVersion: 99 })],
    [
      'VERSION_MISMATCH',
      'a balance',
      (headers) => get(`/accounts/${accountId}/balance?minVersion=99`)(headers),
    ],
    ['DUPLICATE_TRANSACTION', 'a retry', (headers) => posted(deposit('5'), key)(headers)],
    [
      'DUPLICATE_TRANSFER',
      'a retry',
      transferred(() => ({ from: accountId, to: other, amount: 1 }), withKey('transfer')),
    ],
    ['PART_OF_TRANSFER', 'a leg', (headers) => reversed(`transactions/${leg}`)(headers)],
    ['NOT_REVERSIBLE', 'a reversal', (headers) => reversed(`transactions/${reversal}`)(headers)],
    ['REVERSAL_EXCEEDED', 'more', (headers) => reversed(`transfers/${transferId}`, { amount: 2 })(headers)],
    ['NOT_REVERSIBLE_IN_PART', 'a part', (headers) => reversed(`transfers/${split}`, { amount: 1 })(headers)],
    [
      'DUPLICATE_ACCOUNT',
      'a retry',
      (headers) =>
        app.http
          .post('/accounts')
          .set({ ...key, ...headers })
          .send({ openingDeposit: 5 }),
    ],
    ['DUPLICATE_HOLD', 'a retry', held({ amount: 2 }, () => accountId, withKey('hold'))],
    ['HOLD_NOT_ACTIVE', 'a capture', captured({}, () => endedHold)],
    ['REVISION_MISMATCH', 'a change', changed({ status: 'open' }, () => accountId, { 'if-match': '"1.9"' })],
    ['PRECONDITION_FAILED', 'a posting', posted(deposit('1'), { 'if-match': '"99"' })],
    ['BODY_TOO_LARGE', 'a posting', posted(' '.repeat(17_000))],
    ['UNSUPPORTED_CONTENT_TYPE', 'a text', posted('x', { 'content-type': 'text/plain' })],
    ['UNSUPPORTED_ENCODING', 'a compressed body', posted('x', { 'content-encoding': 'gzip' })],
    ['UNSUPPORTED_CHARSET', 'UTF-16', posted('x', { 'content-type': 'application/json; charset=utf-16' })],
    [
      'TOO_MANY_TRANSACTIONS',
      'a batch',
      (headers) => postBatch(app, `[${'0,'.repeat(10_000)}0]`, { headers }),
    ],
    ['REQUEST_REFUSED', 'a range', get('/docs/swagger-ui.css', { range: 'bytes=99999999-' })],
    [
      'EXPECTATION_FAILED',
      'an unknown expectation',
      raw('GET /accounts HTTP/1.1\r\nHost: bank\r\nExpect: wonders'),
    ],
    ['INSUFFICIENT_BALANCE', 'a withdrawal', posted(withdrawal('5000'))],
    ['INSUFFICIENT_BALANCE', 'a hold', held({ amount: 5000 })],
    ['ACCOUNT_FROZEN', 'a deposit', posted(deposit('1'), {}, inStateOf('frozen'))],
    ['DEBITS_BLOCKED', 'a hold', held({ amount: 1 }, inStateOf('debits_blocked'))],
    ['ACCOUNT_CLOSED', 'a change', changed({ status: 'open' }, inStateOf('closed'))],
    ['TOO_MANY_HOLDS', 'a hold', held({ amount: 1 }, inStateOf('crowded'))],
    ['TOO_MANY_CAPTURES', 'a capture', captured({ amount: '0.01', final: false }, () => wornHold)],
    ['HOLD_EXCEEDED', 'a capture', captured({ amount: '1.01' }, () => activeHold)],
    ['ACCOUNT_NOT_EMPTY', 'a change', changed({ status: 'closed' })],
    ['OVERDRAFT_IN_USE', 'a change', changed({ overdraftLimit: 4 }, inStateOf('overdrawn'))],
    ['SUBMISSION_NOT_FOUND', 'an id that the bank has not made', get('/submissions/none')],
    [
      'STATEMENT_TOO_LONG',
      'a PDF',
      (headers) => get(`/accounts/${long}/statement?from=2025-01-01&to=2026-01-01&format=pdf`)(headers),
    ],
    ['BALANCE_LIMIT_EXCEEDED', 'a deposit', posted(deposit('5000'), {}, () => full)],
    ['IDEMPOTENCY_KEY_REUSED', 'another amount', (headers) => posted(deposit('6'), key)(headers)],
    ['IDEMPOTENCY_KEY_REUSED', 'the key of a hold', posted(deposit('5'), withKey('hold'))],
    ['IDEMPOTENCY_KEY_REUSED', 'the key of a transfer', posted(deposit('1'), withKey('transfer'))],
    [
      'IDEMPOTENCY_KEY_REUSED',
      'another opening deposit',
      (headers) =>
        app.http
          .post('/accounts')
          .set({ ...key, ...headers })
          .send({ openingDeposit: 6 }),
    ],
  ];

  it.each(ROWS)('%s (%s) is the same in the header and in each form', async (code, _, send) => {
    seen.add(code);
    const { status, error, detail } = ERRORS[code];
    const plain = await send({});
    expect(plain.status).toBe(status);
    expect(plain.headers['x-error-code']).toBe(code);
    expect(plain.headers['content-type']).toBe('application/json; charset=utf-8');
    const body = JSON.parse(plain.text) as { error: string; details?: { field: string; message: string }[] };
    expect(body.error).toBe(error);
    const problem = await send(PROBLEM);
    expect(problem.status).toBe(status);
    expect(problem.headers['x-error-code']).toBe(code);
    expect(problem.headers['content-type']).toBe('application/problem+json; charset=utf-8');
    const details = body.details?.map(({ field, message }) => `${field} ${message}`).join('; ');
    expect(JSON.parse(problem.text)).toEqual({
      type: `/docs/errors#${code.toLowerCase()}`,
      title: error,
      status,
      detail: details ?? detail,
      code,
      ...body,
    });
    for (const name of ['location', 'allow', 'accept-encoding'])
      expect(problem.headers[name]).toBe(plain.headers[name]);
  });

  it.each([
    ['INVALID_REQUEST', 'NONSENSE\r\n\r\n'],
    [
      'HEADERS_TOO_LARGE',
      `GET / HTTP/1.1\r\nHost: bank\r\nAccept: application/problem+json\r\nX: ${'x'.repeat(20_000)}\r\n\r\n`,
    ],
  ] as const)('%s of a request whose head was not read is plain', async (code, bytes) => {
    seen.add(code);
    const { status, headers, text } = await sendRaw(app, bytes);
    expect({ status, code: headers['x-error-code'] }).toEqual({ status: ERRORS[code].status, code });
    expect(headers['content-type']).toBe('application/json; charset=utf-8');
    expect(text).toMatch(new RegExp(`^{"error":"${ERRORS[code].error}"`));
  });

  it.each(['', '?atomic=true'])(
    'appears in the results of a batch%s, which are never problem documents',
    async (query) => {
      seen.add('NOT_APPLIED');
      const items = [
        { accountId, ...withdrawal('0.01') },
        { accountId, ...withdrawal('5000') },
      ];
      const rest = '{"status":422,"code":"INSUFFICIENT_BALANCE","body":{"error":"Insufficient Balance"}}';
      const stopped = '{"status":424,"code":"NOT_APPLIED","body":{"error":"Not applied"}}';
      for (const [type, between, first, last] of [
        [JSON_TYPE, ',', '[', ']'],
        [NDJSON_TYPE, '\n', '', '\n'],
      ] as const) {
        const sent = type === JSON_TYPE ? items : items.map((item) => JSON.stringify(item)).join('\n');
        const { headers, text } = await postBatch(app, sent, { query, type, headers: PROBLEM });
        expect(headers['content-type']).toBe(`${type}; charset=utf-8`);
        expect(headers['x-error-code']).toBe(query === '' ? undefined : 'INSUFFICIENT_BALANCE');
        const one = query === '' ? '{"status":201,"body":' : stopped;
        expect(text.startsWith(`${first}${one}`)).toBe(true);
        expect(text.endsWith(`${between}${rest}${last}`)).toBe(true);
      }
      const whole = await postBatch(app, [], { query, headers: PROBLEM });
      expect(whole.headers['content-type']).toBe('application/problem+json; charset=utf-8');
      expect(whole.headers['x-error-code']).toBe('INVALID_REQUEST');
    },
  );

  it('is tested for every error, here or where it can be provoked', () => {
    const elsewhere: Readonly<Record<string, readonly ErrorCode[]>> = {
      'src/http/exception.filter.spec.ts': ['DATABASE_FAILED', 'OUTCOME_UNKNOWN'],
      'test/e2e/errors.e2e-spec.ts': ['INTERNAL_ERROR'],
      'test/e2e/access-matrix.e2e-spec.ts': ['UNAUTHORIZED', 'FORBIDDEN'],
      'test/e2e/health-metrics.e2e-spec.ts': ['NOT_READY'],
      'test/e2e/jwt.e2e-spec.ts': ['IDENTITY_PROVIDER_UNAVAILABLE'],
      'test/e2e/keys-outage.e2e-spec.ts': ['CREDENTIAL_STORE_UNAVAILABLE'],
      'test/e2e/live-events.e2e-spec.ts': ['EVENTS_GONE'],
      'test/e2e/overload.e2e-spec.ts': ['OVERLOADED'],
      'test/e2e/rate-limit.e2e-spec.ts': ['TOO_MANY_REQUESTS'],
      'test/e2e/slow-clients.e2e-spec.ts': ['NOT_RECEIVED'],
      'test/e2e/summary.e2e-spec.ts': ['SUMMARY_NOT_READY'],
      'test/e2e/currencies.e2e-spec.ts': ['CURRENCY_MISMATCH'],
      'test/e2e/webhooks.e2e-spec.ts': [
        ...(['WEBHOOK_NOT_FOUND', 'DELIVERY_NOT_FOUND', 'WEBHOOKS_NOT_CONFIGURED'] as const),
        ...(['TOO_MANY_WEBHOOKS', 'TOO_MANY_REDELIVERIES'] as const),
      ],
      'test/integration/submissions.spec.ts': [
        'BROKER_UNAVAILABLE',
        'SENDER_REFUSED',
        'SUBMISSION_DISCARDED',
      ],
      'test/e2e/transfers.e2e-spec.ts': ['COUNTERPARTY_REFUSED', 'DIFFERENT_SHARDS'],
      'test/e2e/between-shards.e2e-spec.ts': ['HOLD_BEING_CAPTURED', 'TRANSFER_NOT_COMPLETED'],
      'test/e2e/hung-target.e2e-spec.ts': ['TOO_MANY_PENDING_TRANSFERS', 'TRANSFER_CANCELLED'],
    };
    for (const [file, codes] of Object.entries(elsewhere)) {
      const text = readFileSync(join(process.cwd(), file), 'utf8');
      for (const code of codes)
        expect({ file, code, tested: text.includes(code) }).toMatchObject({ tested: true });
    }
    expect([...seen, ...Object.values(elsewhere).flat()].sort()).toEqual(Object.keys(ERRORS).sort());
  });
});

describe('500', () => {
  it('does not reveal the defect, and nothing is applied', async () => {
    const broken = await startApp();
    const client = new Client({ connectionString: broken.databaseUrl });
    try {
      const accountId = await openAccount(broken, '100.00');
      await client.connect();
      await client.query('ALTER TABLE bank.transactions RENAME COLUMN type TO kind');
      for (const response of [
        await post(broken, accountId, deposit('1')),
        await broken.http.get(`/accounts/${accountId}/transactions`),
        await broken.http.get('/transactions/txn1'),
      ]) {
        expectAnswer(response, 500, '{"error":"Internal error"}');
      }
      const problem = await broken.http.get('/transactions/txn1').set('accept', 'application/problem+json');
      const { status, error, detail } = ERRORS.INTERNAL_ERROR;
      const told = { type: '/docs/errors#internal_error', title: error, status, detail };
      expect(JSON.parse(problem.text)).toEqual({ ...told, code: 'INTERNAL_ERROR', error });
      await client.query('ALTER TABLE bank.transactions RENAME COLUMN kind TO type');
      const response = await post(broken, accountId, deposit('1'));
      expect(response.text).toContain('"newBalance":101.00,"newVersion":"3"');
    } finally {
      await client.end();
      await broken.close();
    }
  });
});

describe('a key that was used', () => {
  it('names what the first request created, whatever its kind', async () => {
    const [accountId, to] = [await openAccount(app, '100.00'), await openAccount(app)];
    const made = [
      await post(app, accountId, deposit('1'), withKey('transaction')),
      await placeHold(app, accountId, { amount: 1 }, withKey('hold')),
      await app.http.post('/transfers').set(withKey('transfer')).send({ from: accountId, to, amount: 1 }),
    ];
    const [transactionId, holdId, transferId] = made.map(({ body }) => (body as { id: string }).id);
    const reused = async (key: string) =>
      (await post(app, accountId, deposit('2'), withKey(key))).body as object;
    const error = 'Idempotency key reused';
    expect(await reused('transaction')).toEqual({ error, transactionId });
    expect(await reused('hold')).toEqual({ error, holdId });
    expect(await reused('transfer')).toEqual({ error, transferId });
  });
});

describe('the order of checks', () => {
  it('well-formed comes before everything', async () => {
    const wrong = '{"amount":-1,"type":"Deposit"}';
    expect((await post(app, NOBODY, wrong)).status).toBe(400);
    expect((await post(app, NOBODY, deposit('1'), withKey('a b'))).status).toBe(400);
    expect((await post(app, NOBODY, deposit('1'), { 'if-match': '7' })).status).toBe(400);
    expect((await app.http.get(`/accounts/${NOBODY}/transactions?limit=0`)).status).toBe(400);
    expect((await app.http.get(`/accounts/${NOBODY}/transactions?cursor=x`)).status).toBe(400);
    expect((await app.http.get(`/accounts/${NOBODY}/balance?minVersion=0`)).status).toBe(400);
  });

  it('well-formed comes before the account, in a conditional GET too', async () => {
    const response = await app.http.get(`/accounts/${NOBODY}/balance`).set('if-none-match', '7');
    expect(response.status).toBe(400);
    expect(fieldsIn(response)).toEqual(['If-None-Match']);
  });

  it('the account comes before key, version and balance', async () => {
    const headers = { ...withKey('k'), 'if-match': '"5"' };
    const response = await post(app, NOBODY, { ...withdrawal('1'), expectedVersion: 5 }, headers);
    expectAnswer(response, 404, '{"error":"Account not found"}');
  });

  it('the key comes before version and balance', async () => {
    const accountId = await openAccount(app, '100.00');
    const { id } = receiptIn(await post(app, accountId, withdrawal('100'), withKey('k')));
    const wrong = { ...withKey('k'), 'if-match': '"2"' };
    const again = await post(app, accountId, { ...withdrawal('100'), expectedVersion: 2 }, wrong);
    const duplicate = `{"error":"Duplicate transaction","transactionId":"${id}"}`;
    expectAnswer(again, 409, duplicate, `/transactions/${id}`);
    const other = await post(app, accountId, { ...withdrawal('500'), expectedVersion: 2 }, wrong);
    expectAnswer(other, 422, `{"error":"Idempotency key reused","transactionId":"${id}"}`);
  });

  it('the version comes before the balance', async () => {
    const accountId = await openAccount(app, '100.00');
    const mismatch = '{"error":"Version mismatch","CurrentVersion":2}';
    expectAnswer(await post(app, accountId, { ...withdrawal('500'), expectedVersion: 1 }), 409, mismatch);
    expectAnswer(await post(app, accountId, withdrawal('500'), { 'if-match': '"1"' }), 412, mismatch);
  });

  it('If-Match comes before expectedVersion', async () => {
    const accountId = await openAccount(app, '100.00');
    const body = { ...deposit('1'), expectedVersion: 1 };
    const mismatch = '{"error":"Version mismatch","CurrentVersion":2}';
    expectAnswer(await post(app, accountId, body, { 'if-match': '"1"' }), 412, mismatch);
    expectAnswer(await post(app, accountId, body, { 'if-match': '"2"' }), 409, mismatch);
  });
});
