import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { openAccount, startApp, type TestApp } from '../support/app.js';
import {
  balanceOf,
  deposit,
  moneyAsText,
  post,
  receiptIn,
  TEXT_MONEY,
  TEXT_MONEY_TYPE,
  withdrawal,
} from '../support/requests.js';

let app: TestApp;

beforeAll(async () => {
  app = await startApp();
});

afterAll(() => app.close());

const TIMESTAMP = /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{3}Z$/;

/** The number of a transaction id. */
const numberOf = (id: string) => Number(/^txn([1-9]\d*)$/.exec(id)?.[1]);

/** An account of version 7 with 351.00 in it, as the specification's example asks for. */
async function openAtVersion7(): Promise<number> {
  const accountId = await openAccount(app, '346.00');
  for (let version = 3; version <= 7; version++) await post(app, accountId, deposit('1'));
  return accountId;
}

describe('POST /accounts/{accountId}/transactions', () => {
  it("accepts the specification's example and answers in its format", async () => {
    const accountId = await openAtVersion7();
    const response = await post(
      app,
      accountId,
      '{\n    "moneyWithdraw/Deposit": 49,\n    "typeOfTransaction": "Deposit",\n    "expectedversion": 7\n}',
    );
    const { id, timestamp } = receiptIn(response);
    expect(response.status).toBe(201);
    expect(response.text).toBe(
      `{"id":"${id}","type":"Deposit","amount":49.00,"newBalance":400.00,"newVersion":"8","timestamp":"${timestamp}"}`,
    );
    expect(id).toMatch(/^txn[1-9]\d*$/);
    expect(timestamp).toMatch(TIMESTAMP);
    expect(response.headers).toMatchObject({
      location: `/transactions/${id}`,
      etag: '"8"',
      'content-type': 'application/json; charset=utf-8',
    });
    expect(await balanceOf(app, accountId)).toBe('{"balance":400.00,"version":8}');
  });

  it('accepts a withdrawal down to the last cent', async () => {
    const accountId = await openAccount(app, '100.00');
    const response = await post(
      app,
      accountId,
      '{"moneyWithdraw/Deposit":100,"typeOfTransaction":"Withdraw"}',
    );
    expect(response.status).toBe(201);
    expect(response.text).toMatch(
      /^{"id":"txn\d+","type":"Withdraw","amount":100.00,"newBalance":0.00,"newVersion":"3","timestamp":"[^"]+"}$/,
    );
    expect(await balanceOf(app, accountId)).toBe('{"balance":0.00,"version":3}');
  });

  it.each([
    ['Deposit', 'Deposit'],
    ['deposit', 'Deposit'],
    ['DEPOSIT', 'Deposit'],
    ['Credit', 'Deposit'],
    ['cREDIT', 'Deposit'],
    ['Withdraw', 'Withdraw'],
    ['withdraw', 'Withdraw'],
    ['Debit', 'Withdraw'],
    ['DEBIT', 'Withdraw'],
  ])('accepts the type %s and answers %s', async (sent, answered) => {
    const accountId = await openAccount(app, '100.00');
    const response = await post(app, accountId, { amount: '1.00', type: sent });
    expect(response.status).toBe(201);
    expect(receiptIn(response).type).toBe(answered);
    const balance = answered === 'Deposit' ? '101.00' : '99.00';
    expect(response.text).toContain(`"newBalance":${balance},`);
  });

  it('accepts the short names, and a mixture of short and long ones', async () => {
    const accountId = await openAccount(app, '100.00');
    for (const body of [
      '{"amount":1,"type":"Deposit","expectedVersion":2}',
      '{"moneyWithdraw/Deposit":1,"type":"Deposit","expectedVersion":3}',
      '{"amount":1,"typeOfTransaction":"Deposit","expectedversion":4}',
    ]) {
      expect((await post(app, accountId, body)).status).toBe(201);
    }
    expect(await balanceOf(app, accountId)).toBe('{"balance":103.00,"version":5}');
  });

  it('accepts newVersion as it was returned', async () => {
    const accountId = await openAccount(app, '100.00');
    let expectedversion = '2';
    for (let i = 0; i < 3; i++) {
      const response = await post(app, accountId, { ...deposit('1'), expectedversion });
      expect(response.status).toBe(201);
      expectedversion = receiptIn(response).newVersion;
    }
    expect(expectedversion).toBe('5');
  });

  it('returns ascending ids, and times that never run backwards', async () => {
    const accountId = await openAccount(app);
    const before = Date.now();
    const receipts = [];
    for (let i = 0; i < 10; i++) receipts.push(receiptIn(await post(app, accountId, deposit('1'))));
    const ids = receipts.map((receipt) => numberOf(receipt.id));
    const times = receipts.map((receipt) => Date.parse(receipt.timestamp));
    expect(ids).toEqual([...ids].sort((a, b) => a - b));
    expect(times).toEqual([...times].sort((a, b) => a - b));
    // The database's clock is this machine's.
    expect(Math.min(...times)).toBeGreaterThan(before - 1_000);
    expect(Math.max(...times)).toBeLessThan(Date.now() + 1_000);
  });

  it.each(['0.01', '9007199254740993.07', '9999999999999999.99'])(
    'deposits and withdraws %s to the cent',
    async (amount) => {
      const accountId = await openAccount(app);
      const into = await post(app, accountId, `{"amount":${amount},"type":"Deposit"}`);
      expect(into.text).toContain(`"amount":${amount},"newBalance":${amount},`);
      expect(await balanceOf(app, accountId)).toBe(`{"balance":${amount},"version":2}`);
      const out = await post(app, accountId, `{"amount":"${amount}","type":"Withdraw"}`);
      expect(out.text).toContain(`"amount":${amount},"newBalance":0.00,`);
    },
  );

  it('adds cents that a double would lose', async () => {
    const accountId = await openAccount(app, '9007199254740993.07');
    const response = await post(app, accountId, '{"amount":0.01,"type":"Deposit"}');
    expect(response.text).toContain('"newBalance":9007199254740993.08,');
    const listing = await app.http.get(`/accounts/${accountId}/transactions`);
    expect(listing.text).toContain('"newBalance":9007199254740993.08,');
    expect(listing.text).toContain('"amount":9007199254740993.07,');
  });
});

describe('money as text', () => {
  it.each(['0.01', '49.00', '9007199254740993.07', '9999999999999999.99'])(
    'has all digits of %s in the receipt and in the transaction',
    async (amount) => {
      const accountId = await openAccount(app);
      const posted = await post(app, accountId, deposit(amount), TEXT_MONEY);
      const { id, timestamp } = receiptIn(posted);
      expect(posted.status).toBe(201);
      expect(posted.text).toBe(
        `{"id":"${id}","type":"Deposit","amount":"${amount}","newBalance":"${amount}","newVersion":"2",` +
          `"timestamp":"${timestamp}"}`,
      );
      expect(posted.headers).toMatchObject({
        'content-type': TEXT_MONEY_TYPE,
        etag: '"2-string"',
        location: `/transactions/${id}`,
        vary: 'Accept',
      });
      const number = await app.http.get(`/transactions/${id}`);
      const text = await app.http.get(`/transactions/${id}`).set(TEXT_MONEY);
      expect(number.text).toContain(`"amount":${amount},"newBalance":${amount},`);
      expect(text.text).toBe(moneyAsText(number.text));
      expect(text.headers).toMatchObject({ 'content-type': TEXT_MONEY_TYPE, vary: 'Accept' });
      expect(JSON.parse(text.text)).toMatchObject({ amount, newBalance: amount });
    },
  );

  it('changes nothing in an error', async () => {
    const accountId = await openAccount(app, '1.00');
    await post(app, accountId, deposit('1'), { 'idempotency-key': 'k' });
    for (const [status, id, body, headers] of [
      [400, accountId, deposit('0'), {}],
      [404, 999_999, deposit('1'), {}],
      [409, accountId, deposit('1'), { 'idempotency-key': 'k' }],
      [409, accountId, { ...deposit('1'), expectedVersion: 99 }, {}],
      [412, accountId, deposit('1'), { 'if-match': '"99-string"' }],
      [422, accountId, withdrawal('3'), {}],
      [422, accountId, deposit('2'), { 'idempotency-key': 'k' }],
    ] as const) {
      const usual = await post(app, id, body, headers);
      const asked = await post(app, id, body, { ...headers, ...TEXT_MONEY });
      expect(usual.status).toBe(status);
      expect([asked.status, asked.text]).toEqual([status, usual.text]);
      expect(asked.headers).toMatchObject({
        'content-type': 'application/json; charset=utf-8',
        vary: 'Accept',
      });
      expect(asked.headers).not.toHaveProperty('etag');
    }
  });

  it('has entity tags that are conditions of a posting as those of numbers are', async () => {
    const accountId = await openAccount(app, '10.00');
    const ifMatch = async (tag: string, headers = {}) =>
      (await post(app, accountId, deposit('1'), { 'if-match': tag, ...headers })).status;
    expect(await ifMatch('"2-string"')).toBe(201);
    expect(await ifMatch('"3.0-string"', TEXT_MONEY)).toBe(201);
    expect(await ifMatch('"4"', TEXT_MONEY)).toBe(201);
    expect([await ifMatch('"4-string"'), await ifMatch('W/"5-string"'), await ifMatch('"5-number"')]).toEqual(
      [412, 412, 412],
    );
  });
});

describe('GET /transactions/{transactionId}', () => {
  it('returns the transaction at the Location of the posting', async () => {
    const accountId = await openAccount(app, '300.00');
    const posted = await post(app, accountId, withdrawal('0.50'));
    const { id, timestamp } = receiptIn(posted);
    const response = await app.http.get(String(posted.headers.location));
    expect(response.status).toBe(200);
    expect(response.text).toBe(
      `{"id":"${id}","accountId":${accountId},"type":"Withdraw","amount":0.50,"newBalance":299.50,` +
        `"newVersion":"3","timestamp":"${timestamp}"}`,
    );
  });

  it('answers 404 for a transaction that was never posted', async () => {
    const response = await app.http.get('/transactions/txn999999999');
    expect(response.status).toBe(404);
    expect(response.text).toBe('{"error":"Transaction not found"}');
  });
});

describe('Idempotency-Key', () => {
  const withKey = (key: string) => ({ 'idempotency-key': key });

  it('answers a repeated request with the first one, and applies it once', async () => {
    const accountId = await openAccount(app, '100.00');
    const first = await post(app, accountId, deposit('5'), withKey('k-1'));
    expect(first.status).toBe(201);
    for (let i = 0; i < 3; i++) {
      const again = await post(app, accountId, deposit('5'), withKey('k-1'));
      expect(again.status).toBe(409);
      expect(again.text).toBe(`{"error":"Duplicate transaction","transactionId":"${receiptIn(first).id}"}`);
      expect(again.headers.location).toBe(first.headers.location);
    }
    expect(await balanceOf(app, accountId)).toBe('{"balance":105.00,"version":3}');
  });

  it('recognises the same request in another spelling', async () => {
    const accountId = await openAccount(app, '100.00');
    await post(app, accountId, '{"amount":5,"type":"Deposit"}', withKey('k'));
    const spellings = [
      '{"amount":"5.00","type":"Deposit"}',
      '{"moneyWithdraw/Deposit":5.0,"typeOfTransaction":"CREDIT"}',
      '{"type":"deposit","amount":5.00}',
    ];
    for (const body of spellings) {
      const again = await post(app, accountId, body, withKey('k'));
      expect(again.text).toMatch(/^{"error":"Duplicate transaction",/);
    }
  });

  it('makes a retry a duplicate even if its version is out of date', async () => {
    const accountId = await openAccount(app, '100.00');
    const body = { ...withdrawal('100'), expectedversion: 2 };
    const headers = { ...withKey('k'), 'if-match': '"2"' };
    expect((await post(app, accountId, body, headers)).status).toBe(201);
    expect((await post(app, accountId, body, headers)).text).toMatch(/^{"error":"Duplicate transaction",/);
    await post(app, accountId, deposit('1'));
    expect((await post(app, accountId, body, headers)).text).toMatch(/^{"error":"Duplicate transaction",/);
  });

  it('is the same key bare and quoted', async () => {
    const accountId = await openAccount(app, '100.00');
    const first = await post(app, accountId, deposit('5'), withKey('"a\\"b\\\\c"'));
    const again = await post(app, accountId, deposit('5'), withKey('a"b\\c'));
    expect(again.text).toBe(`{"error":"Duplicate transaction","transactionId":"${receiptIn(first).id}"}`);
  });

  it.each([
    ['amount', { amount: '5.01', type: 'Deposit' }],
    ['type', { amount: '5', type: 'Withdraw' }],
  ])('is rejected for another %s', async (_, body) => {
    const accountId = await openAccount(app, '100.00');
    const first = await post(app, accountId, deposit('5'), withKey('k'));
    const other = await post(app, accountId, body, withKey('k'));
    expect(other.status).toBe(422);
    expect(other.text).toBe(`{"error":"Idempotency key reused","transactionId":"${receiptIn(first).id}"}`);
    expect(await balanceOf(app, accountId)).toBe('{"balance":105.00,"version":3}');
  });

  it('belongs to its account', async () => {
    const accounts = [await openAccount(app), await openAccount(app)];
    for (const accountId of accounts) {
      expect((await post(app, accountId, deposit('5'), withKey('shared'))).status).toBe(201);
    }
  });

  it('is case-sensitive', async () => {
    const accountId = await openAccount(app);
    expect((await post(app, accountId, deposit('5'), withKey('Key'))).status).toBe(201);
    expect((await post(app, accountId, deposit('5'), withKey('key'))).status).toBe(201);
  });

  it('is not used up by a rejected request', async () => {
    const accountId = await openAccount(app, '10.00');
    const body = withdrawal('20');
    expect((await post(app, accountId, body, withKey('k'))).status).toBe(422);
    expect((await post(app, accountId, { ...body, expectedVersion: 9 }, withKey('k'))).status).toBe(409);
    expect((await post(app, accountId, body, { ...withKey('k'), 'if-match': '"9"' })).status).toBe(412);
    expect((await post(app, accountId, { ...body, amount: 'x' }, withKey('k'))).status).toBe(400);
    await post(app, accountId, deposit('10'));
    expect((await post(app, accountId, body, withKey('k'))).status).toBe(201);
  });

  it('is optional: without it the same request twice is two transactions', async () => {
    const accountId = await openAccount(app);
    await post(app, accountId, deposit('5'));
    await post(app, accountId, deposit('5'));
    expect(await balanceOf(app, accountId)).toBe('{"balance":10.00,"version":3}');
  });
});
