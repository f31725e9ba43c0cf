import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { Client } from 'pg';
import { CommitRefusedError } from '../../src/storage/database-errors.js';
import type { Command, PostingCommand } from '../../src/domain/command.js';
import { verifyBank } from '../../src/admin/verify/verify.js';
import { THE_SERVICE } from '../../src/domain/sender.js';
import { openLedger, failureOf, type TestLedger } from '../support/ledger.js';
import { createTestDatabase } from '../support/postgres.js';
import { PostgresProxy } from '../../tools/stack/proxies/postgres-proxy.js';

/** Short limits, so that the tests can wait for them. */
const BOUNDS = {
  commandTimeoutMs: 600,
  transactionTimeoutMs: 400,
  lockTimeoutMs: 150,
  resolveTimeoutMs: 1_500,
};

const deposit = (accountId: number, idempotencyKey?: string): PostingCommand => ({
  accountId,
  type: 'credit',
  amount: 100n,
  idempotencyKey,
});

describe('the ledger when the database fails', () => {
  let database: { url: string; drop(): Promise<void> };
  let proxy: PostgresProxy;
  let ledger: TestLedger;
  let operator: Client;

  beforeAll(async () => {
    database = await createTestDatabase();
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

  const open = async () => (await ledger.opener.open({ openingDeposit: 10_000n }, THE_SERVICE)).accountId;

  async function stored(accountId: number): Promise<{ version: number; transactions: number }> {
    const { rows } = await operator.query<{ version: string; transactions: string }>(
      `SELECT version, (SELECT count(*) FROM bank.transactions t WHERE t.account_id = a.account_id) AS transactions
       FROM bank.accounts a WHERE account_id = $1`,
      [accountId],
    );
    return { version: Number(rows[0]?.version), transactions: Number(rows[0]?.transactions) };
  }

  it('finds out that a COMMIT whose answer was lost took effect, and acknowledges it', async () => {
    const accountId = await open();
    proxy.atCommit = 'cut-after';
    proxy.onCut = () => proxy.heal();
    const transaction = await ledger.post(deposit(accountId));
    expect(transaction).toMatchObject({ accountId, versionAfter: 3, balanceAfter: 10_100n });
    expect(await stored(accountId)).toEqual({ version: 3, transactions: 2 });
    // The answer to the INSERT, which has the time, was lost too.
    const { rows } = await operator.query<{ timestamp: Date }>(
      'SELECT timestamp FROM bank.transactions WHERE transaction_id = $1',
      [transaction.transactionId],
    );
    expect(transaction.timestamp).toEqual(rows[0]?.timestamp);
  });

  it('finds out that a COMMIT that never arrived had no effect, and reports the current version', async () => {
    const accountId = await open();
    proxy.atCommit = 'cut-before';
    proxy.onCut = () => proxy.heal();
    const failure = await failureOf(ledger.post(deposit(accountId, 'k')));
    expect(failure).toEqual({ code: 'DATABASE_FAILED', currentVersion: 2 });
    expect(await stored(accountId)).toEqual({ version: 2, transactions: 1 });
    await expect(ledger.post(deposit(accountId, 'k'))).resolves.toMatchObject({
      versionAfter: 3,
    });
  });

  it('retries a batch whose COMMIT was answered with ROLLBACK, and answers 408 if that goes on', async () => {
    const accountId = await open();
    proxy.atCommit = 'abort';
    proxy.onCut = () => (proxy.atCommit = 'forward');
    await expect(ledger.post(deposit(accountId))).resolves.toMatchObject({ versionAfter: 3 });
    proxy.onCut = () => undefined;
    proxy.atCommit = 'abort';
    const failure = await failureOf(ledger.post(deposit(accountId)));
    expect(failure).toMatchObject({ code: 'DATABASE_FAILED' });
    proxy.heal();
    await expect(ledger.post(deposit(accountId))).resolves.toMatchObject({ versionAfter: 4 });
  });

  it('answers 408 instead of a rejection that was based on a state that was never committed', async () => {
    const accountId = await open();
    proxy.atCommit = 'cut-before';
    proxy.onCut = () => proxy.heal();
    const [first, repeat] = await Promise.all([
      failureOf(ledger.post(deposit(accountId, 'same'))),
      failureOf(ledger.post(deposit(accountId, 'same'))),
    ]);
    expect([first.code, repeat.code]).toEqual(['DATABASE_FAILED', 'DATABASE_FAILED']);
  });

  it('reports an unknown outcome when the database does not come back in time; a retry with the key finds out', async () => {
    const accountId = await open();
    proxy.atCommit = 'cut-after';
    proxy.onCut = () => proxy.takeDown();
    expect(await failureOf(ledger.post(deposit(accountId, 'k')))).toEqual({
      code: 'OUTCOME_UNKNOWN',
    });
    proxy.heal();
    const retried = await failureOf(ledger.post(deposit(accountId, 'k')));
    expect(retried.code).toBe('DUPLICATE_TRANSACTION');
    expect(await stored(accountId)).toEqual({ version: 3, transactions: 2 });
  });

  it('leaves nothing when a BEGIN fails and the statements sent after it run', async () => {
    const accountId = await open();
    const before = await operator.query('SELECT FROM bank.accounts');
    proxy.failBegin = true;
    await expect(ledger.opener.open({ openingDeposit: 5_000n }, THE_SERVICE)).rejects.toThrow(
      'division by zero',
    );
    await expect(ledger.post(deposit(accountId, 'k'))).rejects.toThrow('division by zero');
    proxy.heal();
    expect((await operator.query('SELECT FROM bank.accounts')).rowCount).toBe(before.rowCount);
    expect(await stored(accountId)).toEqual({ version: 2, transactions: 1 });
    await expect(ledger.post(deposit(accountId, 'k'))).resolves.toMatchObject({
      versionAfter: 3,
    });
    expect(ledger.defects.splice(0)).toHaveLength(1);
  });

  it('resolves a lost COMMIT of an opening both ways', async () => {
    proxy.atCommit = 'cut-after';
    proxy.onCut = () => proxy.heal();
    const opened = await ledger.opener.open({ openingDeposit: 5_000n }, THE_SERVICE);
    expect(await stored(opened.accountId)).toEqual({ version: 2, transactions: 1 });
    const before = await operator.query('SELECT FROM bank.accounts');
    proxy.atCommit = 'cut-before';
    expect((await failureOf(ledger.opener.open({}, THE_SERVICE))).code).toBe('DATABASE_FAILED');
    expect((await operator.query('SELECT FROM bank.accounts')).rowCount).toBe(before.rowCount);
  });

  it('resolves a lost COMMIT of an opening with a key both ways, and the key tells which', async () => {
    const accounts = async () => (await operator.query('SELECT FROM bank.accounts')).rowCount;
    const before = (await accounts()) ?? 0;
    proxy.onCut = () => proxy.heal();
    proxy.atCommit = 'cut-before';
    expect(
      (
        await failureOf(
          ledger.opener.open({ openingDeposit: 5_000n, owner: 'ada', idempotencyKey: 'k' }, THE_SERVICE),
        )
      ).code,
    ).toBe('DATABASE_FAILED');
    proxy.atCommit = 'cut-after';
    const { accountId } = await ledger.opener.open(
      { openingDeposit: 5_000n, owner: 'ada', idempotencyKey: 'k' },
      THE_SERVICE,
    );
    expect(
      await failureOf(
        ledger.opener.open({ openingDeposit: 5_000n, owner: 'ada', idempotencyKey: 'k' }, THE_SERVICE),
      ),
    ).toEqual({
      code: 'DUPLICATE_ACCOUNT',
      accountId,
    });
    proxy.atCommit = 'cut-after';
    proxy.onCut = () => proxy.takeDown();
    expect(
      (
        await failureOf(
          ledger.opener.open(
            { openingDeposit: 5_000n, owner: 'ada', idempotencyKey: 'unknown' },
            THE_SERVICE,
          ),
        )
      ).code,
    ).toBe('OUTCOME_UNKNOWN');
    proxy.heal();
    const settled = await failureOf(
      ledger.opener.open({ openingDeposit: 5_000n, owner: 'ada', idempotencyKey: 'unknown' }, THE_SERVICE),
    );
    expect(settled.code).toBe('DUPLICATE_ACCOUNT');
    expect(await accounts()).toBe(before + 2);
  });

  it('waits for a simultaneous opening with the same key, as long as for any lock', async () => {
    await operator.query('BEGIN');
    await operator.query(
      `INSERT INTO bank.account_openings (account_id, owner, idempotency_key) VALUES (999999, 'ada', 'slow')`,
    );
    expect(
      (await failureOf(ledger.opener.open({ owner: 'ada', idempotencyKey: 'slow' }, THE_SERVICE))).code,
    ).toBe('OVERLOADED');
    await operator.query('ROLLBACK');
    await expect(
      ledger.opener.open({ owner: 'ada', idempotencyKey: 'slow' }, THE_SERVICE),
    ).resolves.toMatchObject({
      owner: 'ada',
    });
  });

  it('answers within its deadlines when the server falls silent, and recovers', async () => {
    const accountId = await open();
    proxy.silence();
    const startedMs = performance.now();
    const failures = await Promise.all(
      Array.from({ length: 20 }, () => failureOf(ledger.post(deposit(accountId)))),
    );
    // The batch's own deadline and its grace, then connect timeouts; never a hang.
    expect(performance.now() - startedMs).toBeLessThan(6_000);
    expect(new Set(failures.map((failure) => failure.code))).toEqual(new Set(['DATABASE_FAILED']));
    expect(failures[0]).toEqual({ code: 'DATABASE_FAILED', currentVersion: 2 });
    proxy.heal();
    await expect(ledger.post(deposit(accountId))).resolves.toMatchObject({ versionAfter: 3 });
  });

  it('answers at once while the server is down, with the version last known, and recovers', async () => {
    const accountId = await open();
    proxy.takeDown();
    const failure = await failureOf(ledger.post(deposit(accountId)));
    expect(failure).toEqual({ code: 'DATABASE_FAILED', currentVersion: 2 });
    expect(await failureOf(ledger.post(deposit(9_999)))).toEqual({
      code: 'DATABASE_FAILED',
      currentVersion: null,
    });
    proxy.heal();
    await expect(ledger.post(deposit(accountId))).resolves.toMatchObject({ versionAfter: 3 });
  });

  it('loses nothing that it acknowledged when its backends are terminated again and again', async () => {
    const accountIds = await Promise.all(Array.from({ length: 5 }, open));
    let acknowledged = 0;
    let stop = false;
    const callers = accountIds.flatMap((accountId) =>
      Array.from({ length: 4 }, async () => {
        while (!stop) {
          await ledger.post(deposit(accountId)).then(
            () => (acknowledged += 1),
            (error: unknown) => failureOf(Promise.reject(error as Error)),
          );
        }
      }),
    );
    for (let round = 0; round < 10; round++) {
      await new Promise((resolve) => setTimeout(resolve, 50));
      await operator.query(
        `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'test-ledger'
           AND datname = current_database()`,
      );
    }
    stop = true;
    await Promise.all(callers);
    const { rows } = await operator.query<{ count: string }>(
      'SELECT count(*) FROM bank.transactions WHERE account_id = ANY($1) AND version_after > 2',
      [accountIds],
    );
    expect(acknowledged).toBeGreaterThan(0);
    // Every failure was resolved to "not applied", so the two agree exactly.
    expect(Number(rows[0]?.count)).toBe(acknowledged);
  });
});

describe('the ledger among other sessions', () => {
  let database: { url: string; drop(): Promise<void> };
  let ledger: TestLedger;
  let operator: Client;

  beforeAll(async () => {
    database = await createTestDatabase();
    operator = new Client({ connectionString: database.url });
    await operator.connect();
    ledger = await openLedger(database.url, { ...BOUNDS, queue: 200, batch: 100 });
  });

  afterAll(async () => {
    await ledger.close();
    expect((await verifyBank([{ url: database.url, schema: 'bank' }])).faults).toEqual([]);
    await operator.end();
    await database.drop();
  });

  const open = async () => (await ledger.opener.open({ openingDeposit: 10_000n }, THE_SERVICE)).accountId;

  async function whileLocked<T>(accountId: number, work: () => Promise<T>): Promise<T> {
    await operator.query('BEGIN');
    await operator.query('SELECT FROM bank.accounts WHERE account_id = $1 FOR UPDATE', [accountId]);
    try {
      return await work();
    } finally {
      await operator.query('ROLLBACK');
    }
  }

  it('serves the others while another session locks an account, and that one in order once it is free', async () => {
    const [locked, free] = [await open(), await open()];
    const versions: number[] = [];
    let commands: Promise<number>[] = [];
    await whileLocked(locked, async () => {
      commands = Array.from({ length: 5 }, () =>
        ledger.post(deposit(locked)).then(({ versionAfter }) => versions.push(versionAfter)),
      );
      const startedMs = performance.now();
      for (let n = 0; n < 10; n++) await ledger.post(deposit(free));
      expect(performance.now() - startedMs).toBeLessThan(400);
      expect(versions).toEqual([]);
    });
    await Promise.all(commands);
    expect(versions).toEqual([3, 4, 5, 6, 7]);
  });

  it.each([
    ['lower', 0, 1],
    ['higher', 1, 0],
  ])(
    'serves the other account of transfers while that with the %s id is locked',
    async (_, first, second) => {
      const accountIds = [await open(), await open()].sort((a, b) => a - b);
      const [locked, free] = [accountIds[first] as number, accountIds[second] as number];
      const transfer = (from: number, to: number): Command => ({
        type: 'transfer',
        accountId: from,
        legs: [
          { accountId: from, type: 'debit', amount: 100n },
          { accountId: to, type: 'credit', amount: 100n },
        ],
      });
      let transfers: Promise<unknown>[] = [];
      await whileLocked(locked, async () => {
        transfers = [transfer(locked, free), transfer(free, locked)].map((one) =>
          ledger.scheduler.submit(one),
        );
        await new Promise((resolve) => setTimeout(resolve, 50));
        transfers.push(ledger.scheduler.submit(transfer(free, locked)));
        const startedMs = performance.now();
        for (let n = 0; n < 10; n++) await ledger.scheduler.submit(deposit(free));
        expect(performance.now() - startedMs).toBeLessThan(400);
      });
      expect(await Promise.all(transfers)).toHaveLength(3);
    },
  );

  it('rejects a command at its deadline if its account stays locked, with nothing applied', async () => {
    const accountId = await open();
    const failure = await whileLocked(accountId, () => failureOf(ledger.post(deposit(accountId))));
    expect(failure).toEqual({ code: 'OVERLOADED' });
    await expect(ledger.post(deposit(accountId))).resolves.toMatchObject({ versionAfter: 3 });
  });

  it('keeps the deadline even with more locked accounts than lock waiters', async () => {
    const accountIds = await Promise.all(Array.from({ length: 8 }, open));
    await operator.query('BEGIN');
    await operator.query('SELECT FROM bank.accounts WHERE account_id = ANY($1) FOR UPDATE', [accountIds]);
    const startedMs = performance.now();
    const failures = await Promise.all(
      accountIds.map((accountId) => failureOf(ledger.post(deposit(accountId)))),
    );
    expect(performance.now() - startedMs).toBeLessThan(2_000);
    await operator.query('ROLLBACK');
    expect(new Set(failures.map((failure) => failure.code))).toEqual(new Set(['OVERLOADED']));
    await Promise.all(accountIds.map((accountId) => ledger.post(deposit(accountId))));
  });

  it('rejects at once what the queue has no room for, and serves the rest', async () => {
    const accountId = await open();
    const outcomes = await Promise.allSettled(
      Array.from({ length: 300 }, () => ledger.post(deposit(accountId))),
    );
    expect(outcomes.filter(({ status }) => status === 'fulfilled')).toHaveLength(200);
    const refused = outcomes.filter((outcome) => outcome.status === 'rejected');
    expect(refused.map(({ reason }) => (reason as { failure: unknown }).failure)).toEqual(
      Array.from({ length: 100 }, () => ({ code: 'OVERLOADED' })),
    );
  });

  it('isolates a command that makes a statement fail from the rest of its batch', async () => {
    const accountIds = await Promise.all(Array.from({ length: 6 }, open));
    // The HTTP layer lets no such key through: PostgreSQL stores no NUL in a text.
    const poison = ledger.post(deposit(accountIds[2] ?? 0, 'a\0b'));
    const neighbours = accountIds.flatMap((accountId) =>
      Array.from({ length: 10 }, () => ledger.post(deposit(accountId))),
    );
    await expect(poison).rejects.toMatchObject({ name: 'QueryFailedError' });
    expect(await Promise.all(neighbours)).toHaveLength(60);
    expect(ledger.defects).toHaveLength(1);
  });

  it('retries a batch after a serialization failure, and gives up after its attempts', async () => {
    const accountId = await open();
    await operator.query(`
      CREATE SEQUENCE bank.failures;
      CREATE FUNCTION bank.fail_at_first() RETURNS trigger LANGUAGE plpgsql AS $$
      BEGIN
        IF nextval('bank.failures') <= TG_ARGV[0]::int THEN
          RAISE EXCEPTION 'provoked' USING ERRCODE = TG_ARGV[1];
        END IF;
        RETURN NEW;
      END $$;
      CREATE TRIGGER provoke BEFORE INSERT ON bank.transactions
        FOR EACH ROW EXECUTE FUNCTION bank.fail_at_first('3', '40001')`);
    await expect(ledger.post(deposit(accountId))).resolves.toMatchObject({ versionAfter: 3 });
    await operator.query(`
      DROP TRIGGER provoke ON bank.transactions;
      CREATE TRIGGER provoke BEFORE INSERT ON bank.transactions
        FOR EACH ROW EXECUTE FUNCTION bank.fail_at_first('1000000', '40P01')`);
    const failure = await failureOf(ledger.post(deposit(accountId)));
    expect(failure).toEqual({ code: 'DATABASE_FAILED', currentVersion: 3 });
    await operator.query('DROP TRIGGER provoke ON bank.transactions; DROP FUNCTION bank.fail_at_first');
  });

  it('notices a COMMIT that the server answers with ROLLBACK', async () => {
    const swallowed = ledger.runner.run(async (queryRunner) => {
      await queryRunner.query('SELECT 1 / 0').catch(() => undefined);
    });
    await expect(swallowed).rejects.toBeInstanceOf(CommitRefusedError);
  });

  it('does not update a row that changed under its lock', async () => {
    const accountId = await open();
    // A trigger stands for anything that changes a version in spite of the lock.
    await operator.query(`
      CREATE FUNCTION bank.suppress() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
      CREATE TRIGGER suppress BEFORE UPDATE ON bank.accounts FOR EACH ROW EXECUTE FUNCTION bank.suppress()`);
    await expect(ledger.post(deposit(accountId))).rejects.toThrow('changed under its lock');
    await operator.query('DROP TRIGGER suppress ON bank.accounts; DROP FUNCTION bank.suppress');
    await expect(ledger.post(deposit(accountId))).resolves.toMatchObject({ versionAfter: 3 });
  });

  it('rejects a batch if one of its transactions was not inserted', async () => {
    const accountId = await open();
    await operator.query(`
      CREATE FUNCTION bank.suppress() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
      CREATE TRIGGER suppress BEFORE INSERT ON bank.transactions FOR EACH ROW EXECUTE FUNCTION bank.suppress()`);
    await expect(ledger.post(deposit(accountId))).rejects.toThrow('inserted 0 of 1 transactions');
    await operator.query('DROP TRIGGER suppress ON bank.transactions; DROP FUNCTION bank.suppress');
    await expect(ledger.post(deposit(accountId))).resolves.toMatchObject({ versionAfter: 3 });
  });

  it('answers all accepted commands before it closes, and accepts no more', async () => {
    const other = await openLedger(database.url, BOUNDS);
    const { accountId } = await other.opener.open({}, THE_SERVICE);
    const taken = Array.from({ length: 50 }, () => other.post(deposit(accountId)));
    const closed = other.close();
    expect(await failureOf(other.post(deposit(accountId)))).toEqual({ code: 'OVERLOADED' });
    expect(await Promise.all(taken)).toHaveLength(50);
    await closed;
  });
});
