import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { Client } from 'pg';
import { chainAll } from '../../tools/bench/chained.js';
import { archiveBank, type ArchiveOptions } from '../../src/admin/archive.js';
import { verifyBank } from '../../src/admin/verify/verify.js';
import { bootstrapShards } from '../../src/sharding/bootstrap-shards.js';
import { tablesOf } from '../../src/storage/tables.js';
import { THE_SERVICE } from '../../src/domain/sender.js';
import type { Command, PostingCommand } from '../../src/domain/command.js';
import { Outbox } from '../../src/messaging/outbox.js';
import { InterruptedError } from '../../src/cli/interrupted.js';
import { fillTwoShards, TwoShards } from '../support/between-shards.js';
import { startCli } from '../support/cli.js';
import { countdown, openReader, openWithHistory, timeOf, walk } from '../support/history.js';
import { openLedger, failureOf, type TestLedger } from '../support/ledger.js';
import { createTestDatabase, type TestDatabase } from '../support/postgres.js';
import { waitUntil } from '../support/service.js';

let database: TestDatabase;
let client: Client;
let ledger: TestLedger;

beforeEach(async () => {
  database = await createTestDatabase('archive');
  client = new Client({ connectionString: database.url });
  await client.connect();
  ledger = await openLedger(database.url);
});

afterEach(async () => {
  await ledger.close();
  await client.end();
  await database.drop();
});

const shard = () => ({ url: database.url, schema: 'bank' });
const archive = (before = NEW, options: ArchiveOptions = {}) => archiveBank([shard()], before, options);

/** Histories are older than this, and new postings younger. */
const NEW = new Date('2026-01-01');

const COLUMNS =
  'transaction_id, account_id, type, amount, timestamp, idempotency_key, balance_after, version_after';
const ALL = `SELECT ${COLUMNS} FROM bank.transactions UNION ALL SELECT ${COLUMNS} FROM bank.archived_transactions
             ORDER BY transaction_id`;

async function rows(sql: string): Promise<Record<string, unknown>[]> {
  return (await client.query<Record<string, unknown>>(sql)).rows;
}

async function count(table: string): Promise<number> {
  const [row] = await rows(`SELECT count(*)::int AS rows FROM bank.${table}`);
  return row?.rows as number;
}

const credit = (accountId: number, more: Partial<PostingCommand> = {}): PostingCommand => ({
  ...{ accountId, type: 'credit', amount: 1n },
  ...more,
});
const post = (command: PostingCommand) => ledger.post(command);

describe('the archive', () => {
  it('takes exactly the transactions older than a time, unchanged', async () => {
    await openWithHistory(client, 10);
    await openWithHistory(client, 5);
    const before = await rows(ALL);
    expect(await archive(timeOf(8), { stepRows: 4 })).toMatchObject({ moved: 6 + 5, complete: true });
    expect(await rows(ALL)).toEqual(before);
    const [oldest] = await rows('SELECT min(timestamp) AS time FROM bank.transactions');
    expect(oldest).toEqual({ time: timeOf(8) });
    const [newest] = await rows('SELECT max(timestamp) AS time FROM bank.archived_transactions');
    expect(newest).toEqual({ time: timeOf(7) });
    expect(await archive(timeOf(8))).toMatchObject({ moved: 0, complete: true });
    expect(await verifyBank([shard()])).toMatchObject({ transactions: 15, ok: true });
  });

  it('takes old transactions even if a wrong clock put them among new ones', async () => {
    const accountId = await openWithHistory(client, 20);
    await client.query(
      // Only accounts that were opened by an earlier release may have such a history.
      `UPDATE bank.accounts SET created_at = NULL;
       UPDATE bank.transactions SET timestamp = '2099-01-01' WHERE version_after BETWEEN 3 AND 12`,
    );
    await chainAll(client, 'bank');
    expect(await archive(NEW, { stepRows: 2 })).toMatchObject({ moved: 10 });
    expect(await walk(openReader(ledger), accountId, 100)).toEqual([countdown(21, 2)]);
    expect((await verifyBank([shard()])).ok).toBe(true);
  });

  it('has nothing to take in an empty bank', async () => {
    const progress: number[] = [];
    const onProgress = (done: number, total: number) => progress.push(done, total);
    expect(await archive(NEW, { onProgress })).toMatchObject({ moved: 0, complete: true });
    expect(progress).toEqual([]);
  });

  it('stops between two steps, and continues when it is run again', async () => {
    await openWithHistory(client, 100);
    const controller = new AbortController();
    const seen: number[] = [];
    const onProgress = (done: number, total: number) => {
      expect(total).toBe(100);
      seen.push(done);
      if (done === 30) controller.abort(new InterruptedError('SIGINT'));
    };
    const options = { onProgress, signal: controller.signal, stepRows: 10 };
    expect(await archive(NEW, options)).toMatchObject({ moved: 30, complete: false });
    expect(seen).toEqual([10, 20, 30]);
    expect(await count('archived_transactions')).toBe(30);
    expect(await archive()).toMatchObject({ moved: 70, complete: true });
    expect(await verifyBank([shard()])).toMatchObject({ transactions: 100, ok: true });
  });

  it('waits for no locked account, so no session that locks one waits for it', async () => {
    const accountId = await openWithHistory(client, 10);
    await client.query('BEGIN');
    await client.query('SELECT FROM bank.accounts WHERE account_id = $1 FOR UPDATE', [accountId]);
    expect(await archive()).toMatchObject({ moved: 10 });
    await client.query('ROLLBACK');
  });

  it('still knows the used keys', async () => {
    const accountId = await openWithHistory(client, 10);
    const [used] = await rows(
      `SELECT transaction_id::int AS id FROM bank.transactions WHERE idempotency_key = 'key-4'`,
    );
    await archive(timeOf(6));
    const original = { transactionId: used?.id };
    expect(await failureOf(post(credit(accountId, { idempotencyKey: 'key-4' })))).toMatchObject({
      code: 'DUPLICATE_TRANSACTION',
      original,
    });
    const reused = credit(accountId, { idempotencyKey: 'key-4', amount: 2n });
    expect(await failureOf(post(reused))).toMatchObject({ code: 'IDEMPOTENCY_KEY_REUSED', original });
    expect(await failureOf(post(credit(accountId, { idempotencyKey: 'key-8' })))).toMatchObject({
      code: 'DUPLICATE_TRANSACTION',
    });
    expect(await post(credit(accountId, { idempotencyKey: 'key-3' }))).toMatchObject({ versionAfter: 12 });
    expect(await verifyBank([shard()])).toMatchObject({ transactions: 11, ok: true });
  });

  it('still knows holds, transfers and reversals', async () => {
    const open = async () => (await ledger.opener.open({ openingDeposit: 1_000n }, THE_SERVICE)).accountId;
    const [from, to] = [await open(), await open()];
    const run = (command: Command) => ledger.scheduler.submit(command);
    const deposit = (await run(credit(from, { amount: 100n }))).transactions[0]?.transactionId as number;
    const reverse = { type: 'reversal', accountId: from, transactionId: deposit } as const;
    await run({ ...reverse, amount: 60n });
    const { holds } = await run({ type: 'hold', accountId: from, amount: 50n });
    const legs = [
      { accountId: from, type: 'debit', amount: 10n },
      { accountId: to, type: 'credit', amount: 10n },
    ] as const;
    const transfer = { type: 'transfer', accountId: from, legs, idempotencyKey: 'rent' } as const;
    const transferId = (await run(transfer)).transactions[0]?.transferId as number;
    await archive(new Date(Date.now() + 1_000));
    expect(await count('transactions')).toBe(0);
    expect(await failureOf(run({ ...reverse, amount: 41n }))).toMatchObject({ code: 'REVERSAL_EXCEEDED' });
    await run({ ...reverse, amount: 40n });
    expect(await failureOf(run({ ...reverse, amount: 1n }))).toMatchObject({ code: 'REVERSAL_EXCEEDED' });
    const holdId = holds[0]?.holdId as number;
    await run({ type: 'capture', accountId: from, holdId, amount: 20n, final: true });
    expect(await failureOf(run(transfer))).toEqual({ code: 'DUPLICATE_TRANSFER', transferId });
    const back = { type: 'transfer-reversal', accountId: to, accountIds: [from, to], transferId } as const;
    await run(back);
    expect(await failureOf(run(back))).toMatchObject({ code: 'REVERSAL_EXCEEDED' });
    await archive(new Date(Date.now() + 1_000));
    expect(await verifyBank([shard()])).toMatchObject({ faults: [], ok: true });
  });

  it('still knows transfers between shards, and lets no step be taken twice', async () => {
    const shards = [0, 1].map((index) => ({ url: database.url, schema: `bank_${index}` }));
    await bootstrapShards(shards);
    const bank = await TwoShards.open(shards);
    const made = await fillTwoShards(bank);
    const { completed, back, captured, released, credited, refused, capturing } = made;
    const first = await bank.decide(credited);
    const ended = [completed, back, captured, released];
    const stored = await Promise.all(ended.map((transfer) => bank.finish(transfer)));
    expect(stored.map(({ status }) => status)).toEqual(['completed', 'completed', 'completed', 'failed']);
    const all = async () => {
      for (let n = 0; n < 2; n++) await archiveBank(shards, new Date(Date.now() + 1_000));
      expect(await rows('SELECT FROM bank_0.transactions UNION ALL SELECT FROM bank_1.transactions')).toEqual(
        [],
      );
      expect(await verifyBank(shards)).toMatchObject({ faults: [], ok: true });
    };
    const balances = () =>
      rows(
        'SELECT balance, version FROM (TABLE bank_0.accounts UNION ALL TABLE bank_1.accounts) a ORDER BY account_id',
      );
    await all();
    const before = await balances();
    // Step 2 again: it returns the first decision and its credit.
    expect(await bank.decide(credited)).toEqual(first);
    expect(first.credit?.versionAfter).toBeGreaterThan(2);
    expect(await bank.decide(credited, true)).toEqual(first);
    // So does step 3, with the debit.
    expect(await Promise.all(ended.map((transfer) => bank.finish(transfer)))).toEqual(stored);
    expect(await balances()).toEqual(before);
    // What is left of the others goes on from the archive.
    expect(await bank.finish(credited)).toMatchObject({ status: 'completed', credit: first.credit });
    expect(await bank.finish(refused)).toMatchObject({ status: 'failed' });
    expect(await bank.finish(capturing)).toMatchObject({ status: 'completed' });
    await all();
    for (const idempotencyKey of ['rent', 'captured']) {
      const { code } = await failureOf(bank.begin(1, 2, 1n, { idempotencyKey }));
      expect(code).toBe('IDEMPOTENCY_KEY_REUSED');
    }
    const reversal = {
      transferId: captured.transferId,
      creditId: captured.credit?.transactionId ?? 0,
      debitId: captured.debit?.transactionId ?? 0,
    };
    expect(await failureOf(bank.begin(2, 1, 20_01n, { reversal }))).toEqual({ code: 'REVERSAL_EXCEEDED' });
    expect(await bank.finish(await bank.begin(2, 1, 20_00n, { reversal }))).toMatchObject({
      status: 'completed',
    });
    expect(await failureOf(bank.begin(2, 1, 1n, { reversal }))).toEqual({ code: 'REVERSAL_EXCEEDED' });
    await all();
    await bank.close();
  });

  it('does not lose the events of transactions that were archived before they were published', async () => {
    const { accountId } = await ledger.opener.open({ openingDeposit: 100n }, THE_SERVICE);
    await post(credit(accountId));
    const outbox = new Outbox(ledger.runner, tablesOf('bank'), 5_000);
    expect(await archive(new Date(Date.now() + 1))).toMatchObject({ moved: 2 });
    const chunk = await outbox.claim(10, () => false);
    const announced = chunk?.rows
      .flatMap(({ events }) => events)
      .map((event) => 'transaction' in event && event.transaction.versionAfter);
    expect(announced).toEqual([2, 3]);
  });
});

describe('while transactions are archived', () => {
  it('postings, retries, listings and single transactions are answered as before', async () => {
    const [quiet, busy] = [await openWithHistory(client, 1_500), await openWithHistory(client, 100)];
    const reader = openReader(ledger);
    let archiving = true;
    const during = async (work: (turn: number) => Promise<unknown>) => {
      let turns = 0;
      for (; archiving; turns++) await work(turns);
      return turns;
    };
    const stored = await rows(
      `SELECT version_after::int AS version, transaction_id::int AS id FROM bank.transactions WHERE account_id = ${quiet}`,
    );
    const ids = new Map(stored.map(({ version, id }) => [version as number, id as number]));
    const readers = [
      during(async () => {
        expect((await walk(reader, quiet, 200)).flat()).toEqual(countdown(1_501, 2));
      }),
      during(async () => {
        expect((await walk(reader, quiet, 200, { to: timeOf(1_200) })).flat()).toEqual(countdown(1_199, 2));
      }),
      during(async (turn) => {
        const version = 2 + ((turn * 7) % 1_500);
        const transactionId = ids.get(version) as number;
        expect(await reader.transaction(transactionId, undefined, THE_SERVICE)).toMatchObject({
          transactionId,
          versionAfter: version,
        });
      }),
    ];
    const retries = during(async (turn) => {
      const version = 2 + 2 * ((turn * 11) % 750);
      const refusal = await failureOf(post(credit(quiet, { idempotencyKey: `key-${version}` })));
      const original = { transactionId: ids.get(version) };
      expect(refusal).toEqual({ code: 'DUPLICATE_TRANSACTION', original: expect.objectContaining(original) });
    });
    const postings = [0, 1, 2].map((caller) =>
      during((turn) => post(credit(busy, turn % 2 === 0 ? {} : { idempotencyKey: `${caller}-${turn}` }))),
    );
    const verifications = during(async () => {
      expect((await verifyBank([shard()])).faults).toEqual([]);
    });
    const archived = await archive(NEW, { stepRows: 25 }).finally(() => (archiving = false));
    expect(archived).toMatchObject({ moved: 1_600 });
    const turns = await Promise.all([...readers, retries, verifications, ...postings]);
    expect(Math.min(...turns)).toBeGreaterThan(1);
    const posted = turns.slice(-3).reduce((sum, more) => sum + more, 0);
    expect(await verifyBank([shard()])).toMatchObject({ transactions: 1_600 + posted, ok: true });
    expect(await count('transactions')).toBe(posted);
  }, 60_000);
});

describe('the command', () => {
  const BEFORE = ['archive', '--before', NEW.toISOString()];
  const start = () => startCli(BEFORE, { DATABASE_URL: database.url });

  /** The command comes to a stop at its second step, until the session ends its transaction. */
  async function blockSecondStep(): Promise<void> {
    await client.query('BEGIN; SELECT FROM bank.transactions WHERE transaction_id = 5500 FOR UPDATE');
  }

  const isBlocked = async () => {
    const waiting = await ledger.dataSource.query<unknown[]>(
      `SELECT FROM pg_stat_activity WHERE application_name LIKE 'bank-archive%' AND wait_event_type = 'Lock'`,
    );
    return waiting.length === 1;
  };

  it('that was killed leaves every transaction in exactly one table, and continues when it is run again', async () => {
    await openWithHistory(client, 6_000);
    const before = await rows(ALL);
    await blockSecondStep();
    const killed = start();
    await waitUntil(isBlocked, 20_000);
    killed.child.kill('SIGKILL');
    await killed.ended;
    await client.query('COMMIT');
    // Until the server has noticed, or has finished the current step.
    await waitUntil(async () => {
      const sessions = `SELECT FROM pg_stat_activity WHERE application_name LIKE 'bank-archive%'`;
      return (await rows(sessions)).length === 0;
    }, 20_000);
    expect([5_000, 6_000]).toContain(await count('archived_transactions'));
    expect((await verifyBank([shard()])).ok).toBe(true);
    const again = await start().ended;
    expect(again).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(/^Moved \d+ transaction/) as unknown,
    });
    expect(await count('archived_transactions')).toBe(6_000);
    expect(await rows(ALL)).toEqual(before);
  }, 60_000);

  it('ends after the current step when it is interrupted', async () => {
    await openWithHistory(client, 12_000);
    await blockSecondStep();
    const { child, ended } = start();
    await waitUntil(isBlocked, 20_000);
    child.kill('SIGINT');
    await client.query('COMMIT');
    const { code, stdout } = await ended;
    expect({ code, stdout }).toEqual({
      code: 130,
      stdout: expect.stringMatching(
        /^Moved 10000 transaction.*\nIt was stopped: run it again, it goes on\.\n$/,
      ) as unknown,
    });
    expect(await count('archived_transactions')).toBe(10_000);
  }, 60_000);

  it('needs a time', async () => {
    const run = await startCli(['archive'], { DATABASE_URL: database.url }).ended;
    const stderr = expect.stringContaining('--before or --older-than is needed') as unknown;
    expect(run).toMatchObject({ code: 2, stdout: '', stderr });
  });
});
