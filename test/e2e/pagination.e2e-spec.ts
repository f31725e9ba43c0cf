import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { setTimeout as sleep } from 'node:timers/promises';
import { openAccount, startApp, type TestApp } from '../support/app.js';
import {
  accountBody,
  deposit,
  fieldsIn,
  moneyAsText,
  post,
  receiptIn,
  TEXT_MONEY,
  TEXT_MONEY_TYPE,
  withdrawal,
  withoutTime,
} from '../support/requests.js';

let app: TestApp;

beforeAll(async () => {
  app = await startApp();
});

afterAll(() => app.close());

interface Listing {
  readonly data: readonly { readonly id: string; readonly accountId: number; readonly newVersion: string }[];
  readonly nextCursor: string | null;
}

async function page(path: string, query: Readonly<Record<string, string | number>> = {}): Promise<Listing> {
  const response = await app.http.get(path).query(query);
  if (response.status !== 200) throw new Error(`${response.status} ${response.text}`);
  return JSON.parse(response.text) as Listing;
}

const transactionsOf = (accountId: number) => `/accounts/${accountId}/transactions`;
const versionsOf = (listing: Listing) => listing.data.map((item) => Number(item.newVersion));

/** Walks from page to page to the end; between two pages, something may happen. */
async function walk(
  path: string,
  query: Readonly<Record<string, string | number>>,
  between: () => Promise<unknown> = () => Promise.resolve(),
): Promise<Listing[]> {
  const pages = [await page(path, query)];
  for (let next = pages[0]?.nextCursor; typeof next === 'string'; next = pages.at(-1)?.nextCursor) {
    await between();
    pages.push(await page(path, { ...query, cursor: next }));
    if (pages.length > 1_000) throw new Error('the listing has no end');
  }
  return pages;
}

/** Opens an account and posts one cent at a time until it has a version. */
async function openAtVersion(version: number): Promise<number> {
  const accountId = await openAccount(app);
  await Promise.all(Array.from({ length: version - 1 }, () => post(app, accountId, deposit('0.01'))));
  return accountId;
}

/** from, from - 1, …, to */
const countdown = (from: number, to: number) =>
  Array.from({ length: from - to + 1 }, (_, index) => from - index);

describe('GET /accounts/{accountId}/transactions', () => {
  let accountId: number;

  beforeAll(async () => {
    accountId = await openAtVersion(206);
  });

  it('answers in the format of the receipts, newest first', async () => {
    const id = await openAccount(app, '100.00');
    const posted = receiptIn(await post(app, id, withdrawal('30.5')));
    const response = await app.http.get(transactionsOf(id));
    const opening = (JSON.parse(response.text) as Listing).data[1] as unknown as {
      id: string;
      timestamp: string;
    };
    expect(response.text).toBe(
      `{"data":[{"id":"${posted.id}","accountId":${id},"type":"Withdraw","amount":30.50,"newBalance":69.50,` +
        `"newVersion":"3","timestamp":"${posted.timestamp}"},` +
        `{"id":"${opening.id}","accountId":${id},"type":"Deposit","amount":100.00,"newBalance":100.00,` +
        `"newVersion":"2","timestamp":"${opening.timestamp}"}],"nextCursor":null}`,
    );
  });

  it('has 50 per page by default', async () => {
    const listing = await page(transactionsOf(accountId));
    expect(versionsOf(listing)).toEqual(countdown(206, 157));
    expect(typeof listing.nextCursor).toBe('string');
  });

  it.each([1, 2, 199, 200])('has %i per page on request', async (limit) => {
    const listing = await page(transactionsOf(accountId), { limit });
    expect(versionsOf(listing)).toEqual(countdown(206, 207 - limit));
  });

  it.each(['0', '201', '-1', '1.5', '1e2', '', 'all', '99999999999999999999'])(
    'refuses the limit %j',
    async (limit) => {
      const response = await app.http.get(transactionsOf(accountId)).query({ limit });
      expect(response.status).toBe(400);
      expect(fieldsIn(response)).toEqual(['limit']);
    },
  );

  it.each([1, 7, 41, 50, 200])('returns each exactly once, %i at a time', async (limit) => {
    const pages = await walk(transactionsOf(accountId), { limit });
    expect(pages.flatMap(versionsOf)).toEqual(countdown(206, 2));
    // No empty page at the end, not even when the limit divides their number.
    for (const listing of pages) expect(listing.data.length).toBeGreaterThan(0);
  });

  it('keeps its place while new transactions arrive', async () => {
    const id = await openAtVersion(21);
    const pages = await walk(transactionsOf(id), { limit: 3 }, () => post(app, id, deposit('1')));
    expect(pages.flatMap(versionsOf)).toEqual(countdown(21, 2));
    expect(versionsOf(await page(transactionsOf(id), { limit: 1 }))).toEqual([20 + pages.length]);
  });

  it('gives the same page for a cursor each time', async () => {
    const { nextCursor: cursor } = await page(transactionsOf(accountId), { limit: 5 });
    const query = { limit: 5, cursor: cursor ?? '' };
    const once = await page(transactionsOf(accountId), query);
    expect(await page(transactionsOf(accountId), query)).toEqual(once);
    expect(versionsOf(once)).toEqual(countdown(201, 197));
  });

  it('shows nothing of other accounts', async () => {
    const [one, other] = [await openAccount(app, '1.00'), await openAccount(app, '2.00')];
    const listing = await page(transactionsOf(one));
    expect(listing.data.map((item) => item.accountId)).toEqual([one]);
    expect((await page(transactionsOf(other))).data.map((item) => item.accountId)).toEqual([other]);
  });

  it('is empty for an account without transactions, and 404 without an account', async () => {
    const id = await openAccount(app);
    expect(await page(transactionsOf(id))).toEqual({ data: [], nextCursor: null });
    const response = await app.http.get(transactionsOf(999_999));
    expect(response.status).toBe(404);
    expect(response.text).toBe('{"error":"Account not found"}');
  });
});

describe('filters', () => {
  let accountId: number;
  /** The times of versions 2 to 7, each some milliseconds after the one before. */
  const times = new Map<number, string>();

  beforeAll(async () => {
    accountId = await openAccount(app);
    for (let version = 2; version <= 7; version++) {
      const body = version % 3 === 1 ? withdrawal('0.01') : deposit('10');
      times.set(version, receiptIn(await post(app, accountId, body)).timestamp);
      await sleep(5);
    }
  });

  const versions = async (query: Record<string, string>) =>
    versionsOf(await page(transactionsOf(accountId), query));
  const time = (version: number) => times.get(version) ?? '';
  /** The same instant on a clock that is two hours ahead. */
  const elsewhere = (version: number) =>
    new Date(Date.parse(time(version)) + 7_200_000).toISOString().replace('Z', '+02:00');

  it.each([
    ['Deposit', [6, 5, 3, 2]],
    ['deposit', [6, 5, 3, 2]],
    ['Credit', [6, 5, 3, 2]],
    ['Withdraw', [7, 4]],
    ['DEBIT', [7, 4]],
  ])('type=%s', async (type, expected) => {
    expect(await versions({ type })).toEqual(expected);
  });

  it('from is the first instant included', async () => {
    expect(await versions({ from: time(5) })).toEqual([7, 6, 5]);
    expect(await versions({ from: new Date(Date.parse(time(5)) + 1).toISOString() })).toEqual([7, 6]);
  });

  it('to is the first instant excluded', async () => {
    expect(await versions({ to: time(5) })).toEqual([4, 3, 2]);
    expect(await versions({ to: new Date(Date.parse(time(5)) + 1).toISOString() })).toEqual([5, 4, 3, 2]);
  });

  it('compare every digit of the seconds that were sent', async () => {
    const at = (version: number, digits: string) => time(version).replace('Z', `${digits}Z`);
    for (const digits of ['1', '0001', '000001', '999999']) {
      expect(await versions({ from: at(5, digits) })).toEqual([7, 6]);
      expect(await versions({ to: at(5, digits) })).toEqual([5, 4, 3, 2]);
      expect(await versions({ from: at(3, digits), to: at(6, digits) })).toEqual([6, 5, 4]);
    }
    expect(await versions({ from: at(5, '000000'), to: at(6, '0') })).toEqual([5]);
    expect(await versions({ from: '0000-01-01', to: '9999-12-31T23:59:59.999999999Z' })).toHaveLength(6);
  });

  it('can be combined', async () => {
    expect(await versions({ from: time(3), to: time(7) })).toEqual([6, 5, 4, 3]);
    expect(await versions({ from: time(3), to: time(7), type: 'Withdraw' })).toEqual([4]);
    expect(await versions({ from: time(5), to: time(3) })).toEqual([]);
  });

  it('accept a time in any zone, or a date alone', async () => {
    expect(await versions({ from: elsewhere(5) })).toEqual([7, 6, 5]);
    expect(await versions({ from: '2025-05-02' })).toEqual([7, 6, 5, 4, 3, 2]);
    expect(await versions({ to: '2025-05-02' })).toEqual([]);
  });

  it('apply to every page', async () => {
    const pages = await walk(transactionsOf(accountId), { type: 'Deposit', to: time(7), limit: 1 });
    expect(pages.map(versionsOf)).toEqual([[6], [5], [3], [2]]);
  });

  it('that match nothing give an empty page, not a 404', async () => {
    expect(await page(transactionsOf(accountId), { from: '2999-01-01' })).toEqual({
      data: [],
      nextCursor: null,
    });
  });

  it.each([
    ['type', 'Transfer'],
    ['type', ''],
    ['from', 'yesterday'],
    ['from', '2025-05-02T10:24:02'],
    ['from', '2025-13-01'],
    ['from', '1746181442'],
    ['to', ''],
    ['to', '2025-05-02T25:00:00Z'],
    ['to', "2025-05-02' OR '1'='1"],
    ['order', 'asc'],
    ['__proto__', '1'],
  ])('%s=%s is refused', async (field, value) => {
    const response = await app.http.get(`${transactionsOf(accountId)}?${field}=${encodeURIComponent(value)}`);
    expect(response.status).toBe(400);
    expect(fieldsIn(response)).toEqual([field]);
  });

  it('given twice are refused', async () => {
    for (const [field, query] of [
      ['type', 'type=Deposit&type=Withdraw'],
      ['limit', 'limit=1&limit=2'],
      ['from', 'from=2025-01-01&from=2025-01-02'],
    ]) {
      const response = await app.http.get(`${transactionsOf(accountId)}?${query}`);
      expect(response.status).toBe(400);
      expect(response.text).toContain(`{"field":"${field}","message":"is given more than once"}`);
    }
  });

  it.each(['from', 'to'])(
    '%s with a plus sign that arrives as a space says how to write it',
    async (field) => {
      const path = transactionsOf(accountId);
      const plus = await app.http.get(`${path}?${field}=2025-05-02T10:24:02+02:00`);
      expect(plus.status).toBe(400);
      expect(fieldsIn(plus)).toEqual([field]);
      expect(plus.text).toContain('+ must be written %2B');
      expect((await app.http.get(`${path}?${field}=2025-05-02T10:24:02%2B02:00`)).status).toBe(200);
      expect((await app.http.get(`${path}?${field}=2025-05-02 10:24`)).text).not.toContain('%2B');
    },
  );

  describe('belong to a cursor', () => {
    const listing = (query: Record<string, string>) => page(transactionsOf(accountId), query);
    const refusal = async (query: Record<string, string>) => {
      const response = await app.http.get(transactionsOf(accountId)).query(query);
      expect(response.status).toBe(400);
      expect(fieldsIn(response)).toEqual(['cursor']);
      return response.text;
    };
    const cursorAfter = async (query: Record<string, string>) => {
      const { nextCursor } = await listing({ ...query, limit: '1' });
      expect(typeof nextCursor).toBe('string');
      return nextCursor ?? '';
    };

    it('and continue without being given again', async () => {
      const cursor = await cursorAfter({ type: 'Deposit' });
      expect(versionsOf(await listing({ cursor }))).toEqual([5, 3, 2]);
      const next = await listing({ cursor, limit: '1' });
      expect(versionsOf(next)).toEqual([5]);
      expect(versionsOf(await listing({ cursor: next.nextCursor ?? '' }))).toEqual([3, 2]);
    });

    it('or are given again, by meaning', async () => {
      const cursor = await cursorAfter({ type: 'Deposit', from: time(3), to: time(7) });
      for (const again of [
        { type: 'Deposit', from: time(3), to: time(7) },
        { type: 'cREDIT', from: elsewhere(3), to: time(7).replace('Z', '000Z') },
      ]) {
        expect(versionsOf(await listing({ cursor, ...again }))).toEqual([5, 3]);
      }
    });

    it('but no others', async () => {
      const cursor = await cursorAfter({ type: 'Deposit', from: time(3) });
      const says = `"belongs to a listing with type=Deposit and from=${time(3)}; give the same or none"`;
      const others: Record<string, string>[] = [
        { type: 'Withdraw', from: time(3) },
        { type: 'Deposit' },
        { from: time(3) },
        { type: 'Deposit', from: time(4) },
        { type: 'Deposit', from: time(3), to: time(7) },
        { type: 'Deposit', to: time(3) },
      ];
      for (const other of others) {
        expect(await refusal({ cursor, ...other })).toContain(says);
      }
    });

    it('and a listing without any has none', async () => {
      const cursor = await cursorAfter({});
      expect(Buffer.from(cursor, 'base64url').toString()).toBe(`transactions/${accountId}:7`);
      expect(await refusal({ cursor, type: 'Deposit' })).toContain('without filters; give none');
      expect(versionsOf(await listing({ cursor }))).toEqual([6, 5, 4, 3, 2]);
    });

    it('and are checked like any input', async () => {
      const forged = (filters: string) =>
        Buffer.from(`transactions/${accountId}?${filters}:7`).toString('base64url');
      for (const filters of ['from=253402387140001', 'from=-999999999999999', 'type=gift', "type='", 'x=1']) {
        expect(await refusal({ cursor: forged(filters) })).toContain('is not a cursor of this listing');
      }
      expect(versionsOf(await listing({ cursor: forged('from=-62167305540000') }))).toEqual([6, 5, 4, 3, 2]);
      expect(versionsOf(await listing({ cursor: forged('to=253402387140000') }))).toEqual([6, 5, 4, 3, 2]);
    });
  });
});

describe('a page with money as text', () => {
  it('is the same page, digit by digit', async () => {
    const id = await openAccount(app, '9999999999999990.00');
    await post(app, id, deposit('9.99'));
    await post(app, id, withdrawal('9007199254740993.07'));
    for (const path of [transactionsOf(id), '/accounts']) {
      const texts: string[] = [];
      let cursor: string | null = null;
      do {
        const query: Record<string, string> = { limit: '2', ...(cursor !== null && { cursor }) };
        const number = await app.http.get(path).query(query);
        const text = await app.http.get(path).query(query).set(TEXT_MONEY);
        expect(text.text).toBe(moneyAsText(number.text));
        expect(number.headers).toMatchObject({
          vary: 'Accept',
          'content-type': 'application/json; charset=utf-8',
        });
        expect(text.headers).toMatchObject({ vary: 'Accept', 'content-type': TEXT_MONEY_TYPE });
        texts.push(text.text);
        ({ nextCursor: cursor } = JSON.parse(text.text) as Listing);
      } while (cursor !== null);
      expect(texts.join()).not.toMatch(/":\d+\.\d/);
      expect(texts.join()).toContain('"992800745259006.92"');
      if (path === transactionsOf(id)) expect(texts.join()).toContain('"newBalance":"9999999999999999.99"');
    }
  });
});

describe('cursors', () => {
  it('of another account or listing are rejected', async () => {
    const [one, other] = [await openAtVersion(4), await openAtVersion(4)];
    const ofOne = (await page(transactionsOf(one), { limit: 1 })).nextCursor ?? '';
    const ofAccounts = (await page('/accounts', { limit: 1 })).nextCursor ?? '';
    expect(ofOne).not.toBe('');
    expect(ofAccounts).not.toBe('');
    for (const [path, cursor] of [
      [transactionsOf(other), ofOne],
      [transactionsOf(one), ofAccounts],
      ['/accounts', ofOne],
    ] as const) {
      const response = await app.http.get(path).query({ cursor });
      expect(response.status).toBe(400);
      expect(fieldsIn(response)).toEqual(['cursor']);
    }
  });

  it.each(['', 'x', '1', '%00', 'a'.repeat(201), 'a'.repeat(5_000), "' OR 1=1--"])(
    'like %j are refused',
    async (cursor) => {
      const accountId = await openAccount(app, '1.00');
      for (const path of [transactionsOf(accountId), '/accounts']) {
        const response = await app.http.get(path).query({ cursor });
        expect(response.status).toBe(400);
        expect(fieldsIn(response)).toEqual(['cursor']);
      }
    },
  );
});

describe('GET /accounts', () => {
  it('lists accounts by id, exactly as documented', async () => {
    const [one, two] = [await openAccount(app), await openAccount(app, '350.00')];
    const pages = await walk('/accounts', { limit: 200 });
    expect(pages.at(-1)?.data.at(-1)?.accountId).toBe(two);
    const response = await app.http.get('/accounts').query({ limit: 1, cursor: await cursorBefore(two) });
    expect(withoutTime(response)).toBe(`{"data":[${accountBody(two, '350.00', 2)}],"nextCursor":null}`);
    const before = await app.http.get('/accounts').query({ limit: 1, cursor: await cursorBefore(one) });
    const [body, cursor = ''] = withoutTime(before).split(',"nextCursor":');
    expect(body).toBe(`{"data":[${accountBody(one, '0.00', 1)}]`);
    expect(cursor).toMatch(/^"[A-Za-z0-9_-]+"}$/);
  });

  it('returns each exactly once, in order, even while new ones are opened', async () => {
    for (let i = 0; i < 5; i++) await openAccount(app);
    const known = (await walk('/accounts', { limit: 200 })).flatMap((listing) => listing.data);
    const ids = known.map((item) => item.accountId);
    expect(ids).toEqual([...new Set(ids)].sort((a, b) => a - b));
    let opened = 0;
    const pages = await walk('/accounts', { limit: 4 }, async () => {
      if (opened++ < 3) await openAccount(app);
    });
    const seen = pages.flatMap((listing) => listing.data.map((item) => item.accountId));
    expect(seen.slice(0, ids.length)).toEqual(ids);
    expect(seen).toHaveLength(ids.length + 3);
  });

  it.each(['0', '201', 'x'])('refuses the limit %s', async (limit) => {
    const response = await app.http.get('/accounts').query({ limit });
    expect(response.status).toBe(400);
    expect(fieldsIn(response)).toEqual(['limit']);
  });

  it('refuses an unknown parameter', async () => {
    const response = await app.http.get('/accounts').query({ offset: '10' });
    expect(response.status).toBe(400);
    expect(fieldsIn(response)).toEqual(['offset']);
  });
});

/** The cursor of the page that ends just before an account. */
async function cursorBefore(accountId: number): Promise<string> {
  for (const listing of await walk('/accounts', { limit: 1 })) {
    if (listing.data[0]?.accountId === accountId - 1) return listing.nextCursor ?? '';
  }
  throw new Error(`no page ends before account ${accountId}`);
}
