import { afterAll, afterEach, beforeAll, describe, expect, it, jest } from '@jest/globals';
import { Client } from 'pg';
import { seedBank } from '../../src/admin/seed.js';
import { THE_SERVICE } from '../../src/domain/sender.js';
import { AccountOwners, VALID_MS } from '../../src/ledger/read/account-owners.js';
import type { LedgerReader } from '../../src/ledger/read/ledger-reader.js';
import { pass } from '../support/clock.js';
import { openReader, openShards } from '../support/history.js';
import { openLedger, failureOf, type TestLedger } from '../support/ledger.js';
import { blocksRead, planOf, rowsRead } from '../support/plans.js';
import { createTestDatabase, type TestDatabase } from '../support/postgres.js';
import { waitUntil } from '../support/service.js';

const ACCOUNTS = 20_000;
/** Every second account belongs to one of them, in turn. */
const OWNERS = 50;
const ownerOf = (accountId: number) =>
  accountId % 2 === 0 ? `owner ${(accountId / 2) % OWNERS}` : undefined;

let database: TestDatabase;
let client: Client;
let ledger: TestLedger;
let reader: LedgerReader;

beforeAll(async () => {
  database = await createTestDatabase('owners');
  client = new Client({ connectionString: database.url });
  await client.connect();
  await seedBank([{ url: database.url, schema: 'bank' }], { accounts: ACCOUNTS, balance: 100n });
  await client.query(
    `UPDATE bank.accounts SET owner = 'owner ' || (account_id / 2 % $1) WHERE account_id % 2 = 0`,
    [OWNERS],
  );
  await client.query('VACUUM ANALYZE bank.accounts');
  ledger = await openLedger(database.url);
  reader = openReader(ledger);
});

afterAll(async () => {
  await ledger.close();
  await client.end();
  await database.drop();
});

describe('the look-up of an owner’s account', () => {
  const OWNER = 'owner 7';
  const lookUp = (...accountIds: number[]) =>
    planOf(client, 'accounts', () =>
      new AccountOwners(openShards(ledger)).problems(OWNER, accountIds, THE_SERVICE),
    );

  it('reads no more for another owner’s account than for a missing one, however busy the account is', async () => {
    const [foreign, used, nobodys, absent] = [20, 22, 21, ACCOUNTS + 1_000];
    for (let count = 0; count < 200; count++)
      await ledger.post({ accountId: used, type: 'credit', amount: 1n });
    const blocks: number[] = [];
    for (const accountId of [foreign, used, nobodys, absent]) {
      const nodes = await lookUp(accountId);
      expect(rowsRead(nodes)).toBe(0);
      expect(nodes.flatMap((node) => node['Index Name'] ?? [])).toEqual(['accounts_owner']);
      blocks.push(blocksRead(nodes));
    }
    expect(new Set(blocks).size).toBe(1);
  });

  it('finds the accounts of a batch in one statement', async () => {
    const own = Array.from({ length: 200 }, (_, index) => 14 + 2 * OWNERS * index);
    const nodes = await lookUp(...own, 20, 21, ACCOUNTS + 1_000);
    expect(nodes[0]?.['Actual Rows']).toBe(200);
    // Of what is looked up one by one, EXPLAIN tells the average, rounded.
    expect(rowsRead(nodes)).toBeLessThan(201);
    expect(nodes.flatMap((node) => node['Index Name'] ?? [])).toEqual(['accounts_owner']);
  });

  it('is made once for the owner’s account, and each time for any other', async () => {
    const owners = new AccountOwners(openShards(ledger));
    await owners.check(OWNER, 14, THE_SERVICE);
    for (const accountId of [20, ACCOUNTS + 1_000]) {
      expect(await failureOf(owners.check(OWNER, accountId, THE_SERVICE))).toEqual({
        code: 'ACCOUNT_NOT_FOUND',
      });
    }
    const asked = jest.spyOn(Client.prototype, 'query');
    await Promise.all(Array.from({ length: 50 }, () => owners.check(OWNER, 214, THE_SERVICE)));
    expect(asked.mock.calls.length).toBeLessThanOrEqual(2);
    asked.mockRestore();
    await ledger.dataSource.query('ALTER TABLE bank.accounts RENAME COLUMN owner TO was_owner');
    try {
      await owners.check(OWNER, 14, THE_SERVICE);
      for (const [owner, accountId] of [
        [OWNER, 20],
        [OWNER, 114],
        ['owner 10', 14],
      ] as const) {
        await expect(owners.check(owner, accountId, THE_SERVICE)).rejects.toThrow(
          'column "owner" does not exist',
        );
      }
    } finally {
      await ledger.dataSource.query('ALTER TABLE bank.accounts RENAME COLUMN was_owner TO owner');
    }
  });
});

describe('an ownership that is in use', () => {
  const OWNER = 'owner 9';
  const own = (count: number) => Array.from({ length: count }, (_, index) => 18 + 2 * OWNERS * index);

  afterEach(async () => {
    jest.restoreAllMocks();
    await client.query(
      `UPDATE bank.accounts SET owner = 'owner ' || (account_id / 2 % $1) WHERE owner = 'new'`,
      [OWNERS],
    );
  });

  it('is read again in the background: nobody waits, many are read together, and a change is noticed', async () => {
    const owners = new AccountOwners(openShards(ledger));
    const accountIds = own(200);
    await owners.problems(OWNER, accountIds, THE_SERVICE);
    await client.query(`UPDATE bank.accounts SET owner = 'new' WHERE account_id = 18`);
    pass(VALID_MS * 0.6);
    const asked = jest.spyOn(Client.prototype, 'query');
    for (let n = 0; n < 10; n++) {
      await Promise.all(accountIds.map((accountId) => owners.check(OWNER, accountId, THE_SERVICE)));
    }
    expect(asked.mock.calls.length).toBeLessThanOrEqual(4);
    await waitUntil(async () => (await owners.problems(OWNER, [18], THE_SERVICE)).size === 1, 2_000);
    const before = asked.mock.calls.length;
    pass(VALID_MS * 0.4);
    // All but this one were read since, and are known.
    await Promise.all(accountIds.slice(1).map((accountId) => owners.check(OWNER, accountId, THE_SERVICE)));
    expect(asked.mock.calls.length).toBe(before);
    expect(await failureOf(owners.check(OWNER, 18, THE_SERVICE))).toEqual({ code: 'ACCOUNT_NOT_FOUND' });
    await owners.check('new', 18, THE_SERVICE);
  });

  it('expires in time if it can not be read again', async () => {
    const owners = new AccountOwners(openShards(ledger));
    await owners.check(OWNER, 18, THE_SERVICE);
    await ledger.dataSource.query('ALTER TABLE bank.accounts RENAME COLUMN owner TO was_owner');
    try {
      pass(VALID_MS * 0.6);
      await owners.check(OWNER, 18, THE_SERVICE);
      await new Promise((resolve) => setTimeout(resolve, 50));
      pass(VALID_MS * 0.4);
      await expect(owners.check(OWNER, 18, THE_SERVICE)).rejects.toThrow('column "owner" does not exist');
    } finally {
      await ledger.dataSource.query('ALTER TABLE bank.accounts RENAME COLUMN was_owner TO owner');
    }
    await owners.check(OWNER, 18, THE_SERVICE);
  });

  it('is read from the index, whatever else the owner has', async () => {
    const owners = new AccountOwners(openShards(ledger));
    await owners.problems(OWNER, own(100), THE_SERVICE);
    pass(VALID_MS * 0.6);
    const nodes = await planOf(client, 'unnest', async () => {
      await owners.problems(OWNER, own(100), THE_SERVICE);
      await new Promise((resolve) => setTimeout(resolve, 100));
    });
    expect(nodes.map((node) => node['Node Type'])).not.toContain('Seq Scan');
    expect(rowsRead(nodes)).toBeLessThanOrEqual(200);
  });
});

describe('what an owner may see', () => {
  it('is listed from an index on the owner', async () => {
    const nodes = await planOf(client, 'accounts', () =>
      reader.accountsAfter(10_000, 50, { owner: 'owner 7' }, THE_SERVICE),
    );
    expect(rowsRead(nodes)).toBeLessThanOrEqual(51);
    expect(nodes.flatMap((node) => node['Index Name'] ?? [])).toEqual([
      'accounts_owner',
      'account_details_pkey',
    ]);
    const { accounts: listed } = await reader.accountsAfter(10_000, 51, { owner: 'owner 7' }, THE_SERVICE);
    expect(listed.map(({ accountId, owner }) => [ownerOf(accountId), owner])).toEqual(
      listed.map(() => ['owner 7', 'owner 7']),
    );
    expect(listed).toHaveLength(51);
  });

  it('includes no transaction of another owner, which takes one row to find out, or none if it is missing', async () => {
    const plan = (transactionId: number) =>
      planOf(client, 'archived_transactions', () =>
        reader.transaction(transactionId, 'owner 7', THE_SERVICE).catch(() => undefined),
      );
    const [own, foreign, absent] = [await plan(14), await plan(20), await plan(1_000_000)];
    expect(rowsRead(own)).toBe(2);
    expect(rowsRead(foreign)).toBeLessThanOrEqual(2);
    expect(rowsRead(absent)).toBe(0);
    for (const nodes of [own, foreign, absent]) {
      expect(nodes.map((node) => node['Node Type'])).not.toContain('Seq Scan');
    }
  });
});
