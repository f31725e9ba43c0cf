import 'reflect-metadata';
import { spawn } from 'node:child_process';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { Client } from 'pg';
import { DataSource } from 'typeorm';
import { archiveBank } from '../../src/admin/archive.js';
import { createKey } from '../../src/admin/keys.js';
import { verifyBank } from '../../src/admin/verify/verify.js';
import { dataSourceOptions, MIGRATIONS } from '../../src/storage/data-source.js';
import type { ShardAddress } from '../../src/config/shard-address.js';
import { findDrift } from '../../src/storage/drift.js';
import { currencyOf } from '../../src/config/currencies.js';
import { bootstrapShards } from '../../src/sharding/bootstrap-shards.js';
import { EventLog } from '../../src/messaging/event-log.js';
import { Outbox } from '../../src/messaging/outbox.js';
import { tablesOf } from '../../src/storage/tables.js';
import { migrate, prepareTables, ShardMismatchError } from '../../src/storage/migrate.js';
import { THE_SERVICE } from '../../src/domain/sender.js';
import { beforeBetweenShards } from '../support/former-release-sql.js';
import { openLedger } from '../support/ledger.js';
import { createEmptyTestDatabase, type TestDatabase } from '../support/postgres.js';

const ALONE = { index: 0, count: 1 };
const NAMES = MIGRATIONS.map((migration) => migration.name);
const WHOLE_LEDGER = NAMES.indexOf('WholeLedger1795479300000');

let database: TestDatabase;
let client: Client;
let shard: ShardAddress;

beforeEach(async () => {
  database = await createEmptyTestDatabase('migrations');
  shard = { url: database.url, schema: 'bank' };
  client = new Client({ connectionString: database.url });
  await client.connect();
});

afterEach(async () => {
  await client.end();
  await database.drop();
});

async function rows(sql: string): Promise<Record<string, unknown>[]> {
  return (await client.query<Record<string, unknown>>(sql)).rows;
}

/** Undoes the newest migrations. */
async function undo(count: number): Promise<void> {
  const pool = { name: 'test-migrate', size: 1, connectTimeoutMs: 5_000 };
  const dataSource = new DataSource(dataSourceOptions(shard, pool));
  await dataSource.initialize();
  try {
    for (let undone = 0; undone < count; undone++) await dataSource.undoLastMigration();
  } finally {
    await dataSource.destroy();
  }
}

/** Creates the specification's schema: the state of a bank that used only its own SQL. */
async function migrateToSpecTables(): Promise<void> {
  const pool = { name: 'test-migrate', size: 1, connectTimeoutMs: 5_000 };
  const dataSource = new DataSource({
    ...dataSourceOptions(shard, pool),
    migrations: MIGRATIONS.slice(0, 1),
  });
  await dataSource.initialize();
  try {
    await dataSource.query('CREATE SCHEMA bank');
    expect(await dataSource.runMigrations()).toHaveLength(1);
  } finally {
    await dataSource.destroy();
  }
}

/**
 * Account by account: what it did, and the balance that it ends with. Resets and opening balances left no transaction;
 * the last value is the version that the old bank happened to have.
 */
const OLD_BANK: readonly { what: string; history: string[]; balance: string; version: number }[] = [
  { what: 'nothing', history: [], balance: '0.00', version: 1 },
  { what: 'an opening balance only', history: [], balance: '1000.00', version: 1 },
  {
    what: 'an opening balance of 500',
    history: ['debit 200', 'credit 49.01'],
    balance: '349.01',
    version: 12,
  },
  {
    what: 'credits and debits from nothing',
    history: ['credit 100', 'debit 0.01'],
    balance: '99.99',
    version: 3,
  },
  { what: 'a reset upwards', history: ['credit 1', 'debit 1'], balance: '1000.00', version: 4 },
  { what: 'a reset downwards', history: ['credit 5000'], balance: '1000.00', version: 3 },
  { what: 'a reset to nothing', history: ['credit 5000'], balance: '0.00', version: 3 },
  // 100 to begin with, spent, 5000 in, reset to 1000: neither one credit nor one debit alone makes up for it.
  {
    what: 'an opening balance and a reset',
    history: ['debit 100', 'credit 5000'],
    balance: '1000.00',
    version: 7,
  },
  { what: 'the most there can be', history: ['credit 0.99'], balance: '9999999999999999.99', version: 2 },
];

async function fillOldBank(): Promise<void> {
  let transactions = 0;
  for (const { balance, version } of OLD_BANK) {
    await client.query('INSERT INTO bank.accounts (balance, version) VALUES ($1, $2)', [balance, version]);
  }
  // The accounts' histories are interleaved, as they came in.
  for (let step = 0; step < 2; step++) {
    for (const [index, { history }] of OLD_BANK.entries()) {
      const entry = history[step];
      if (!entry) continue;
      const [type, amount] = entry.split(' ');
      transactions += 1;
      await client.query(
        `INSERT INTO bank.transactions (account_id, type, amount, idempotency_key, timestamp)
         VALUES ($1, $2, $3, $4, $5)`,
        [
          index + 1,
          type,
          amount,
          transactions % 2 === 0 ? `key-${step}` : null,
          transactions % 3 === 0 ? null : '2025-05-02 10:24:02.123456',
        ],
      );
    }
  }
}

describe('an old bank that is migrated', () => {
  const BALANCES = 'SELECT account_id::text, balance FROM bank.accounts a ORDER BY a.account_id';
  const HISTORY = `SELECT transaction_id::text, account_id::text, type, amount, idempotency_key
                   FROM bank.transactions t ORDER BY t.transaction_id`;
  let balances: Record<string, unknown>[];
  let history: Record<string, unknown>[];

  beforeEach(async () => {
    await migrateToSpecTables();
    await fillOldBank();
    // Ids have gaps, as a sequence leaves them.
    await client.query("SELECT setval('bank.transactions_transaction_id_seq', 100)");
    await client.query(
      `INSERT INTO bank.transactions (account_id, type, amount) VALUES (4, 'credit', 7), (4, 'debit', 7)`,
    );
    balances = await rows(BALANCES);
    history = await rows(HISTORY);
    expect((await migrate(shard, ALONE)).applied).toEqual(NAMES.slice(1));
  });

  it('has consistent books', async () => {
    expect(await verifyBank([shard])).toMatchObject({ accounts: OLD_BANK.length, faults: [], ok: true });
  });

  it('keeps every balance, and every transaction with its id and key', async () => {
    expect(await rows(BALANCES)).toEqual(balances);
    expect((await rows(HISTORY)).slice(0, history.length)).toEqual(history);
  });

  it('adds only the transactions that were missing', async () => {
    const added = await rows(
      `SELECT account_id::int, type, amount, version_after::int FROM bank.transactions
       WHERE transaction_id > 102 ORDER BY account_id, version_after`,
    );
    expect(added).toEqual([
      { account_id: 2, type: 'credit', amount: '1000.00', version_after: 2 },
      { account_id: 3, type: 'credit', amount: '500.00', version_after: 2 },
      { account_id: 5, type: 'credit', amount: '1000.00', version_after: 2 },
      { account_id: 6, type: 'debit', amount: '4000.00', version_after: 3 },
      { account_id: 7, type: 'debit', amount: '5000.00', version_after: 3 },
      { account_id: 8, type: 'credit', amount: '100.00', version_after: 2 },
      { account_id: 8, type: 'debit', amount: '4000.00', version_after: 5 },
      { account_id: 9, type: 'credit', amount: '9999999999999999.00', version_after: 2 },
    ]);
  });

  it('reads the old times as UTC, to the millisecond, and leaves none unset', async () => {
    const [old] = await rows('SELECT timestamp FROM bank.transactions WHERE transaction_id = 1');
    expect(old).toEqual({ timestamp: new Date('2025-05-02T10:24:02.123Z') });
    const [unset] = await rows(
      `SELECT timestamp BETWEEN now() - interval '5 minutes' AND now() AS is_new FROM bank.transactions WHERE transaction_id = 3`,
    );
    expect(unset).toEqual({ is_new: true });
  });

  it('continues after the largest ids', async () => {
    const largest = await rows('SELECT max(transaction_id)::int AS id FROM bank.transactions');
    const ledger = await openLedger(shard.url);
    try {
      const posted = await ledger.post({
        accountId: 8,
        type: 'debit',
        amount: 100_000n,
        expectedVersion: 5,
      });
      expect(posted).toMatchObject({
        transactionId: (largest[0]?.id as number) + 1,
        balanceAfter: 0n,
        versionAfter: 6,
      });
      expect(await ledger.opener.open({ openingDeposit: 1n }, THE_SERVICE)).toMatchObject({
        accountId: OLD_BANK.length + 1,
        version: 2,
      });
    } finally {
      await ledger.close();
    }
    expect((await verifyBank([shard])).faults).toEqual([]);
  });

  it('still knows the used keys', async () => {
    const ledger = await openLedger(shard.url);
    const [used] = history.filter((row) => row.idempotency_key !== null);
    const again = ledger.post({
      accountId: Number(used?.account_id),
      type: used?.type as 'credit' | 'debit',
      amount: BigInt((used?.amount as string).replace('.', '')),
      idempotencyKey: used?.idempotency_key as string,
    });
    await expect(again).rejects.toMatchObject({
      failure: { code: 'DUPLICATE_TRANSACTION', original: { transactionId: Number(used?.transaction_id) } },
    });
    await ledger.close();
  });
});

describe('a bank of the last release without an archive', () => {
  const ARCHIVE = NAMES.indexOf('Archive1795478900000');
  const COLUMNS =
    'transaction_id, account_id, type, amount, timestamp, idempotency_key, balance_after, version_after';
  const historyIn = (table: string) => rows(`SELECT ${COLUMNS} FROM bank.${table} ORDER BY transaction_id`);
  let history: Record<string, unknown>[];

  beforeEach(async () => {
    await prepareTables(shard, ALONE, MIGRATIONS.slice(0, ARCHIVE));
    await client.query(
      `INSERT INTO bank.shard_identity (bank_id, shard_index, shard_count) VALUES (gen_random_uuid(), 0, 1)`,
    );
    await client.query(`
      INSERT INTO bank.accounts (balance, version) SELECT 0.01, 2 FROM generate_series(1, 100);
      INSERT INTO bank.transactions (account_id, type, amount, balance_after, version_after, idempotency_key)
        SELECT account_id, 'credit', 0.01, 0.01, 2, CASE account_id % 3 WHEN 0 THEN 'a:key' END FROM bank.accounts`);
    expect((await verifyBank([shard])).ok).toBe(true);
    history = await historyIn('transactions');
  });

  it('gets one, with free space on the pages of accounts', async () => {
    expect((await migrate(shard, ALONE)).applied).toEqual(NAMES.slice(ARCHIVE));
    expect(await historyIn('transactions')).toEqual(history);
    expect(await rows(`SELECT reloptions FROM pg_class WHERE oid = 'bank.accounts'::regclass`)).toEqual([
      { reloptions: ['fillfactor=80'] },
    ]);
    expect(await archiveBank([shard], new Date())).toMatchObject({ moved: 100 });
    expect(await historyIn('archived_transactions')).toEqual(history);
    expect(await verifyBank([shard])).toMatchObject({ transactions: 100, ok: true });
  });

  it('can be migrated back with all it has archived, while it has no whole ledger', async () => {
    await prepareTables(shard, ALONE, MIGRATIONS.slice(0, WHOLE_LEDGER));
    await client.query(`
      INSERT INTO bank.archived_transactions SELECT * FROM bank.transactions;
      DELETE FROM bank.transactions`);
    expect(await historyIn('archived_transactions')).toEqual(history);
    expect(await verifyBank([shard])).toMatchObject({ transactions: 100, ok: true });
    await undo(WHOLE_LEDGER - ARCHIVE);
    expect(await historyIn('transactions')).toEqual(history);
    expect((await migrate(shard, ALONE)).applied).toEqual(NAMES.slice(ARCHIVE));
  });
});

describe('a bank from before the hashes', () => {
  const HASHES = NAMES.indexOf('CredentialsAndAudit1795479000000');
  const KEYS = ['plain', 'with:colons', '=', '-', 'ünïcode 🏦'];

  it('is chained as it is, archive included, by the same rule as later transactions', async () => {
    await prepareTables(shard, ALONE, MIGRATIONS.slice(0, HASHES));
    await client.query(
      `INSERT INTO bank.shard_identity (bank_id, shard_index, shard_count) VALUES (gen_random_uuid(), 0, 1)`,
    );
    await client.query(
      'INSERT INTO bank.accounts (balance, version) VALUES (15, 6), (0, 1), (9007199254740993.01, 2)',
    );
    await client.query(
      `INSERT INTO bank.archived_transactions
         (transaction_id, account_id, type, amount, balance_after, version_after, idempotency_key, timestamp)
       SELECT n, 1, 'credit', 5, 5 * n, n + 1, ($1::text[])[n], '1999-12-31 23:59:59.99951Z'::timestamptz
       FROM generate_series(1, 2) n`,
      [KEYS],
    );
    await client.query(
      `INSERT INTO bank.transactions
         (transaction_id, account_id, type, amount, balance_after, version_after, idempotency_key, timestamp)
       VALUES (3, 1, 'debit', 5, 5, 4, $1, '2026-02-28 12:00:00.1235+05:30'), (4, 1, 'credit', 5, 10, 5, $2, now()),
              (5, 1, 'credit', 5, 15, 6, $3, now()),
              (6, 3, 'credit', 9007199254740993.01, 9007199254740993.01, 2, NULL, now())`,
      KEYS.slice(2),
    );
    await client.query("SELECT setval('bank.transactions_transaction_id_seq', 6)");
    expect(await verifyBank([shard])).toMatchObject({ transactions: 6, ok: true });
    expect((await migrate(shard, ALONE)).applied).toEqual(NAMES.slice(HASHES));
    expect(await verifyBank([shard])).toMatchObject({ transactions: 6, ok: true, faults: [] });

    const ledger = await openLedger(database.url);
    await ledger.post({ accountId: 1, type: 'credit', amount: 1n, idempotencyKey: 'new' });
    await ledger.post({ accountId: 2, type: 'credit', amount: 1n });
    await ledger.close();
    expect(await verifyBank([shard])).toMatchObject({ transactions: 8, ok: true, faults: [] });
  });
});

describe('a bank with keys from before the scope of deposits', () => {
  const SCOPES = NAMES.indexOf('KeyScopesVersion1795479200000');

  it('distinguishes them from newer keys', async () => {
    await prepareTables(shard, ALONE, MIGRATIONS.slice(0, SCOPES));
    await client.query(
      `INSERT INTO bank.shard_identity (bank_id, shard_index, shard_count) VALUES (gen_random_uuid(), 0, 1);
       INSERT INTO bank.api_keys (name, hint, hash, scopes, owner)
         VALUES ('old', 'h', sha256('x'), ARRAY['transactions:write'], 'ada')`,
    );
    expect((await migrate(shard, ALONE)).applied).toEqual(NAMES.slice(SCOPES));
    await createKey([shard], { name: 'new', scopes: ['transactions:write'], owner: 'ada' });
    expect(await rows('SELECT name, scopes_version FROM bank.api_keys ORDER BY key_id')).toEqual([
      { name: 'old', scopes_version: 1 },
      { name: 'new', scopes_version: 2 },
    ]);
  });
});

describe('a bank from before the keys of openings', () => {
  const OPENINGS = NAMES.indexOf('OpeningsAndRevisions1795479100000');

  it('gets them and revisions without rewriting its accounts', async () => {
    await prepareTables(shard, ALONE, MIGRATIONS.slice(0, OPENINGS));
    await client.query(
      `INSERT INTO bank.shard_identity (bank_id, shard_index, shard_count) VALUES (gen_random_uuid(), 0, 1)`,
    );
    await client.query(
      `INSERT INTO bank.accounts (balance, version, owner) SELECT 0, 1, 'ada' FROM generate_series(1, 100)`,
    );
    const file = () => rows(`SELECT pg_relation_filenode('bank.accounts') AS file`);
    const before = await file();
    expect((await migrate(shard, ALONE)).applied).toEqual(NAMES.slice(OPENINGS));
    expect(await file()).toEqual(before);
    expect(await rows('SELECT DISTINCT owner, revision FROM bank.accounts')).toEqual([
      { owner: 'ada', revision: 0 },
    ]);
    const ledger = await openLedger(shard.url);
    const opening = { openingDeposit: 1n, owner: 'ada', idempotencyKey: 'key' };
    const { accountId } = await ledger.opener.open(opening, THE_SERVICE);
    await expect(ledger.opener.open(opening, THE_SERVICE)).rejects.toMatchObject({
      failure: { code: 'DUPLICATE_ACCOUNT', accountId },
    });
    await ledger.close();
    expect(await verifyBank([shard])).toMatchObject({ accounts: 101, ok: true });
  });

  it('can be migrated back, while it has no whole ledger', async () => {
    await prepareTables(shard, ALONE, MIGRATIONS.slice(0, WHOLE_LEDGER));
    await client.query(
      `INSERT INTO bank.shard_identity (bank_id, shard_index, shard_count) VALUES (gen_random_uuid(), 0, 1);
       INSERT INTO bank.accounts (balance, version, owner) VALUES (0, 1, 'ada');
       INSERT INTO bank.account_openings (account_id, owner, idempotency_key) VALUES (1, 'ada', 'key')`,
    );
    await undo(WHOLE_LEDGER - OPENINGS);
    expect(await verifyBank([shard])).toMatchObject({ accounts: 1, ok: true });
    expect((await migrate(shard, ALONE)).applied).toEqual(NAMES.slice(OPENINGS));
  });
});

/** What a bank may have beyond the old tables, as far as its release knows it. */
const RELEASES_ADD: readonly { with: string; sql: string }[] = [
  {
    with: 'shard_identity',
    sql: `INSERT INTO bank.shard_identity (bank_id, shard_index, shard_count) VALUES (gen_random_uuid(), 0, 1)`,
  },
  {
    with: 'archived_transactions',
    sql: `WITH moved AS (DELETE FROM bank.transactions WHERE account_id <= 3 RETURNING *)
          INSERT INTO bank.archived_transactions SELECT * FROM moved`,
  },
  { with: 'outbox', sql: `INSERT INTO bank.outbox (transaction_ids) VALUES ('{5,6}'), ('{7}')` },
  {
    with: 'api_keys',
    sql: `INSERT INTO bank.api_keys (name, hint, hash, scopes) VALUES ('k', 'h', sha256('x'), ARRAY['admin']);
          UPDATE bank.accounts SET owner = 'ada' WHERE account_id > 6`,
  },
  {
    with: 'audit_events',
    sql: `INSERT INTO bank.audit_events (happened_at, action, actor, details, hash)
          VALUES (now(), 'test.done', 'somebody', '{}', sha256('x'))`,
  },
  {
    with: 'account_openings',
    sql: `INSERT INTO bank.account_openings (account_id, owner, idempotency_key, opening_deposit)
            VALUES (8, 'ada', 'key', 100), (9, 'ada', 'another', NULL);
          UPDATE bank.accounts SET revision = 1 WHERE account_id = 9`,
  },
];

/** Makes a bank with data in each table of a release. The spec's own tables come first, as in the oldest banks. */
async function fillBankOf(releases: number): Promise<void> {
  await migrateToSpecTables();
  await fillOldBank();
  // A clock that was ahead.
  await client.query(
    `UPDATE bank.transactions SET timestamp = '2099-01-01' WHERE transaction_id IN
       (SELECT max(transaction_id) FROM bank.transactions WHERE account_id IN (3, 4) GROUP BY account_id)`,
  );
  await prepareTables(shard, ALONE, MIGRATIONS.slice(0, releases));
  for (const { with: table, sql } of RELEASES_ADD) {
    const [{ there }] = (await rows(`SELECT to_regclass('bank.${table}') IS NOT NULL AS there`)) as [
      { there: boolean },
    ];
    if (there) await client.query(sql);
  }
}

describe('a bank with data of each earlier release', () => {
  it.each(NAMES.slice(0, WHOLE_LEDGER).map((name, index) => [name, index + 1] as const))(
    'gets the whole ledger: %s',
    async (_name, releases) => {
      await fillBankOf(releases);
      const balances = await rows(
        'SELECT account_id::text, balance FROM bank.accounts a ORDER BY a.account_id',
      );
      expect((await migrate(shard, ALONE)).applied).toEqual(NAMES.slice(releases));
      expect(
        await rows('SELECT account_id::text, balance FROM bank.accounts a ORDER BY a.account_id'),
      ).toEqual(balances);
      expect(await verifyBank([shard])).toMatchObject({ accounts: OLD_BANK.length, ok: true, faults: [] });
      const ledger = await openLedger(shard.url);
      try {
        const hold = { accountId: 4, type: 'hold', amount: 9_900n } as const;
        await ledger.scheduler.submit(hold);
        for (const accountId of [1, 2, 3, 8])
          await ledger.scheduler.submit({ accountId, type: 'credit', amount: 1n });
      } finally {
        await ledger.close();
      }
      expect(await verifyBank([shard])).toMatchObject({ ok: true, faults: [] });
    },
  );
});

describe('a bank of the release before the whole ledger', () => {
  const FILES = `SELECT relname AS name, pg_relation_filenode(oid) AS file FROM pg_class
                 WHERE relnamespace = 'bank'::regnamespace AND relkind IN ('r', 'i') ORDER BY relname`;
  const HISTORY = (table: string) =>
    `SELECT transaction_id, account_id, type, amount::text, timestamp, idempotency_key, balance_after::text,
            version_after, hash FROM bank.${table} ORDER BY transaction_id`;

  it('is not rewritten: no table, no index, no hash', async () => {
    await fillBankOf(WHOLE_LEDGER);
    const before = await rows(FILES);
    const history = await Promise.all(['transactions', 'archived_transactions'].map(HISTORY).map(rows));
    expect(history.map((found) => found.length > 0)).toEqual([true, true]);
    await migrate(shard, ALONE);
    expect(await rows(FILES)).toEqual(expect.arrayContaining(before));
    expect(await Promise.all(['transactions', 'archived_transactions'].map(HISTORY).map(rows))).toEqual(
      history,
    );
    expect(
      await rows(
        'SELECT DISTINCT held, active_holds, overdraft_limit, status, created_at, posted_at FROM bank.accounts',
      ),
    ).toEqual([
      {
        ...{ held: '0', active_holds: 0, overdraft_limit: '0', status: 'open' },
        ...{ created_at: null, posted_at: null },
      },
    ]);
    expect(await verifyBank([shard])).toMatchObject({ ok: true, faults: [] });
  });

  it.each(['transactions', 'archived_transactions'])(
    'goes on from the time of the last transaction in %s, though the clock is behind it',
    async (table) => {
      await fillBankOf(WHOLE_LEDGER);
      const [last] = await rows(
        `SELECT account_id::int, timestamp FROM bank.${table} WHERE timestamp > now() + interval '1 year' LIMIT 1`,
      );
      const { account_id: accountId, timestamp } = last as { account_id: number; timestamp: Date };
      await migrate(shard, ALONE);
      const ledger = await openLedger(shard.url);
      try {
        for (let n = 0; n < 2; n++) {
          const { transactions } = await ledger.scheduler.submit({ accountId, type: 'credit', amount: 1n });
          expect(transactions[0]?.timestamp).toEqual(timestamp);
        }
        const another = await ledger.scheduler.submit({ accountId: 1, type: 'credit', amount: 1n });
        expect(another.transactions[0]?.timestamp.getTime()).toBeLessThan(timestamp.getTime());
      } finally {
        await ledger.close();
      }
      expect(await rows(`SELECT posted_at FROM bank.accounts WHERE account_id = ${accountId}`)).toEqual([
        { posted_at: timestamp },
      ]);
    },
  );

  it('of several shards draws ids of events that tell the shard', async () => {
    const place = { index: 1, count: 3 };
    await prepareTables(shard, place, MIGRATIONS.slice(0, WHOLE_LEDGER));
    await client.query(
      `INSERT INTO bank.shard_identity (bank_id, shard_index, shard_count) VALUES (gen_random_uuid(), 1, 3);
       INSERT INTO bank.accounts (balance, version) VALUES (0, 1)`,
    );
    await migrate(shard, place);
    await migrate(shard, place);
    const draw = `SELECT nextval(pg_get_serial_sequence('bank.account_events', 'event_id'))::int AS id`;
    expect([...(await rows(draw)), ...(await rows(draw))]).toEqual([{ id: 2 }, { id: 5 }]);
  });

  it('that a move had begun to copy draws such ids too', async () => {
    const place = { index: 1, count: 3 };
    await prepareTables(shard, place, MIGRATIONS.slice(0, WHOLE_LEDGER));
    await client.query(`INSERT INTO bank.accounts (balance, version) VALUES (0, 1)`);
    await prepareTables(shard, place);
    const draw = (table: string, id: string) =>
      rows(`SELECT nextval(pg_get_serial_sequence('bank.${table}', '${id}'))::int AS id`);
    expect(await draw('account_events', 'event_id')).toEqual([{ id: 2 }]);
    expect(await draw('incoming_transfers', 'incoming_id')).toEqual([{ id: 2 }]);
    // Not begun again: there is an account with the id 2.
    expect(await draw('accounts', 'account_id')).toEqual([{ id: 5 }]);
  });

  it('is not migrated back: holds would be forgotten', async () => {
    await prepareTables(shard, ALONE, MIGRATIONS.slice(0, WHOLE_LEDGER + 1));
    await expect(undo(1)).rejects.toThrow('knows neither holds nor transfers');
    expect((await migrate(shard, ALONE)).applied).toEqual(NAMES.slice(WHOLE_LEDGER + 1));
  });
});

describe('a bank of the release before transfers between shards', () => {
  const BETWEEN = NAMES.indexOf('BetweenShards1795479460000');
  const FILES = `SELECT relname AS name, pg_relation_filenode(oid) AS file FROM pg_class
                 WHERE relnamespace = 'bank'::regnamespace AND relkind IN ('r', 'i') ORDER BY relname`;

  it('keeps its holds, of which nothing is on its way', async () => {
    await fillBankOf(WHOLE_LEDGER);
    await prepareTables(shard, ALONE, MIGRATIONS.slice(0, BETWEEN));
    const { deposit, hold, end, recordAct } = beforeBetweenShards;
    for (let n = 0; n < 3; n++) await deposit(client);
    await end(client, await hold(client), 'captured');
    await end(client, await hold(client), 'voided');
    const holdId = await hold(client);
    await recordAct(client);
    const files = await rows(FILES);
    const holds = 'SELECT hold_id::int, remaining, captured, status FROM bank.holds ORDER BY hold_id';
    const before = await rows(holds);
    expect(before.map(({ status }) => status)).toEqual(['captured', 'voided', 'active']);
    const [event] = await rows(
      'SELECT action, epoch AS tables_epoch FROM bank.audit_events WHERE event_id = 1000000',
    );
    expect((await migrate(shard, ALONE)).applied).toEqual(NAMES.slice(BETWEEN));
    // Nothing was rewritten.
    expect(await rows(FILES)).toEqual(expect.arrayContaining(files));
    expect(await rows(holds)).toEqual(before);
    expect(await rows('SELECT DISTINCT capturing FROM bank.holds')).toEqual([{ capturing: '0' }]);
    expect(await rows('SELECT action, tables_epoch FROM bank.audit_events WHERE event_id = 1000000')).toEqual(
      [event],
    );
    expect(await verifyBank([shard])).toMatchObject({ faults: [], ok: true });
    const ledger = await openLedger(shard.url);
    const capture = { type: 'capture', accountId: 1, holdId, amount: 2n, final: false } as const;
    await ledger.scheduler.submit(capture);
    await ledger.scheduler.submit({ type: 'void', accountId: 1, holdId });
    await ledger.close();
    expect(await rows(`${holds} OFFSET 2`)).toMatchObject([{ captured: '0.02', status: 'voided' }]);
    expect(await verifyBank([shard])).toMatchObject({ faults: [], ok: true });
  });

  it('of several shards draws ids of decisions that tell the shard', async () => {
    const place = { index: 1, count: 3 };
    const draw = `SELECT nextval(pg_get_serial_sequence('bank.incoming_transfers', 'incoming_id'))::int AS id`;
    await prepareTables(shard, place, MIGRATIONS.slice(0, BETWEEN));
    await client.query(
      `INSERT INTO bank.shard_identity (bank_id, shard_index, shard_count, currency, submission_secret)
         VALUES (gen_random_uuid(), 1, 3, 'USD', gen_random_uuid());
       INSERT INTO bank.accounts (balance, version, status) VALUES (0, 1, 'open')`,
    );
    await migrate(shard, place);
    await migrate(shard, place);
    expect([...(await rows(draw)), ...(await rows(draw))]).toEqual([{ id: 2 }, { id: 5 }]);
  });

  it('is not migrated back: transfers that are under way would be forgotten', async () => {
    await prepareTables(shard, ALONE, MIGRATIONS.slice(0, BETWEEN + 1));
    await expect(undo(1)).rejects.toThrow('does not know transfers that are under way');
    expect((await migrate(shard, ALONE)).applied).toEqual(NAMES.slice(BETWEEN + 1));
  });
});

describe('a bank of the release before the log of events', () => {
  const LOG = NAMES.indexOf('EventLog1795479470000');

  it.each([
    [true, 'with a broker, which gets what was not published'],
    [false, 'without a broker, where one begins at the end'],
  ])('keeps what waits in the outbox: %s, %s', async (hasBroker) => {
    await fillBankOf(WHOLE_LEDGER);
    await prepareTables(shard, ALONE, MIGRATIONS.slice(0, LOG));
    await rows(`UPDATE bank.shard_identity SET relay_to_broker = ${hasBroker}`);
    const waiting = 'SELECT transaction_ids, account_event_ids FROM bank.outbox ORDER BY outbox_id';
    const before = await rows(waiting);
    expect(before.length).toBeGreaterThan(0);
    expect((await migrate(shard, ALONE)).applied).toEqual(NAMES.slice(LOG));
    expect(await rows(waiting)).toEqual(before);
    expect(await rows('SELECT receiver, position FROM bank.event_cursors')).toEqual(
      hasBroker ? [{ receiver: 'rabbitmq', position: '0' }] : [],
    );
    const ledger = await openLedger(shard.url);
    const outbox = new Outbox(ledger.runner, tablesOf('bank'), 5_000);
    for (let chunk = await outbox.claim(1_000, () => false); chunk;) {
      await outbox.complete(chunk);
      chunk = await outbox.claim(1_000, () => false);
    }
    const read = await new EventLog(ledger.runner, tablesOf('bank')).readAfter(0, 1_000);
    await ledger.close();
    const posted = await rows('SELECT transaction_id::int AS id FROM bank.transactions ORDER BY 1');
    const told = read.rows.flatMap(({ events }) =>
      events.flatMap((event) =>
        event.kind === 'transaction.posted' ? [{ id: event.transaction.transactionId }] : [],
      ),
    );
    expect(posted).toEqual(expect.arrayContaining(told));
    expect(told.length).toBeGreaterThan(0);
  });

  it('is not migrated back: its receivers would begin anew', async () => {
    await prepareTables(shard, ALONE, MIGRATIONS.slice(0, LOG + 1));
    await expect(undo(1)).rejects.toThrow('does not know the log of events');
    expect((await migrate(shard, ALONE)).applied).toEqual(NAMES.slice(LOG + 1));
  });
});

describe('a bank of the release before currencies', () => {
  it('is one in USD for ever, keeps its hashes, and takes accounts in other currencies', async () => {
    await fillBankOf(WHOLE_LEDGER);
    await prepareTables(shard, ALONE, MIGRATIONS.slice(0, NAMES.indexOf('Currency1795479420000')));
    const history = 'SELECT amount, balance_after, hash FROM bank.transactions ORDER BY transaction_id';
    const before = await rows(history);
    expect(before).not.toEqual([]);
    await migrate(shard, ALONE);
    expect(await rows(history)).toEqual(before);
    expect(await rows('SELECT currency FROM bank.shard_identity')).toEqual([{ currency: 'USD' }]);
    await expect(bootstrapShards([shard], { currency: currencyOf('EUR') })).rejects.toThrow(
      'CURRENCY is EUR, but the bank was made with USD',
    );
    await bootstrapShards([shard], { currency: currencyOf('USD') });
    const ledger = await openLedger(shard.url);
    try {
      const yen = { currency: currencyOf('JPY'), openingDeposit: 350n };
      await ledger.opener.open(yen, THE_SERVICE);
    } finally {
      await ledger.close();
    }
    expect(await rows('SELECT DISTINCT currency FROM bank.accounts ORDER BY 1')).toEqual([
      { currency: 'JPY' },
      { currency: null },
    ]);
    expect(await verifyBank([shard])).toMatchObject({ ok: true, otherBalances: { JPY: '350' } });
  });
});

describe('the schema', () => {
  const ACCOUNT = { balance: '10', held: '0', active_holds: '0', overdraft_limit: '0', status: `'open'` };
  const accounts = (row: Partial<typeof ACCOUNT>) => {
    const all = { ...ACCOUNT, ...row };
    return `INSERT INTO bank.accounts (version, ${Object.keys(all).join()}) VALUES (1, ${Object.values(all).join()})`;
  };
  const transaction = (type: string, amount: string, after: string, held: string, hold: string) =>
    `INSERT INTO bank.archived_transactions
       (transaction_id, account_id, type, amount, balance_after, version_after, hash, held_after, hold_id)
     VALUES (1, 1, '${type}', ${amount}, ${after}, 2, sha256('x'), ${held}, ${hold})`;
  const hold = (amount: string, remaining: string, captured: string, status: string, capturing = '0') =>
    `INSERT INTO bank.holds
     VALUES (1, 1, ${amount}, ${remaining}, ${captured}, '${status}', NULL, now(), ${capturing})`;
  const outgoing = ({ amount = '5', status = 'pending', credit = 'NULL', why = 'NULL' }) =>
    `INSERT INTO bank.transfers
       (transfer_id, nonce, account_id, to_account_id, amount, hold_id, final, created_at, status, credit_id, rejection)
     VALUES (1, gen_random_uuid(), 1, 2, ${amount}, 1, true, now(), '${status}', ${credit}, ${why})`;
  const incoming = ({ amount = '5', credit = '1', why = 'NULL' }) =>
    `INSERT INTO bank.incoming_transfers
       (transfer_id, nonce, account_id, from_account_id, amount, decided_at, credit_id, rejection)
     VALUES (1, gen_random_uuid(), 1, 2, ${amount}, now(), ${credit}, ${why})`;
  const LIMIT = '1e16';

  it('takes what a ledger may hold, and refuses what it must not', async () => {
    await migrate(shard, ALONE);
    const taken = [
      ...[accounts({}), accounts({ held: '10', active_holds: '1' })],
      ...[accounts({ balance: '-5', overdraft_limit: '5' }), accounts({ balance: '0', status: `'closed'` })],
      accounts({ balance: `1 - ${LIMIT}`, overdraft_limit: `${LIMIT} - 1` }),
      ...[transaction('credit', '0.01', '-1.00', 'NULL', 'NULL'), hold('5', '2', '3', 'active')],
      ...[
        hold('5', '2', '3', 'active', '2'),
        outgoing({}),
        incoming({}),
        incoming({ credit: 'NULL', why: `'{}'` }),
      ],
      ...[outgoing({ status: 'completed', credit: '1' }), outgoing({ status: 'failed', why: `'{}'` })],
    ];
    for (const sql of taken) await client.query(`BEGIN; ${sql}; ROLLBACK`);
    const refused = [
      ...['-1', LIMIT, `'NaN'`, `'-Infinity'`, '0.00001'].map((balance) => accounts({ balance })),
      ...['-1', LIMIT, `'NaN'`, '1e-5'].map((limit) => accounts({ overdraft_limit: limit })),
      ...['-1', '11', `'NaN'`, '1e-5'].map((held) => accounts({ held, active_holds: '1' })),
      ...[accounts({ held: '1' }), accounts({ active_holds: '1' }), accounts({ status: `'closed'` })],
      ...[accounts({ status: `'lost'` }), accounts({ balance: '-6', overdraft_limit: '5' })],
      accounts({ balance: '1', held: '7', active_holds: '1', overdraft_limit: '5' }),
      transaction('hold', '1', '1', '1', 'NULL'),
      transaction('lost', '1', '1', 'NULL', 'NULL'),
      ...['0', `'NaN'`, LIMIT].map((amount) => transaction('credit', amount, '1', 'NULL', 'NULL')),
      ...[`'NaN'`, LIMIT, `-${LIMIT}`].map((after) => transaction('credit', '1', after, 'NULL', 'NULL')),
      ...['0', `'NaN'`, '-1'].map((held) => transaction('credit', '1', '1', held, 'NULL')),
      ...[hold('5', '3', '3', 'active'), hold('5', '0', '5', 'active'), hold('5', '1', '4', 'captured')],
      ...['-1', '3', `'NaN'`].map((capturing) => hold('5', '2', '3', 'active', capturing)),
      ...['0', '-1', `'NaN'`, LIMIT, '1e-5'].flatMap((amount) => [
        outgoing({ amount }),
        incoming({ amount }),
      ]),
      ...[outgoing({ status: 'lost' }), outgoing({ status: 'completed' }), outgoing({ status: 'failed' })],
      ...[outgoing({ credit: '1' }), outgoing({ why: `'{}'` }), incoming({ credit: 'NULL' })],
      ...[incoming({ why: `'{}'` }), outgoing({ status: 'completed', credit: '1', why: `'{}'` })],
      ...[hold('5', `'NaN'`, '0', 'active'), hold(LIMIT, '1', '0', 'active'), hold('5', '5', '0', 'lost')],
    ];
    for (const sql of refused) {
      const code = await client.query(sql).then(
        () => 'taken',
        (error: unknown) => (error as { code: string }).code,
      );
      expect({ sql, code }).toEqual({ sql, code: '23514' });
    }
  });
});

describe('migrate', () => {
  it('applies every migration once', async () => {
    const first = await migrate(shard, ALONE);
    expect(first.applied).toEqual(NAMES);
    expect(await migrate(shard, ALONE)).toEqual({ applied: [], bankId: first.bankId });
    expect(await verifyBank([shard])).toMatchObject({ accounts: 0, ok: true });
  });

  it('may take longer than the server allows a transaction', async () => {
    await migrate(shard, ALONE);
    const limits = ['statement_timeout', 'idle_in_transaction_session_timeout', 'transaction_timeout'];
    const known = await rows(`SELECT name FROM pg_settings WHERE name IN ('${limits.join("', '")}')`);
    const name = new URL(database.url).pathname.slice(1);
    for (const { name: limit } of known)
      await client.query(`ALTER DATABASE ${name} SET ${String(limit)} = 200`);
    // Stands for a migration that takes long.
    await client.query('BEGIN; LOCK TABLE bank.migrations');
    const migrating = migrate(shard, ALONE);
    await sleep(500);
    await client.query('COMMIT');
    expect((await migrating).applied).toEqual([]);
  });

  it('lets one of several instances migrate while the others wait', async () => {
    const reports = await Promise.all(Array.from({ length: 4 }, () => migrate(shard, ALONE)));
    expect(reports.flatMap((report) => report.applied)).toEqual(NAMES);
    expect(new Set(reports.map((report) => report.bankId)).size).toBe(1);
  });

  it.each([
    ['another place', { index: 0, count: 2 }, { index: 1, count: 2 }],
    ['another number of shards', { index: 0, count: 2 }, { index: 0, count: 3 }],
    ['a bank that was founded with one shard', ALONE, { index: 0, count: 2 }],
  ])('rejects a shard of %s, and changes nothing', async (_what, recorded, asked) => {
    const { bankId } = await migrate(shard, recorded);
    await expect(migrate(shard, asked)).rejects.toThrow(ShardMismatchError);
    await expect(migrate(shard, asked)).rejects.toThrow(
      `holds shard ${recorded.index} of ${recorded.count}, but is configured as shard ${asked.index} of ${asked.count}`,
    );
    expect(await migrate(shard, recorded)).toEqual({ applied: [], bankId });
  });

  it('rejects a shard of another bank', async () => {
    const { bankId } = await migrate(shard, ALONE);
    expect((await migrate(shard, ALONE, bankId)).bankId).toBe(bankId);
    await expect(migrate(shard, ALONE, '00000000-0000-4000-8000-000000000000')).rejects.toThrow(
      ShardMismatchError,
    );
  });

  it('does not divide an old bank of one database into shards', async () => {
    await migrateToSpecTables();
    await client.query('INSERT INTO bank.accounts (balance, version) VALUES (1, 1)');
    await expect(migrate(shard, { index: 0, count: 2 })).rejects.toThrow(/holds a bank of one shard already/);
    expect((await migrate(shard, ALONE)).applied).toEqual([]);
    expect((await verifyBank([shard])).ok).toBe(true);
  });

  it('lets each shard draw its own ids', async () => {
    await migrate(shard, { index: 1, count: 3 });
    const ids = await rows(
      'INSERT INTO bank.accounts (balance, version) VALUES (0, 1), (0, 1) RETURNING account_id::int',
    );
    expect(ids).toEqual([{ account_id: 2 }, { account_id: 5 }]);
  });

  it.each(['public', 'order', 'shard_0'])('works in a schema called %s', async (schema) => {
    await migrate({ url: shard.url, schema }, ALONE);
    expect((await verifyBank([{ url: shard.url, schema }])).ok).toBe(true);
  });
});

describe('the check for drift', () => {
  it.each(['bank', 'elsewhere'])('finds none after migrating schema %s', async (schema) => {
    await migrate({ url: shard.url, schema }, ALONE);
    expect(await findDrift({ url: shard.url, schema })).toEqual([]);
  });

  it.each([
    [
      'a column that no entity has',
      'ALTER TABLE bank.accounts ADD COLUMN colour TEXT',
      /DROP COLUMN "colour"/,
    ],
    [
      'a column that is not there',
      'ALTER TABLE bank.transactions DROP COLUMN balance_after',
      /ADD "balance_after"/,
    ],
    ['another type', 'ALTER TABLE bank.accounts ALTER COLUMN version TYPE INT', /"version"/],
    ['a nullable column', 'ALTER TABLE bank.accounts ALTER COLUMN balance DROP NOT NULL', /SET NOT NULL/],
    [
      'another default',
      'ALTER TABLE bank.outbox ALTER COLUMN created_at DROP DEFAULT',
      /SET DEFAULT now\(\)/,
    ],
    [
      'no check',
      'ALTER TABLE bank.accounts DROP CONSTRAINT accounts_balance_check',
      /ADD CONSTRAINT "accounts_balance_check"/,
    ],
    ['no unique key', 'ALTER TABLE bank.transactions DROP CONSTRAINT unique_version_per_account', /UNIQUE/],
    [
      'no foreign key',
      'ALTER TABLE bank.transactions DROP CONSTRAINT transactions_account_id_fkey',
      /FOREIGN KEY/,
    ],
  ])('finds %s', async (_what, sql, statement) => {
    await migrate(shard, ALONE);
    await client.query(sql);
    expect((await findDrift(shard)).join('\n')).toMatch(statement);
  });

  it('runs in its own schema, which it drops again', async () => {
    const loader = join(process.cwd(), 'test/support/register-typescript.mjs');
    const check = spawn(
      process.execPath,
      ['--import', loader, join(process.cwd(), 'tools/checks/migrations.ts')],
      {
        env: { PATH: process.env.PATH, HOME: tmpdir(), DATABASE_URL: database.url },
        stdio: ['ignore', 'pipe', 'inherit'],
      },
    );
    let stdout = '';
    check.stdout.on('data', (data: Buffer) => (stdout += data.toString()));
    const code = await new Promise((resolve) => check.once('close', resolve));
    expect({ code, stdout }).toEqual({
      code: 0,
      stdout: 'The migrations make what the entities describe.\n',
    });
    expect(await rows(`SELECT nspname FROM pg_namespace WHERE nspname LIKE 'bank%'`)).toEqual([]);
  });
});
