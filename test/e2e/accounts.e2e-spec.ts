import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { Client } from 'pg';
import { assignAccounts } from '../../src/admin/assign-accounts.js';
import { openAccount, startApp, startInstance, type TestApp } from '../support/app.js';
import {
  deposit,
  fieldsIn,
  JSON_TYPE,
  moneyAsText,
  post,
  TEXT_MONEY,
  TEXT_MONEY_TYPE,
} from '../support/requests.js';

let app: TestApp;
let client: Client;

beforeAll(async () => {
  app = await startApp();
  client = new Client({ connectionString: app.databaseUrl });
  await client.connect();
});

afterAll(async () => {
  await client.end();
  await app.close();
});

const rows = async (sql: string) => (await client.query<object>(sql)).rows;

const open = (body: string) => app.http.post('/accounts').set('content-type', JSON_TYPE).send(body);

/** The id of an account that does not exist yet, but will be next. */
async function nextId(): Promise<number> {
  return (await openAccount(app)) + 1;
}

describe('POST /accounts', () => {
  it('opens an empty account with version 1', async () => {
    const id = await nextId();
    const response = await open('{}');
    expect(response.status).toBe(201);
    expect(response.text).toBe(`{"accountId":${id},"balance":0.00,"version":1}`);
    expect(response.headers).toMatchObject({
      location: `/accounts/${id}`,
      etag: '"1.0"',
      'content-type': 'application/json; charset=utf-8',
    });
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
  ])('opens an account with %s in it and version 2', async (deposit, balance) => {
    const id = await nextId();
    const response = await open(`{"openingDeposit":${deposit}}`);
    expect(response.status).toBe(201);
    expect(response.text).toBe(`{"accountId":${id},"balance":${balance},"version":2}`);
    expect(response.headers).toMatchObject({ location: `/accounts/${id}`, etag: '"2.0"' });
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

  it('posts no transaction for an empty account', async () => {
    const id = await openAccount(app);
    const listing = await app.http.get(`/accounts/${id}/transactions`);
    expect(listing.text).toBe('{"data":[],"nextCursor":null}');
  });

  it.each(['0', '-1', '"0.00"', '1e2', '0.001', '10000000000000000', 'true', 'null', '[]', '" 1 "'])(
    'rejects an opening deposit of %s and opens no account',
    async (deposit) => {
      const id = await nextId();
      const response = await open(`{"openingDeposit":${deposit}}`);
      expect(response.status).toBe(400);
      expect(fieldsIn(response)).toEqual(['openingDeposit']);
      expect((await app.http.get(`/accounts/${id}`)).status).toBe(404);
    },
  );

  it.each(['null', ' null '])('opens an account without an owner when that is %j', async (owner) => {
    const id = await nextId();
    const response = await open(`{"owner":${owner}}`);
    expect(response.text).toBe(`{"accountId":${id},"balance":0.00,"version":1}`);
  });

  it.each([
    [' ', 'visible'],
    ['\u200b\u3164', 'visible'],
    ['\u202eada', 'direction'],
    ['Jose\u0301', 'NFC'],
    ['', '1 to 255'],
  ])('rejects the owner %j, and says why', async (owner, words) => {
    const id = await nextId();
    const response = await open(JSON.stringify({ owner }));
    expect(response.status).toBe(400);
    expect(fieldsIn(response)).toEqual(['owner']);
    expect(response.text).toContain(words);
    expect((await app.http.get(`/accounts/${id}`)).status).toBe(404);
  });

  it('shows the owners of accounts that have such names already', async () => {
    const id = await openAccount(app);
    await assignAccounts([{ url: app.databaseUrl, schema: 'bank' }], { accounts: [id], owner: 'Jose\u0301' });
    const response = await app.http.get(`/accounts/${id}`);
    expect(response.body).toMatchObject({ owner: 'Jose\u0301' });
  });

  it.each([
    ['an unknown field', '{"balance":1000.00}', 'balance'],
    ['a list', '[]', 'body'],
    ['null', 'null', 'body'],
    ['nothing', '', 'body'],
  ])('rejects a body with %s', async (_, body, field) => {
    const response = await open(body);
    expect(response.status).toBe(400);
    expect(fieldsIn(response)).toEqual([field]);
  });
});

describe('Idempotency-Key of an opening', () => {
  const openWith = (key: string, body: string) => open(body).set('Idempotency-Key', key);
  const count = async () => (await rows('SELECT FROM bank.accounts')).length;

  it.each(['{"openingDeposit":5}', '{}'])('opens one account, however often %s is sent', async (body) => {
    const key = `once-${body.length}`;
    const first = await openWith(key, body).expect(201);
    const { accountId } = JSON.parse(first.text) as { accountId: number };
    const before = await count();
    for (let n = 0; n < 3; n++) {
      const again = await openWith(key, body);
      expect(again.status).toBe(409);
      expect(again.text).toBe(`{"error":"Duplicate account","accountId":${accountId}}`);
      expect(again.headers.location).toBe(`/accounts/${accountId}`);
      expect(again.headers.etag).toBeUndefined();
    }
    expect(await count()).toBe(before);
  });

  it('recognises the same request in another spelling, and the same key in quotes', async () => {
    const first = await openWith('a"b', '{"openingDeposit":5}').expect(201);
    const { accountId } = JSON.parse(first.text) as { accountId: number };
    for (const body of ['{"openingDeposit":"5.00"}', ' {"openingDeposit" : 5.0 } ']) {
      const again = await openWith('"a\\"b"', body).expect(409);
      expect(again.text).toBe(`{"error":"Duplicate account","accountId":${accountId}}`);
    }
  });

  it.each([
    ['{"openingDeposit":5}', '{"openingDeposit":5.01}'],
    ['{"openingDeposit":5}', '{}'],
    ['{}', '{"openingDeposit":5}'],
  ])('that was used for %s is rejected for %s', async (body, other) => {
    const key = `reused-${body}-${other}`.replaceAll(/["\s]/g, '');
    const first = await openWith(key, body).expect(201);
    const before = await count();
    const { accountId } = JSON.parse(first.text) as { accountId: number };
    const response = await openWith(key, other).expect(422);
    expect(response.text).toBe(`{"error":"Idempotency key reused","accountId":${accountId}}`);
    expect(await count()).toBe(before);
  });

  it('is not used up by a rejected request', async () => {
    await openWith('refused', '{"openingDeposit":0}').expect(400);
    await openWith('refused', '{"openingDeposit":1}').expect(201);
  });

  it('opens one account for simultaneous requests to two instances', async () => {
    const other = await startInstance(app.databaseUrl);
    try {
      const before = await count();
      const send = (n: number) =>
        (n % 2 ? app : other).http
          .post('/accounts')
          .set({ 'content-type': JSON_TYPE, 'idempotency-key': 'at-once' })
          .send('{"openingDeposit":7}');
      const answers = await Promise.all(Array.from({ length: 12 }, (_, n) => send(n)));
      const opened = answers.filter(({ status }) => status === 201);
      expect(opened).toHaveLength(1);
      const { accountId } = JSON.parse(opened[0]?.text ?? '') as { accountId: number };
      expect(new Set(answers.filter(({ status }) => status !== 201).map(({ text }) => text))).toEqual(
        new Set([`{"error":"Duplicate account","accountId":${accountId}}`]),
      );
      expect(await count()).toBe(before + 1);
    } finally {
      await other.close();
    }
  });

  it('belongs to the named owner or, without one, to the bank', async () => {
    const ids = new Set<number>();
    for (const body of ['{}', '{"owner":"ada"}', '{"owner":"bob"}']) {
      const { text } = await openWith('shared', body).expect(201);
      const { accountId } = JSON.parse(text) as { accountId: number };
      ids.add(accountId);
      const again = await openWith('shared', body).expect(409);
      expect(again.headers.location).toBe(`/accounts/${accountId}`);
    }
    expect(ids.size).toBe(3);
  });

  it('stays with the owner at the opening when the account gets another owner', async () => {
    const { text } = await openWith('given', '{"owner":"ada"}').expect(201);
    const { accountId } = JSON.parse(text) as { accountId: number };
    await assignAccounts([{ url: app.databaseUrl, schema: 'bank' }], { accounts: [accountId], owner: 'bob' });
    expect((await openWith('given', '{"owner":"ada"}')).status).toBe(409);
    expect((await openWith('given', '{"owner":"bob"}')).status).toBe(201);
  });

  it.each(['""', 'a b', '"abc', 'a, b', 'k'.repeat(256)])('like %j is rejected', async (key) => {
    const response = await openWith(key, '{}');
    expect(response.status).toBe(400);
    expect(fieldsIn(response)).toEqual(['Idempotency-Key']);
  });

  it('is independent of the keys of transactions', async () => {
    const { text } = await openWith('both', '{}').expect(201);
    const { accountId } = JSON.parse(text) as { accountId: number };
    expect((await post(app, accountId, deposit('1'), { 'idempotency-key': 'both' })).status).toBe(201);
  });
});

describe('the entity tag of an account', () => {
  const assign = (accountId: number, owner: string | undefined) =>
    assignAccounts([{ url: app.databaseUrl, schema: 'bank' }], { accounts: [accountId], owner });
  const get = (accountId: number, tag?: string) =>
    app.http.get(`/accounts/${accountId}`).set(tag === undefined ? {} : { 'if-none-match': tag });

  it('changes with the owner and with the version', async () => {
    const accountId = await openAccount(app, '350.00');
    const etags = [(await get(accountId)).headers.etag];
    await assign(accountId, 'ada');
    const assigned = await get(accountId, '"2.0"').expect(200);
    expect(assigned.text).toBe(`{"accountId":${accountId},"balance":350.00,"version":2,"owner":"ada"}`);
    etags.push(assigned.headers.etag);
    await assign(accountId, 'ada');
    await post(app, accountId, deposit('1'));
    etags.push((await get(accountId)).headers.etag);
    await assign(accountId, undefined);
    etags.push((await get(accountId)).headers.etag);
    expect(etags).toEqual(['"2.0"', '"2.1"', '"3.1"', '"3.2"']);
    const balance = await app.http.get(`/accounts/${accountId}/balance`);
    expect(balance.headers.etag).toBe('"3"');
  });

  it.each(['"2.1"', 'W/"2.1"', '"2.0", "2.1"', '*'])('matches If-None-Match: %s', async (tag) => {
    const accountId = await openAccount(app, '1.00');
    await assign(accountId, 'ada');
    const response = await get(accountId, tag).expect(304);
    expect(response.text).toBe('');
    expect(response.headers.etag).toBe('"2.1"');
    const head = await app.http.head(`/accounts/${accountId}`).set('if-none-match', tag);
    expect(head.status).toBe(304);
    expect(head.headers.etag).toBe('"2.1"');
  });

  it.each(['"2"', '"2.0"', '"2.10"', '"2.01"', '"3.1"'])('does not match %s', async (tag) => {
    const accountId = await openAccount(app, '1.00');
    await assign(accountId, 'ada');
    await get(accountId, tag).expect(200);
  });

  it('is a condition of a posting, just as the version is', async () => {
    const accountId = await openAccount(app, '10.00');
    await assign(accountId, 'ada');
    const ifMatch = async (tag: string) =>
      (await post(app, accountId, deposit('1'), { 'if-match': tag })).status;
    expect([await ifMatch('"2.1"'), await ifMatch('"3.0"'), await ifMatch('"4"')]).toEqual([201, 201, 201]);
    expect([await ifMatch('"2.1"'), await ifMatch('W/"5.1"'), await ifMatch('"5.01"')]).toEqual([
      412, 412, 412,
    ]);
  });
});

describe('an account with money as text', () => {
  it.each(['9007199254740993.07', '9999999999999999.99'])('has all digits of %s', async (balance) => {
    const id = await nextId();
    const opened = await open(`{"openingDeposit":"${balance}"}`).set(TEXT_MONEY);
    expect(opened.status).toBe(201);
    expect(opened.text).toBe(`{"accountId":${id},"balance":"${balance}","version":2}`);
    const shown = { 'content-type': TEXT_MONEY_TYPE, etag: '"2.0-string"', vary: 'Accept' };
    expect(opened.headers).toMatchObject({ ...shown, location: `/accounts/${id}` });
    const text = await app.http.get(`/accounts/${id}`).set(TEXT_MONEY);
    expect(text.text).toBe(opened.text);
    expect(text.text).toBe(moneyAsText((await app.http.get(`/accounts/${id}`)).text));
    expect(text.headers).toMatchObject(shown);
  });

  it('has entity tags of its own, which change with the owner, too', async () => {
    const accountId = await openAccount(app, '1.00');
    await assignAccounts([{ url: app.databaseUrl, schema: 'bank' }], { accounts: [accountId], owner: 'ada' });
    const get = (tag: string, headers = {}) =>
      app.http.get(`/accounts/${accountId}`).set({ ...headers, 'if-none-match': tag });
    for (const tag of ['"2.1-string"', 'W/"2.1-string"', '"2.1", "2.1-string"', '*']) {
      const same = await get(tag, TEXT_MONEY);
      expect([same.status, same.text]).toEqual([304, '']);
      expect(same.headers).toMatchObject({ etag: '"2.1-string"', vary: 'Accept' });
    }
    for (const tag of ['"2.1"', '"2.0-string"', '"2-string"']) {
      const other = await get(tag, TEXT_MONEY);
      expect(other.text).toBe(`{"accountId":${accountId},"balance":"1.00","version":2,"owner":"ada"}`);
    }
    const number = await get('"2.1-string"');
    expect(number.text).toBe(`{"accountId":${accountId},"balance":1.00,"version":2,"owner":"ada"}`);
    expect(number.headers.etag).toBe('"2.1"');
  });
});

describe('GET /accounts/{accountId}', () => {
  it('shows the account', async () => {
    const id = await openAccount(app, '350.00');
    const response = await app.http.get(`/accounts/${id}`);
    expect(response.status).toBe(200);
    expect(response.text).toBe(`{"accountId":${id},"balance":350.00,"version":2}`);
    expect(response.headers.etag).toBe('"2.0"');
  });

  it('is reached by the Location of the opening, with the same tag', async () => {
    const opened = await open('{"openingDeposit":5}');
    const response = await app.http.get(String(opened.headers.location));
    expect(response.text).toBe(opened.text);
    expect(response.headers.etag).toBe(opened.headers.etag);
  });

  it('answers 404 for an account that was never opened', async () => {
    const response = await app.http.get('/accounts/999999');
    expect(response.status).toBe(404);
    expect(response.text).toBe('{"error":"Account not found"}');
  });
});
