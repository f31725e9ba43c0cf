import { afterAll, beforeAll, beforeEach, afterEach, describe, expect, it } from '@jest/globals';
import { brotliCompressSync, gzipSync } from 'node:zlib';
import type { Response } from 'supertest';
import {
  BAD_CONTENT_TYPES,
  BAD_ESCAPES,
  BAD_FIELDS,
  BAD_HEADERS,
  BAD_PARAMETERS,
  NO_OBJECTS,
  UNKNOWN_NAMES,
} from '../../tools/fuzz/bad-values.js';
import { openAccount, startApp, type TestApp } from '../support/app.js';
import { idOfSubmission } from '../support/submissions.js';
import { NOTHING_SENT, rememberDelivery, WEBHOOK_KEYS } from '../support/webhooks.js';
import { OpenApiContract, type Answer } from '../../tools/fuzz/contract.js';
import {
  balanceOf,
  deposit,
  fieldsIn,
  JSON_TYPE,
  post,
  rawPost,
  receiptIn,
  sendRaw,
} from '../support/requests.js';

let app: TestApp;
/** An account with 100.00 at version 2, which no bad request may change. */
let accountId: number;

beforeAll(async () => {
  app = await startApp({ AUTH: 'off', WEBHOOK_KEYS }, NOTHING_SENT);
  accountId = await openAccount(app, '100.00');
});

afterAll(() => app.close());

const UNCHANGED = '{"balance":100.00,"version":2}';
const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;

/** Expects a 400 in the contract's form that names exactly these fields. */
function expectInvalid(response: Response | Answer, ...fields: string[]): void {
  expect(response.status).toBe(400);
  expect(response.text).toMatch(
    /^{"error":"Invalid request","details":\[({"field":".*","message":".+"},?)+\]}$/,
  );
  expect(fieldsIn(response)).toEqual(fields);
  expect((response.headers as Record<string, string>)['x-request-id']).toMatch(UUID);
}

/** What a 400 names for a value: its field, or the body if the value makes that invalid JSON. */
function namedFor(value: string, field: string): string {
  try {
    JSON.parse(value);
    return field;
  } catch {
    return 'body';
  }
}

/** The ids that may be part of a URL, so that the rule for ids rejects them. */
const urls = (ids: readonly string[]) => ids.filter((id) => /^[!-~]*$/.test(id) && !BAD_ESCAPES.includes(id));
/** The texts that may be part of a header. */
const fieldValues = (texts: readonly string[]) => texts.filter((text) => !text.includes('\x7f'));

describe('rejected without any effect', () => {
  afterEach(async () => {
    const balance = await balanceOf(app, accountId);
    // A request that was wrongly accepted must not make the next test fail.
    if (balance !== UNCHANGED) accountId = await openAccount(app, '100.00');
    expect(balance).toBe(UNCHANGED);
  });

  describe('amounts', () => {
    it.each(BAD_FIELDS.Amount)('%s', async (amount) => {
      const short = `{"amount":${amount},"type":"Deposit"}`;
      expectInvalid(await post(app, accountId, short), namedFor(amount, 'amount'));
      const long = `{"moneyWithdraw/Deposit":${amount},"typeOfTransaction":"Withdraw"}`;
      expectInvalid(await post(app, accountId, long), namedFor(amount, 'moneyWithdraw/Deposit'));
    });

    it('none', async () => {
      expectInvalid(await post(app, accountId, '{"type":"Deposit"}'), 'amount');
      expectInvalid(await post(app, accountId, '{"typeOfTransaction":"Deposit"}'), 'amount');
    });
  });

  describe('types', () => {
    it.each(BAD_FIELDS.TransactionTypeInput)('%s', async (type) => {
      expectInvalid(await post(app, accountId, `{"amount":1,"type":${type}}`), 'type');
      const long = `{"amount":1,"typeOfTransaction":${type}}`;
      expectInvalid(await post(app, accountId, long), 'typeOfTransaction');
    });

    it('none', async () => {
      expectInvalid(await post(app, accountId, '{"amount":1}'), 'type');
    });
  });

  describe('texts', () => {
    it.each(['\u061c', '\u200e', '\u202e', '\u2066'])(
      'with %j, which changes their direction',
      async (sign) => {
        for (const field of ['description', 'reference']) {
          const response = await post(app, accountId, { ...deposit('1'), [field]: `Rent ${sign}00.1` });
          expectInvalid(response, field);
          expect(response.text).toContain('"must not contain characters that change the direction of text"');
        }
        const named = { reference: `ada${sign}` };
        expectInvalid(await app.http.post('/accounts').send(named), 'reference');
        expectInvalid(await app.http.patch(`/accounts/${accountId}`).send(named), 'reference');
      },
    );
  });

  describe('versions', () => {
    it.each(BAD_FIELDS.ExpectedVersion)('%s', async (version) => {
      const short = `{"amount":1,"type":"Deposit","expectedVersion":${version}}`;
      expectInvalid(await post(app, accountId, short), namedFor(version, 'expectedVersion'));
      const long = `{"amount":1,"type":"Deposit","expectedversion":${version}}`;
      expectInvalid(await post(app, accountId, long), namedFor(version, 'expectedversion'));
    });
  });

  describe('fields', () => {
    it.each([
      ['amount', '{"moneyWithdraw/Deposit":1,"amount":1,"type":"Deposit"}'],
      ['moneyWithdraw/Deposit', '{"amount":1,"moneyWithdraw/Deposit":1,"type":"Deposit"}'],
      ['type', '{"amount":1,"typeOfTransaction":"Deposit","type":"Deposit"}'],
      ['typeOfTransaction', '{"amount":1,"type":"Deposit","typeOfTransaction":"Deposit"}'],
      ['expectedVersion', '{"amount":1,"type":"Deposit","expectedversion":2,"expectedVersion":2}'],
      ['expectedversion', '{"amount":1,"type":"Deposit","expectedVersion":2,"expectedversion":2}'],
      ['expectedversion', '{"amount":1,"type":"Deposit","expectedVersion":null,"expectedversion":2}'],
      ['expectedVersion', '{"amount":1,"type":"Deposit","expectedversion":2,"expectedVersion":null}'],
    ])('both names of a field, of which the second, %s, is rejected', async (field, body) => {
      expectInvalid(await post(app, accountId, body), field);
    });

    it.each(UNKNOWN_NAMES)('an unknown field, %j', async (field) => {
      const body = `{"amount":1,"type":"Deposit",${JSON.stringify(field)}:{"amount":2}}`;
      expectInvalid(await post(app, accountId, body), field);
    });

    it('__proto__ instead of the fields', async () => {
      const body = '{"__proto__":{"amount":1,"type":"Deposit"}}';
      expectInvalid(await post(app, accountId, body), '__proto__', 'amount', 'type');
    });

    it.each([
      ['with two values', '{"amount":1,"amount":2,"type":"Deposit"}'],
      ['with equal values', '{"amount":1,"amount":1,"type":"Deposit"}'],
      ['in another spelling', '{"amount":1,"\\u0061mount":2,"type":"Deposit"}'],
      ['in another spelling with equal values', '{"amount":1,"am\\u006funt":1,"type":"Deposit"}'],
      ['among unknown ones', '{"amount":1,"type":"Deposit","x":{"y":1,"y":1}}'],
      ['as __proto__', '{"amount":1,"type":"Deposit","__proto__":1,"__proto__":1}'],
    ])('a field that is given twice, %s', async (_, body) => {
      expectInvalid(await post(app, accountId, body), 'body');
    });
  });

  describe('strings', () => {
    it.each(['\\u0000', '\\ud800', '\\udfff'])(
      '%s in the name of a field, which the answer repeats',
      async (name) => {
        const response = await post(app, accountId, `{"amount":1,"type":"Deposit","x${name}":1}`);
        expectInvalid(response, JSON.parse(`"x${name}"`) as string);
        expect(response.text).toContain(`"field":"x${name}"`);
      },
    );

    it('a raw NUL', async () => {
      expectInvalid(await post(app, accountId, '{"amount":1,"type":"Depo\u0000sit"}'), 'body');
    });
  });

  describe('bodies', () => {
    it.each(NO_OBJECTS)('that are not a JSON object: %j', async (body) => {
      const bytes = Buffer.from(body, 'latin1');
      expectInvalid(await sendRaw(app, Buffer.concat([Buffer.from(head(bytes.length)), bytes])), 'body');
    });

    it.each([
      ['an unfinished character', '{"amount":1,"type":"Deposit\xc3"}'],
      ['Latin-1', '{"amount":1,"type":"Deposit","\xe9":1}'],
      ['an encoded surrogate', '{"amount":1,"type":"Deposit","\xed\xa0\x80":1}'],
      ['UTF-16', Buffer.from('\ufeff{"amount":1,"type":"Deposit"}', 'utf16le').toString('latin1')],
    ])('that are not UTF-8: %s', async (_, body) => {
      const response = await sendRaw(app, Buffer.from(head(body.length) + body, 'latin1'));
      expectInvalid(response, 'body');
      expect(response.text).toContain('is not valid UTF-8');
    });

    it.each([
      ['a length', 'Content-Length: 2\r\n\r\n{}'],
      ['chunks', 'Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n'],
    ])('with GET: of %s', async (_, rest) => {
      const get = `GET /accounts/${accountId} HTTP/1.1\r\nHost: bank\r\nConnection: close\r\n`;
      expectInvalid(await sendRaw(app, `${get}Content-Type: application/json\r\n${rest}`), 'body');
    });

    it('an empty object, naming both fields', async () => {
      const response = await post(app, accountId, '{}');
      expect(response.status).toBe(400);
      expect(fieldsIn(response).sort()).toEqual(['amount', 'type']);
    });

    it('none at all', async () => {
      const response = await app.http.post(`/accounts/${accountId}/transactions`);
      expectInvalid(response, 'body');
    });

    // Whether or not the stack overflows.
    it.each([
      ['2,700 nested objects', '{"a":'.repeat(2_700) + '1' + '}'.repeat(2_700)],
      [
        '8,000 brackets as the amount',
        `{"type":"Deposit","amount":${'['.repeat(8_000)}${']'.repeat(8_000)}}`,
      ],
    ])('of %s', async (_, body) => {
      const response = await post(app, accountId, body);
      expect(response.status).toBe(400);
      expect(response.text).toMatch(/^{"error":"Invalid request","details":\[{.*}\]}$/);
    });

    it.each([
      ['17 KiB', JSON.stringify(deposit('1')).padEnd(17 * 1024)],
      ['one byte over 16 KiB', JSON.stringify(deposit('1')).padEnd(16 * 1024 + 1)],
      ['200,000 brackets', '['.repeat(200_000)],
    ])('of %s: 413', async (_, body) => {
      const response = await post(app, accountId, body);
      expect(response.status).toBe(413);
      expect(response.text).toBe('{"error":"Body too large"}');
      expect(response.headers['x-request-id']).toMatch(UUID);
    });

    it('over 16 KiB without an announced length: 413', async () => {
      const chunk = ' '.repeat(4_096);
      const chunks = `${chunk.length.toString(16)}\r\n${chunk}\r\n`.repeat(5);
      const response = await sendRaw(
        app,
        `POST /accounts/${accountId}/transactions HTTP/1.1\r\nHost: bank\r\nConnection: close\r\n` +
          `Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n${chunks}0\r\n\r\n`,
      );
      expect(response.status).toBe(413);
      expect(response.text).toBe('{"error":"Body too large"}');
    });
  });

  describe('content types', () => {
    it.each(BAD_CONTENT_TYPES)('%j: 415', async (type) => {
      const body = JSON.stringify(deposit('1'));
      const response = await sendRaw(app, head(body.length).replace('application/json', type) + body);
      expect(response.status).toBe(415);
      expect(response.text).toBe('{"error":"Content type must be application/json"}');
      expect(response.headers['x-request-id']).toMatch(UUID);
    });

    it.each(['utf-16', 'latin1', '"iso-8859-1"', 'UTF-16LE', ''])('the charset %s: 415', async (charset) => {
      const type = `application/json; charset=${charset}`;
      const response = await post(app, accountId, deposit('1'), { 'content-type': type });
      expect(response.status).toBe(415);
      expect(response.text).toBe('{"error":"Charset must be utf-8"}');
    });

    it.each([
      ['gzip', gzipSync(JSON.stringify(deposit('1')))],
      ['br', brotliCompressSync(JSON.stringify(deposit('1')))],
      ['br', Buffer.from(JSON.stringify(deposit('1')))],
      ['identity, gzip', Buffer.from(JSON.stringify(deposit('1')))],
    ])('the content encoding %s: 415', async (encoding, body) => {
      const bytes = Buffer.from(`Content-Encoding: ${encoding}\r\n`);
      const request = Buffer.concat([
        Buffer.from(head(body.length).trimEnd() + '\r\n'),
        bytes,
        Buffer.from('\r\n'),
        body,
      ]);
      const response = await sendRaw(app, request);
      expect(response.status).toBe(415);
      expect(response.text).toBe('{"error":"Content encoding is not supported"}');
      expect(response.headers['accept-encoding']).toBe('identity');
    });

    it('none, with a body: 415', async () => {
      const body = JSON.stringify(deposit('1'));
      const response = await sendRaw(
        app,
        `POST /accounts/${accountId}/transactions HTTP/1.1\r\nHost: bank\r\nConnection: close\r\n` +
          `Content-Length: ${body.length}\r\n\r\n${body}`,
      );
      expect(response.status).toBe(415);
      expect(response.text).toBe('{"error":"Content type must be application/json"}');
    });
  });

  describe('ids of accounts', () => {
    it.each(urls(BAD_PARAMETERS.accountId))('%s', async (id) => {
      for (const path of [`/accounts/${id}`, `/accounts/${id}/balance`, `/accounts/${id}/transactions`]) {
        expectInvalid(await getRaw(path), 'accountId');
      }
      const body = JSON.stringify(deposit('1'));
      const posting = head(body.length).replace(`/${accountId}/`, `/${id}/`) + body;
      expectInvalid(await sendRaw(app, Buffer.from(posting, 'latin1')), 'accountId');
    });

    it.each(BAD_ESCAPES)('%s, which is not a valid URL', async (id) => {
      expectInvalid(await app.http.get(`/accounts/${id}`), 'path');
      expectInvalid(await app.http.get(`/accounts/${id}/balance`), 'path');
    });

    it.each(['9007199254740993', '9223372036854775807'])(
      '%s, which is well-formed and names nothing',
      async (id) => {
        for (const response of [
          await app.http.get(`/accounts/${id}`),
          await app.http.get(`/accounts/${id}/balance`),
          await app.http.get(`/accounts/${id}/transactions`),
          await post(app, id, deposit('1')),
        ]) {
          expect(response.status).toBe(404);
          expect(response.text).toBe('{"error":"Account not found"}');
        }
      },
    );
  });

  describe('ids of transactions', () => {
    it.each(urls(BAD_PARAMETERS.transactionId))('%s', async (id) => {
      expectInvalid(await getRaw(`/transactions/${id}`), 'transactionId');
    });

    it('txn9223372036854775807, which is well-formed and names nothing', async () => {
      const response = await app.http.get('/transactions/txn9223372036854775807');
      expect(response.status).toBe(404);
      expect(response.text).toBe('{"error":"Transaction not found"}');
    });
  });

  it.each([
    ['POST', '/accounts/x/transactions', { ...deposit('1'), amount: 'x' }, 'amount'],
    ['POST', '/accounts/x/transactions', { ...deposit('1'), toString: 1 }, 'toString'],
    ['GET', '/accounts/x/balance?minVersion=x', undefined, 'minVersion'],
    ['GET', '/accounts/x/transactions?limit=x', undefined, 'limit'],
    ['GET', '/accounts/x/transactions?cursor=x', undefined, 'accountId'],
    ['GET', '/accounts/x/proof?fromVersion=x', undefined, 'fromVersion'],
  ])(
    'names what is wrong with the body or the query before the path: %s %s',
    async (method, path, body, field) => {
      const response = await fetch(`${app.url}${path}`, {
        method,
        headers: { 'content-type': 'application/json' },
        body: body && JSON.stringify(body),
      });
      expect(response.status).toBe(400);
      expect(await response.json()).toMatchObject({ details: [{ field }] });
    },
  );

  describe('every route of the API', () => {
    /** What is no part of the API: it has no parameters that could change anything. */
    const EXEMPT = ['/health/live', '/health/ready', '/metrics'];
    const routes = new OpenApiContract().routes.filter(({ path }) => !EXEMPT.includes(path));

    const documents = (route: (typeof routes)[number], parameter: string) =>
      route.operation.parameters?.some(({ name }) => name === parameter) === true;
    /** What stands for the parts of paths; each exists, and a request for it would have an effect. */
    const target: Record<string, string> = {};
    let bodies: Readonly<Record<string, object>>;
    const webhook = { url: 'https://receiver.invalid/', eventTypes: ['*'] };
    /** The first accounts, with balances, versions and references; and the webhooks. */
    const accounts = async () =>
      (await app.http.get('/accounts?limit=200')).text + (await app.http.get('/webhooks')).text;
    let before: string;

    beforeAll(async () => {
      const made = async (path: string, body: object) =>
        (JSON.parse((await app.http.post(path).send(body).expect(201)).text) as { id: string }).id;
      const [from, to] = [await openAccount(app, '10.00'), await openAccount(app, '10.00')];
      Object.assign(target, {
        ...{ accountId: String(accountId), transactionId: 'txn1' },
        transferId: await made('/transfers', { from, to, amount: 1 }),
        holdId: await made(`/accounts/${from}/holds`, { amount: 1 }),
        submissionId: await idOfSubmission(app.databaseUrl, from, 'submitted'),
        webhookId: await made('/webhooks', webhook),
        eventId: 'txn1',
      });
      await rememberDelivery(app.databaseUrl, target.webhookId ?? '');
      bodies = {
        'POST /accounts/{accountId}/transactions': deposit('1'),
        'POST /accounts/{accountId}/holds': { amount: 1 },
        'PATCH /accounts/{accountId}': { reference: 'r' },
        'POST /transfers': { from, to, amount: 1 },
        'POST /webhooks': webhook,
        'PATCH /webhooks/{webhookId}': { status: 'disabled' },
        'POST /webhooks/{webhookId}/redeliveries': { eventId: 'txn1' },
        'POST /transactions/batch': [{ accountId, ...deposit('1') }],
      };
      before = await accounts();
    });

    afterEach(async () => expect(await accounts()).toBe(before));

    /** A request that the route would carry out, with something more. */
    function send(
      { method, path, isStream }: (typeof routes)[number],
      query: string,
      headers: Record<string, string> = {},
    ): Promise<Response> {
      const needed = path.endsWith('/statement') ? '?from=2026-01-01&to=2026-02-01' : '';
      const asked = needed && query ? `${needed}&${query.slice(1)}` : needed + query;
      const url = path.replaceAll(/{(\w+)}/g, (_, name: string) => target[name] ?? '') + asked;
      // A stream has no end.
      if (isStream && query === '' && Object.keys(headers).length === 0) return app.http.head(url);
      if (method === 'GET') return app.http.get(url).set(headers);
      if (method === 'DELETE') return app.http.delete(url).set(headers);
      const request = method === 'PATCH' ? app.http.patch(url) : app.http.post(url);
      return request.set(headers).send(bodies[`${method} ${path}`] ?? {});
    }

    const named = routes.map((route) => [`${route.method} ${route.path}`, route] as const);
    it('is tried', () => expect(named.length).toBeGreaterThanOrEqual(20));

    const harmless = named.filter(([name, route]) => name.startsWith('GET ') || documents(route, 'dryRun'));
    it.each(harmless)('%s would carry it out', async (name, route) => {
      expect((await send(route, name.startsWith('GET ') ? '' : '?dryRun=true')).status).toBe(200);
    });

    it.each(named)('%s refuses a query parameter that it does not know', async (_, route) => {
      const unknown = ['dryrun', 'expectedVersion', '', '__proto__', 'toString', 'LIMIT', 'Atomic'];
      for (const parameter of documents(route, 'dryRun') ? unknown : ['dryRun', ...unknown]) {
        const response = await send(route, `?${parameter}=1`);
        expectInvalid(response, parameter);
        expect(response.text).toContain('is not a known query parameter');
      }
    });

    const CONDITIONS = {
      'If-Match': '"2"',
      'If-None-Match': '*',
      'If-Modified-Since': 'Sat, 29 Oct 1994 19:43:31 GMT',
      'If-Unmodified-Since': 'Sat, 29 Oct 1994 19:43:31 GMT',
      'If-Range': '"2"',
      Prefer: 'handling=strict',
      'Dry-Run': 'true',
      'X-Dry-Run': '1',
      Atomic: 'true',
      'X-HTTP-Method-Override': 'GET',
    };

    it.each(named)('%s refuses conditions that it does not document', async (_, route) => {
      for (const [name, value] of Object.entries(CONDITIONS)) {
        if (documents(route, name)) continue;
        const response = await send(route, '', { [name]: value });
        expectInvalid(response, name);
        expect(response.text).toContain('is not supported here');
      }
    });

    it.each(named)('%s knows no misspelt key or condition', async (_, route) => {
      for (const [name, meant] of [
        ['X-Idempotency-Key', 'Idempotency-Key'],
        ['Idempotency_Key', 'Idempotency-Key'],
        ['If_Match', 'If-Match'],
        ['Client-Idempotency-Key', 'Idempotency-Key'],
      ] as const) {
        const response = await send(route, '', { [name]: 'x' });
        expectInvalid(response, name);
        expect(response.text).toContain(`did you mean ${meant}?`);
      }
    });

    it.each(named)('%s refuses other forms of money', async (_, route) => {
      expectInvalid(await send(route, '', { accept: 'application/json; money=float' }), 'Accept');
    });
  });

  it.each([
    ['expectedVersion=99', 'expectedVersion belongs in the body'],
    ['expectedversion=99', 'expectedversion belongs in the body'],
    ['expected_version=99', 'expectedVersion belongs in the body'],
    ['idempotencyKey=k', 'send the header Idempotency-Key'],
    ['Idempotency-Key=k', 'send the header Idempotency-Key'],
    ['ifMatch=2', 'send the header If-Match'],
    ['account=2', 'accountId belongs in the path'],
  ])('a posting with ?%s, and says what to do instead', async (query, advice) => {
    const response = await app.http
      .post(`/accounts/${accountId}/transactions?${query}`)
      .send({ ...deposit('1'), expectedVersion: 2 });
    expectInvalid(response, query.replace(/=.*/, ''));
    expect(response.text).toContain(`"is not a known query parameter; ${advice}"`);
  });

  it.each([
    ['Amount', 'did you mean amount?'],
    ['expected_version', 'did you mean expectedVersion?'],
    ['idempotencyKey', 'send the header Idempotency-Key'],
    ['accountId', 'accountId belongs in the path'],
  ])('a posting with the field %s, and says what to do instead', async (field, advice) => {
    const response = await post(app, accountId, { ...deposit('1'), [field]: 1 });
    expectInvalid(response, field);
    expect(response.text).toContain(`"is not a known field; ${advice}"`);
  });

  it.each([
    ['If-None-Match', '; this request takes If-Match and Idempotency-Key'],
    ['Prefer', ', except for respond-async'],
  ])('a posting with %s, and says what there is', async (name, advice) => {
    const response = await post(app, accountId, deposit('1'), { [name]: '"2"' });
    expectInvalid(response, name);
    expect(response.text).toContain(`"is not supported here${advice}"`);
  });

  describe('idempotency keys', () => {
    it.each(fieldValues(BAD_HEADERS['Idempotency-Key']))('%j', async (key) => {
      const request = rawPost(accountId, `Idempotency-Key: ${key}\r\n`, JSON.stringify(deposit('1')));
      expectInvalid(await sendRaw(app, Buffer.from(request, 'latin1')), 'Idempotency-Key');
    });

    it.each(['a, b', '"a", "b"'])('%s, as clients join two headers', async (key) => {
      const response = await post(app, accountId, deposit('1'), { 'idempotency-key': key });
      expectInvalid(response, 'Idempotency-Key');
      expect(response.text).toContain('must be one key, but is several');
    });

    it('in two headers', async () => {
      const headers = 'Idempotency-Key: a\r\nIdempotency-Key: b\r\n';
      expectInvalid(
        await sendRaw(app, rawPost(accountId, headers, JSON.stringify(deposit('1')))),
        'Idempotency-Key',
      );
    });

    it.each([
      ['a line feed', 'a\nb'],
      ['a carriage return', 'a\rb'],
      ['a folded line', 'a\r\n b'],
      ['a NUL', 'a\0b'],
      ['a DEL', '\x7f'],
    ])('with %s, which is not HTTP', async (_, key) => {
      const bytes = rawPost(accountId, `Idempotency-Key: ${key}\r\n`, JSON.stringify(deposit('1')));
      expectInvalid(await sendRaw(app, bytes), 'request');
    });
  });

  describe('If-Match', () => {
    it.each(fieldValues(BAD_HEADERS['If-Match']))('%j: 400', async (tag) => {
      const request = rawPost(accountId, `If-Match: ${tag}\r\n`, JSON.stringify(deposit('1')));
      expectInvalid(await sendRaw(app, Buffer.from(request, 'latin1')), 'If-Match');
    });

    it.each([
      '"7"',
      '"1"',
      'W/"2"',
      '"abc"',
      '""',
      '"02"',
      '"2.00"',
      '"2."',
      '"1.2"',
      '"1", "3"',
      'W/"2", "1"',
      '"9223372036854775808"',
    ])('%s: 412', async (tag) => {
      const response = await post(app, accountId, deposit('1'), { 'if-match': tag });
      expect(response.status).toBe(412);
      expect(response.text).toBe('{"error":"Version mismatch","CurrentVersion":2}');
    });

    it('* on an account that does not exist: 404', async () => {
      const response = await post(app, 999_999, deposit('1'), { 'if-match': '*' });
      expect(response.status).toBe(404);
    });
  });

  describe('invalid HTTP', () => {
    it.each([
      ['a line of nonsense', 'nonsense\r\n\r\n'],
      ['an unknown version', 'GET /health/live HTTP/9.9\r\nHost: bank\r\n\r\n'],
      ['a header without a colon', 'GET /health/live HTTP/1.1\r\nHost bank\r\n\r\n'],
      ['a length that is no number', 'POST /accounts HTTP/1.1\r\nHost: bank\r\nContent-Length: x\r\n\r\n'],
      ['a negative length', 'POST /accounts HTTP/1.1\r\nHost: bank\r\nContent-Length: -1\r\n\r\n'],
      [
        'a length and chunks',
        'POST /accounts HTTP/1.1\r\nHost: bank\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
      ],
      ['a TLS greeting', '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03'],
    ])('%s', async (_, bytes) => {
      const response = await sendRaw(app, Buffer.from(bytes, 'latin1'));
      expectInvalid(response, 'request');
      expect(response.headers['content-type']).toBe('application/json; charset=utf-8');
    });

    // The request has already reached its route when its body turns out to be invalid.
    it.each([
      ['a chunk without a size', 'Transfer-Encoding: chunked\r\n\r\n{"amount":1,"type":"Deposit"}'],
      ['a later chunk without a size', 'Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\nx\r\n'],
    ])('a body of %s', async (_, rest) => {
      const response = await sendRaw(
        app,
        `POST /accounts/${accountId}/transactions HTTP/1.1\r\nHost: bank\r\nContent-Type: application/json\r\n${rest}`,
      );
      expectInvalid(response, 'request');
    });

    // Node alone would accept each of these.
    it.each([
      ['no version', 'GET /health/live\r\n\r\n'],
      ['no version, and headers', 'GET /health/live\r\nHost: bank\r\n\r\n'],
      ['HTTP/0.9', 'GET /health/live HTTP/0.9\r\nHost: bank\r\n\r\n'],
      ['HTTP/2.0', 'GET /health/live HTTP/2.0\r\nHost: bank\r\n\r\n'],
      [
        'HTTP/2.0, and a posting',
        'POST /accounts HTTP/2.0\r\nHost: bank\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}',
      ],
    ])('a request line with %s', async (_, bytes) => {
      expectInvalid(await sendRaw(app, bytes), 'request');
    });

    it.each([
      ['gzip, chunked', 'gzip, chunked'],
      ['chunked twice', 'chunked, chunked'],
      ['chunked on two lines', 'chunked\r\nTransfer-Encoding: chunked'],
      ['identity', 'identity'],
      ['gzip alone', 'gzip'],
      ['chunked with something before it', 'x chunked'],
    ])('a body in the coding %s', async (_, coding) => {
      const response = await sendRaw(
        app,
        `POST /accounts HTTP/1.1\r\nHost: bank\r\nConnection: close\r\nContent-Type: application/json\r\n` +
          `Transfer-Encoding: ${coding}\r\n\r\n2\r\n{}\r\n0\r\n\r\n`,
      );
      expect(response.status).toBe(400);
      expect(['Transfer-Encoding', 'request']).toEqual(expect.arrayContaining(fieldsIn(response)));
    });

    it('a transfer coding in HTTP/1.0, which has none', async () => {
      const response = await sendRaw(
        app,
        `POST /accounts HTTP/1.0\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n`,
      );
      expectInvalid(response, 'Transfer-Encoding');
    });

    it('reads a transfer coding however it is written', async () => {
      const response = await sendRaw(
        app,
        `POST /accounts HTTP/1.1\r\nHost: bank\r\nConnection: close\r\nContent-Type: application/json\r\n` +
          `Transfer-Encoding: CHUNKED\r\n\r\n2\r\n{}\r\n0\r\n\r\n`,
      );
      expect(response.status).toBe(201);
    });

    it.each([
      ['Authorization', 'Authorization: Bearer a\r\nauthorization: Bearer b\r\n'],
      ['Authorization', 'Authorization: Bearer a\r\nAuthorization: Bearer a\r\n'],
      ['Content-Type', 'Content-Type: text/plain\r\n'],
      ['Idempotency-Key', 'Idempotency-Key: a\r\nIdempotency-Key: a\r\n'],
    ])('two of the header %s, and nothing is posted', async (name, lines) => {
      const before = await balanceOf(app, accountId);
      expectInvalid(await sendRaw(app, rawPost(accountId, lines, JSON.stringify(deposit('1')))), name);
      expect(await balanceOf(app, accountId)).toBe(before);
    });

    it('two lengths, even equal ones', async () => {
      const bytes = rawPost(accountId, 'Content-Length: 2\r\n', '{}');
      expectInvalid(await sendRaw(app, bytes), 'request');
    });

    it.each(['bank:80', '/accounts', '/health/live'])('CONNECT %s: 404', async (target) => {
      const response = await sendRaw(app, `CONNECT ${target} HTTP/1.1\r\nHost: bank\r\n\r\n`);
      expect(response.status).toBe(404);
      expect(response.text).toBe('{"error":"Not found"}');
      expect(response.headers['x-request-id']).toMatch(UUID);
    });

    it.each([
      ['twice', 'Host: bank\r\nHost: bank\r\n'],
      ['twice, and not the same', 'Host: bank\r\nhost: other\r\n'],
      ['with a space', 'Host: a b\r\n'],
      ['that is a URL', 'Host: http://bank/\r\n'],
      ['with a user', 'Host: user@bank\r\n'],
      ['with a port that is no number', 'Host: bank:http\r\n'],
    ])('a Host %s', async (_, lines) => {
      const get = `GET /health/live HTTP/1.1\r\nConnection: close\r\n${lines}\r\n`;
      expectInvalid(await sendRaw(app, get), 'Host');
    });

    it.each([
      ['a URL without end', `GET /${'x'.repeat(20_000)} HTTP/1.1\r\nHost: bank\r\n\r\n`],
      ['a query without end', `GET /accounts?cursor=${'x'.repeat(20_000)} HTTP/1.1\r\nHost: bank\r\n\r\n`],
      ['a thousand headers', `GET /health/live HTTP/1.1\r\nHost: bank\r\n${'a: b\r\n'.repeat(1_000)}\r\n`],
    ])('%s: 431', async (_, bytes) => {
      const response = await sendRaw(app, bytes);
      expect(response.status).toBe(431);
      expect(response.text).toBe('{"error":"Headers too large"}');
    });

    it.each([
      ['thousands of parameters', `?${'a=1&'.repeat(3_900)}`, 'a'],
      [
        'thousands of parameters, each another',
        `?${Array.from({ length: 2_000 }, (_, index) => `p${index}&`).join('')}`,
        'p50',
      ],
      ['a parameter many times', `?${'limit=1&'.repeat(1_500)}`, 'limit'],
      ['a cursor of 201 characters', `?cursor=${'x'.repeat(201)}`, 'cursor'],
    ])('a query of %s: 400, shorter than the request', async (_, query, field) => {
      const response = await sendRaw(
        app,
        `GET /accounts${query} HTTP/1.1\r\nHost: bank\r\nConnection: close\r\n\r\n`,
      );
      expectInvalid(response, field);
      expect(response.text.length).toBeLessThan(300);
    });

    it('endless headers: 431', async () => {
      const response = await sendRaw(
        app,
        `GET /health/live HTTP/1.1\r\nHost: bank\r\nX-Long: ${'x'.repeat(20_000)}\r\n\r\n`,
      );
      expect(response.status).toBe(431);
      expect(response.text).toBe('{"error":"Headers too large"}');
      expect(response.headers['x-request-id']).toMatch(UUID);
    });
  });
});

describe('a path that does not exist', () => {
  it.each([
    ['no JSON', JSON_TYPE, '{'],
    ['too much', JSON_TYPE, ' '.repeat(17_000)],
    ['another type', 'text/plain', 'x'],
  ])('is answered 404 when the body is %s', async (_, type, body) => {
    for (const response of [
      await app.http.post('/nothing').set('content-type', type).send(body),
      await app.http.put('/nothing').set('content-type', type).send(body),
      await app.http.post('/accounts//transactions').set('content-type', type).send(body),
    ]) {
      expect(response.status).toBe(404);
      expect(response.text).toBe('{"error":"Not found"}');
      expect(response.headers['x-request-id']).toMatch(UUID);
    }
    const response = await app.http.put('/accounts/1').set('content-type', type).send(body);
    expect(response.status).toBe(405);
    expect(response.text).toBe('{"error":"Method not allowed"}');
  });
});

describe('accepted', () => {
  beforeEach(async () => {
    accountId = await openAccount(app, '100.00');
  });

  it.each([
    ['9007199254740993.07', '9007199254741093.07'],
    ['9999999999999899.99', '9999999999999999.99'],
    ['0.01', '100.01'],
    ['1', '101.00'],
    ['1.5', '101.50'],
  ])('the amount %s, as a number and as a string', async (amount, balance) => {
    for (const written of [amount, `"${amount}"`]) {
      const id = await openAccount(app, '100.00');
      const response = await post(app, id, `{"amount":${written},"type":"Deposit"}`);
      expect(response.status).toBe(201);
      expect(response.text).toContain(`"newBalance":${balance},`);
      expect(await balanceOf(app, id)).toBe(`{"balance":${balance},"version":3}`);
    }
  });

  it('the whole range of DECIMAL(18,2), deposited and withdrawn', async () => {
    const id = await openAccount(app);
    const into = await post(app, id, '{"amount":9999999999999999.99,"type":"Deposit"}');
    expect(into.text).toContain('"amount":9999999999999999.99,"newBalance":9999999999999999.99,');
    expect(await balanceOf(app, id)).toBe('{"balance":9999999999999999.99,"version":2}');
    const out = await post(app, id, '{"amount":9999999999999999.99,"type":"Withdraw"}');
    expect(out.text).toContain('"amount":9999999999999999.99,"newBalance":0.00,');
  });

  it('a body of exactly 16 KiB', async () => {
    const body = JSON.stringify(deposit('1')).padEnd(16 * 1024);
    expect((await post(app, accountId, body)).status).toBe(201);
  });

  it('escaped keys, and white space anywhere', async () => {
    const body = '\r\n{ "\\u0061mount"\t: 1 , "type" :"De\\u0070osit" }\n';
    expect((await post(app, accountId, body)).text).toContain('"newBalance":101.00,');
  });

  it.each([
    'application/json; charset=utf-8',
    'application/json;charset=UTF-8',
    'application/json; charset="utf-8"',
    'application/json; charset=utf8',
    // The same bytes in UTF-8.
    'application/json; charset=us-ascii',
    'APPLICATION/JSON',
    'application/json ; charset=utf-8',
    'application/json; version=1',
  ])('the content type %s', async (type) => {
    const response = await post(app, accountId, deposit('1'), { 'content-type': type });
    expect(response.status).toBe(201);
  });

  it.each(['bank', '127.0.0.1:3000', '[::1]:3000', 'bank.example:', 'b_a-n.k~', '', 'b%61nk'])(
    'the Host %j',
    async (host) => {
      const get = `GET /health/live HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`;
      expect((await sendRaw(app, get)).status).toBe(200);
    },
  );

  it.each(['null', ' null '])('no version, written as %j', async (version) => {
    for (const name of ['expectedVersion', 'expectedversion']) {
      const body = `{"amount":1,"type":"Deposit","${name}":${version}}`;
      expect((await post(app, accountId, body)).status).toBe(201);
    }
  });

  it.each(['\xef\xbb\xbf', '\xef\xbb\xbf \r\n'])('a byte order mark before the body: %j', async (before) => {
    const body = `${before}{"amount":1,"type":"Deposit"}`;
    expect((await sendRaw(app, Buffer.from(head(body.length) + body, 'latin1'))).status).toBe(201);
  });

  it('the content encoding identity', async () => {
    const response = await post(app, accountId, deposit('1'), { 'content-encoding': 'identity' });
    expect(response.status).toBe(201);
  });

  it('a GET with an empty body and a content type', async () => {
    const lines = 'Content-Type: application/json\r\nContent-Length: 0\r\n';
    const get = `GET /accounts/${accountId} HTTP/1.1\r\nHost: bank\r\nConnection: close\r\n${lines}\r\n`;
    expect((await sendRaw(app, get)).status).toBe(200);
  });

  it('a GET with a key, which it does not need, and with a range, which it may ignore', async () => {
    const response = await app.http
      .get(`/accounts/${accountId}`)
      .set({ 'Idempotency-Key': 'k', Range: 'bytes=0-1' });
    expect(response.status).toBe(200);
  });

  it.each(['2', '"2"'])('the version %s', async (version) => {
    const body = `{"amount":1,"type":"Deposit","expectedVersion":${version}}`;
    expect((await post(app, accountId, body)).status).toBe(201);
  });

  it.each(['"2"', '*', ' * ', '"1", "2"', '"abc","2"', 'W/"1", "2"', '"2","2"'])(
    'If-Match: %s',
    async (tag) => {
      const response = await post(app, accountId, deposit('1'), { 'if-match': tag });
      expect(response.status).toBe(201);
      expect(response.headers.etag).toBe('"3"');
    },
  );

  it.each([
    ['of one character', 'k', '"k"'],
    ['of 255 characters', 'k'.repeat(255), `"${'k'.repeat(255)}"`],
    ['with quotes and backslashes', 'a"b\\c', '"a\\"b\\\\c"'],
    ['of all that is visible', '!#$%&()*+,-./:;<=>?@[]^_`{|}~', '"!#$%&()*+,-./:;<=>?@[]^_`{|}~"'],
  ])('a key %s, the same bare and quoted', async (_, bare, quoted) => {
    const first = await post(app, accountId, deposit('1'), { 'idempotency-key': bare });
    expect(first.status).toBe(201);
    const again = await post(app, accountId, deposit('1'), { 'idempotency-key': quoted });
    expect(again.text).toBe(`{"error":"Duplicate transaction","transactionId":"${receiptIn(first).id}"}`);
  });
});

describe('X-Request-Id', () => {
  const get = (path: string, id: string) => app.http.get(path).set('x-request-id', id);

  it.each(['abc', '8e03978e-40d5-43dd-bc93-6894a57f9324', 'a.b_c~d:e/f+g=h@i-j', 'x'.repeat(128)])(
    'is returned as it was sent: %s',
    async (id) => {
      for (const path of [
        '/health/live',
        `/accounts/${accountId}/balance`,
        '/nothing',
        '/accounts/0',
        '/accounts/%zz',
      ]) {
        expect((await get(path, id)).headers['x-request-id']).toBe(id);
      }
      const refused = await post(app, accountId, '{', { 'x-request-id': id });
      expect(refused.headers['x-request-id']).toBe(id);
    },
  );

  it.each([
    '',
    ' ',
    'a b',
    'x'.repeat(129),
    'a"b',
    '<script>',
    'a;b',
    'a,b',
    '{}',
    'a\tb',
    '%0d%0aX-Evil: 1',
  ])('is replaced when it is not sane: %j', async (id) => {
    expect((await get('/health/live', id)).headers['x-request-id']).toMatch(UUID);
    expect((await get('/accounts/%zz', id)).headers['x-request-id']).toMatch(UUID);
  });

  it('is replaced when it is given twice', async () => {
    const response = await sendRaw(
      app,
      'GET /health/live HTTP/1.1\r\nHost: bank\r\nConnection: close\r\nX-Request-Id: a\r\nX-Request-Id: b\r\n\r\n',
    );
    expect(response.headers['x-request-id']).toMatch(UUID);
  });

  it('differs for each request', async () => {
    const ids = await Promise.all(
      [1, 2, 3, 4].map(async () => (await app.http.get('/health/live')).headers['x-request-id']),
    );
    expect(new Set(ids).size).toBe(4);
  });

  it.each([
    [200, 'GET', '/health/live', undefined],
    [200, 'HEAD', '/health/live', undefined],
    [200, 'GET', '/metrics', undefined],
    [200, 'GET', '/openapi.json', undefined],
    [201, 'POST', '/accounts', '{}'],
    [400, 'POST', '/accounts', '{'],
    [400, 'GET', '/accounts/0', undefined],
    [400, 'GET', '/accounts/%zz', undefined],
    [404, 'GET', '/nothing', undefined],
    [204, 'OPTIONS', '/accounts', undefined],
    [405, 'PATCH', '/accounts', '{}'],
    [405, 'PROPFIND', '/accounts', undefined],
    [405, 'TRACE', '/accounts', undefined],
    [404, 'GET', '/accounts/999999', undefined],
    [413, 'POST', '/accounts', ' '.repeat(17_000)],
  ])('is on a %i (%s %s)', async (status, method, path, body) => {
    const length =
      body === undefined ? '' : `Content-Type: application/json\r\nContent-Length: ${body.length}\r\n`;
    const response = await sendRaw(
      app,
      `${method} ${path} HTTP/1.1\r\nHost: bank\r\nConnection: close\r\n${length}\r\n${body ?? ''}`,
    );
    expect(response.status).toBe(status);
    expect(response.headers['x-request-id']).toMatch(UUID);
  });

  // Node answers these by itself, before anything of Fastify or of ours.
  it.each([
    [400, 'a request without a Host', 'GET /health/live HTTP/1.1\r\nConnection: close\r\n\r\n'],
    [
      417,
      'an expectation that nobody knows',
      'GET /health/live HTTP/1.1\r\nHost: bank\r\nExpect: wonders\r\nConnection: close\r\n\r\n',
    ],
  ])('is on a %i (%s)', async (status, _, bytes) => {
    const response = await sendRaw(app, bytes);
    expect(response.status).toBe(status);
    expect(response.headers['x-request-id']).toMatch(UUID);
  });
});

/** The head of a posting with a body of this many bytes. */
function head(length: number): string {
  return (
    `POST /accounts/${accountId}/transactions HTTP/1.1\r\nHost: bank\r\nConnection: close\r\n` +
    `Content-Type: application/json\r\nContent-Length: ${length}\r\n\r\n`
  );
}

/** GET of an unchanged path, one byte per character. */
function getRaw(path: string): Promise<Answer> {
  return sendRaw(
    app,
    Buffer.from(`GET ${path} HTTP/1.1\r\nHost: bank\r\nConnection: close\r\n\r\n`, 'latin1'),
  );
}
