import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { Client } from 'pg';
import type { Response } from 'supertest';
import { openAccount, startApp, type TestApp } from '../support/app.js';
import { balanceOf, deposit, fieldsIn, JSON_TYPE, post, receiptIn, withdrawal } from '../support/requests.js';

let app: TestApp;

beforeAll(async () => {
  app = await startApp();
});

afterAll(() => app.close());

const NOBODY = 999_999;
const withKey = (key: string) => ({ 'idempotency-key': key });

/** What all error answers have in common: JSON and a request id. A duplicate has the location of the original. */
function expectAnswer(response: Response, status: number, body: string, location?: string): void {
  expect(response.status).toBe(status);
  expect(response.text).toBe(body);
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
        'with at most 16 digits before the point and 2 after, like 49.50"}]}',
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

  it('404 for a route that does not exist, whatever the method', async () => {
    const body = '{"error":"Not found"}';
    expectAnswer(await app.http.get('/'), 404, body);
    expectAnswer(await app.http.get('/accounts/1/nothing'), 404, body);
    expectAnswer(await app.http.post('/accounts/1').set('content-type', JSON_TYPE).send('{}'), 404, body);
    expectAnswer(await app.http.put('/accounts/1/transactions').send(deposit('1')), 404, body);
    expectAnswer(await app.http.delete('/accounts/1'), 404, body);
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
      await client.query('ALTER TABLE bank.transactions RENAME COLUMN kind TO type');
      const response = await post(broken, accountId, deposit('1'));
      expect(response.text).toContain('"newBalance":101.00,"newVersion":"3"');
    } finally {
      await client.end();
      await broken.close();
    }
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
