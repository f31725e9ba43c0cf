import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { openAccount, startApp, startInstance, type TestApp } from '../support/app.js';
import { deposit, fieldsIn, moneyAsText, post, TEXT_MONEY, TEXT_MONEY_TYPE } from '../support/requests.js';

// Without the outbox, which would tell the instances of each other's writes: the tests need an old balance in the
// cache.
const SETTINGS = { outbox: { pollMs: 60_000 }, balanceCache: { ttlMs: 3_600_000 } };

let app: TestApp;
let other: TestApp;

beforeAll(async () => {
  app = await startApp({}, SETTINGS);
  other = await startInstance(app.databaseUrl, {}, SETTINGS);
});

afterAll(async () => {
  await other.close();
  await app.close();
});

const get = (accountId: number | string, query = '', headers: Record<string, string> = {}) =>
  app.http.get(`/accounts/${accountId}/balance${query}`).set(headers);

/** Opens an account that one instance has cached at version 2 and the other has changed to version 3. */
async function openWithOldCopy(): Promise<number> {
  const accountId = await openAccount(app, '350.00');
  expect((await post(other, accountId, deposit('1'))).status).toBe(201);
  return accountId;
}

describe('GET /accounts/{accountId}/balance', () => {
  it('answers exactly as the specification says', async () => {
    const accountId = await openAccount(app, '340.00');
    for (let version = 3; version <= 12; version++) await post(app, accountId, deposit('1'));
    const response = await get(accountId);
    expect(response.status).toBe(200);
    expect(response.text).toBe('{"balance":350.00,"version":12}');
    expect(response.headers).toMatchObject({
      etag: '"12"',
      'content-type': 'application/json; charset=utf-8',
    });
  });

  it('shows an empty account', async () => {
    expect((await get(await openAccount(app))).text).toBe('{"balance":0.00,"version":1}');
  });

  it.each(['0.01', '0.10', '9007199254740993.07', '9999999999999999.99'])(
    'shows %s exactly',
    async (balance) => {
      const accountId = await openAccount(app, balance);
      const expected = `{"balance":${balance},"version":2}`;
      expect((await get(accountId)).text).toBe(expected);
      expect((await get(accountId, '', { 'cache-control': 'no-cache' })).text).toBe(expected);
    },
  );

  it('answers 404 for an account that was never opened', async () => {
    const response = await get(999_999);
    expect(response.status).toBe(404);
    expect(response.text).toBe('{"error":"Account not found"}');
    expect(response.headers.etag).toBeUndefined();
  });

  it('is never older than what this instance has acknowledged', async () => {
    const accountIds = await Promise.all([1, 2, 3, 4, 5].map(() => openAccount(app)));
    await Promise.all(
      accountIds.map(async (accountId) => {
        for (let version = 2; version <= 11; version++) {
          await post(app, accountId, deposit('0.10'));
          const response = await get(accountId);
          expect(response.text).toBe(`{"balance":${((version - 1) / 10).toFixed(2)},"version":${version}}`);
        }
      }),
    );
  });
});

describe('If-None-Match', () => {
  it.each(['"2"', 'W/"2"', '"1", "2"', '*', '"abc","2"'])('%s: 304 without a body', async (tag) => {
    const accountId = await openAccount(app, '350.00');
    const response = await get(accountId, '', { 'if-none-match': tag });
    expect(response.status).toBe(304);
    expect(response.text).toBe('');
    expect(response.headers.etag).toBe('"2"');
    expect(response.headers['x-request-id']).toBeDefined();
  });

  it.each(['"1"', '"3"', '"abc"', '"02"', '"1", "3"'])('%s: 200 with the balance', async (tag) => {
    const accountId = await openAccount(app, '350.00');
    const response = await get(accountId, '', { 'if-none-match': tag });
    expect(response.status).toBe(200);
    expect(response.text).toBe('{"balance":350.00,"version":2}');
  });

  it('gives the balance again once it has changed', async () => {
    const accountId = await openAccount(app, '350.00');
    await post(app, accountId, deposit('1'));
    const response = await get(accountId, '', { 'if-none-match': '"2"' });
    expect(response.text).toBe('{"balance":351.00,"version":3}');
  });

  it.each(['2', '"2', 'W/2', '*, "2"'])('%s, which is no entity tag: 400', async (tag) => {
    const accountId = await openAccount(app, '350.00');
    const response = await get(accountId, '', { 'if-none-match': tag });
    expect(response.status).toBe(400);
    expect(fieldsIn(response)).toEqual(['If-None-Match']);
    expect(response.headers.etag).toBeUndefined();
  });
});

describe('the balance as text', () => {
  it.each(['0.01', '0.10', '350.00', '9007199254740993.07', '9999999999999999.99'])(
    'has all digits of %s, which a JavaScript client keeps',
    async (balance) => {
      const accountId = await openAccount(app, balance);
      const number = await get(accountId);
      for (const headers of [TEXT_MONEY, { ...TEXT_MONEY, 'cache-control': 'no-cache' }]) {
        const text = await get(accountId, '', headers);
        expect(text.text).toBe(`{"balance":"${balance}","version":2}`);
        expect(text.text).toBe(moneyAsText(number.text));
        expect(JSON.parse(text.text)).toEqual({ balance, version: 2 });
        expect(text.headers).toMatchObject({
          'content-type': TEXT_MONEY_TYPE,
          etag: '"2-string"',
          vary: 'Accept',
        });
      }
      expect(number.headers).toMatchObject({
        'content-type': 'application/json; charset=utf-8',
        etag: '"2"',
        vary: 'Accept',
      });
    },
  );

  it.each([
    ['a number', {}, '"2"', '"2-string"'],
    ['a number', { accept: 'application/json' }, 'W/"2"', 'W/"2-string"'],
    ['text', TEXT_MONEY, '"2-string"', '"2"'],
    ['text', TEXT_MONEY, '"1", W/"2-string"', '"2", "2.0-string"'],
  ])('as %s with %j: 304 for %s, 200 for %s', async (_, headers, known, other) => {
    const accountId = await openAccount(app, '350.00');
    const first = await get(accountId, '', headers);
    const same = await get(accountId, '', { ...headers, 'if-none-match': known });
    expect([same.status, same.text]).toEqual([304, '']);
    expect(same.headers).toMatchObject({ etag: first.headers.etag, vary: 'Accept' });
    expect(same.headers).not.toHaveProperty('content-type');
    const different = await get(accountId, '', { ...headers, 'if-none-match': other });
    expect([different.status, different.text]).toEqual([200, first.text]);
    const any = await get(accountId, '', { ...headers, 'if-none-match': '*' });
    expect([any.status, any.headers.etag]).toEqual([304, first.headers.etag]);
  });

  it('has the same headers in the answer to HEAD', async () => {
    const accountId = await openAccount(app, '350.00');
    const path = `/accounts/${accountId}/balance`;
    const { headers, text } = await app.http.get(path).set(TEXT_MONEY);
    const head = await app.http.head(path).set(TEXT_MONEY);
    expect(head.status).toBe(200);
    for (const name of ['content-type', 'content-length', 'etag', 'vary']) {
      expect([name, head.headers[name]]).toEqual([name, headers[name]]);
    }
    expect(Number(head.headers['content-length'])).toBe(text.length);
    const unchanged = await app.http.head(path).set({ ...TEXT_MONEY, 'if-none-match': '"2-string"' });
    expect([unchanged.status, unchanged.headers.etag]).toEqual([304, '"2-string"']);
  });

  it('is not what an error is: that holds no money and has one form', async () => {
    const accountId = await openAccount(app, '350.00');
    for (const [id, query] of [
      [999_999, ''],
      ['x', ''],
      [accountId, '?minVersion=3'],
    ] as const) {
      const [usual, asked] = [await get(id, query), await get(id, query, TEXT_MONEY)];
      expect([asked.status, asked.text]).toEqual([usual.status, usual.text]);
      expect(asked.headers).toMatchObject({
        'content-type': 'application/json; charset=utf-8',
        vary: 'Accept',
      });
    }
  });
});

describe('freshness', () => {
  it('the cache may answer with the old balance after another instance has written', async () => {
    const accountId = await openWithOldCopy();
    expect((await get(accountId)).text).toBe('{"balance":350.00,"version":2}');
  });

  it('minVersion gets a copy at least that new, which the cache stores', async () => {
    const accountId = await openWithOldCopy();
    expect((await get(accountId, '?minVersion=2')).text).toBe('{"balance":350.00,"version":2}');
    const response = await get(accountId, '?minVersion=3');
    expect(response.text).toBe('{"balance":351.00,"version":3}');
    expect(response.headers.etag).toBe('"3"');
    expect((await get(accountId)).text).toBe('{"balance":351.00,"version":3}');
  });

  it('a minVersion that the account has not reached is a version mismatch', async () => {
    const accountId = await openWithOldCopy();
    for (const minVersion of ['4', '9007199254740993', '9223372036854775807']) {
      const response = await get(accountId, `?minVersion=${minVersion}`);
      expect(response.status).toBe(409);
      expect(response.text).toBe('{"error":"Version mismatch","CurrentVersion":3}');
    }
  });

  it.each(['no-cache', 'No-Cache', 'max-age=0, no-cache', 'no-cache,no-store', 'no-store no-cache'])(
    'Cache-Control: %s gets the balance from the database',
    async (directive) => {
      const accountId = await openWithOldCopy();
      const response = await get(accountId, '', { 'cache-control': directive });
      expect(response.text).toBe('{"balance":351.00,"version":3}');
    },
  );

  it.each(['max-age=60', 'x-no-cache-y', 'no-cached'])('Cache-Control: %s does not', async (directive) => {
    const accountId = await openWithOldCopy();
    const response = await get(accountId, '', { 'cache-control': directive });
    expect(response.text).toBe('{"balance":350.00,"version":2}');
  });

  it.each(['0', '-1', '1.0', '1e0', '01', '', 'abc', '9223372036854775808', '2&minVersion=3'])(
    'minVersion=%s: 400',
    async (minVersion) => {
      const accountId = await openAccount(app);
      const response = await get(accountId, `?minVersion=${minVersion}`);
      expect(response.status).toBe(400);
      expect(fieldsIn(response)).toEqual(['minVersion']);
    },
  );

  it('an unknown parameter: 400', async () => {
    const response = await get(await openAccount(app), '?minversion=2');
    expect(response.status).toBe(400);
    expect(fieldsIn(response)).toEqual(['minversion']);
  });
});
