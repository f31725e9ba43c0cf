import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { Client } from 'pg';
import { verifyBank } from '../../src/admin/verify/verify.js';
import { LedgerError } from '../../src/domain/errors.js';
import { THE_SERVICE } from '../../src/domain/sender.js';
import type { PostingCommand } from '../../src/domain/command.js';
import type { Transaction } from '../../src/domain/transaction.js';
import { PostgresProxy } from '../../tools/stack/proxies/postgres-proxy.js';
import { openLedger, PATIENT, type TestLedger } from '../support/ledger.js';
import { createTestDatabase } from '../support/postgres.js';

/** Short limits, so that the tests can wait for them. */
const BOUNDS = {
  commandTimeoutMs: 1_500,
  transactionTimeoutMs: 1_000,
  lockTimeoutMs: 200,
  resolveTimeoutMs: 1_500,
  atomicBatches: 2,
};

const deposit = (accountId: number, idempotencyKey?: string): PostingCommand => ({
  accountId,
  type: 'credit',
  amount: 100n,
  idempotencyKey,
});
const withdrawal = (accountId: number, amount: bigint): PostingCommand => ({
  accountId,
  type: 'debit',
  amount,
});

describe('an atomic batch', () => {
  let database: { url: string; drop(): Promise<void> };
  let proxy: PostgresProxy;
  let ledger: TestLedger;
  let operator: Client;

  beforeAll(async () => {
    database = await createTestDatabase('atomic');
    operator = new Client({ connectionString: database.url });
    await operator.connect();
  });

  beforeEach(async () => {
    const started = await PostgresProxy.start(database.url);
    proxy = started.proxy;
    ledger = await openLedger(started.url, BOUNDS);
  });

  afterEach(async () => {
    proxy.heal();
    await ledger.close();
    await proxy.stop();
    const report = await verifyBank([{ url: database.url, schema: 'bank' }]);
    expect(report.faults).toEqual([]);
  });

  afterAll(async () => {
    await operator.end();
    await database.drop();
  });

  const open = async (balance = 10_000n) =>
    (await ledger.opener.open({ openingDeposit: balance }, THE_SERVICE)).accountId;
  const openSome = (count: number) => Promise.all(Array.from({ length: count }, () => open()));

  /** Each command's balance and version, or why it was refused. */
  async function post(commands: readonly PostingCommand[], on = ledger): Promise<string[]> {
    const answers = await Promise.allSettled(on.scheduler.submitAtomically(commands, THE_SERVICE));
    return answers.map((answer) => {
      if (answer.status === 'fulfilled') {
        const { balanceAfter, versionAfter } = answer.value.transactions[0] as Transaction;
        return `${balanceAfter} at ${versionAfter}`;
      }
      if (answer.reason instanceof LedgerError) return answer.reason.failure.code;
      throw answer.reason;
    });
  }

  async function versionsOf(accountIds: readonly number[]): Promise<number[]> {
    const { rows } = await operator.query<{ version: string }>(
      'SELECT version FROM bank.accounts WHERE account_id = ANY($1) ORDER BY account_id',
      [accountIds],
    );
    return rows.map((row) => Number(row.version));
  }

  it('is applied in one transaction, in order, and each command gets its own result', async () => {
    const [a, b] = (await openSome(2)) as [number, number];
    const commands = [deposit(b), withdrawal(a, 10_000n), deposit(b), deposit(a, 'k')];
    expect(await post(commands)).toEqual(['10100 at 3', '0 at 3', '10200 at 4', '100 at 4']);
    const { rowCount } = await operator.query(
      'SELECT DISTINCT xmin FROM bank.transactions WHERE account_id = ANY($1) AND version_after > 2',
      [[a, b]],
    );
    expect(rowCount).toBe(1);
  });

  it.each([
    ['a balance that does not suffice', (id: number) => withdrawal(id, 10_001n), 'INSUFFICIENT_BALANCE'],
    ['another version', (id: number) => ({ ...deposit(id), expectedVersion: 7 }), 'VERSION_MISMATCH'],
    ['an account that is not there', () => deposit(999_999), 'ACCOUNT_NOT_FOUND'],
  ])('is rejected as a whole because of %s', async (_, bad, code) => {
    const accounts = (await openSome(3)) as [number, number, number];
    const commands = [deposit(accounts[0]), bad(accounts[1]), withdrawal(accounts[2], 99_999n)];
    expect(await post(commands)).toEqual(['NOT_APPLIED', code, 'NOT_APPLIED']);
    expect(await versionsOf(accounts)).toEqual([2, 2, 2]);
  });

  it('is a duplicate when it is repeated with the same keys, and single postings know its keys', async () => {
    const [a, b] = (await openSome(2)) as [number, number];
    const commands = [deposit(a, 'k'), deposit(b, 'k')];
    expect(await post(commands)).toEqual(['10100 at 3', '10100 at 3']);
    expect(await post(commands)).toEqual(['DUPLICATE_TRANSACTION', 'DUPLICATE_TRANSACTION']);
    expect(await post([...commands, deposit(a)])).toEqual([
      'DUPLICATE_TRANSACTION',
      'DUPLICATE_TRANSACTION',
      'NOT_APPLIED',
    ]);
    await expect(ledger.post(deposit(b, 'k'))).rejects.toMatchObject({
      failure: { code: 'DUPLICATE_TRANSACTION' },
    });
    expect(await versionsOf([a, b])).toEqual([3, 3]);
  });

  it('whose COMMIT was not answered is looked up, and acknowledged or rejected with certainty', async () => {
    const accounts = (await openSome(2)) as [number, number];
    const commands = accounts.map((accountId) => deposit(accountId, 'k'));
    proxy.atCommit = 'cut-before';
    proxy.onCut = () => proxy.heal();
    const refused = await Promise.allSettled(ledger.scheduler.submitAtomically(commands, THE_SERVICE));
    expect(refused.map((answer) => (answer as PromiseRejectedResult).reason as LedgerError)).toEqual(
      accounts.map(() =>
        expect.objectContaining({ failure: { code: 'DATABASE_FAILED', currentVersion: 2 } }),
      ),
    );
    expect(await versionsOf(accounts)).toEqual([2, 2]);
    proxy.atCommit = 'cut-after';
    expect(await post(commands)).toEqual(['10100 at 3', '10100 at 3']);
    expect(await versionsOf(accounts)).toEqual([3, 3]);
    expect(ledger.balances.lastKnownVersion(accounts[0])).toBe(3);
  });

  it('that is rejected gets its answers even when its COMMIT is lost', async () => {
    const accounts = (await openSome(2)) as [number, number];
    proxy.atCommit = 'cut-before';
    proxy.onCut = () => proxy.heal();
    expect(await post([deposit(accounts[0]), withdrawal(accounts[1], 99_999n)])).toEqual([
      'NOT_APPLIED',
      'INSUFFICIENT_BALANCE',
    ]);
  });

  it('reports an unknown outcome for each command when the database does not come back; a retry finds out', async () => {
    const accounts = (await openSome(2)) as [number, number];
    const commands = accounts.map((accountId) => deposit(accountId, 'k'));
    proxy.atCommit = 'cut-after';
    proxy.onCut = () => proxy.takeDown();
    expect(await post(commands)).toEqual(['OUTCOME_UNKNOWN', 'OUTCOME_UNKNOWN']);
    proxy.heal();
    expect(await post(commands)).toEqual(['DUPLICATE_TRANSACTION', 'DUPLICATE_TRANSACTION']);
    expect(await versionsOf(accounts)).toEqual([3, 3]);
  });

  it('is run again when its COMMIT is answered with ROLLBACK', async () => {
    const accounts = await openSome(2);
    proxy.atCommit = 'abort';
    proxy.onCut = () => (proxy.atCommit = 'forward');
    expect(await post(accounts.map((accountId) => deposit(accountId)))).toEqual(['10100 at 3', '10100 at 3']);
  });

  it('waits for a locked account past lock_timeout, and is rejected as a whole at its deadline', async () => {
    const accounts = (await openSome(2)) as [number, number];
    const commands = accounts.map((accountId) => deposit(accountId));
    const lock = () =>
      operator.query(`BEGIN; SELECT FROM bank.accounts WHERE account_id = ${accounts[1]} FOR UPDATE`);
    await lock();
    const waiting = post(commands);
    await sleep(600);
    await operator.query('ROLLBACK');
    expect(await waiting).toEqual(['10100 at 3', '10100 at 3']);
    await lock();
    const startedMs = performance.now();
    expect(await post(commands)).toEqual(['OVERLOADED', 'OVERLOADED']);
    expect(performance.now() - startedMs).toBeGreaterThan(1_400);
    await operator.query('ROLLBACK');
    expect(await versionsOf(accounts)).toEqual([3, 3]);
  });

  it('that waits does not hold up others, and a third one waits for a permit', async () => {
    const patient = await openLedger(
      database.url,
      { ...PATIENT[0], atomicBatches: BOUNDS.atomicBatches },
      PATIENT[1],
    );
    const [locked, free] = (await openSome(2)) as [number, number];
    await operator.query(`BEGIN; SELECT FROM bank.accounts WHERE account_id = ${locked} FOR UPDATE`);
    const stuck = [post([deposit(locked)], patient), post([deposit(locked)], patient)];
    const third = post([deposit(free)], patient);
    await sleep(100);
    for (let n = 0; n < 10; n++) await patient.post(deposit(free));
    expect(await versionsOf([free])).toEqual([12]);
    await operator.query('ROLLBACK');
    expect((await Promise.all(stuck)).flat().sort()).toEqual(['10100 at 3', '10200 at 4']);
    expect(await third).toEqual(['11100 at 13']);
    await patient.close();
  });

  it('over thousands of accounts lets the postings that waited for it share batches, in order', async () => {
    const patient = await openLedger(database.url);
    const accountIds = Array.from({ length: 2_000 }, (_, index) => 1_000_000 + index);
    await operator.query(
      'INSERT INTO bank.accounts (account_id, balance, version) SELECT id, 0, 1 FROM unnest($1::bigint[]) id',
      [accountIds],
    );
    // It holds all of its accounts but the last one, for which it waits.
    await operator.query('BEGIN');
    await operator.query('SELECT FROM bank.accounts WHERE account_id = $1 FOR UPDATE', [accountIds.at(-1)]);
    const whole = patient.scheduler.submitAtomically(
      accountIds.map((accountId) => deposit(accountId)),
      THE_SERVICE,
    );
    await sleep(50);
    const single = accountIds.flatMap((accountId) =>
      [1n, 2n].map((amount) => patient.post({ accountId, type: 'credit', amount })),
    );
    await sleep(250);
    await operator.query('ROLLBACK');
    const wholes = (await Promise.all(whole)).flatMap(({ transactions }) => transactions);
    expect(new Set(wholes.map(({ versionAfter }) => versionAfter))).toEqual(new Set([2]));
    const posted = await Promise.all(single);
    expect(new Set(posted.map(({ amount, versionAfter }) => `${amount} at ${versionAfter}`))).toEqual(
      new Set(['1 at 3', '2 at 4']),
    );
    const { rowCount } = await operator.query(
      'SELECT DISTINCT xmin FROM bank.transactions WHERE account_id = ANY($1) AND version_after > 2',
      [accountIds],
    );
    expect(rowCount).toBeLessThan(30);
    await patient.close();
  });

  it('that makes a statement fail reports a defect for each command, and applies nothing', async () => {
    const accounts = (await openSome(2)) as [number, number];
    // The HTTP layer lets no such key through: PostgreSQL stores no NUL in a text.
    const answers = ledger.scheduler.submitAtomically(
      [deposit(accounts[0]), deposit(accounts[1], 'a\0b')],
      THE_SERVICE,
    );
    const settled = await Promise.allSettled(answers);
    expect(settled.map(({ status }) => status)).toEqual(['rejected', 'rejected']);
    expect(ledger.defects).toHaveLength(1);
    expect(await versionsOf(accounts)).toEqual([2, 2]);
  });

  it('leaves clean books together with other batches and single postings on the same accounts', async () => {
    const accounts = await openSome(6);
    let posted = 0;
    const count = (answers: PromiseSettledResult<unknown>[]) => {
      const accepted = answers.filter(({ status }) => status === 'fulfilled').length;
      expect([0, answers.length]).toContain(accepted);
      posted += accepted;
    };
    const pick = (seed: number) => accounts[seed % accounts.length] ?? 0;
    const batches = Array.from({ length: 4 }, async (_, caller) => {
      for (let round = 0; round < 15; round++) {
        const commands = Array.from({ length: 12 }, (_, index) =>
          index % 4 === 3 ? withdrawal(pick(caller + 7 * index), 150n) : deposit(pick(round + 5 * index)),
        );
        count(await Promise.allSettled(ledger.scheduler.submitAtomically(commands, THE_SERVICE)));
      }
    });
    const singles = Array.from({ length: 10 }, async (_, caller) => {
      for (let round = 0; round < 30; round++) {
        count(await Promise.allSettled([ledger.post(deposit(pick(caller * round)))]));
      }
    });
    await Promise.all([...batches, ...singles]);
    const versions = await versionsOf(accounts);
    expect(versions.reduce((sum, version) => sum + version - 2, 0)).toBe(posted);
    expect(posted).toBe(4 * 15 * 12 + 10 * 30);
  });

  it('is rejected while the service is stopping, which waits for one in flight', async () => {
    const [a, b] = (await openSome(2)) as [number, number];
    const atWork = post([deposit(a), deposit(b)]);
    const closed = ledger.scheduler.close();
    expect(await post([deposit(a)])).toEqual(['OVERLOADED']);
    await closed;
    expect(await versionsOf([a, b])).toEqual([3, 3]);
    expect(await atWork).toEqual(['10100 at 3', '10100 at 3']);
  });
});
