import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { Client } from 'pg';
import { USD } from '../../src/config/currencies.js';
import { isEmptyBank, seedAlive, type StoryReport } from '../../src/admin/alive/import-story.js';
import { verifyBank } from '../../src/admin/verify/verify.js';
import { createTestDatabase, type TestDatabase } from '../support/postgres.js';

const DAY_MS = 86_400_000;

describe('seed --alive', () => {
  let database: TestDatabase;
  let client: Client;
  let wasEmpty: boolean;
  let report: StoryReport;

  const shards = () => [{ url: database.url, schema: 'bank' }];
  const row = async <T extends object>(sql: string) => (await client.query<T>(sql)).rows[0] as T;

  beforeAll(async () => {
    database = await createTestDatabase('seed_alive');
    client = new Client({ connectionString: database.url });
    await client.connect();
    wasEmpty = await isEmptyBank(shards());
    report = await seedAlive(shards(), 1, USD);
  }, 240_000);

  afterAll(async () => {
    await client.end();
    await database.drop();
  });

  it('fills an empty bank with a year of history, of which the books are whole', async () => {
    expect(wasEmpty).toBe(true);
    expect(await verifyBank(shards())).toMatchObject({ ok: true, faults: [] });
    const { first, last, transactions } = await row<{ first: Date; last: Date; transactions: number }>(
      `SELECT min(timestamp) AS first, max(timestamp) AS last, count(*)::int AS transactions FROM bank.transactions`,
    );
    expect(transactions).toBe(report.transactions);
    expect(last.getTime() - first.getTime()).toBeGreaterThan(360 * DAY_MS);
    expect(last.getTime()).toBeLessThan(Date.now());
    expect(Date.now() - last.getTime()).toBeLessThan(2 * DAY_MS);
  });

  it('has something of everything', async () => {
    expect(report.declined).toBeGreaterThan(0);
    const kinds = await row<Record<string, boolean>>(
      `SELECT bool_or(type = 'credit' AND transfer_id IS NULL) AS deposits,
              bool_or(type = 'debit' AND transfer_id IS NULL) AS withdrawals,
              bool_or(transfer_id IS NOT NULL AND hold_id IS NULL) AS transfers,
              bool_or(transfer_id IS NOT NULL AND hold_id IS NOT NULL) AS captures,
              bool_or(reverses_id IS NOT NULL) AS refunds,
              (SELECT count(DISTINCT status) >= 3 FROM bank.holds) AS holds,
              (SELECT count(*) > 0 FROM bank.account_events) AS changes
       FROM bank.transactions`,
    );
    expect(Object.entries(kinds).filter(([, some]) => !some)).toEqual([]);
  });

  it('leaves the demo account as every other start makes it', async () => {
    const demo = await row(`SELECT balance, version FROM bank.accounts WHERE account_id = 1`);
    expect(demo).toEqual({ balance: '1000.00', version: '2' });
  });

  it('refuses a bank that has an account, and records nothing of it', async () => {
    const acts = () => row<{ n: number }>(`SELECT count(*)::int AS n FROM bank.audit_events`);
    const before = await acts();
    expect(await isEmptyBank(shards())).toBe(false);
    await expect(seedAlive(shards(), 1, USD)).rejects.toThrow('Only an empty one');
    expect(await acts()).toEqual(before);
  });
});
