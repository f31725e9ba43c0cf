import { afterAll, beforeAll, beforeEach, expect, it } from '@jest/globals';
import { Client } from 'pg';
import { verifyBank } from '../../src/admin/verify/verify.js';
import type { ShardAddress } from '../../src/config/shard-address.js';
import type { OutgoingTransfer } from '../../src/domain/between-shards.js';
import type { Effects } from '../../src/domain/books.js';
import { parseMoney } from '../../src/domain/money.js';
import { Ledger } from '../../src/domain/ports.js';
import { bootstrapShards } from '../../src/sharding/bootstrap-shards.js';
import { BANK_TABLES, SHARD_IDENTITY } from '../../src/storage/tables.js';
import { shardList, startInstance, type TestApp } from '../support/app.js';
import { openInBoth } from '../support/between-shards.js';
import { startCli } from '../support/cli.js';
import { createEmptyTestDatabase, query, type TestDatabase } from '../support/postgres.js';

/** A shard goes back in time, as after a recovery of its server alone. */
let database: TestDatabase;
let shards: ShardAddress[];
let app: TestApp;
let ledger: Ledger;
/** An account of each shard. */
let accounts: [number, number];

/** Leaves what is pending to `reconcile`. */
const SETTINGS = {
  transfers: { dueAfterMs: 3_600_000 },
  ledger: { commandTimeoutMs: 1_000, transactionTimeoutMs: 500 },
};

beforeAll(async () => {
  database = await createEmptyTestDatabase('reconcile');
  shards = [0, 1].map((index) => ({ url: database.url, schema: `bank_${index}` }));
  await bootstrapShards(shards);
  await start();
});

afterAll(async () => {
  await app.close();
  await database.drop();
});

async function start(): Promise<void> {
  app = await startInstance(shards, {}, SETTINGS);
  ledger = app.app.get(Ledger, { strict: false });
}

beforeEach(async () => {
  accounts = await openInBoth(ledger, { openingDeposit: cents('100.00') });
});

const cents = (amount: string) => parseMoney(amount, 2) ?? 0n;

const transfer = (from: number, to: number, amount: string): Promise<Effects> =>
  ledger.execute({
    ...{ type: 'transfer', accountId: from },
    legs: [
      { accountId: from, type: 'debit', amount: cents(amount) },
      { accountId: to, type: 'credit', amount: cents(amount) },
    ],
  });

const idOf = ({ outgoing }: Effects) => (outgoing[0] as OutgoingTransfer).transferId;

/** Runs work while an account can't be decided upon. */
async function whileLocked<T>(accountId: number, work: () => Promise<T>): Promise<T> {
  const client = new Client({ connectionString: database.url });
  await client.connect();
  try {
    const { schema } = shards[ledger.shardOf(accountId)] as ShardAddress;
    await client.query('BEGIN');
    await client.query(`SELECT FROM ${schema}.accounts WHERE account_id = $1 FOR UPDATE`, [accountId]);
    const result = await work();
    // The service has given up its own attempt by now: it would find the account free.
    await new Promise((resolve) => setTimeout(resolve, SETTINGS.ledger.commandTimeoutMs));
    return result;
  } finally {
    await client.end();
  }
}

const tables = BANK_TABLES.map(({ name }) => name).filter((name) => name !== SHARD_IDENTITY);

async function remember(schema: string): Promise<void> {
  await query(database.url, `DROP SCHEMA IF EXISTS earlier CASCADE`);
  await query(database.url, `CREATE SCHEMA earlier`);
  for (const table of tables)
    await query(database.url, `CREATE TABLE earlier.${table} AS TABLE ${schema}.${table}`);
}

/** Its ids go on: operators advance them. */
async function goBack(schema: string): Promise<void> {
  await app.close();
  await query(database.url, `TRUNCATE ${tables.map((table) => `${schema}.${table}`).join(', ')}`);
  for (const table of tables)
    await query(
      database.url,
      `INSERT INTO ${schema}.${table} OVERRIDING SYSTEM VALUE TABLE earlier.${table}`,
    );
}

const reconcile = () =>
  startCli(['transfers', 'reconcile'], { SHARDS: shardList(shards), LOG_LEVEL: 'warn' }).ended;

async function balances(): Promise<[string, string]> {
  const read = async (accountId: number) =>
    (await app.http.get(`/accounts/${accountId}`).set('cache-control', 'no-cache')).text;
  const [one, other] = await Promise.all(accounts.map(read));
  const shown = (text = '') =>
    /"balance":([^,]+),.*"held":([^,]+),/.exec(text)?.slice(1).join(' held ') ?? text;
  return [shown(one), shown(other)];
}

const faultyAccounts = async () =>
  (await verifyBank(shards)).faults.map(({ accountId, checks }) => [accountId, checks.join()]);

it('credits or refuses again what a target has lost, and finishes what is pending', async () => {
  const [from, to] = accounts;
  await remember('bank_1');
  const lost = idOf(await transfer(from, to, '10.00'));
  const pending = await whileLocked(to, () => transfer(from, to, '5.00'));
  expect(pending.outgoing[0]?.status).toBe('pending');
  await goBack('bank_1');
  expect(await faultyAccounts()).toEqual([[from, 'transfers_pair_up']]);
  expect(await reconcile()).toMatchObject({
    code: 0,
    stdout:
      '1 pending transfer(s) finished, 1 mended that one side had lost.\nBoth sides of every transfer are the same.\n',
  });
  await start();
  expect(await balances()).toEqual(['85.00 held 0.00', '115.00 held 0.00']);
  const shown = JSON.parse((await app.http.get(`/transfers/tr${lost}`)).text) as {
    legs: { transactionId: string; newBalance: number }[];
  };
  expect(shown.legs[1]?.newBalance).toBe(115);
  expect((await app.http.get(`/transactions/${shown.legs[1]?.transactionId}`)).status).toBe(200);
  expect(await faultyAccounts()).toEqual([]);
  expect(await reconcile()).toMatchObject({ code: 0, stdout: expect.stringMatching(/^0 .*, 0 /) as unknown });
}, 60_000);

it('names what a source has lost, and what a target no longer takes', async () => {
  const [from, to] = accounts;
  await remember('bank_1');
  const refused = idOf(await transfer(from, to, '10.00'));
  const unknown = idOf(await transfer(to, from, '20.00'));
  await goBack('bank_1');
  await query(database.url, `UPDATE bank_1.accounts SET status = 'frozen' WHERE account_id = $1`, [to]);
  const first = await reconcile();
  expect(first).toMatchObject({ code: 1 });
  expect(first.stdout.split('\n').slice(0, -1)).toEqual([
    '0 pending transfer(s) finished, 0 mended that one side had lost.',
    `tr${refused}: 10.00 from account ${from} to account ${to} was lost by its target, which refuses it now: account ${to} is frozen.`,
    `tr${unknown}: 20.00 from account ${to} to account ${from} was credited, and the account that should have paid does not know it.`,
  ]);
  await query(database.url, `UPDATE bank_1.accounts SET status = 'open' WHERE account_id = $1`, [to]);
  const second = await reconcile();
  expect(second.stdout).toContain('0 pending transfer(s) finished, 1 mended that one side had lost.');
  expect(second.stdout).toContain(`tr${unknown}: `);
  await start();
  expect(await balances()).toEqual(['110.00 held 0.00', '110.00 held 0.00']);
  // An operator takes the money back, and tells the books so.
  await query(database.url, `DELETE FROM bank_0.incoming_transfers WHERE transfer_id = $1`, [unknown]);
}, 60_000);

it('finishes a transfer whose source has lost only the last step, and tells a new one with its id apart', async () => {
  const [from, to] = accounts;
  const begun = await whileLocked(to, async () => {
    const effects = await transfer(from, to, '10.00');
    await remember('bank_0');
    return effects;
  });
  const first = await reconcile();
  expect(first.stdout).toContain('1 pending transfer(s) finished');
  const later = idOf(await transfer(from, to, '1.00'));
  await goBack('bank_0');
  await query(
    database.url,
    `SELECT setval(pg_get_serial_sequence('bank_0.transactions', 'transaction_id'), $1, false)`,
    [later],
  );
  await start();
  expect(await balances()).toEqual(['100.00 held 10.00', '111.00 held 0.00']);
  const again = await transfer(from, to, '2.00');
  expect([idOf(again), again.outgoing[0]?.status]).toEqual([later, 'completed']);
  expect(idOf(begun)).toBeLessThan(later);
  const second = await reconcile();
  expect(second.stdout).toContain('1 pending transfer(s) finished, 0 mended that one side had lost.');
  // The lost one of 1.00 was credited, and is not taken for the new one with its id.
  expect(second.stdout).toContain(`tr${later}: 1.00 from account ${from} to account ${to} was credited`);
  expect(await balances()).toEqual(['88.00 held 0.00', '113.00 held 0.00']);
}, 60_000);
