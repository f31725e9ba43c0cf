import { spawnSync } from 'node:child_process';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { Client } from 'pg';
import { chainAll, UNCHAINED } from '../../tools/bench/chained.js';
import { seedBank } from '../../src/admin/seed.js';
import { MAX_FAULTS, verifyBank, verifyShard } from '../../src/admin/verify/verify.js';
import { verifyText } from '../../src/cli/verify.js';
import { bootstrapShards } from '../../src/sharding/bootstrap-shards.js';
import { THE_SERVICE } from '../../src/domain/sender.js';
import { ShardRouter } from '../../src/sharding/shard-router.js';
import { openLedger } from '../support/ledger.js';
import { createTestDatabase, type TestDatabase } from '../support/postgres.js';

let database: TestDatabase;
let client: Client;

beforeEach(async () => {
  database = await createTestDatabase('verify');
  client = new Client({ connectionString: database.url });
  await client.connect();
});

afterEach(async () => {
  await client.end();
  await database.drop();
});

const shard = () => ({ url: database.url, schema: 'bank' });
const verify = () => verifyBank([shard()]);

/**
 * Accounts 1 and 3: 1000.00 in, 200.00 out, 50.00 in with a key, 850.00 and version 4. Account 2: new and empty.
 * Written as plain SQL, so that the test of verify does not depend on the ledger.
 */
const BOOKS = `
  ALTER TABLE bank.transactions ALTER COLUMN hash SET DEFAULT ${UNCHAINED};
  ALTER TABLE bank.archived_transactions ALTER COLUMN hash SET DEFAULT ${UNCHAINED};
  INSERT INTO bank.accounts (balance, version) VALUES (850, 4), (0, 1), (850, 4);
  INSERT INTO bank.transactions (account_id, type, amount, balance_after, version_after, idempotency_key) VALUES
    (1, 'credit', 1000, 1000, 2, NULL), (3, 'credit', 1000, 1000, 2, 'one'), (3, 'debit', 200, 800, 3, 'two'),
    (1, 'debit', 200, 800, 3, 'first'), (1, 'credit', 50, 850, 4, 'second'), (3, 'credit', 50, 850, 4, 'first')`;

const FIRST = 'account_id = 1 AND version_after = 2';
const MIDDLE = 'account_id = 1 AND version_after = 3';
const LAST = 'account_id = 1 AND version_after = 4';

const NO_FOREIGN_KEY = 'ALTER TABLE bank.transactions DROP CONSTRAINT transactions_account_id_fkey';
const NO_VERSION_KEY = 'ALTER TABLE bank.transactions DROP CONSTRAINT unique_version_per_account';
const NO_IDEMPOTENCY_KEY = 'ALTER TABLE bank.transactions DROP CONSTRAINT unique_idempotency_per_account';
const NO_AMOUNT_CHECK = 'ALTER TABLE bank.transactions DROP CONSTRAINT transactions_amount_check';
const NO_AFTER_CHECK = 'ALTER TABLE bank.transactions DROP CONSTRAINT transactions_balance_after_check';
const NO_TYPE_CHECK = 'ALTER TABLE bank.transactions DROP CONSTRAINT transactions_type_check';
const NO_HOLD_CHECK = 'ALTER TABLE bank.transactions DROP CONSTRAINT transactions_hold_check';
const NO_BALANCE_CHECK = 'ALTER TABLE bank.accounts DROP CONSTRAINT accounts_balance_check';
const NO_AVAILABLE_CHECK = 'ALTER TABLE bank.accounts DROP CONSTRAINT accounts_available_check';
const NO_PRIMARY_KEY = `${NO_FOREIGN_KEY}; ALTER TABLE bank.accounts DROP CONSTRAINT accounts_pkey`;

const nullable = (table: string, column: string) =>
  `ALTER TABLE bank.${table} ALTER COLUMN ${column} DROP NOT NULL`;

interface Tampering {
  readonly what: string;
  /** A constraint to drop first, if one would prevent it. */
  readonly constraint?: string;
  readonly sql: string;
  readonly checks: readonly string[];
  /** The account whose books it damages; account 1 by default. */
  readonly accountId?: number;
}

const TAMPERINGS: readonly Tampering[] = [
  {
    what: 'a wrong balance',
    sql: 'UPDATE bank.accounts SET balance = balance + 0.01 WHERE account_id = 1',
    checks: ['balance_is_sum', 'balance_is_last'],
  },
  {
    what: 'a balance of nowhere in an account without transactions',
    sql: 'UPDATE bank.accounts SET balance = 5 WHERE account_id = 2',
    checks: ['balance_is_sum', 'balance_is_last'],
    accountId: 2,
  },
  {
    what: 'a wrong version',
    sql: 'UPDATE bank.accounts SET version = 5 WHERE account_id = 1',
    checks: ['balance_is_last', 'version_is_count'],
  },
  {
    what: 'a version without a transaction',
    sql: 'UPDATE bank.accounts SET version = 2 WHERE account_id = 2',
    checks: ['balance_is_last', 'version_is_count'],
    accountId: 2,
  },
  {
    what: 'a wrong balance_after in the middle',
    sql: `UPDATE bank.transactions SET balance_after = 801 WHERE ${MIDDLE}`,
    checks: ['balances_run_on'],
  },
  {
    what: 'a wrong balance_after of the last transaction',
    sql: `UPDATE bank.transactions SET balance_after = 851 WHERE ${LAST}`,
    checks: ['balance_is_last', 'balances_run_on'],
  },
  {
    what: 'a gap in the versions',
    sql: `UPDATE bank.transactions SET version_after = 5 WHERE ${LAST};
          UPDATE bank.accounts SET version = 5 WHERE account_id = 1`,
    checks: ['version_is_count', 'versions_run_on'],
  },
  {
    what: 'a gap in the versions that the account does not follow',
    sql: `UPDATE bank.transactions SET version_after = 5 WHERE ${LAST}`,
    checks: ['balance_is_last', 'versions_run_on'],
  },
  {
    what: 'a repeated version',
    constraint: NO_VERSION_KEY,
    sql: `UPDATE bank.transactions SET version_after = 3 WHERE ${LAST}`,
    checks: ['balance_is_last', 'versions_run_on'],
  },
  {
    what: 'two transactions in the wrong order',
    constraint: NO_VERSION_KEY,
    sql: 'UPDATE bank.transactions SET version_after = 7 - version_after WHERE account_id = 1 AND version_after > 2',
    checks: ['balance_is_last', 'balances_run_on'],
  },
  {
    what: 'the first transaction deleted',
    sql: `DELETE FROM bank.transactions WHERE ${FIRST}`,
    checks: ['balance_is_sum', 'version_is_count', 'versions_run_on', 'balances_run_on'],
  },
  {
    what: 'a transaction in the middle deleted',
    sql: `DELETE FROM bank.transactions WHERE ${MIDDLE}`,
    checks: ['balance_is_sum', 'version_is_count', 'versions_run_on', 'balances_run_on'],
  },
  {
    what: 'the last transaction deleted',
    sql: `DELETE FROM bank.transactions WHERE ${LAST}`,
    checks: ['balance_is_sum', 'balance_is_last', 'version_is_count'],
  },
  {
    what: 'all transactions deleted',
    sql: 'DELETE FROM bank.transactions WHERE account_id = 1',
    checks: ['balance_is_sum', 'balance_is_last', 'version_is_count'],
  },
  {
    what: 'an idempotency key twice',
    constraint: NO_IDEMPOTENCY_KEY,
    sql: `UPDATE bank.transactions SET idempotency_key = 'first' WHERE ${LAST}`,
    checks: ['keys_are_unique'],
  },
  {
    what: 'a changed amount',
    sql: `UPDATE bank.transactions SET amount = 49.99 WHERE ${LAST}`,
    checks: ['balance_is_sum', 'balances_run_on'],
  },
  {
    what: 'amounts changed so that the sum still holds',
    sql: `UPDATE bank.transactions SET amount = 1001 WHERE ${FIRST};
          UPDATE bank.transactions SET amount = 201 WHERE ${MIDDLE}`,
    checks: ['balances_run_on'],
  },
  {
    what: 'a debit turned into a credit',
    sql: `UPDATE bank.transactions SET type = 'credit' WHERE ${MIDDLE}`,
    checks: ['balance_is_sum', 'balances_run_on'],
  },
  {
    what: 'a negative debit for a credit, which adds up',
    constraint: NO_AMOUNT_CHECK,
    sql: `UPDATE bank.transactions SET amount = -50, type = 'debit' WHERE ${LAST}`,
    checks: ['amounts_are_valid'],
  },
  {
    what: 'an unknown type',
    constraint: `${NO_TYPE_CHECK}; ${NO_HOLD_CHECK}`,
    sql: `UPDATE bank.transactions SET type = 'refund' WHERE ${LAST}`,
    checks: ['balance_is_sum', 'balances_run_on', 'amounts_are_valid'],
  },
  {
    what: 'a posting that changes nothing and has no type',
    constraint: `${NO_TYPE_CHECK}; ${nullable('transactions', 'type')}`,
    sql: `INSERT INTO bank.transactions (account_id, type, amount, balance_after, version_after) VALUES (1, NULL, 1, 850, 5);
          UPDATE bank.accounts SET version = 5 WHERE account_id = 1`,
    checks: ['balance_is_sum', 'balances_run_on', 'amounts_are_valid'],
  },
  {
    what: 'fractions of a cent',
    constraint:
      'ALTER TABLE bank.transactions ALTER COLUMN amount TYPE NUMERIC, ALTER COLUMN balance_after TYPE NUMERIC; ' +
      'ALTER TABLE bank.accounts ALTER COLUMN balance TYPE NUMERIC',
    sql: `UPDATE bank.transactions SET amount = 50.005, balance_after = 850.005 WHERE ${LAST};
          UPDATE bank.accounts SET balance = 850.005 WHERE account_id = 1`,
    checks: ['balance_is_valid', 'amounts_are_valid'],
  },
  {
    what: 'a negative balance that adds up',
    constraint: NO_AVAILABLE_CHECK,
    sql: `UPDATE bank.transactions SET type = 'debit', amount = 900, balance_after = -100 WHERE ${LAST};
          UPDATE bank.accounts SET balance = -100 WHERE account_id = 1`,
    checks: ['available_is_not_negative'],
  },
  {
    what: 'NaN as an amount',
    constraint: NO_AMOUNT_CHECK,
    sql: `UPDATE bank.transactions SET amount = 'NaN' WHERE ${MIDDLE}`,
    checks: ['balance_is_sum', 'balances_run_on', 'amounts_are_valid'],
  },
  {
    what: 'NaN as a balance_after',
    constraint: NO_AFTER_CHECK,
    sql: `UPDATE bank.transactions SET balance_after = 'NaN' WHERE ${MIDDLE}`,
    checks: ['balances_run_on'],
  },
  {
    what: 'NaN all through, which adds up',
    constraint: `${NO_BALANCE_CHECK}; ${NO_AFTER_CHECK}; ${NO_AMOUNT_CHECK}`,
    sql: `UPDATE bank.transactions SET amount = 'NaN', balance_after = 'NaN' WHERE account_id = 1;
          UPDATE bank.accounts SET balance = 'NaN' WHERE account_id = 1`,
    checks: ['balance_is_valid', 'amounts_are_valid'],
  },
  {
    what: 'NULL as a balance',
    constraint: nullable('accounts', 'balance'),
    sql: 'UPDATE bank.accounts SET balance = NULL WHERE account_id = 1',
    checks: ['balance_is_valid', 'balance_is_sum', 'balance_is_last', 'available_is_not_negative'],
  },
  {
    what: 'NULL as a version',
    constraint: nullable('accounts', 'version'),
    sql: 'UPDATE bank.accounts SET version = NULL WHERE account_id = 1',
    checks: ['balance_is_last', 'version_is_count'],
  },
  {
    what: 'NULL as an amount',
    constraint: nullable('transactions', 'amount'),
    sql: `UPDATE bank.transactions SET amount = NULL WHERE ${MIDDLE}`,
    checks: ['balance_is_sum', 'balances_run_on', 'amounts_are_valid'],
  },
  {
    what: 'NULL as a balance_after',
    constraint: nullable('transactions', 'balance_after'),
    sql: `UPDATE bank.transactions SET balance_after = NULL WHERE ${MIDDLE}`,
    checks: ['balances_run_on'],
  },
  {
    what: 'NULL as a version_after',
    constraint: nullable('transactions', 'version_after'),
    sql: `UPDATE bank.transactions SET version_after = NULL WHERE ${LAST}`,
    checks: ['balance_is_last', 'versions_run_on'],
  },
  {
    what: 'a transaction of no account at all',
    constraint: nullable('transactions', 'account_id'),
    sql: `INSERT INTO bank.transactions (account_id, type, amount, balance_after, version_after) VALUES (NULL, 'credit', 1, 1, 2)`,
    checks: ['account_exists'],
    accountId: 0,
  },
  {
    what: 'a transaction of an account that does not exist',
    constraint: NO_FOREIGN_KEY,
    sql: `INSERT INTO bank.transactions (account_id, type, amount, balance_after, version_after) VALUES (99, 'credit', 1, 1, 2)`,
    checks: ['account_exists'],
    accountId: 99,
  },
  {
    what: 'an account deleted from under its transactions',
    constraint: NO_FOREIGN_KEY,
    sql: 'DELETE FROM bank.accounts WHERE account_id = 1',
    checks: ['account_exists'],
  },
  {
    what: 'an account that is there twice',
    constraint: NO_PRIMARY_KEY,
    sql: 'INSERT INTO bank.accounts (account_id, balance, version) VALUES (1, 850, 4)',
    checks: ['account_exists'],
  },
  {
    what: 'an opening of an account that does not exist',
    sql: `INSERT INTO bank.account_openings VALUES (99, '', 'key', NULL)`,
    checks: ['account_exists'],
    accountId: 99,
  },
  {
    what: 'an opening with another deposit than the first transaction',
    sql: `INSERT INTO bank.account_openings VALUES (1, '', 'key', 850), (3, '', 'other', 1000)`,
    checks: ['opening_is_first'],
  },
  {
    what: 'an opening with a deposit that is no transaction',
    sql: `INSERT INTO bank.account_openings VALUES (2, 'ada', 'key', 5)`,
    checks: ['opening_is_first'],
    accountId: 2,
  },
  {
    what: 'an id below 1',
    constraint: NO_FOREIGN_KEY,
    sql: 'INSERT INTO bank.accounts (account_id, balance, version) VALUES (-7, 0, 1)',
    checks: ['ids_name_the_shard'],
    accountId: -7,
  },
];

/** Checks of the hash chain. Somebody who edits the books may recompute it, so the other checks must not need it. */
const OF_CHAINS = ['hashes_run_on', 'head_is_last'];

describe('verify', () => {
  beforeEach(async () => {
    await client.query(BOOKS);
    await chainAll(client, 'bank');
  });

  it('finds nothing wrong with consistent books', async () => {
    expect(await verify()).toEqual({
      accounts: 3,
      transactions: 6,
      balance: '1700.00',
      faults: [],
      faulty: 0,
      ok: true,
    });
  });

  it.each(TAMPERINGS)('finds $what', async ({ constraint, sql, checks, accountId = 1 }) => {
    if (constraint) {
      await client.query(constraint);
      expect((await verify()).ok).toBe(true);
    }
    await client.query(sql);
    const report = await verify();
    const found = report.faults.map((fault) => ({
      accountId: fault.accountId,
      checks: fault.checks.filter((check) => !OF_CHAINS.includes(check)),
    }));
    expect(found).toEqual([{ accountId, checks }]);
    expect(report).toMatchObject({ faulty: 1, ok: false });
  });

  it('finds exactly the wrong accounts', async () => {
    await client.query('UPDATE bank.accounts SET balance = 1 WHERE account_id IN (2, 3)');
    const checks = ['balance_is_sum', 'balance_is_last'];
    expect((await verify()).faults).toEqual([
      { accountId: 2, checks },
      { accountId: 3, checks },
    ]);
  });

  it('includes a NaN in the sum of the balances', async () => {
    await client.query(`${NO_BALANCE_CHECK}; UPDATE bank.accounts SET balance = 'NaN' WHERE account_id = 1`);
    expect((await verify()).balance).toBe('NaN');
  });

  it('finds ids that belong to another shard', async () => {
    // Of two shards the first one has the odd ids: account 2, and the transactions with even ids, are not its.
    const report = await verifyShard(shard(), 0, 2);
    expect(report.faults).toEqual(
      [1, 2, 3].map((accountId) => ({ accountId, checks: ['ids_name_the_shard'] })),
    );
  });

  it('finds an account in the wrong shard, where nobody looks for it', async () => {
    const shards = [0, 1, 2].map((index) => ({ url: database.url, schema: `bank_${index}` }));
    await bootstrapShards(shards);
    await seedBank(shards, { accounts: 9, balance: 100n });
    expect(await verifyBank(shards)).toMatchObject({ accounts: 9, balance: '9.00', ok: true });
    for (const [table, columns] of [
      ['accounts', 'account_id, balance, version, head_hash'],
      [
        'transactions',
        'transaction_id, account_id, type, amount, timestamp, balance_after, version_after, hash',
      ],
    ]) {
      await client.query(
        `INSERT INTO bank_2.${table} (${columns}) SELECT ${columns} FROM bank_1.${table} WHERE account_id = 5`,
      );
      await client.query(`ALTER TABLE bank_1.${table} DISABLE TRIGGER ALL`);
    }
    await client.query('DELETE FROM bank_1.accounts WHERE account_id = 5');
    await client.query('DELETE FROM bank_1.transactions WHERE account_id = 5');
    expect(await verifyBank(shards)).toEqual({
      accounts: 9,
      transactions: 9,
      balance: '9.00',
      faults: [{ accountId: 5, checks: ['ids_name_the_shard'] }],
      faulty: 1,
      ok: false,
    });
  });

  it('adds up the shards of a bank', async () => {
    const report = await verifyBank([shard(), shard()]);
    expect(report).toMatchObject({ accounts: 6, transactions: 12, balance: '3400.00', ok: false });
  });

  it('verifies the schema of a release before holds, and of one before the archive and the hashes', async () => {
    const columns = ['held_after', 'transfer_id', 'hold_id', 'reverses_id', 'fingerprint'];
    const drop = (names: readonly string[]) => names.map((name) => `DROP COLUMN ${name} CASCADE`).join(', ');
    await client.query(`
      DROP TABLE bank.holds, bank.account_events, bank.account_details, bank.transaction_details;
      ALTER TABLE bank.accounts ${drop(['held', 'active_holds', 'overdraft_limit', 'status', 'created_at', 'posted_at'])};
      ALTER TABLE bank.account_openings ${drop(['near', 'fingerprint'])};
      ALTER TABLE bank.transactions ${drop(columns)}; ALTER TABLE bank.archived_transactions ${drop(columns)}`);
    expect(await verify()).toMatchObject({ accounts: 3, transactions: 6, balance: '1700.00', ok: true });
    await client.query(`
      DROP TABLE bank.archived_transactions, bank.account_openings;
      ALTER TABLE bank.accounts DROP COLUMN head_hash, DROP COLUMN revision;
      ALTER TABLE bank.transactions DROP COLUMN hash`);
    expect(await verify()).toMatchObject({ accounts: 3, transactions: 6, balance: '1700.00', ok: true });
    await client.query(`UPDATE bank.transactions SET amount = 49.99 WHERE ${LAST}`);
    expect((await verify()).faults).toEqual([
      { accountId: 1, checks: ['balance_is_sum', 'balances_run_on'] },
    ]);
  });

  it('verifies an empty bank', async () => {
    await client.query('TRUNCATE bank.accounts CASCADE');
    expect(await verify()).toMatchObject({ accounts: 0, transactions: 0, balance: '0.00', ok: true });
  });
});

/** Account 1's first two transactions, and all of account 3's, in the archive. */
const ARCHIVE = `
  WITH old AS (DELETE FROM bank.transactions WHERE account_id = 3 OR version_after < 4 RETURNING *)
  INSERT INTO bank.archived_transactions SELECT * FROM old`;

const ARCHIVED: readonly Tampering[] = [
  {
    what: 'a changed amount',
    sql: `UPDATE bank.archived_transactions SET amount = 201 WHERE ${MIDDLE}`,
    checks: ['balance_is_sum', 'balances_run_on'],
  },
  {
    what: 'a missing transaction',
    sql: `DELETE FROM bank.archived_transactions WHERE ${FIRST}`,
    checks: ['balance_is_sum', 'version_is_count', 'versions_run_on', 'balances_run_on'],
  },
  {
    what: 'an idempotency key that is used again outside',
    sql: `UPDATE bank.transactions SET idempotency_key = 'first' WHERE ${LAST}`,
    checks: ['keys_are_unique'],
  },
  {
    what: 'a transaction that is outside, too, under another id',
    sql: `INSERT INTO bank.transactions SELECT 99, account_id, type, amount, timestamp, NULL, balance_after, version_after
          FROM bank.archived_transactions WHERE ${MIDDLE}`,
    checks: ['balance_is_sum', 'version_is_count', 'versions_run_on', 'balances_run_on'],
  },
  {
    what: 'an id that is used outside, too',
    sql: `UPDATE bank.archived_transactions
          SET transaction_id = (SELECT transaction_id FROM bank.transactions WHERE ${LAST}) WHERE ${FIRST}`,
    checks: ['ids_are_unique'],
  },
  {
    what: 'a transaction of an account that does not exist',
    sql: 'DELETE FROM bank.accounts WHERE account_id = 3',
    checks: ['account_exists'],
    accountId: 3,
  },
  {
    what: 'a transaction of no account at all',
    constraint: nullable('archived_transactions', 'account_id'),
    sql: `INSERT INTO bank.archived_transactions SELECT 99, NULL, type, amount, timestamp, NULL, balance_after, version_after
          FROM bank.archived_transactions WHERE ${FIRST}`,
    checks: ['account_exists'],
    accountId: 0,
  },
];

describe('verify of a bank with an archive', () => {
  beforeEach(async () => {
    await client.query(`${BOOKS}; ${ARCHIVE}`);
    await chainAll(client, 'bank');
  });

  it('finds nothing wrong with consistent books', async () => {
    const whole = { accounts: 3, transactions: 6, balance: '1700.00', faults: [], faulty: 0, ok: true };
    expect(await verify()).toEqual(whole);
  });

  it.each(ARCHIVED)('finds in the archive $what', async ({ constraint, sql, checks, accountId = 1 }) => {
    if (constraint) await client.query(constraint);
    await client.query(sql);
    const report = await verify();
    const [fault] = report.faults;
    expect(fault?.accountId).toBe(accountId);
    expect(fault?.checks.filter((check) => !OF_CHAINS.includes(check))).toEqual(checks);
    expect(report).toMatchObject({ faulty: 1, ok: false });
  });
});

describe('verify of one of several shards', () => {
  const routers = new ShardRouter([0, 1, 2]);

  it.each(['', 'ada', 'Zoë 🏦'])('knows where the keys of %j open accounts', async (owner) => {
    await client.query('INSERT INTO bank.accounts (balance, version) VALUES (0, 1)');
    for (let n = 0; n < 8; n++) {
      const key = `key-${n}`;
      await client.query('DELETE FROM bank.account_openings');
      await client.query('INSERT INTO bank.account_openings VALUES (1, $1, $2, NULL)', [owner, key]);
      const { faults } = await verifyShard(shard(), 0, 3);
      const isElsewhere = routers.ofOpening(owner, key) !== 0;
      expect(faults).toEqual(isElsewhere ? [{ accountId: 1, checks: ['opening_names_the_shard'] }] : []);
    }
  });
});

describe('verify of many accounts', () => {
  const ACCOUNTS = 25_000;

  beforeEach(() => seedBank([shard()], { accounts: ACCOUNTS, balance: 100_000n }));

  it('goes through all ranges', async () => {
    const progress: number[] = [];
    const report = await verifyBank([shard()], {
      onProgress: (done, total) => {
        expect(total).toBe(ACCOUNTS);
        progress.push(done);
      },
    });
    expect(report).toMatchObject({
      accounts: ACCOUNTS,
      transactions: ACCOUNTS,
      balance: '25000000.00',
      ok: true,
    });
    expect(progress).toEqual([10_000, 20_000, 25_000]);
  });

  it('finds errors at the edges of the ranges', async () => {
    const wrong = [1, 10_000, 10_001, 20_000, 20_001, ACCOUNTS];
    await client.query('UPDATE bank.accounts SET balance = 1 WHERE account_id = ANY($1)', [wrong]);
    expect((await verify()).faults.map((fault) => fault.accountId)).toEqual(wrong);
  });

  it('finds transactions without an account in every gap', async () => {
    await client.query(NO_FOREIGN_KEY);
    const gone = [1, 10_000, 10_001, ACCOUNTS];
    await client.query('DELETE FROM bank.accounts WHERE account_id = ANY($1)', [gone]);
    const report = await verify();
    expect(report.faults).toEqual(gone.map((accountId) => ({ accountId, checks: ['account_exists'] })));
  });

  it('counts them all but names only some when everything is wrong', async () => {
    await client.query('UPDATE bank.accounts SET balance = 1');
    const report = await verify();
    expect(report.faults).toHaveLength(MAX_FAULTS);
    expect(report).toMatchObject({ faulty: ACCOUNTS, ok: false });
    const text = verifyText(report, 1);
    expect(text).toContain(`${ACCOUNTS} account(s) fail`);
    expect(text.match(/^ {2}account \d+: balance_is_sum, balance_is_last$/gm)).toHaveLength(100);
    expect(text).toContain(`… and ${ACCOUNTS - 100} more`);
  });

  it('reads all ranges as of one moment', async () => {
    const tamper = `
      const { Client } = require('pg');
      const client = new Client({ connectionString: process.argv[1] });
      client.connect()
        .then(() => client.query('UPDATE bank.accounts SET balance = 1 WHERE account_id = ${ACCOUNTS}'))
        .then(() => client.end());`;
    let tampered = false;
    const report = await verifyBank([shard()], {
      onProgress: () => {
        if (tampered) return;
        tampered = true;
        // In a process of its own, because the next range must not begin before it is done.
        expect(spawnSync(process.execPath, ['-e', tamper, database.url]).status).toBe(0);
      },
    });
    expect(tampered).toBe(true);
    expect(report).toMatchObject({ balance: '25000000.00', faults: [], ok: true });
    expect((await verify()).faults).toHaveLength(1);
  });

  it('stops between two ranges when interrupted', async () => {
    const controller = new AbortController();
    const stopped = verifyBank([shard()], {
      signal: controller.signal,
      onProgress: () => controller.abort(new Error('enough')),
    });
    await expect(stopped).rejects.toThrow('enough');
  });
});

describe('verify while the ledger works', () => {
  let ledger: Awaited<ReturnType<typeof openLedger>>;

  beforeEach(async () => {
    ledger = await openLedger(database.url);
  });
  afterEach(() => ledger.close());

  it('reads it as of one moment', async () => {
    const accounts = await Promise.all(
      Array.from({ length: 20 }, () => ledger.opener.open({ openingDeposit: 100_000n }, THE_SERVICE)),
    );
    let working = true;
    const work = accounts.map(async ({ accountId }) => {
      while (working) await ledger.post({ accountId, type: 'credit', amount: 1n });
    });
    const counts: number[] = [];
    for (let round = 0; round < 10; round++) {
      const report = await verify();
      expect(report.faults).toEqual([]);
      counts.push(report.transactions);
    }
    working = false;
    await Promise.all(work);
    // It did work meanwhile.
    expect(new Set(counts).size).toBeGreaterThan(5);
  });
});
