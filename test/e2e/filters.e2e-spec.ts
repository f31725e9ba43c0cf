import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { archiveBank } from '../../src/admin/archive.js';
import { bootstrapShards } from '../../src/sharding/bootstrap-shards.js';
import type { ShardAddress } from '../../src/config/shard-address.js';
import { startInstance, type TestApp } from '../support/app.js';
import { createEmptyTestDatabase, query, type TestDatabase } from '../support/postgres.js';
import { fieldsIn } from '../support/requests.js';
import { Wallet } from '../support/wallet.js';

let shards: ShardAddress[];
let database: TestDatabase;
let app: TestApp;
/** The headers of an owner, or of a service that sees all accounts. */
let as: (owner: string | undefined) => Record<string, string>;

beforeAll(async () => {
  database = await createEmptyTestDatabase('filters');
  shards = [0, 1].map((index) => ({ url: database.url, schema: `bank_${index}` }));
  await bootstrapShards(shards);
  const wallet = new Wallet(shards);
  as = await wallet.senders(['ada', 'bob']);
  app = await startInstance(shards, wallet.settings);
});

afterAll(async () => {
  await app.close();
  await database.drop();
});

interface Item {
  readonly accountId: number;
  readonly newVersion?: string;
}

interface Listing {
  readonly data: readonly Item[];
  readonly nextCursor: string | null;
}

type Filters = Readonly<Record<string, string>>;

async function page(path: string, filters: Filters, owner?: string): Promise<Listing> {
  const response = await app.http.get(path).query(filters).set(as(owner));
  expect(response.text).not.toContain('"error"');
  return JSON.parse(response.text) as Listing;
}

/** All pages; from the second one on the cursor alone says what is listed. */
async function walk(path: string, filters: Filters, owner?: string): Promise<Item[][]> {
  const { limit = '50' } = filters;
  const pages: Item[][] = [];
  let asked: Filters = filters;
  for (;;) {
    const { data, nextCursor } = await page(path, asked, owner);
    pages.push([...data]);
    if (nextCursor === null) return pages;
    asked = { limit, cursor: nextCursor };
  }
}

async function refused(path: string, filters: Filters, field: string, owner?: string): Promise<string> {
  const response = await app.http.get(path).query(filters).set(as(owner));
  expect(response.status).toBe(400);
  expect(fieldsIn(response)).toEqual([field]);
  return response.text;
}

describe('GET /accounts', () => {
  /** By name: owner, reference, status. */
  const ACCOUNTS = {
    a: ['ada', 'rent', 'open'],
    b: ['ada', 'rent', 'frozen'],
    c: ['bob', 'rent', 'open'],
    d: ['bob', 'Rent', 'debits_blocked'],
    e: [undefined, 'rent: 50% & more', 'open'],
    f: ['ada', undefined, 'closed'],
    g: [undefined, undefined, 'open'],
  } as const;
  const ids = new Map<number, string>();

  beforeAll(async () => {
    for (const [name, [owner, reference, status]] of Object.entries(ACCOUNTS)) {
      const opened = await app.http
        .post('/accounts')
        .set(as(undefined))
        .send({ owner, reference })
        .expect(201);
      const { accountId } = JSON.parse(opened.text) as Item;
      ids.set(accountId, name);
      if (status === 'open') continue;
      await app.http.patch(`/accounts/${accountId}`).set(as(undefined)).send({ status }).expect(200);
    }
  });

  /** In alphabetical order: which shard an account is opened in, and so the order of ids, is left to chance. */
  const namesOf = (pages: readonly (readonly Item[])[]) => {
    const found = pages.flat().map(({ accountId }) => accountId);
    expect(found).toEqual(found.toSorted((a, b) => a - b));
    return found
      .map((accountId) => ids.get(accountId) ?? '')
      .sort()
      .join('');
  };
  const CASES: readonly (readonly [filters: Filters, owner: string | undefined, expected: string])[] = [
    [{}, undefined, 'abcdefg'],
    [{ owner: 'ada' }, undefined, 'abf'],
    [{ owner: 'nobody' }, undefined, ''],
    [{ reference: 'rent' }, undefined, 'abc'],
    [{ reference: 'Rent' }, undefined, 'd'],
    [{ reference: 'rent: 50% & more' }, undefined, 'e'],
    [{ reference: 'ren' }, undefined, ''],
    [{ status: 'open' }, undefined, 'aceg'],
    [{ status: 'FROZEN' }, undefined, 'b'],
    [{ status: 'debits_blocked' }, undefined, 'd'],
    [{ owner: 'ada', status: 'closed' }, undefined, 'f'],
    [{ owner: 'ada', reference: 'rent' }, undefined, 'ab'],
    [{ reference: 'rent', status: 'open' }, undefined, 'ac'],
    [{ owner: 'ada', reference: 'rent', status: 'open' }, undefined, 'a'],
    [{}, 'ada', 'abf'],
    [{ owner: 'ada' }, 'ada', 'abf'],
    [{ reference: 'rent' }, 'ada', 'ab'],
    [{ reference: 'Rent' }, 'ada', ''],
    [{ status: 'open' }, 'bob', 'c'],
    [{ reference: 'rent', status: 'frozen' }, 'bob', ''],
  ];

  it.each(CASES)('%j for %s: %s', async (filters, owner, expected) => {
    expect(namesOf(await walk('/accounts', filters, owner))).toBe(expected);
    const pages = await walk('/accounts', { ...filters, limit: '1' }, owner);
    expect(namesOf(pages)).toBe(expected);
    expect(pages).toHaveLength(Math.max(1, expected.length));
  });

  it('names other owners to nobody who has one', async () => {
    for (const owner of ['bob', 'nobody', 'ADA']) {
      expect(await refused('/accounts', { owner }, 'owner', 'ada')).toContain(
        'must be your own, or left out',
      );
    }
  });

  it.each([
    ['owner', ''],
    ['owner', 'a\u0000b'],
    ['reference', ''],
    ['reference', 'x'.repeat(256)],
    ['reference', 'two\nlines'],
    ['status', 'gone'],
    ['status', ''],
    ['currency', 'usd'],
    ['currency', 'XXX'],
    ['references', 'rent'],
  ])('%s=%j is refused', async (field, value) => {
    await refused('/accounts', { [field]: value }, field);
  });

  it('binds filters to cursors', async () => {
    const filters = { owner: 'ada', reference: 'rent', limit: '1' };
    const first = await page('/accounts', filters);
    const cursor = first.nextCursor ?? '';
    for (const again of [{ cursor }, { ...filters, cursor }]) {
      expect(namesOf([first.data, (await page('/accounts', again)).data])).toBe('ab');
    }
    const others: Filters[] = [
      { owner: 'bob', reference: 'rent' },
      { owner: 'ada' },
      { status: 'open' },
      { owner: 'ada', reference: 'rent', status: 'open' },
    ];
    for (const other of others) {
      expect(await refused('/accounts', { ...other, cursor }, 'cursor')).toContain(
        'belongs to a listing with owner=ada and reference=rent; give the same or none',
      );
    }
    await refused('/accounts', { cursor }, 'cursor', 'ada');
    const plain = (await page('/accounts', { limit: '1' })).nextCursor ?? '';
    expect(await refused('/accounts', { cursor: plain, status: 'open' }, 'cursor')).toContain('give none');
  });

  it('takes cursors with the longest texts', async () => {
    const [owner, reference] = ['\u{1f600}'.repeat(255), '\u{1f4b6}'.repeat(255)];
    for (let count = 0; count < 2; count++) {
      await app.http.post('/accounts').set(as(undefined)).send({ owner: 'ada', reference }).expect(201);
    }
    for (const { schema } of shards) {
      await query(
        database.url,
        `UPDATE ${schema}.accounts a SET owner = $1 FROM ${schema}.account_details d
         WHERE d.account_id = a.account_id AND d.reference = $2`,
        [owner, reference],
      );
    }
    const pages = await walk('/accounts', { owner, reference, limit: '1' });
    expect(pages.map((items) => items.length)).toEqual([1, 1]);
  });

  it.each(['owner=x', 'status=gone', 'reference=AA', 'status=open&owner=YWRh', 'owner=YWRh=', 'x=1'])(
    'checks the filters of a cursor like any input: %s',
    async (filters) => {
      const cursor = Buffer.from(`accounts?${filters}:1`).toString('base64url');
      expect(await refused('/accounts', { cursor }, 'cursor')).toContain('is not a cursor of this listing');
    },
  );

  it('examines at most 10,000 accounts of each shard for a page, and misses none', async () => {
    // Many more in one shard than in the other.
    for (const [schema, count] of [
      ['bank_0', 25_000],
      ['bank_1', 11_000],
    ] as const) {
      await query(
        database.url,
        `INSERT INTO ${schema}.accounts (balance, version, status)
         SELECT 0, 1, CASE WHEN n % 2000 = 0 THEN 'frozen' ELSE 'open' END FROM generate_series(1, $1::int) n`,
        [count],
      );
    }
    const frozen = await query<{ id: number }>(
      database.url,
      `SELECT account_id::int AS id FROM bank_0.accounts WHERE status = 'frozen'
       UNION ALL SELECT account_id::int FROM bank_1.accounts WHERE status = 'frozen' ORDER BY id`,
    );
    for (const limit of ['2', '200']) {
      const pages = await walk('/accounts', { status: 'frozen', limit });
      expect(pages.flat().map(({ accountId }) => accountId)).toEqual(frozen.map(({ id }) => id));
    }
    // Over 10,000, over 20,000, and the rest.
    expect(await walk('/accounts', { status: 'closed' })).toHaveLength(3);
    expect(await walk('/accounts', { owner: 'ada', status: 'closed' })).toHaveLength(1);
  }, 60_000);
});

describe('GET /accounts/{accountId}/transactions', () => {
  let accountId: number;
  let path: string;

  beforeAll(async () => {
    const opened = await app.http.post('/accounts').set(as(undefined)).send({ owner: 'ada' }).expect(201);
    ({ accountId } = JSON.parse(opened.text) as Item);
    path = `/accounts/${accountId}/transactions`;
    // Versions 2 to 7.
    const postings = [
      [{ amount: 10, type: 'Deposit', reference: 'rent' }, 'key-2'],
      [{ amount: '9007199254740993.07', type: 'Deposit', reference: 'Rent' }, 'key-3'],
      [{ amount: '0.01', type: 'Withdraw', reference: 'rent' }, undefined],
      [{ amount: 10, type: 'Withdraw' }, 'key-5'],
      [{ amount: '10.01', type: 'Deposit', reference: 'a:b&c=d' }, 'key:6'],
      [{ amount: '9.99', type: 'Deposit', reference: 'rent' }, undefined],
    ] as const;
    for (const [body, key] of postings) {
      const headers = key === undefined ? {} : { 'idempotency-key': key };
      await app.http.post(path).set(as(undefined)).set(headers).send(body).expect(201);
    }
  });

  const versionsOf = (pages: readonly (readonly Item[])[]) =>
    pages
      .flat()
      .map(({ newVersion }) => newVersion)
      .join('');
  const CASES: readonly (readonly [filters: Filters, expected: string])[] = [
    [{ reference: 'rent' }, '742'],
    [{ reference: 'Rent' }, '3'],
    [{ reference: 'a:b&c=d' }, '6'],
    [{ reference: 'ren' }, ''],
    [{ idempotencyKey: 'key-2' }, '2'],
    [{ idempotencyKey: '"key-2"' }, '2'],
    [{ idempotencyKey: 'key:6' }, '6'],
    [{ idempotencyKey: 'key' }, ''],
    [{ minAmount: '10' }, '6532'],
    [{ minAmount: '10.01' }, '63'],
    [{ maxAmount: '10.00' }, '7542'],
    [{ maxAmount: '9.99' }, '74'],
    [{ maxAmount: '0' }, ''],
    [{ minAmount: '0' }, '765432'],
    [{ minAmount: '10', maxAmount: '10' }, '52'],
    [{ minAmount: '9007199254740993.07' }, '3'],
    [{ minAmount: '9007199254740993.08' }, ''],
    [{ minAmount: '11', maxAmount: '10' }, ''],
    [{ reference: 'rent', type: 'Deposit' }, '72'],
    [{ reference: 'rent', minAmount: '9.99', type: 'Deposit', from: '2020-01-01' }, '72'],
    [{ reference: 'rent', idempotencyKey: 'key-2', maxAmount: '10' }, '2'],
    [{ reference: 'Rent', idempotencyKey: 'key-2' }, ''],
    [{ idempotencyKey: 'key-2', type: 'Withdraw' }, ''],
    [{ idempotencyKey: 'key-2', to: '2020-01-01' }, ''],
  ];
  const check = async (filters: Filters, expected: string) => {
    expect(versionsOf(await walk(path, filters))).toBe(expected);
    const pages = await walk(path, { ...filters, limit: '1' }, 'ada');
    expect(versionsOf(pages)).toBe(expected);
    expect(pages).toHaveLength(Math.max(1, expected.length));
  };

  it.each(CASES)('%j: versions %s', check);

  it('is closed to another owner, whatever is asked: 404', async () => {
    for (const filters of [{ reference: 'rent' }, { idempotencyKey: 'key-2' }, { minAmount: '1' }]) {
      const response = await app.http.get(path).query(filters).set(as('bob'));
      expect(response.status).toBe(404);
      expect(response.text).toBe('{"error":"Account not found"}');
    }
  });

  it('of no account: 404', async () => {
    const nowhere = '/accounts/999999/transactions';
    const response = await app.http.get(nowhere).query({ idempotencyKey: 'key-2' }).set(as(undefined));
    expect(response.status).toBe(404);
  });

  it.each([
    ['reference', ''],
    ['reference', 'x'.repeat(256)],
    ['reference', 'nul\u0000'],
    ['idempotencyKey', ''],
    ['idempotencyKey', 'two words'],
    ['idempotencyKey', 'x'.repeat(256)],
    ['minAmount', '-1'],
    ['minAmount', '1e2'],
    ['minAmount', '0.00001'],
    ['maxAmount', ''],
    ['maxAmount', 'NaN'],
    ['maxAmount', '99999999999999999'],
    ['amount', '1'],
    ['status', 'open'],
  ])('%s=%j is refused', async (field, value) => {
    await refused(path, { [field]: value }, field);
  });

  it('binds filters to cursors', async () => {
    const filters = { reference: 'rent', minAmount: '0.01', maxAmount: '10', limit: '1' };
    const cursor = (await page(path, filters)).nextCursor ?? '';
    expect(versionsOf([(await page(path, { cursor })).data])).toBe('42');
    expect(versionsOf([(await page(path, { ...filters, maxAmount: '10.0', cursor })).data])).toBe('4');
    const others: Filters[] = [
      { reference: 'rent' },
      { ...filters, maxAmount: '10.01' },
      { idempotencyKey: 'key-2' },
    ];
    for (const other of others) {
      expect(await refused(path, { ...other, cursor }, 'cursor')).toContain(
        'belongs to a listing with minAmount=0.01 and maxAmount=10.00 and reference=rent; give the same or none',
      );
    }
  });

  it('finds the same in the archive', async () => {
    await archiveBank(shards, new Date(Date.now() + 60_000));
    for (const [filters, expected] of CASES) await check(filters, expected);
  });
});
