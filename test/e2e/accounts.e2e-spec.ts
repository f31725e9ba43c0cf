import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { openAccount, startApp, type TestApp } from '../support/app.js';
import { fieldsIn, JSON_TYPE } from './requests.js';

let app: TestApp;

beforeAll(async () => {
  app = await startApp();
});

afterAll(() => app.close());

const open = (body: string) => app.http.post('/accounts').set('content-type', JSON_TYPE).send(body);

/** The id of an account that does not exist yet, but will be next. */
async function nextId(): Promise<number> {
  return (await openAccount(app)) + 1;
}

describe('POST /accounts', () => {
  it('opens an empty account, of version 1', async () => {
    const id = await nextId();
    const response = await open('{}');
    expect(response.status).toBe(201);
    expect(response.text).toBe(`{"accountId":${id},"balance":0.00,"version":1}`);
    expect(response.headers).toMatchObject({
      location: `/accounts/${id}`,
      etag: '"1"',
      'content-type': 'application/json; charset=utf-8',
    });
  });

  it('refuses an Idempotency-Key, which it could not keep', async () => {
    const response = await open('{}').set('Idempotency-Key', 'k');
    expect(response.status).toBe(400);
    expect(fieldsIn(response)).toEqual(['Idempotency-Key']);
  });

  it.each([
    ['1000.00', '1000.00'],
    ['1000', '1000.00'],
    ['0.1', '0.10'],
    ['"1000.00"', '1000.00'],
    ['0.01', '0.01'],
    ['9007199254740993.07', '9007199254740993.07'],
    ['9999999999999999.99', '9999999999999999.99'],
    ['"9999999999999999.99"', '9999999999999999.99'],
  ])('opens an account with %s in it, of version 2', async (deposit, balance) => {
    const id = await nextId();
    const response = await open(`{"openingDeposit":${deposit}}`);
    expect(response.status).toBe(201);
    expect(response.text).toBe(`{"accountId":${id},"balance":${balance},"version":2}`);
    expect(response.headers).toMatchObject({ location: `/accounts/${id}`, etag: '"2"' });
  });

  it('books the opening deposit as the first transaction', async () => {
    const id = await openAccount(app, '1000.00');
    const listing = await app.http.get(`/accounts/${id}/transactions`);
    expect(listing.text).toMatch(
      new RegExp(
        `^{"data":\\[{"id":"txn\\d+","accountId":${id},"type":"Deposit","amount":1000.00,` +
          '"newBalance":1000.00,"newVersion":"2","timestamp":"[^"]+"}\\],"nextCursor":null}$',
      ),
    );
  });

  it('leaves an empty account without a transaction', async () => {
    const id = await openAccount(app);
    const listing = await app.http.get(`/accounts/${id}/transactions`);
    expect(listing.text).toBe('{"data":[],"nextCursor":null}');
  });

  it.each(['0', '-1', '"0.00"', '1e2', '0.001', '10000000000000000', 'true', 'null', '[]', '" 1 "'])(
    'refuses an opening deposit of %s and opens nothing',
    async (deposit) => {
      const id = await nextId();
      const response = await open(`{"openingDeposit":${deposit}}`);
      expect(response.status).toBe(400);
      expect(fieldsIn(response)).toEqual(['openingDeposit']);
      expect((await app.http.get(`/accounts/${id}`)).status).toBe(404);
    },
  );

  it.each([
    ['an unknown field', '{"balance":1000.00}', 'balance'],
    ['a list', '[]', 'body'],
    ['null', 'null', 'body'],
    ['nothing', '', 'body'],
  ])('refuses a body with %s', async (_, body, field) => {
    const response = await open(body);
    expect(response.status).toBe(400);
    expect(fieldsIn(response)).toEqual([field]);
  });
});

describe('GET /accounts/{accountId}', () => {
  it('shows the account', async () => {
    const id = await openAccount(app, '350.00');
    const response = await app.http.get(`/accounts/${id}`);
    expect(response.status).toBe(200);
    expect(response.text).toBe(`{"accountId":${id},"balance":350.00,"version":2}`);
    expect(response.headers.etag).toBe('"2"');
  });

  it('follows the Location of the opening', async () => {
    const opened = await open('{"openingDeposit":5}');
    const response = await app.http.get(String(opened.headers.location));
    expect(response.text).toBe(opened.text);
  });

  it('knows no account that was never opened', async () => {
    const response = await app.http.get('/accounts/999999');
    expect(response.status).toBe(404);
    expect(response.text).toBe('{"error":"Account not found"}');
  });
});
