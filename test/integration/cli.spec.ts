import 'reflect-metadata';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir, userInfo } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { Client } from 'pg';
import { pino } from 'pino';
import { createKey } from '../../src/admin/keys.js';
import {
  captureHold,
  placeHold,
  reverse,
  setStatus,
  transfer,
  voidHold,
} from '../../src/admin/act-on-ledger.js';
import { readEvents } from '../../src/admin/audit/events.js';
import { resetAccount } from '../../src/admin/reset.js';
import { seedBank } from '../../src/admin/seed.js';
import type { ShardStatus } from '../../src/admin/list-shards.js';
import { verifyBank, type VerifyReport } from '../../src/admin/verify/verify.js';
import { loadConfig } from '../../src/config/config.js';
import { bootstrapShards } from '../../src/sharding/bootstrap-shards.js';
import { describeServer, type ShardAddress } from '../../src/config/shard-address.js';
import { migrate } from '../../src/storage/migrate.js';
import { MAX_MONEY, parseDecimal, parseMoney, type Decimal } from '../../src/domain/money.js';
import { THE_SERVICE } from '../../src/domain/sender.js';
import { shardList, startInstance } from '../support/app.js';
import { startCli } from '../support/cli.js';
import { configWith } from '../support/config.js';
import { openLedger } from '../support/ledger.js';
import { createEmptyTestDatabase, createTestDatabase, type TestDatabase } from '../support/postgres.js';
import { waitUntil } from '../support/service.js';

/** A database and a session in it. */
class Bank {
  private constructor(
    readonly database: TestDatabase,
    readonly client: Client,
  ) {}

  static async open(create = createTestDatabase): Promise<Bank> {
    const database = await create('cli');
    const client = new Client({ connectionString: database.url });
    await client.connect();
    return new Bank(database, client);
  }

  async close(): Promise<void> {
    await this.client.end();
    await this.database.drop();
  }

  get shard(): ShardAddress {
    return { url: this.database.url, schema: 'bank' };
  }

  async rows(sql: string, parameters: unknown[] = []): Promise<Record<string, unknown>[]> {
    return (await this.client.query<Record<string, unknown>>(sql, parameters)).rows;
  }

  async count(table: string): Promise<number> {
    const [row] = await this.rows(`SELECT count(*)::int AS rows FROM bank.${table}`);
    return row?.rows as number;
  }
}

let bank: Bank;

const money = (text: string) => parseMoney(text, 2) as bigint;
const decimal = (text: string) => parseDecimal(text) as Decimal;

describe('seed', () => {
  beforeEach(async () => {
    bank = await Bank.open();
  });
  afterEach(() => bank.close());

  const ACCOUNT = 'SELECT balance, version FROM bank.accounts WHERE account_id = $1';
  const HISTORY = `SELECT type, amount, balance_after, version_after, idempotency_key,
                          timestamp BETWEEN now() - interval '1 minute' AND now() AS is_new
                   FROM bank.transactions WHERE account_id = $1`;

  it('leaves the same rows as opening an account', async () => {
    const ledger = await openLedger(bank.database.url);
    const opened = await ledger.opener.open({ openingDeposit: money('123.45') }, THE_SERVICE);
    await ledger.close();
    const seeded = await seedBank([bank.shard], { accounts: 1, balance: money('123.45') });
    expect(seeded).toMatchObject({
      accounts: 1,
      firstId: opened.accountId + 1,
      lastId: opened.accountId + 1,
    });
    expect(await bank.rows(ACCOUNT, [seeded.firstId])).toEqual([{ balance: '123.45', version: '2' }]);
    expect(await bank.rows(HISTORY, [seeded.firstId])).toEqual([
      {
        type: 'credit',
        amount: '123.45',
        balance_after: '123.45',
        version_after: '2',
        idempotency_key: null,
        is_new: true,
      },
    ]);
    for (const query of [ACCOUNT, HISTORY]) {
      expect(await bank.rows(query, [seeded.firstId])).toEqual(await bank.rows(query, [opened.accountId]));
    }
    const outbox = await bank.rows('SELECT transaction_ids FROM bank.outbox ORDER BY outbox_id');
    expect(outbox).toEqual([{ transaction_ids: ['1'] }, { transaction_ids: ['2'] }]);
  });

  it('opens accounts for an owner, if one is named', async () => {
    await seedBank([bank.shard], { accounts: 2, balance: 1n, owner: 'ada' });
    await seedBank([bank.shard], { accounts: 1, balance: 0n });
    expect(await bank.rows('SELECT owner FROM bank.accounts ORDER BY account_id')).toEqual([
      { owner: 'ada' },
      { owner: 'ada' },
      { owner: null },
    ]);
    expect(await verifyBank([bank.shard])).toMatchObject({ accounts: 3, ok: true });
  });

  it('announces every transaction once, in outbox rows no longer than a batch of the ledger', async () => {
    const report = await seedBank([bank.shard], { accounts: 12_500, balance: 1n });
    expect(report).toMatchObject({ accounts: 12_500, firstId: 1, lastId: 12_500 });
    const sizes = await bank.rows(
      'SELECT cardinality(transaction_ids) AS size, count(*)::int AS rows FROM bank.outbox GROUP BY 1 ORDER BY 1',
    );
    expect(sizes).toEqual([
      { size: 500, rows: 1 },
      { size: 1_000, rows: 12 },
    ]);
    const [missing] = await bank.rows(
      `SELECT count(*)::int AS rows FROM bank.transactions t
       FULL JOIN (SELECT unnest(transaction_ids) AS transaction_id FROM bank.outbox) o USING (transaction_id)
       WHERE t.account_id IS NULL OR o.transaction_id IS NULL`,
    );
    expect(missing).toEqual({ rows: 0 });
    expect(await bank.rows('SELECT sum(cardinality(transaction_ids))::int AS ids FROM bank.outbox')).toEqual([
      { ids: 12_500 },
    ]);
    expect(await verifyBank([bank.shard])).toMatchObject({ accounts: 12_500, balance: '125.00', ok: true });
  });

  it('opens empty accounts without a transaction', async () => {
    await seedBank([bank.shard], { accounts: 3, balance: 0n });
    expect(await bank.rows('SELECT balance, version FROM bank.accounts')).toEqual(
      Array.from({ length: 3 }, () => ({ balance: '0.00', version: '1' })),
    );
    expect(await bank.count('transactions')).toBe(0);
    expect(await bank.count('outbox')).toBe(0);
    expect((await verifyBank([bank.shard])).ok).toBe(true);
  });

  it('keeps the largest amount to the cent', async () => {
    await seedBank([bank.shard], { accounts: 1, balance: MAX_MONEY });
    expect(await verifyBank([bank.shard])).toMatchObject({ balance: '9999999999999999.99', ok: true });
  });

  it('advances the sequences so that the next account gets a free id', async () => {
    await seedBank([bank.shard], { accounts: 10, balance: 1n });
    const ledger = await openLedger(bank.database.url);
    expect(await ledger.opener.open({ openingDeposit: 1n }, THE_SERVICE)).toMatchObject({ accountId: 11 });
    await ledger.close();
    expect((await verifyBank([bank.shard])).ok).toBe(true);
  });

  it('spreads accounts evenly over the shards, with the ids of each', async () => {
    const shards = [0, 1, 2].map((index) => ({ url: bank.database.url, schema: `shard_${index}` }));
    const { bankId } = await migrate(shards[0] as ShardAddress, { index: 0, count: 3 });
    for (const index of [1, 2]) await migrate(shards[index] as ShardAddress, { index, count: 3 }, bankId);
    const report = await seedBank(shards, { accounts: 8, balance: money('1.10') });
    expect(report).toMatchObject({ accounts: 8, firstId: 1, lastId: 8 });
    const ids = async (schema: string) =>
      (await bank.rows(`SELECT account_id::int FROM ${schema}.accounts ORDER BY 1`)).map(
        (row) => row.account_id,
      );
    expect(await Promise.all([ids('shard_0'), ids('shard_1'), ids('shard_2')])).toEqual([
      [1, 4, 7],
      [2, 5, 8],
      [3, 6],
    ]);
    expect(await verifyBank(shards)).toMatchObject({
      accounts: 8,
      transactions: 8,
      balance: '8.80',
      ok: true,
    });
  });

  it('reports its progress, and stops after a chunk when interrupted', async () => {
    const controller = new AbortController();
    const progress: [number, number][] = [];
    const report = await seedBank(
      [bank.shard],
      { accounts: 50_000, balance: 1n },
      {
        signal: controller.signal,
        onProgress: (done, total) => {
          progress.push([done, total]);
          if (progress.length === 2) controller.abort();
        },
      },
    );
    expect(progress).toEqual([
      [10_000, 50_000],
      [20_000, 50_000],
    ]);
    expect(report).toMatchObject({ accounts: 20_000, firstId: 1, lastId: 20_000 });
    expect(await bank.count('accounts')).toBe(20_000);
  });

  it('says how many accounts were created when it fails, and leaves no partial chunk', async () => {
    await bank.client.query('ALTER TABLE bank.transactions ADD CHECK (transaction_id <= 15000)');
    await expect(seedBank([bank.shard], { accounts: 30_000, balance: 1n })).rejects.toThrow(
      /^10000 accounts were made\. Then: /,
    );
    expect(await verifyBank([bank.shard])).toMatchObject({
      accounts: 10_000,
      transactions: 10_000,
      ok: true,
    });
  });
});

/** Its relay would poll as fast as it may: none must run. */
const session = async () => ({
  config: configWith({ DATABASE_URL: bank.database.url }, { outbox: { pollMs: 10 } }),
  bank: await bootstrapShards([bank.shard]),
  logger: pino({ level: 'silent' }),
});

describe('reset', () => {
  beforeEach(async () => {
    bank = await Bank.open();
    await seedBank([bank.shard], { accounts: 2, balance: money('350.00') });
    await bank.client.query('DELETE FROM bank.outbox');
  });
  afterEach(async () => {
    expect((await verifyBank([bank.shard])).faults).toEqual([]);
    await bank.close();
  });

  const reset = async (accountId: number, balance: string) =>
    resetAccount(await session(), accountId, money(balance));

  it.each([
    ['up', '1000.00', 'credit', '650.00'],
    ['down', '0.01', 'debit', '349.99'],
    ['to nothing', '0', 'debit', '350.00'],
    ['to the most there can be', '9999999999999999.99', 'credit', '9999999999999649.99'],
  ])('goes %s by one transaction', async (_way, balance, type, amount) => {
    const report = await reset(2, balance);
    expect(report.before).toMatchObject({ accountId: 2, balance: money('350.00'), version: 2 });
    expect(report.after).toMatchObject({ accountId: 2, balance: money(balance), version: 3 });
    const [posted] = await bank.rows('SELECT * FROM bank.transactions WHERE version_after = 3');
    expect(posted).toMatchObject({
      account_id: '2',
      transaction_id: String(report.transaction?.transactionId),
      type,
      amount,
    });
  });

  it('posts nothing when the balance is right already', async () => {
    expect(await reset(1, '350')).toMatchObject({ transaction: undefined, after: { version: 2 } });
    expect(await bank.count('transactions')).toBe(2);
  });

  it("leaves its events to the service's relay, which updates the balance cache", async () => {
    await bank.client.query(
      'INSERT INTO bank.outbox (transaction_ids, account_event_ids) VALUES (ARRAY[1], ARRAY[]::bigint[])',
    );
    // The reset has to wait for the row, long enough for a relay to run many times.
    await bank.client.query('BEGIN');
    await bank.client.query('SELECT FROM bank.accounts WHERE account_id = 1 FOR UPDATE');
    const resetting = reset(1, '1000');
    await new Promise((resolve) => setTimeout(resolve, 700));
    await bank.client.query('COMMIT');
    const { transaction } = await resetting;
    const left = await bank.rows('SELECT transaction_ids FROM bank.outbox ORDER BY outbox_id');
    expect(left).toEqual([
      { transaction_ids: ['1'] },
      { transaction_ids: [String(transaction?.transactionId)] },
    ]);
  });

  it('says that an account does not exist', async () => {
    await expect(reset(5, '1')).rejects.toThrow(/^account 5 does not exist$/);
  });

  it('succeeds in the end while others post to the account', async () => {
    const ledger = await openLedger(bank.database.url);
    let working = true;
    let posted = 0;
    const work = (async () => {
      for (; working; posted++) {
        await ledger.post({ accountId: 1, type: 'credit', amount: 1n });
        await new Promise((resolve) => setTimeout(resolve, 2));
      }
    })();
    const report = await reset(1, '1000');
    working = false;
    await work;
    await ledger.close();
    expect(posted).toBeGreaterThan(1);
    expect(report.after.balance).toBe(money('1000'));
    expect(report.after.version).toBe(report.before.version + 1);
  });
});

/** Without the warning that the server of the tests keeps nothing when power fails. */
const start = (args: readonly string[], environment: Record<string, string> = {}) =>
  startCli(args, { DATABASE_URL: bank.database.url, LOG_LEVEL: 'error', ...environment });

const run = (args: readonly string[], environment?: Record<string, string>) => start(args, environment).ended;

/** Several processes in one test, each of which takes its time to start on a busy machine. */
const PROCESSES_TIMEOUT_MS = 90_000;

describe('what operators post', () => {
  beforeEach(async () => {
    bank = await Bank.open();
    await seedBank([bank.shard], { accounts: 3, balance: money('350.00') });
  });
  afterEach(() => bank.close());

  const acts = async () => (await readEvents([bank.shard])).events.map(({ action }) => action);
  const BALANCES = 'SELECT balance, held::numeric(18, 2) FROM bank.accounts ORDER BY account_id';

  it('is signed by the user of the system, and recorded once it is known to be possible', async () => {
    const opened = await session();
    await transfer(opened, { from: 1, to: 2, amount: decimal('50'), description: 'a correction' });
    expect(await bank.rows('SELECT DISTINCT actor, description FROM bank.transaction_details')).toEqual([
      { actor: userInfo().username, description: 'a correction' },
    ]);
    await setStatus(opened, 2, 'frozen');
    expect(await bank.rows('SELECT account_id, actor, changes FROM bank.account_events')).toEqual([
      { account_id: '2', actor: userInfo().username, changes: '{"status":"frozen"}' },
    ]);
    const recorded = await acts();
    expect(recorded.slice(-2)).toEqual(['transfer.made', 'account.status_set']);
    await expect(transfer(opened, { from: 1, to: 2, amount: decimal('0.01') })).rejects.toThrow(
      /^account 2 is frozen$/,
    );
    await expect(transfer(opened, { from: 1, to: 77, amount: decimal('0.01') })).rejects.toThrow(
      /^account 77 does not exist$/,
    );
    await expect(voidHold(opened, 1, {})).rejects.toThrow(/^the hold does not exist$/);
    await expect(transfer(opened, { from: 1, to: 3, amount: decimal('301') })).rejects.toThrow(
      /^account 1 does not hold that much$/,
    );
    await expect(reverse(opened, { transactionId: 1 }, {})).rejects.toThrow(
      /^account 1 does not hold that much$/,
    );
    expect(await setStatus(opened, 2, 'frozen')).toMatchObject({ changed: false });
    expect(await acts()).toEqual(recorded);
  });

  it('is refused where the status of an account says so', async () => {
    const opened = await session();
    await expect(setStatus(opened, 1, 'closed')).rejects.toThrow(
      /^account 1 is not empty, or has active holds$/,
    );
    await setStatus(opened, 1, 'frozen');
    await expect(resetAccount(opened, 1, 0n)).rejects.toThrow(/^account 1 is frozen: `unfreeze 1` first$/);
    await resetAccount(opened, 2, 0n);
    await setStatus(opened, 2, 'closed');
    await expect(setStatus(opened, 2, 'open')).rejects.toThrow(/^account 2 is closed$/);
  });

  it('is posted once with a key', async () => {
    const opened = await session();
    const request = { amount: decimal('10'), key: 'k', expires: { expiresInMs: 3_600_000 } };
    const placed = await placeHold(opened, 1, request);
    await expect(placeHold(opened, 1, request)).rejects.toThrow(
      `the idempotency key was used by hold${placed.holds[0]?.holdId} before`,
    );
    expect(await bank.rows(BALANCES)).toEqual([
      { balance: '350.00', held: '10.00' },
      { balance: '350.00', held: '0.00' },
      { balance: '350.00', held: '0.00' },
    ]);
  });

  it('does not go from a hold to the account of the hold', async () => {
    const opened = await session();
    const [placed] = (await placeHold(opened, 1, { amount: decimal('10') })).holds;
    const holdId = placed?.holdId ?? 0;
    await expect(captureHold(opened, holdId, { to: 1 })).rejects.toThrow(
      `hold${holdId} is of account 1 itself`,
    );
    expect((await acts()).at(-1)).toBe('hold.placed');
    expect((await captureHold(opened, holdId, { to: 2 })).transactions).toHaveLength(3);
  });

  it('can be tried without being posted or recorded', async () => {
    const before = [await bank.rows(BALANCES), await acts()];
    const effects = await transfer(await session(), {
      from: 1,
      to: 2,
      amount: decimal('50'),
      dryRun: true,
      key: 'k',
    });
    expect(effects.accounts).toMatchObject([{ balance: money('300') }, { balance: money('400') }]);
    expect([await bank.rows(BALANCES), await acts()]).toEqual(before);
    expect(await bank.count('transactions')).toBe(3);
  });

  /** The id that a command printed last. */
  let lastId = '';

  /** The lines that a command prints, with N for the numbers of ids. */
  const said = async (...args: string[]) => {
    const { code, stdout, stderr } = await run(args);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    lastId = /\b(?:txn|tr|hold)\d+/.exec(stdout)?.[0] ?? '';
    const lines = stdout.split('\n').slice(0, -1);
    return lines.map((line) => line.replace(/\b(txn|tr|hold)\d+/g, '$1N'));
  };

  it(
    'moves, reserves and gives back money by commands',
    async () => {
      expect(await said('transfer', '--from', '1', '--to', '2', '--amount', '50')).toEqual([
        'Transfer trN: 50.00 from account 1 to account 2.',
        'Account 1: balance 300.00, version 3.',
        'Account 2: balance 400.00, version 3.',
      ]);
      const moved = lastId;
      expect(await said('hold', '1', '--amount', '30')).toEqual([
        'holdN: 30.00 of account 1, until captured or voided.',
        'Account 1: balance 300.00, on hold 30.00, available 270.00, version 4.',
      ]);
      const hold = lastId;
      expect(await said('capture', hold, '--amount', '10', '--keep-rest', '--to', '3')).toEqual([
        'Capture of holdN: 10.00 to account 3, by trN; 20.00 stay on hold.',
        'Account 1: balance 290.00, on hold 20.00, available 270.00, version 6.',
        'Account 3: balance 360.00, version 3.',
      ]);
      expect(await said('void', hold)).toEqual([
        'Void of holdN: 20.00 available again.',
        'Account 1: balance 290.00, version 7.',
      ]);
      const dryRun = await said('reverse', moved, '--amount', '20', '--dry-run', '--json');
      expect(JSON.parse(dryRun.join())).toMatchObject({
        dryRun: true,
        transactions: [
          { accountId: 1, type: 'credit', amount: '20.00', balanceAfter: '310.00' },
          { accountId: 2, type: 'debit', amount: '20.00', balanceAfter: '380.00' },
        ],
      });
      expect(await said('reverse', moved, '--amount', '20')).toEqual([
        'Reversal of trN: 20.00, by trN.',
        'Account 1: balance 310.00, version 8.',
        'Account 2: balance 380.00, version 4.',
      ]);
      // The deposit of the seed is more than the account has by now.
      expect(await said('reverse', 'txn1', '--force')).toEqual([
        'Reversal of txnN: 350.00, by the debit txnN.',
        'Account 1: balance -40.00, available 0.00, version 9.',
      ]);
    },
    PROCESSES_TIMEOUT_MS,
  );

  it(
    'freezes, unfreezes and closes accounts by commands',
    async () => {
      expect(await said('freeze', '1')).toEqual(['Account 1: balance 350.00, version 2, frozen.']);
      expect(await said('freeze', '1')).toEqual([
        'Account 1: balance 350.00, version 2, frozen.',
        'It was so already: nothing was changed.',
      ]);
      expect(await said('freeze', '1', '--debits-only')).toEqual([
        'Account 1: balance 350.00, version 2, debits blocked.',
      ]);
      expect(await said('unfreeze', '1')).toEqual(['Account 1: balance 350.00, version 2.']);
      await resetAccount(await session(), 1, 0n);
      expect(await said('close', '1')).toEqual(['Account 1: balance 0.00, version 3, closed.']);
    },
    PROCESSES_TIMEOUT_MS,
  );
});

/** Said in one line, without a stack or a word of how it is done. */
const SENTENCE = /^error: [^\n]+\n$/;

describe('the command line', () => {
  beforeAll(async () => {
    bank = await Bank.open();
    await seedBank([bank.shard], { accounts: 3, balance: money('350.00') });
  });
  afterAll(() => bank.close());

  it.each([
    [
      ['--help'],
      [
        'migrate',
        'seed',
        'reset',
        'transfer',
        'unfreeze',
        'verify',
        'backup',
        'restore',
        'shards',
        'Exit codes',
      ],
    ],
    [['migrate', '--help'], ['migrate']],
    [
      ['seed', '--help'],
      ['--accounts <N>', '--balance <amount>', 'default: 1000.00'],
    ],
    [
      ['reset', '--help'],
      ['--account <ID>', 'default: 1', '--balance <amount>', 'default: 1000.00', 'on hold less the limit'],
    ],
    [
      ['capture', '--help'],
      ['<hold>', '--to <ID>', '--keep-rest', '--key <key>', '--dry-run', '--json'],
    ],
    [['verify', '--help'], ['--json']],
    [['backup', '--help'], ['--to <DIR>']],
    [
      ['restore', '--help'],
      ['--from <DIR>', '--skip-ids <N>', 'default: 1000000000'],
    ],
    [
      ['shards', '--help'],
      ['list', 'move'],
    ],
    [
      ['shards', 'list', '--help'],
      ['--service <URL>', '--json'],
    ],
    [
      ['shards', 'move', '--help'],
      ['<shard>', '--to <URL>', '--max-pause <ms>', 'default: 3000'],
    ],
  ])('%j shows the help', async (args, words) => {
    const { code, stdout, stderr } = await run(args);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    for (const word of ['Usage: npm run -s cli --', ...words]) expect(stdout).toContain(word);
  });

  it.each([
    [[], 'Usage:'],
    [['frobnicate'], "unknown command 'frobnicate'"],
    [['verify', '--frobnicate'], "unknown option '--frobnicate'"],
    [['verify', 'all'], 'too many arguments'],
    [['seed'], 'say --accounts <N> or --alive'],
    [['seed', '--accounts'], "option '--accounts <N>' argument missing"],
    [
      ['seed', '--accounts', '0'],
      "option '--accounts <N>' argument '0' is invalid. It must be a whole number from 1",
    ],
    [['seed', '--accounts', '1e6'], "argument '1e6' is invalid. It must be a whole number"],
    [
      ['seed', '--accounts', '5', '--balance', '1.00005'],
      "option '--balance <amount>' argument '1.00005' is invalid",
    ],
    [['reset', '--balance', '-1'], 'It must be an amount, with at most 16 digits before the point'],
    [
      ['reset', '--balance', '10000000000000000.00'],
      'It must be an amount, with at most 16 digits before the point',
    ],
    [['reset', '--balance', 'NaN'], 'such as 1000.00'],
    [['reset', '--account', '-1'], "option '--account <ID>' argument '-1' is invalid"],
    [['backup'], "required option '--to <DIR>' not specified"],
    [['restore'], "required option '--from <DIR>' not specified"],
    [
      ['restore', '--from', '.', '--skip-ids', '-1'],
      "option '--skip-ids <N>' argument '-1' is invalid. It must be a whole number from 0",
    ],
    [['transfer', '--from', '1', '--to', '2'], "required option '--amount <amount>' not specified"],
    [['transfer', '--from', '1', '--to', '1', '--amount', '1'], '--from and --to name the same account'],
    [['capture', '17'], "argument value '17' is invalid for argument 'hold'. It must be like hold17."],
    [['hold', '1', '--amount', '0'], "option '--amount <amount>' argument '0' is invalid"],
    [['freeze'], "missing required argument 'account'"],
    [['shards'], 'Usage:'],
    [['shards', 'frobnicate'], "unknown command 'frobnicate'"],
    [['shards', 'move', '--to', 'postgresql://db/bank'], "missing required argument 'shard'"],
    [['shards', 'move', '1'], "required option '--to <URL>' not specified"],
    [
      ['shards', 'move', 'one', '--to', 'postgresql://db/bank'],
      "argument value 'one' is invalid for argument 'shard'. It must be a whole number from 0 to 1023",
    ],
    [
      ['shards', 'move', '1', '--to', 'postgresql://db/bank', '--max-pause', '0'],
      "option '--max-pause <ms>' argument '0' is invalid",
    ],
  ])('%j is rejected with exit code 2', async (args, message) => {
    const { code, stdout, stderr } = await run(args);
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
    expect(stderr).toContain(message);
    expect(stderr).not.toMatch(/^ +at /m);
  });

  it.each([
    ['an account that does not exist', ['reset', '--account', '77'], {}, 'account 77 does not exist'],
    [
      'a database that does not answer',
      ['verify'],
      { DATABASE_URL: 'postgresql://bank@127.0.0.1:1/bank' },
      'ECONNREFUSED',
    ],
    [
      'an amount that the currency has no coins for',
      ['seed', '--accounts', '5', '--balance', '1.005'],
      {},
      'amounts in USD have 2 decimals',
    ],
    ['a bank of several shards', ['verify'], { DATABASE_SCHEMA: 'shard_of_two' }, 'the bank has 2 shard(s)'],
  ])('%s is reported in a sentence, with exit code 1', async (_what, args, environment, message) => {
    await migrate({ url: bank.database.url, schema: 'shard_of_two' }, { index: 1, count: 2 });
    const { code, stdout, stderr } = await run(args, { DATABASE_START_TIMEOUT_MS: '0', ...environment });
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
    expect(stderr).toMatch(SENTENCE);
    expect(stderr).toContain(message);
  });

  it('goes on without a word when nobody reads its output any more', () => {
    const command = `{ "${process.execPath}" dist/src/cli.js --help; echo "exit code $?" >&2; } | true`;
    expect(spawnSync('/bin/sh', ['-c', command], { encoding: 'utf8' }).stderr).toBe('exit code 0\n');
  });

  it('names every invalid variable', async () => {
    const { code, stderr } = await run(['verify'], { DATABASE_URL: 'mysql://x', LEDGER_BATCH: 'many' });
    expect(code).toBe(1);
    expect(stderr).toMatch(
      /^error: The configuration has 2 problem\(s\):\n {2}- DATABASE_URL .*\n {2}- LEDGER_BATCH /,
    );
    expect(stderr).not.toContain('mysql');
  });

  it.each(['verify', 'shards list', 'events tail'])(
    '%s warns of a misspelt variable, beside its answer',
    async (command) => {
      const { stdout, stderr } = await run(command.split(' '), {
        LOG_LEVEL: '',
        DATABASE_ULR: 'postgresql://bank:s3cret@db/bank',
      });
      expect(stderr).toContain(
        'WARN: DATABASE_ULR is not a setting and has no effect: is DATABASE_URL meant?',
      );
      expect(stdout + stderr).not.toMatch(/s3cret|WARN[^]*WARN/);
    },
  );

  it('shows the stack of a defect', async () => {
    const other = await Bank.open();
    await other.client.query('ALTER TABLE bank.transactions RENAME COLUMN amount TO lost');
    const { code, stderr } = await run(['verify'], { DATABASE_URL: other.database.url });
    await other.close();
    expect(code).toBe(1);
    expect(stderr).toMatch(/column "lost" does not exist\n +at /);
  });

  it(
    'migrates only once',
    async () => {
      const empty = await Bank.open(createEmptyTestDatabase);
      const environment = { DATABASE_URL: empty.database.url };
      const first = await run(['migrate'], environment);
      const second = await run(['migrate'], environment);
      await empty.close();
      expect(first).toMatchObject({ code: 0, stderr: '' });
      expect(first.stdout).toMatch(/^Applied \d+ migration\(s\):\n {2}SpecTables1795478400000\n/);
      expect(second).toEqual({ code: 0, stdout: 'The schema is already up to date.\n', stderr: '' });
    },
    PROCESSES_TIMEOUT_MS,
  );

  it(
    'resets account 1 to 1000.00 by default',
    async () => {
      const first = await run(['reset']);
      expect(first).toMatchObject({ code: 0, stderr: '' });
      expect(first.stdout).toMatch(
        /^Account 1: 350\.00 → 1000\.00, version 2 → 3, by the credit txn\d+\.\n$/,
      );
      expect((await run(['reset'])).stdout).toBe('Account 1: already 1000.00, version 3.\n');
      expect((await run(['reset', '--account', '2', '--balance', '0'])).stdout).toMatch(
        /^Account 2: 350\.00 → 0\.00, /,
      );
    },
    PROCESSES_TIMEOUT_MS,
  );

  it(
    'seeds and verifies accounts',
    async () => {
      const seeded = await run(['seed', '--accounts', '5', '--balance', '9007199254740993.07']);
      expect(seeded).toMatchObject({ code: 0, stderr: '' });
      expect(seeded.stdout).toMatch(
        /^Made 5 account\(s\) with 9007199254740993\.07 each, ids from 4 to 8, in \d+\.\d s \(\d+ accounts\/s\)\.\n$/,
      );
      const verified = await run(['verify']);
      expect(verified).toMatchObject({ code: 0, stderr: '' });
      expect(verified.stdout).toContain('The books are whole.');
      expect(verified.stdout).toContain('versions_run_on');
    },
    PROCESSES_TIMEOUT_MS,
  );
});

describe('the command line on a bank of several shards', () => {
  let other: Bank;
  let environment: Record<string, string>;

  beforeAll(async () => {
    [bank, other] = await Promise.all([
      Bank.open(createEmptyTestDatabase),
      Bank.open(createEmptyTestDatabase),
    ]);
    const shards = [0, 1, 2].map((index) => ({ url: bank.database.url, schema: `bank_${index}` }));
    // Port 1: a service may be running on the default port.
    environment = { DATABASE_URL: '', SHARDS: shardList(shards), DATABASE_START_TIMEOUT_MS: '0', PORT: '1' };
  });
  afterAll(async () => {
    await bank.close();
    await other.close();
  });

  const server = (of: Bank) => describeServer(of.database.url);
  const accounts = async (schema: string, of = bank) => {
    const found = await of.rows(`SELECT account_id::int AS id, balance FROM ${schema}.accounts ORDER BY 1`);
    return found.map(({ id, balance }) => `${String(id)}: ${String(balance)}`);
  };
  const list = async () => {
    const { code, stdout, stderr } = await run(['shards', 'list', '--json'], environment);
    expect(code).toBe(0);
    expect(stderr).toMatch(/^Queues are not shown: no service answers at \S+\.\n$/);
    return JSON.parse(stdout) as ShardStatus[];
  };

  it('lists shards that are not part of a bank yet', async () => {
    const [first] = await list();
    expect(first).toMatchObject({ shard: 0, server: server(bank), schema: 'bank_0' });
    expect(first?.problem).toContain('does not exist');
  });

  it(
    'creates it, once',
    async () => {
      expect((await run(['migrate'], environment)).stdout).toMatch(
        /^Applied \d+ migration\(s\):\n {2}SpecTables1795478400000\n/,
      );
      expect((await run(['migrate'], environment)).stdout).toBe('The schema is already up to date.\n');
    },
    PROCESSES_TIMEOUT_MS,
  );

  it(
    'seeds, resets and verifies over all shards',
    async () => {
      const seeded = await run(['seed', '--accounts', '7', '--balance', '350'], environment);
      expect(seeded.stdout).toMatch(/^Made 7 account\(s\) with 350\.00 each, ids from 1 to 7, /);
      const reset = await run(['reset', '--account', '5'], environment);
      expect(reset.stdout).toMatch(
        /^Account 5: 350\.00 → 1000\.00, version 2 → 3, by the credit txn\d+\.\n$/,
      );
      expect(await accounts('bank_0')).toEqual(['1: 350.00', '4: 350.00', '7: 350.00']);
      expect(await accounts('bank_1')).toEqual(['2: 350.00', '5: 1000.00']);
      expect(await accounts('bank_2')).toEqual(['3: 350.00', '6: 350.00']);
      const between = ['transfer', '--from', '2', '--to', '3', '--amount', '1'];
      expect(await run(between, environment)).toEqual({
        ...{ code: 0, stderr: '' },
        stdout: expect.stringMatching(/^Transfer tr\d+: 1\.00 from account 2 to account 3\.\n$/) as unknown,
      });
      const verified = await run(['verify', '--json'], environment);
      expect(JSON.parse(verified.stdout)).toMatchObject({
        accounts: 7,
        // A transfer between shards is a hold, its release and a debit, and a credit.
        transactions: 12,
        balance: '3100.00',
        ok: true,
      });
    },
    PROCESSES_TIMEOUT_MS,
  );

  it(
    'lists the shards, with the queues of a running service',
    async () => {
      expect(await list()).toEqual(
        [3, 2, 2].map((count, shard) => ({
          shard,
          server: server(bank),
          schema: `bank_${shard}`,
          accounts: count,
          bytes: expect.any(Number),
          outbox: count + ([0, 4, 1][shard] ?? 0),
        })),
      );
      const service = await startInstance(loadConfig(environment).database.shards ?? []);
      const shown = await run(['shards', 'list', '--service', service.url], environment);
      await service.close();
      expect(shown).toMatchObject({ code: 0, stderr: '' });
      const lines = shown.stdout.split('\n').map((line) => line.split(/ {2,}/));
      expect(lines[0]).toEqual(['shard', 'server', 'schema', 'accounts', 'size', 'outbox', 'queue', 'state']);
      const size = expect.stringMatching(/^\d+\.\d KiB$/) as unknown;
      const outbox = expect.stringMatching(/^\d+$/) as unknown;
      expect(lines[2]).toEqual(['1', server(bank), 'bank_1', '2', size, outbox, '0', 'up']);
    },
    PROCESSES_TIMEOUT_MS,
  );

  it(
    'lists the queues of a service that needs credentials, with a key that it sends nowhere else',
    async () => {
      const shards = loadConfig(environment).database.shards ?? [];
      const { key } = await createKey(shards, { name: 'operator', scopes: ['admin'] });
      const keyFile = join(mkdtempSync(join(tmpdir(), 'bank-key-')), 'key');
      writeFileSync(keyFile, `${key}\n`);
      const service = await startInstance(shards, { AUTH: 'on' });
      const listed = (...args: string[]) =>
        run(['shards', 'list', '--json', '--service', service.url, ...args], environment);
      try {
        const refused = await listed();
        expect(JSON.parse(refused.stdout)).toHaveLength(3);
        expect(refused.stderr).toBe(
          `Queues are not shown: ${service.url} answers 401: name a file with an API key with the scope admin ` +
            '(--key-file), or set MANAGEMENT_PORT.\n',
        );
        const shown = await listed('--key-file', keyFile);
        expect(shown).toMatchObject({ code: 0, stderr: '' });
        expect(JSON.parse(shown.stdout)).toMatchObject([{ queue: 0 }, { queue: 0 }, { queue: 0 }]);
        const elsewhere = await listed('--key-file', keyFile, '--service', 'http://bank.example.com');
        expect(elsewhere.code).toBe(1);
        expect(elsewhere.stderr).toContain('a key is sent only over TLS or to this machine');
        expect(
          [refused, shown, elsewhere].some(({ stdout, stderr }) => (stdout + stderr).includes(key)),
        ).toBe(false);
      } finally {
        await service.close();
        rmSync(dirname(keyFile), { recursive: true });
      }
    },
    PROCESSES_TIMEOUT_MS,
  );

  it('lists a shard that is down along with the others', async () => {
    const [first, second] = environment['SHARDS']?.split(',') ?? [];
    const down = 'postgresql://bank@127.0.0.1:1/bank?schema=bank_2';
    const shown = await run(['shards', 'list'], {
      ...environment,
      SHARDS: `${first},${second},${down}`,
    });
    expect(shown.code).toBe(0);
    expect(shown.stderr).toBe('Queues are not shown: no service answers at http://127.0.0.1:1.\n');
    expect(shown.stdout).toMatch(/^1 .* up$/m);
    expect(shown.stdout).toMatch(/^2 +127\.0\.0\.1:1\/bank +bank_2 +– +– +– +– +down: .*ECONNREFUSED/m);
    expect(shown.stdout).not.toContain('@');
  });

  it.each([
    [
      'a shard that is not there',
      ['7', '--to', 'postgresql://db/bank'],
      'there is no shard 7; there are 0 to 2',
    ],
    ['a server that is not there', ['1', '--to', 'postgresql://127.0.0.1:1/bank'], 'ECONNREFUSED'],
  ])('refuses to move %s, in a sentence', async (_what, args, message) => {
    const { code, stdout, stderr } = await run(['shards', 'move', ...args], environment);
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
    expect(stderr).toMatch(SENTENCE);
    expect(stderr).toContain(message);
  });

  it(
    'moves a shard, and works with the moved bank',
    async () => {
      const args = ['shards', 'move', '1', '--to', `postgresql://${server(other)}`];
      const moved = await run(args, environment);
      expect(moved.code).toBe(0);
      expect(moved.stderr).toMatch(/^shard 1: copying, round 1\n/);
      expect(moved.stdout).toContain(
        `Moved shard 1 from ${server(bank)} to ${server(other)}: 6 transactions copied, compared and verified.\n`,
      );
      expect((await run(args, environment)).stdout).toBe(`Shard 1 is at ${server(other)}.\n`);
      expect(await accounts('bank_1', other)).toEqual(['2: 349.00', '5: 1000.00']);
      expect((await list()).map((shard) => shard.server)).toEqual([
        server(bank),
        server(other),
        server(bank),
      ]);
      expect((await run(['reset', '--account', '2'], environment)).code).toBe(0);
      const verified = await run(['verify', '--json'], environment);
      expect(JSON.parse(verified.stdout)).toMatchObject({ accounts: 7, balance: '3751.00', ok: true });
    },
    PROCESSES_TIMEOUT_MS,
  );
});

describe('the command line on inconsistent books', () => {
  beforeAll(async () => {
    bank = await Bank.open();
    await seedBank([bank.shard], { accounts: 3, balance: money('350.00') });
    await bank.client.query('UPDATE bank.accounts SET balance = 351 WHERE account_id = 2');
  });
  afterAll(() => bank.close());

  it('names the accounts and exits with 1', async () => {
    const { code, stdout, stderr } = await run(['verify']);
    expect({ code, stderr }).toEqual({ code: 1, stderr: '' });
    expect(stdout).toMatch(
      /The books are NOT whole\. 1 account\(s\) fail:\n {2}account 2: balance_is_sum, balance_is_last\n$/,
    );
  });

  it('says the same in JSON', async () => {
    const { code, stdout } = await run(['verify', '--json']);
    expect(code).toBe(1);
    expect(JSON.parse(stdout) as VerifyReport).toEqual({
      accounts: 3,
      transactions: 3,
      balance: '1051.00',
      faults: [{ accountId: 2, checks: ['balance_is_sum', 'balance_is_last'] }],
      faulty: 1,
      ok: false,
    });
  });
});

describe('the command line when it is interrupted', () => {
  beforeEach(async () => {
    bank = await Bank.open();
  });
  afterEach(() => bank.close());

  it.each([
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ] as const)('a seed ends after the current chunk on %s and exits with %i', async (signal, exitCode) => {
    const { child, ended } = start(['seed', '--accounts', '5000000']);
    await waitUntil(async () => (await bank.count('accounts')) > 0, 20_000);
    child.kill(signal);
    const { code, stdout, stderr } = await ended;
    const made = Number(/^Made (\d+) account/.exec(stdout)?.[1]);
    expect(code).toBe(exitCode);
    expect(stderr).toBe(`error: stopped by ${signal}\n`);
    expect(made).toBeGreaterThan(0);
    expect(made % 10_000).toBe(0);
    expect(await verifyBank([bank.shard])).toMatchObject({ accounts: made, transactions: made, ok: true });
  });
});
