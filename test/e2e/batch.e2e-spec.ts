import { setTimeout as sleep } from 'node:timers/promises';
import { gzipSync } from 'node:zlib';
import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { Client } from 'pg';
import { verifyBank } from '../../src/admin/verify/verify.js';
import { openAccount, startApp, startInstance, type TestApp } from '../support/app.js';
import { createEmptyTestDatabase } from '../support/postgres.js';
import type { Answer } from '../../tools/fuzz/contract.js';
import {
  closeLineClients,
  errorsIn,
  LineClient,
  linesIn,
  NDJSON_TYPE,
  of,
  postBatch,
  resultsIn,
  statusesIn,
  type Result,
} from './batches.js';
import {
  balanceOf,
  deposit,
  eventually,
  JSON_TYPE,
  moneyAsText,
  post,
  TEXT_MONEY,
  withdrawal,
} from '../support/requests.js';

const MAX_ITEMS = 10_000;
const NOBODY = 999_999_999;

let app: TestApp;
let operator: Client;

beforeAll(async () => {
  app = await startApp();
  operator = new Client({ connectionString: app.databaseUrl });
  await operator.connect();
});

afterAll(async () => {
  expect((await verifyBank([{ url: app.databaseUrl, schema: 'bank' }])).faults).toEqual([]);
  await operator.end();
  await app.close();
});

describe('POST /transactions/batch', () => {
  it('answers each transaction like the single call, in order', async () => {
    const [a, b] = [await openAccount(app, '100.00'), await openAccount(app, '50.00')];
    const response = await postBatch(app, [
      of(a, deposit('1.50')),
      of(b, { 'moneyWithdraw/Deposit': 20, typeOfTransaction: 'Withdraw', expectedversion: 2 }),
      of(a, { ...withdrawal('500'), expectedVersion: '3' }),
      of(NOBODY, deposit('1')),
      { accountId: String(a), ...withdrawal('101.5') },
      of(b, { ...deposit('1'), expectedVersion: 2 }),
    ]);
    expect(response.status).toBe(200);
    expect(response.headers['content-type']).toBe('application/json; charset=utf-8');
    const receipt =
      /\{"id":"txn\d+","type":"(\w+)","amount":([\d.]+),"newBalance":([\d.]+),"newVersion":"(\d+)","timestamp":"[^"]{24}"\}/g;
    expect(response.text.replaceAll(receipt, '<$1 $2 $3 $4>')).toBe(
      '[{"status":201,"body":<Deposit 1.50 101.50 3>},{"status":201,"body":<Withdraw 20.00 30.00 3>},' +
        '{"status":422,"code":"INSUFFICIENT_BALANCE","body":{"error":"Insufficient Balance"}},' +
        '{"status":404,"code":"ACCOUNT_NOT_FOUND","body":{"error":"Account not found"}},' +
        '{"status":201,"body":<Withdraw 101.50 0.00 4>},' +
        '{"status":409,"code":"VERSION_MISMATCH","body":{"error":"Version mismatch","CurrentVersion":3}}]',
    );
    expect(await balanceOf(app, a)).toBe('{"balance":0.00,"version":4}');
  });

  it('applies the transactions of one account in their order, over more than one window of work', async () => {
    const accountId = await openAccount(app, '0.01');
    const items = Array.from({ length: 3_000 }, (_, n) =>
      of(accountId, n % 2 ? withdrawal('0.02') : deposit('0.02')),
    );
    const results = resultsIn(await postBatch(app, items));
    expect(results.map(({ body }) => Number(body.newVersion))).toEqual(items.map((_, n) => n + 3));
    expect(await balanceOf(app, accountId)).toBe('{"balance":0.01,"version":3002}');
  });

  it('applies a key once within a batch, over batches, and together with the single call', async () => {
    const accountId = await openAccount(app, '100.00');
    const single = await post(app, accountId, deposit('1'), { 'idempotency-key': 'single' });
    const items = [
      of(accountId, deposit('1'), 'single'),
      of(accountId, deposit('2'), 'k'),
      of(accountId, deposit('2.00'), '"k"'),
      of(accountId, deposit('3'), 'k'),
    ];
    const first = resultsIn(await postBatch(app, items));
    expect(first.map(({ status }) => status)).toEqual([409, 201, 409, 422]);
    expect(first[0]?.body.transactionId).toBe((JSON.parse(single.text) as { id: string }).id);
    expect(statusesIn(await postBatch(app, items))).toEqual([409, 409, 409, 422]);
    const again = await post(app, accountId, deposit('2'), { 'idempotency-key': 'k' });
    expect(JSON.parse(again.text)).toEqual(first[2]?.body);
    expect(await balanceOf(app, accountId)).toBe('{"balance":103.00,"version":4}');
  });

  it('is exact to the last digit', async () => {
    const accountId = await openAccount(app);
    const response = await postBatch(
      app,
      `[{"accountId":${accountId},"amount":9007199254740993.07,"type":"Deposit"},` +
        `{"accountId":${accountId},"amount":"992800745259006.92","type":"Deposit"},` +
        `{"accountId":${accountId},"amount":1e2,"type":"Deposit"}]`,
    );
    expect(response.text).toContain('"newBalance":9007199254740993.07');
    expect(response.text).toContain('"newBalance":9999999999999999.99');
    expect(statusesIn(response)).toEqual([201, 201, 400]);
  });

  it.each([
    '{"amount":"1e2","type":"Deposit","expectedVersion":0}',
    '{"amount":1,"moneyWithdraw/Deposit":1,"type":"Deposit"}',
    '{"amount":1,"type":"Deposit","note":1}',
    '{"amount":1,"type":"Deposit","__proto__":1}',
    '{"amount":1,"amount":1,"type":"Deposit"}',
    '{"amount":null,"type":"Deposit"}',
  ])('rejects only %s, with the error of the single call', async (bad) => {
    const accountId = await openAccount(app, '1.00');
    const alone = await post(app, accountId, bad);
    const good = `{"accountId":${accountId},"amount":1,"type":"Deposit"}`;
    const item = bad.replace('{', `{"accountId":${accountId},`);
    const json = await postBatch(app, `[${good},${item},${good}]`);
    const expected = `{"status":400,"code":"INVALID_REQUEST","body":${alone.text}}`;
    expect(json.text.split(expected)).toHaveLength(2);
    expect(statusesIn(json)).toEqual([201, 400, 201]);
    const lines = await postBatch(app, `${good}\n${item}\n${good}`, { type: NDJSON_TYPE });
    expect(lines.text.split('\n')[1]).toBe(expected);
    expect(await balanceOf(app, accountId)).toBe('{"balance":5.00,"version":6}');
  });

  it.each([
    ['accountId', { accountId: 0 }],
    ['accountId', { accountId: 'x' }],
    ['idempotencyKey', { idempotencyKey: '' }],
    ['idempotencyKey', { idempotencyKey: 'a b' }],
    ['accountId', { accountId: null }],
    // Without a type, nothing else can be judged.
    ['type', { type: undefined, amount: 0 }],
    ['type', { type: 'Gift', amount: 0 }],
  ])('names the field %s of an item with %j', async (field, wrong) => {
    const response = await postBatch(app, [{ accountId: 1, ...deposit('1'), ...wrong }]);
    expect(resultsIn(response)).toMatchObject([{ status: 400, body: { details: [{ field }] } }]);
  });

  it.each([
    ['no JSON', '[{"accountId":1},', 400, '"is not valid JSON"'],
    ['no JSON at its end', `[${JSON.stringify(of(1, deposit('1')))}]]`, 400, '"is not valid JSON"'],
    ['nothing', '[]', 400, 'at least one'],
    ['something else', '{"amount":1,"type":"Deposit"}', 400, '"field":"amount"'],
    ['too many items', `[${'1,'.repeat(MAX_ITEMS)}1]`, 413, '{"error":"Too many transactions"}'],
    [
      'too many items in an object',
      `{"atomic":true,"transactions":[${'1,'.repeat(MAX_ITEMS)}1]}`,
      413,
      '{"error":"Too many transactions"}',
    ],
    ['not UTF-8', Buffer.from('[{"accountId":1,"note":"\xe9"}]', 'latin1'), 400, 'is not valid UTF-8'],
    ['an object with an unknown member', '{"Atomic":true,"transactions":[]}', 400, 'did you mean atomic?'],
    [
      'an object with another unknown member',
      '{"dryRun":true,"transactions":[]}',
      400,
      'is not a known field; the object holds transactions and, if you like, atomic',
    ],
    ['too many bytes', `[${' '.repeat(9 * 1024 * 1024)}]`, 413, 'Body too large'],
  ])('rejects as a whole a body that is %s', async (_, body, status, words) => {
    const response = await postBatch(app, body);
    expect(response.status).toBe(status);
    expect(response.text).toContain(words);
  });

  it.each([
    ['idempotency-key', 'k', 'give each transaction its idempotencyKey'],
    ['if-match', '"2"', 'give each transaction its expectedVersion'],
  ])('rejects the header %s, which is for single transactions', async (name, value, advice) => {
    const response = await app.http
      .post('/transactions/batch')
      .set(name, value)
      .send([of(1, deposit('1'))]);
    expect(response.status).toBe(400);
    expect(response.text.toLowerCase()).toContain(`"field":"${name}"`);
    expect(response.text).toContain(advice);
  });

  it.each([JSON_TYPE, NDJSON_TYPE])('rejects a body that is not plain UTF-8, of type %s', async (type) => {
    const accountId = await openAccount(app);
    const item = JSON.stringify(of(accountId, deposit('1')));
    const items = type === JSON_TYPE ? `[${item}]` : item;
    for (const [encoding, body] of [
      ['gzip', gzipSync(items)],
      ['br', items],
    ] as const) {
      const response = await postBatch(app, body, { type, headers: { 'content-encoding': encoding } });
      expect(response.status).toBe(415);
      expect(response.text).toBe('{"error":"Content encoding is not supported"}');
      expect(response.headers['accept-encoding']).toBe('identity');
    }
    const response = await postBatch(app, items, { type: `${type}; charset=utf-16` });
    expect(response.status).toBe(415);
    expect(response.text).toBe('{"error":"Charset must be utf-8"}');
    expect(await balanceOf(app, accountId)).toBe('{"balance":0.00,"version":1}');
  });

  it('skips a byte order mark', async () => {
    const accountId = await openAccount(app);
    const item = JSON.stringify(of(accountId, deposit('1')));
    expect(statusesIn(await postBatch(app, `\ufeff[${item}]`))).toEqual([201]);
    expect(statusesIn(await postBatch(app, `\ufeff\n{"transactions":[${item}]}`))).toEqual([201]);
    const lines = await postBatch(app, `\ufeff${item}\n${item}`, { type: NDJSON_TYPE });
    expect(linesIn(lines).map(({ status }) => status)).toEqual([201, 201]);
  });

  it('takes null for what is optional', async () => {
    const accountId = await openAccount(app);
    const item = of(accountId, { ...deposit('1'), expectedVersion: null, idempotencyKey: null });
    expect(statusesIn(await postBatch(app, [item, item]))).toEqual([201, 201]);
    const envelope = JSON.stringify({ atomic: null, transactions: [item, of(accountId, withdrawal('9'))] });
    expect(statusesIn(await postBatch(app, envelope))).toEqual([201, 422]);
    expect((await postBatch(app, envelope, { query: '?atomic=true' })).status).toBe(422);
  });

  it('is the only call that accepts NDJSON: a single posting answers 415', async () => {
    const response = await app.http
      .post(`/accounts/1/transactions`)
      .set('content-type', NDJSON_TYPE)
      .send(JSON.stringify(deposit('1')));
    expect(response.status).toBe(415);
  });
});

afterEach(closeLineClients);

describe('a batch in lines', () => {
  it('is answered in lines', async () => {
    const accountId = await openAccount(app, '10.00');
    const items = [of(accountId, deposit('1')), of(accountId, withdrawal('99')), of(accountId, deposit('2'))];
    const response = await postBatch(app, `\n${items.map((item) => JSON.stringify(item)).join('\r\n\n')}`, {
      type: 'application/jsonl; charset=utf-8',
    });
    expect(response.status).toBe(200);
    expect(response.headers['content-type']).toBe('application/x-ndjson; charset=utf-8');
    expect(response.text).toMatch(/\}\n$/);
    expect(linesIn(response).map(({ status }) => status)).toEqual([201, 422, 201]);
  });

  it('is answered while the rest is still arriving', async () => {
    const accountId = await openAccount(app, '10.00');
    const client = await LineClient.open(app.url);
    client.send(of(accountId, deposit('1')));
    expect(await client.results(1)).toEqual([201]);
    client.send('nonsense', of(accountId, deposit('1')));
    expect(await client.results(3)).toEqual([201, 400, 201]);
    client.end();
    await eventually(() => {
      expect(client.raw.received).toMatch(/\r\n0\r\n\r\n$/);
      return Promise.resolve();
    });
    // The connection may be used again.
    client.raw.send(`GET /accounts/${accountId}/balance HTTP/1.1\r\nHost: bank\r\n\r\n`);
    await eventually(() => {
      expect(client.raw.received).toMatch(/\{"balance":12\.00,"version":4\}$/);
      return Promise.resolve();
    });
  });

  it('keeps the order of its results when an earlier transaction takes longer', async () => {
    const [locked, free] = [await openAccount(app), await openAccount(app)];
    await operator.query(`BEGIN; SELECT FROM bank.accounts WHERE account_id = ${locked} FOR UPDATE`);
    const client = await LineClient.open(app.url);
    client.send(of(locked, deposit('1')));
    await sleep(100);
    client.send(of(free, withdrawal('1')));
    await sleep(200);
    // It has reached the ledger: from now on the client can't be told that nothing was applied.
    expect(client.hasHead).toBe(true);
    expect(client.statuses).toEqual([]);
    await operator.query('COMMIT');
    expect(await client.results(2)).toEqual([201, 422]);
    client.end();
  });

  it('without any line is a 400', async () => {
    const response = await postBatch(app, '\n \n', { type: NDJSON_TYPE });
    expect(response.status).toBe(400);
    expect(response.text).toContain('at least one');
  });

  it('rejects only the line over 16 KiB, and ends with 413 after too many lines', async () => {
    const accountId = await openAccount(app);
    const good = JSON.stringify(of(accountId, deposit('0.01')));
    const long = await postBatch(app, [good, good.padEnd(16_385), good].join('\n'), { type: NDJSON_TYPE });
    expect(linesIn(long).map(({ status }) => status)).toEqual([201, 413, 201]);
    const client = await LineClient.open(app.url);
    client.send(...Array.from({ length: MAX_ITEMS + 500 }, () => '5'));
    const statuses = await client.results(MAX_ITEMS + 1);
    expect(statuses).toHaveLength(MAX_ITEMS + 1);
    expect([...new Set(statuses.slice(0, -1)), statuses.at(-1)]).toEqual([400, 413]);
    expect(client.raw.received).toContain(
      '{"status":413,"code":"TOO_MANY_TRANSACTIONS","body":{"error":"Too many transactions"}}',
    );
    // The answer has ended although the request has not.
    await eventually(() => {
      expect(client.raw.received).toMatch(/\r\n0\r\n\r\n$/);
      return Promise.resolve();
    });
  });

  it('may be atomic', async () => {
    const accountId = await openAccount(app, '10.00');
    const lines = (...items: object[]) => items.map((item) => JSON.stringify(item)).join('\n');
    const asked = { type: NDJSON_TYPE, query: '?atomic=true' };
    const applied = await postBatch(
      app,
      lines(of(accountId, deposit('1')), of(accountId, withdrawal('11'))),
      asked,
    );
    expect(applied.status).toBe(200);
    expect(linesIn(applied).map(({ status }) => status)).toEqual([201, 201]);
    const stopped = await postBatch(
      app,
      lines(of(accountId, deposit('1')), of(accountId, withdrawal('2'))),
      asked,
    );
    expect(stopped.status).toBe(422);
    expect(linesIn(stopped).map(({ body }) => body.error)).toEqual(['Not applied', 'Insufficient Balance']);
  });
});

describe('the results of a batch with money as text', () => {
  const TEXT_LINES = { accept: `${NDJSON_TYPE}; money=string` };
  const withoutIds = ({ text }: Answer) =>
    text.replaceAll(/"txn\d+"/g, '"txn"').replaceAll(/"timestamp":"[^"]+"/g, '"timestamp":""');

  it.each([
    ['each, as JSON', JSON_TYPE, '', TEXT_MONEY],
    ['all or none, as JSON', JSON_TYPE, '?atomic=true', TEXT_MONEY],
    ['each, in lines', NDJSON_TYPE, '', TEXT_LINES],
    ['each, in lines, asked for as JSON', NDJSON_TYPE, '', TEXT_MONEY],
    ['all or none, in lines', NDJSON_TYPE, '?atomic=true', TEXT_LINES],
    ['all or none, in lines by another name', 'application/jsonl', '?atomic=true', TEXT_LINES],
  ])('%s', async (_, type, query, asked) => {
    const batch = async (headers: Record<string, string>) => {
      const accountId = await openAccount(app);
      const items = [
        of(accountId, deposit('9007199254740993.07')),
        of(accountId, deposit('992800745259006.92')),
      ];
      if (query === '') items.push(of(accountId, deposit('0.01')));
      const body = type === JSON_TYPE ? items : items.map((item) => JSON.stringify(item)).join('\n');
      return postBatch(app, body, { type, query, headers });
    };
    const [usual, text] = [await batch({}), await batch(asked)];
    expect([usual.status, text.status]).toEqual([200, 200]);
    expect(withoutIds(text)).toBe(moneyAsText(withoutIds(usual)));
    const results = type === JSON_TYPE ? resultsIn(text) : linesIn(text);
    expect(results.slice(0, 2).map(({ body }) => body)).toMatchObject([
      { amount: '9007199254740993.07', newBalance: '9007199254740993.07' },
      { amount: '992800745259006.92', newBalance: '9999999999999999.99' },
    ]);
    expect(results.slice(2).map(({ status, body }) => [status, body.error])).toEqual(
      query === '' ? [[422, 'Balance limit exceeded']] : [],
    );
    const answered = type === JSON_TYPE ? JSON_TYPE : NDJSON_TYPE;
    expect(text.headers).toMatchObject({
      'content-type': `${answered}; money=string; charset=utf-8`,
      vary: 'Accept',
    });
    expect(usual.headers).toMatchObject({ 'content-type': `${answered}; charset=utf-8`, vary: 'Accept' });
  });

  it.each([
    [JSON_TYPE, TEXT_MONEY],
    [NDJSON_TYPE, TEXT_LINES],
  ])('are errors alone where nothing was applied, which have one form: %s', async (type, headers) => {
    const accountId = await openAccount(app, '1.00');
    const items = [of(accountId, deposit('1')), of(accountId, withdrawal('3'))];
    const body = type === JSON_TYPE ? items : items.map((item) => JSON.stringify(item)).join('\n');
    const [usual, asked] = [
      await postBatch(app, body, { type, query: '?atomic=true' }),
      await postBatch(app, body, { type, query: '?atomic=true', headers }),
    ];
    expect([asked.status, asked.text]).toEqual([422, usual.text]);
    expect(asked.headers).toMatchObject({ 'content-type': `${type}; charset=utf-8`, vary: 'Accept' });
    const refused = await postBatch(app, type === JSON_TYPE ? '[]' : '\n', { type, headers });
    expect(refused.status).toBe(400);
    expect(refused.headers).toMatchObject({ 'content-type': `${JSON_TYPE}; charset=utf-8`, vary: 'Accept' });
  });
});

describe('an atomic batch', () => {
  const atomically = (items: readonly object[], to = app) =>
    postBatch(to, JSON.stringify({ atomic: true, transactions: items }));

  it('is applied as a whole', async () => {
    const [a, b] = [await openAccount(app, '100.00'), await openAccount(app)];
    const response = await atomically([
      of(a, withdrawal('40')),
      of(b, deposit('40'), 'move'),
      of(a, deposit('1')),
    ]);
    expect(response.status).toBe(200);
    expect(resultsIn(response).map(({ status, body }) => [status, body.newVersion])).toEqual([
      [201, '3'],
      [201, '2'],
      [201, '4'],
    ]);
    expect(await balanceOf(app, a)).toBe('{"balance":61.00,"version":4}');
    expect(await balanceOf(app, b)).toBe('{"balance":40.00,"version":2}');
  });

  it.each([
    [
      'a balance that does not suffice',
      (id: number) => of(id, withdrawal('101')),
      422,
      'Insufficient Balance',
    ],
    [
      'another version',
      (id: number) => of(id, { ...deposit('1'), expectedVersion: 2 }),
      409,
      'Version mismatch',
    ],
    ['an account that is not there', () => of(NOBODY, deposit('1')), 404, 'Account not found'],
    ['a malformed transaction', (id: number) => of(id, deposit('0')), 400, 'Invalid request'],
    ['a key that is there twice', (id: number) => of(id, deposit('1'), 'twice'), 400, 'Invalid request'],
    ['too long a transaction', (id: number) => of(id, { note: 'x'.repeat(17_000) }), 413, 'Body too large'],
  ])('is rejected as a whole because of %s', async (_, bad, status, error) => {
    const accountId = await openAccount(app, '99.00');
    const response = await atomically([
      of(accountId, deposit('1'), 'twice'),
      bad(accountId),
      of(accountId, deposit('1')),
    ]);
    expect(response.status).toBe(status);
    expect(statusesIn(response)).toEqual([424, status, 424]);
    expect(errorsIn(response)).toEqual(['Not applied', error, 'Not applied']);
    expect(await balanceOf(app, accountId)).toBe('{"balance":99.00,"version":2}');
  });

  it('of too many lines is rejected as a whole, and its last result says why', async () => {
    const accountId = await openAccount(app);
    const line = JSON.stringify(of(accountId, deposit('1')));
    const response = await postBatch(app, `${line}\n`.repeat(MAX_ITEMS + 5), {
      type: NDJSON_TYPE,
      query: '?atomic=true',
    });
    expect(response.status).toBe(413);
    const results = linesIn(response);
    expect(results).toHaveLength(MAX_ITEMS + 1);
    expect(results.at(-1)).toEqual({
      status: 413,
      code: 'TOO_MANY_TRANSACTIONS',
      body: { error: 'Too many transactions' },
    });
    expect(await balanceOf(app, accountId)).toBe('{"balance":0.00,"version":1}');
  });

  it('is, when it is repeated, a duplicate of each of its transactions', async () => {
    const [a, b] = [await openAccount(app, '10.00'), await openAccount(app, '10.00')];
    const items = [of(a, withdrawal('1'), 'k'), of(b, deposit('1'), 'k')];
    expect((await atomically(items)).status).toBe(200);
    const again = await atomically(items);
    expect(again.status).toBe(409);
    expect(errorsIn(again)).toEqual(['Duplicate transaction', 'Duplicate transaction']);
    const [{ body }] = JSON.parse(again.text) as [{ body: { transactionId: string } }];
    expect(again.headers['location']).toBe(`/transactions/${body.transactionId}`);
    const more = await atomically([...items, of(b, deposit('1'), 'l')]);
    expect(errorsIn(more)).toEqual(['Duplicate transaction', 'Duplicate transaction', 'Not applied']);
    expect(await balanceOf(app, b)).toBe('{"balance":11.00,"version":3}');
  });

  it('is requested by the query or the body, but not both', async () => {
    const accountId = await openAccount(app, '1.00');
    const items = [of(accountId, deposit('1')), of(accountId, withdrawal('99'))];
    expect((await postBatch(app, items, { query: '?atomic=true' })).status).toBe(422);
    expect((await postBatch(app, items, { query: '?atomic=false' })).status).toBe(200);
    const envelope = JSON.stringify({ atomic: false, transactions: items });
    expect((await postBatch(app, envelope)).status).toBe(200);
    expect((await postBatch(app, envelope, { query: '?atomic=true' })).status).toBe(400);
    expect((await postBatch(app, items, { query: '?atomic=1' })).status).toBe(400);
    expect((await postBatch(app, items, { query: '?Atomic=true' })).status).toBe(400);
  });

  it('with the most transactions, over thousands of accounts, is applied', async () => {
    const count = 2_000;
    const { rows } = await operator.query<{ account_id: string }>(
      'INSERT INTO bank.accounts (balance, version) SELECT 0, 1 FROM generate_series(1, $1) RETURNING account_id',
      [count],
    );
    const items = Array.from({ length: MAX_ITEMS }, (_, n) =>
      of(Number(rows[n % count]?.account_id), deposit('1')),
    );
    const response = await atomically(items);
    expect(response.status).toBe(200);
    expect(new Set(statusesIn(response))).toEqual(new Set([201]));
  });

  it('over accounts of two shards is rejected, naming those of the second', async () => {
    const database = await createEmptyTestDatabase('batch-shards');
    const shards = [0, 1].map((index) => ({ url: database.url, schema: `bank_${index}` }));
    const sharded = await startInstance(shards);
    try {
      const [a, b, c] = [await openAccount(sharded), await openAccount(sharded), await openAccount(sharded)];
      expect([(a - b) % 2, (a - c) % 2].map(Math.abs)).toEqual([1, 0]);
      const response = await atomically(
        [of(a, deposit('1')), of(b, deposit('1')), of(c, deposit('1'))],
        sharded,
      );
      expect(response.status).toBe(400);
      expect(resultsIn(response)).toMatchObject([
        { status: 424 },
        { status: 400, body: { details: [{ field: 'accountId' }] } },
        { status: 424 },
      ]);
      expect(await balanceOf(sharded, a)).toBe('{"balance":0.00,"version":1}');
      expect((await atomically([of(a, deposit('1')), of(c, deposit('1'))], sharded)).status).toBe(200);
      expect(statusesIn(await postBatch(sharded, [of(a, deposit('1')), of(b, deposit('1'))]))).toEqual([
        201, 201,
      ]);
      expect((await verifyBank(shards)).faults).toEqual([]);
    } finally {
      await sharded.close();
      await database.drop();
    }
  });

  it('leaves clean books beside other batches and single postings', async () => {
    const accounts = await Promise.all(Array.from({ length: 5 }, () => openAccount(app, '5.00')));
    const pick = (n: number) => accounts[n % accounts.length] ?? 0;
    const posting = (n: number) => of(pick(n), n % 3 ? deposit('1') : withdrawal('2'));
    let accepted = 0;
    const count = (response: Answer) =>
      (accepted += statusesIn(response).filter((one) => one === 201).length);
    const work = Array.from({ length: 6 }, async (_, caller) => {
      for (let round = 0; round < 8; round++) {
        const items = Array.from({ length: 20 }, (_, n) => posting(caller + round * n));
        count(caller % 2 ? await postBatch(app, items) : await atomically(items));
        const { accountId, ...body } = posting(round);
        if ((await post(app, accountId, body)).status === 201) accepted += 1;
      }
    });
    await Promise.all(work);
    const { rows } = await operator.query<{ sum: string }>(
      'SELECT sum(version - 2) FROM bank.accounts WHERE account_id = ANY($1)',
      [accounts],
    );
    expect(Number(rows[0]?.sum)).toBe(accepted);
    expect(accepted).toBeGreaterThan(100);
  });
});

/** The bodies of single calls and those in a batch may differ in ids, times and versions only. */
const comparable = (body: unknown): unknown =>
  JSON.parse(
    JSON.stringify(body)
      .replace(/"(txn|tr|hold)\d+"/g, '"$1N"')
      .replace(/\d{4}-\d\d-\d\dT[\d:.]+Z/g, 'T')
      .replace(/"(newVersion)":"\d+"/g, '"$1":"N"')
      .replace(/"(accountId)":\d+/g, '"$1":0'),
  );

describe('a batch of all kinds', () => {
  const transferOf = (from: number, to: number, amount: string, more = {}) => ({
    ...{ type: 'Transfer', from, to, amount, ...more },
  });

  it('answers each like the single call', async () => {
    const elsewhere = ['type', 'accountId', 'holdId', 'transactionId', 'transferId', 'idempotencyKey'];
    const answers = [];
    for (const inBatch of [false, true]) {
      const [a, b] = [await openAccount(app, '100.00'), await openAccount(app, '0.01')];
      const send = async (item: Record<string, unknown> & { idempotencyKey?: string }, path: string) => {
        if (inBatch) return resultsIn(await postBatch(app, [item]))[0] as Result & { body: { id: string } };
        const { idempotencyKey: key } = item;
        const headers = key === undefined ? {} : { 'idempotency-key': key };
        const body = Object.fromEntries(Object.entries(item).filter(([name]) => !elsewhere.includes(name)));
        const answer = await app.http.post(path).set(headers).send(body);
        const code = answer.headers['x-error-code'];
        return {
          status: answer.status,
          ...(code && { code }),
          body: JSON.parse(answer.text) as { id: string },
        };
      };
      const moved = await send(transferOf(a, b, '30', { idempotencyKey: 'k', reference: 'r' }), '/transfers');
      const held = await send(
        { type: 'Hold', accountId: a, amount: '20', description: 'd' },
        `/accounts/${a}/holds`,
      );
      const holdId = held.body.id;
      answers.push([
        moved,
        await send(transferOf(a, b, '30', { idempotencyKey: 'k', reference: 'r' }), '/transfers'),
        await send(transferOf(a, b, '50.01'), '/transfers'),
        held,
        await send({ type: 'Capture', holdId, amount: '5', final: false }, `/holds/${holdId}/capture`),
        await send({ type: 'Capture', holdId, amount: '5', final: false, to: b }, `/holds/${holdId}/capture`),
        await send({ type: 'Capture', holdId, amount: '11' }, `/holds/${holdId}/capture`),
        await send({ type: 'Capture', holdId, to: a }, `/holds/${holdId}/capture`),
        await send({ type: 'Void', holdId }, `/holds/${holdId}/void`),
        await send({ type: 'Void', holdId }, `/holds/${holdId}/void`),
        await send({ type: 'Reversal', transferId: moved.body.id }, `/transfers/${moved.body.id}/reversal`),
        await send({ type: 'Reversal', transferId: 'tr9' }, '/transfers/tr9/reversal'),
        await send({ type: 'Reversal', transactionId: 'txn99999' }, '/transactions/txn99999/reversal'),
        await send({ type: 'Capture', holdId: 'hold99999' }, '/holds/hold99999/capture'),
        await send(transferOf(a, NOBODY, '1'), '/transfers'),
      ]);
    }
    const [single, inBatch] = answers.map((these) => these.map(comparable));
    expect(inBatch).toEqual(single);
    expect(answers[1]?.map(({ status }) => status)).toEqual([
      ...[201, 409, 422, 201, 201, 201, 422, 400, 200, 409, 201, 404, 404, 404, 404],
    ]);
  });

  it('may be atomic', async () => {
    const [a, b] = [await openAccount(app, '100.00'), await openAccount(app, '0.01')];
    const [{ body }] = resultsIn(
      await postBatch(app, [{ type: 'Hold', accountId: a, amount: '10' }]),
    ) as unknown as [{ body: { id: string } }];
    const items = [
      transferOf(a, b, '40', { idempotencyKey: 'k' }),
      of(b, withdrawal('40'), 'k'),
      { type: 'Capture', holdId: body.id, to: b },
      { type: 'Hold', accountId: b, amount: '5' },
    ];
    const stopped = await postBatch(app, [...items, of(b, withdrawal('5.02'))], { query: '?atomic=true' });
    expect(statusesIn(stopped)).toEqual([424, 424, 424, 424, 422]);
    expect(statusesIn(await postBatch(app, items, { query: '?atomic=true' }))).toEqual([201, 201, 201, 201]);
    expect(statusesIn(await postBatch(app, items, { query: '?atomic=true' }))[0]).toBe(409);
    expect(await balanceOf(app, a)).toBe('{"balance":50.00,"version":6}');
    expect(await balanceOf(app, b)).toBe('{"balance":10.01,"version":6}');
  });

  it('may be tried: each by itself, or an atomic one as a whole', async () => {
    const [a, b] = [await openAccount(app, '100.00'), await openAccount(app, '0.01')];
    const items = [
      transferOf(a, b, '40', { idempotencyKey: 'k' }),
      of(b, withdrawal('40'), 'k'),
      { type: 'Hold', accountId: a, amount: '10' },
    ];
    expect(statusesIn(await postBatch(app, items, { query: '?dryRun=true' }))).toEqual([200, 422, 200]);
    const tried = await postBatch(app, items, { query: '?dryRun=true&atomic=true' });
    expect(tried.status).toBe(200);
    expect(statusesIn(tried)).toEqual([200, 200, 200]);
    expect(tried.text).not.toMatch(/"(id|transactionId|timestamp|createdAt)"/);
    expect(tried.text).toContain('"newBalance":0.01,"newVersion":"4"');
    expect(await balanceOf(app, a)).toBe('{"balance":100.00,"version":2}');
    expect(statusesIn(await postBatch(app, items, { query: '?atomic=true' }))).toEqual([201, 201, 201]);
  });

  it('that places a hold too late is still a duplicate when it was applied, all of it', async () => {
    const a = await openAccount(app, '100.00');
    const late = { type: 'Hold', accountId: a, amount: '1', expiresAt: new Date() };
    const refused = await postBatch(app, [of(a, deposit('1')), late], { query: '?atomic=true' });
    expect([refused.status, statusesIn(refused)]).toEqual([400, [424, 400]]);
    const expiresAt = new Date(Date.now() + 2_000);
    const items = [
      of(a, deposit('1'), 'first'),
      { type: 'Hold', accountId: a, amount: '10', expiresAt, idempotencyKey: 'h' },
    ];
    expect(statusesIn(await postBatch(app, items, { query: '?atomic=true' }))).toEqual([201, 201]);
    // Now it is less than a second ahead.
    await sleep(1_100);
    expect(statusesIn(await postBatch(app, items, { query: '?atomic=true' }))).toEqual([409, 409]);
    expect(statusesIn(await postBatch(app, items))).toEqual([409, 409]);
    expect(await balanceOf(app, a)).toMatch(/^{"balance":101.00,/);
  });

  it('holds at most 10,000 transactions: a transfer counts as its legs', async () => {
    const legs = Array.from({ length: 100 }, (_, n) => ({
      ...{ accountId: NOBODY + n, type: n === 0 ? 'Withdraw' : 'Deposit', amount: n === 0 ? '99' : '1' },
    }));
    const items = (transfers: number) =>
      Array.from({ length: transfers }, () => ({ type: 'Transfer', legs }));
    const most = await postBatch(app, items(100));
    expect([most.status, new Set(statusesIn(most))]).toEqual([200, new Set([404])]);
    for (const query of ['', '?atomic=true']) {
      const refused = await postBatch(app, items(101), { query });
      expect([refused.status, refused.headers['x-error-code']]).toEqual([413, 'TOO_MANY_TRANSACTIONS']);
    }
    const lines = items(101).map((item) => JSON.stringify(item));
    const streamed = linesIn(await postBatch(app, lines.join('\n'), { type: NDJSON_TYPE }));
    expect(streamed.map(({ status }) => status)).toEqual([...Array.from({ length: 100 }, () => 404), 413]);
  });
});
