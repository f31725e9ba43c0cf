import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { Client } from 'pg';
import { PostgresProxy } from '../../tools/stack/proxies/postgres-proxy.js';
import type { Effects } from '../../src/domain/books.js';
import type { Command, TransferCommand } from '../../src/domain/command.js';
import { LedgerError } from '../../src/domain/errors.js';
import { digestOf, GENESIS_HASH, lineOfAccountEvent, nextHash } from '../../src/domain/hash-chain.js';
import type { Hold } from '../../src/domain/hold.js';
import { THE_SERVICE } from '../../src/domain/sender.js';
import { openReader } from '../support/history.js';
import { failureOf, openLedger, PATIENT, type TestLedger } from '../support/ledger.js';
import { createTestDatabase } from '../support/postgres.js';

const YEAR_MS = 366 * 86_400_000;

describe('commands of all kinds in the database', () => {
  let database: { url: string; drop(): Promise<void> };
  let operator: Client;
  /** Two instances of the service. */
  let ledger: TestLedger;
  let other: TestLedger;

  beforeAll(async () => {
    database = await createTestDatabase();
    operator = new Client({ connectionString: database.url });
    await operator.connect();
    const open = () => openLedger(database.url, ...PATIENT);
    [ledger, other] = await Promise.all([open(), open()]);
  });

  afterAll(async () => {
    await Promise.all([ledger.close(), other.close()]);
    await operator.end();
    await database.drop();
  });

  const open = async (openingDeposit = 10_000n) =>
    (await ledger.opener.open({ openingDeposit }, THE_SERVICE)).accountId;
  const run = (command: Command, by = ledger) => by.scheduler.submit(command);
  const codeOf = async (command: Command, by = ledger) => (await failureOf(run(command, by))).code;
  const transfer = (
    from: number,
    to: number,
    amount: bigint,
    more: Partial<TransferCommand> = {},
  ): Command => ({
    ...{ type: 'transfer', accountId: from },
    legs: [
      { accountId: from, type: 'debit', amount },
      { accountId: to, type: 'credit', amount },
    ],
    ...more,
  });
  const place = async (accountId: number, amount: bigint, more: object = {}) =>
    (await run({ type: 'hold', accountId, amount, ...more })).holds[0] as Hold;

  async function row(sql: string, ...parameters: unknown[]): Promise<Record<string, unknown> | undefined> {
    return (await operator.query<Record<string, unknown>>(sql, parameters)).rows[0];
  }
  const accountRow = (accountId: number) =>
    row(
      `SELECT balance::text, held::text, active_holds, overdraft_limit::text AS limit, status, version::int, revision
       FROM bank.accounts WHERE account_id = $1`,
      accountId,
    );

  it('place, capture and end holds, each with a row of its own in the history', async () => {
    const [a, b] = [await open(), await open(1n)];
    const hold = await place(a, 6_000n, { expiresInMs: YEAR_MS });
    expect(await codeOf({ type: 'debit', accountId: a, amount: 4_001n })).toBe('INSUFFICIENT_BALANCE');
    const { holdId } = hold;
    const part = await run({ type: 'capture', accountId: a, holdId, amount: 1_000n, final: false });
    const onward = await run({
      type: 'capture',
      accountId: a,
      holdId,
      amount: 2_000n,
      final: true,
      to: { accountId: b },
    });
    expect(part.transactions.map(({ type, amount, holdId: of }) => [type, amount, of])).toEqual([
      ['release', 1_000n, holdId],
      ['debit', 1_000n, holdId],
    ]);
    expect(onward.transactions.map(({ type, amount, accountId }) => [accountId, type, amount])).toEqual([
      [a, 'release', 5_000n],
      [a, 'debit', 2_000n],
      [b, 'credit', 2_000n],
    ]);
    const transferId = onward.transactions[1]?.transactionId;
    expect(onward.transactions.map((one) => one.transferId)).toEqual([undefined, transferId, transferId]);
    expect(await accountRow(a)).toMatchObject({
      balance: '70.00',
      held: '0.00',
      active_holds: 0,
      version: 7,
    });
    const kept = await row(
      'SELECT remaining::text, captured::text, status FROM bank.holds WHERE hold_id = $1',
      holdId,
    );
    expect(kept).toEqual({ remaining: '0.00', captured: '30.00', status: 'captured' });
    expect(await codeOf({ type: 'void', accountId: a, holdId })).toBe('HOLD_NOT_ACTIVE');
  });

  it('know their retries after a restart, by the same account and key', async () => {
    const [a, b] = [await open(), await open()];
    const hold: Command = { type: 'hold', accountId: a, amount: 500n, idempotencyKey: 'h' };
    const placed = (await run(hold)).holds[0] as Hold;
    const capture: Command = {
      type: 'capture',
      accountId: a,
      holdId: placed.holdId,
      final: true,
      idempotencyKey: 'c',
    };
    const captured = await run(capture);
    const moved = await run(transfer(a, b, 100n, { idempotencyKey: 't' }));
    const reversal: Command = {
      ...{ type: 'reversal', accountId: a, transactionId: captured.transactions[1]?.transactionId ?? 0 },
      idempotencyKey: 'r',
    };
    await run(reversal);
    const answers = await Promise.all(
      [hold, capture, transfer(a, b, 100n, { idempotencyKey: 't' }), reversal].map((again) =>
        failureOf(run(again, other)),
      ),
    );
    expect(answers).toMatchObject([
      { code: 'DUPLICATE_HOLD', holdId: placed.holdId },
      { code: 'DUPLICATE_TRANSACTION', original: { transactionId: captured.transactions[1]?.transactionId } },
      { code: 'DUPLICATE_TRANSFER', transferId: moved.transactions[0]?.transactionId },
      { code: 'DUPLICATE_TRANSACTION' },
    ]);
    const reused: Command[] = [
      { ...hold, amount: 501n },
      { ...capture, final: false },
      transfer(a, b, 101n, { idempotencyKey: 't' }),
      { type: 'debit', accountId: a, amount: 100n, idempotencyKey: 't' },
      { ...reversal, amount: 1n },
    ];
    for (const command of reused) expect(await codeOf(command, other)).toBe('IDEMPOTENCY_KEY_REUSED');
  });

  it('leave a key free when they are refused', async () => {
    const [a, b] = [await open(100n), await open()];
    const wanted = transfer(a, b, 200n, { idempotencyKey: 'k' });
    expect(await codeOf(wanted)).toBe('INSUFFICIENT_BALANCE');
    await run({ type: 'credit', accountId: a, amount: 100n });
    await expect(run(wanted)).resolves.toMatchObject({
      transactions: [{ type: 'debit' }, { type: 'credit' }],
    });
  });

  it('move money crosswise between hot accounts of two instances, without a deadlock and without a loss', async () => {
    const accounts = await Promise.all([open(), open(), open()]);
    const pick = (n: number) => accounts[n % 3] as number;
    const moves = Array.from({ length: 400 }, (_, n) =>
      run(transfer(pick(n), pick(n + 1 + (n % 2)), 50n), n % 4 < 2 ? ledger : other).then(
        () => 'made',
        (error: unknown) => (error as LedgerError).failure.code,
      ),
    );
    const outcomes = new Set(await Promise.all(moves));
    expect([...outcomes].filter((code) => code !== 'made' && code !== 'INSUFFICIENT_BALANCE')).toEqual([]);
    const total = await row(
      'SELECT sum(balance)::text AS sum FROM bank.accounts WHERE account_id = ANY($1)',
      accounts,
    );
    expect(total).toEqual({ sum: '300.00' });
    expect([ledger.defects, other.defects]).toEqual([[], []]);
  });

  it('reverse no more than there was, however many ask at the same moment', async () => {
    const accountId = await open();
    const { transactionId } = await ledger.post({ type: 'debit', accountId, amount: 1_000n });
    const reversal: Command = { type: 'reversal', accountId, transactionId, amount: 300n };
    const answers = await Promise.allSettled(
      Array.from({ length: 10 }, (_, n) => run(reversal, n % 2 ? ledger : other)),
    );
    expect(answers.filter(({ status }) => status === 'fulfilled')).toHaveLength(3);
    expect(await accountRow(accountId)).toMatchObject({ balance: '99.00', version: 6 });
    await run({ ...reversal, amount: undefined });
    expect(await accountRow(accountId)).toMatchObject({ balance: '100.00' });
    expect(await codeOf({ ...reversal, amount: undefined })).toBe('REVERSAL_EXCEEDED');
  });

  it('end a hold exactly once, by a capture or a void, whoever is first', async () => {
    for (let round = 0; round < 10; round++) {
      const accountId = await open();
      const { holdId } = await place(accountId, 5_000n);
      const ends: Command[] = [
        { type: 'capture', accountId, holdId, final: true },
        { type: 'void', accountId, holdId },
        { type: 'capture', accountId, holdId, final: true },
      ];
      const answers = await Promise.allSettled(ends.map((end, n) => run(end, n === 1 ? other : ledger)));
      expect(answers.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
    }
  });

  it('let a debit use what an expired hold still holds, and refuse to capture that', async () => {
    const accountId = await open();
    const { holdId } = await place(accountId, 9_000n, { expiresInMs: 1 });
    await new Promise((resolve) => setTimeout(resolve, 5));
    expect(await codeOf({ type: 'capture', accountId, holdId, final: true })).toBe('HOLD_NOT_ACTIVE');
    const { transactions } = await run({ type: 'debit', accountId, amount: 5_000n });
    expect(transactions.map(({ type, amount }) => [type, amount])).toEqual([
      ['release', 9_000n],
      ['debit', 5_000n],
    ]);
    expect(await row('SELECT status FROM bank.holds WHERE hold_id = $1', holdId)).toEqual({
      status: 'expired',
    });
    expect(await run({ type: 'expiry', accountId })).toMatchObject({ transactions: [] });
  });

  it('rehearse without a trace', async () => {
    const [a, b] = [await open(), await open()];
    const before = [await accountRow(a), await accountRow(b)];
    const rehearsed = await run({ ...transfer(a, b, 700n, { idempotencyKey: 'k' }), dryRun: true });
    expect(rehearsed.transactions.map(({ balanceAfter }) => balanceAfter)).toEqual([9_300n, 10_700n]);
    expect(await codeOf({ ...transfer(a, b, 70_000n), dryRun: true })).toBe('INSUFFICIENT_BALANCE');
    expect([await accountRow(a), await accountRow(b)]).toEqual(before);
    await expect(run(transfer(a, b, 1n, { idempotencyKey: 'k' }))).resolves.toBeDefined();
  });

  it('take an account below zero by force alone, and record the limit', async () => {
    const { accountId } = await ledger.opener.open({}, THE_SERVICE);
    const { transactionId } = await ledger.post({ type: 'credit', accountId, amount: 1_000n });
    await run({ type: 'debit', accountId, amount: 900n });
    const reversal: Command = { type: 'reversal', accountId, transactionId };
    expect(await codeOf(reversal)).toBe('INSUFFICIENT_BALANCE');
    await run({ ...reversal, force: true, details: { actor: 'key:1' } });
    expect(await accountRow(accountId)).toMatchObject({
      balance: '-9.00',
      limit: '9.00',
      revision: 1,
      version: 4,
    });
    expect(
      await row('SELECT changes, actor FROM bank.account_events WHERE account_id = $1', accountId),
    ).toEqual({
      ...{ changes: '{"overdraftLimit":"9.00"}', actor: 'key:1' },
    });
  });

  it('change an account with an event in the same commit, each chained to the one before', async () => {
    const accountId = await open();
    await run({
      type: 'change',
      accountId,
      changes: { status: 'frozen', metadata: '{"a":1.50}' },
      actor: 'key:7',
    });
    await run({
      type: 'change',
      accountId,
      changes: { status: 'open', reference: 'r' },
      allowedRevisions: [1],
    });
    expect(
      await failureOf(
        run({ type: 'change', accountId, changes: { status: 'frozen' }, allowedRevisions: [1] }),
      ),
    ).toEqual({
      ...{ code: 'REVISION_MISMATCH', currentRevision: 2 },
    });
    await run({ type: 'change', accountId, changes: { status: 'open' } });
    expect(await accountRow(accountId)).toMatchObject({ status: 'open', revision: 2, version: 2 });
    const kept = await row(
      `SELECT reference, metadata, encode(metadata_salt, 'hex') AS salt FROM bank.account_details WHERE account_id = $1`,
      accountId,
    );
    expect(kept).toMatchObject({ reference: 'r', metadata: '{"a":1.50}' });
    const { rows } = await operator.query<Record<string, never>>(
      `SELECT event_id::int AS "eventId", account_id::int AS "accountId", revision, timestamp, actor, changes,
              encode(hash, 'hex') AS hash FROM bank.account_events WHERE account_id = $1 ORDER BY revision`,
      [accountId],
    );
    expect(JSON.parse(rows[0]?.['changes'] ?? '')).toEqual({
      ...{
        status: 'frozen',
        metadata: { digest: digestOf(String(kept?.['salt']), { metadata: '{"a":1.50}' }) },
      },
    });
    let hash = GENESIS_HASH;
    for (const event of rows as never as (Parameters<typeof lineOfAccountEvent>[0] & { hash: string })[]) {
      hash = nextHash(hash, lineOfAccountEvent({ ...event, actor: event.actor ?? undefined }));
      expect(event.hash).toBe(hash);
    }
  });

  it('chain a history of all kinds, so that its lines lead to the head', async () => {
    const [a, b] = [await open(), await open()];
    const details = {
      description: 'Größe:-:=1:x',
      reference: 'r:1',
      effectiveDate: '2026-05-02',
      actor: 'key:1',
      salt: 'ab',
    };
    await run(
      transfer(a, b, 10n, {
        idempotencyKey: 'ü:-',
        details: { ...details, digest: digestOf('ab', details) },
      }),
    );
    const { holdId } = await place(a, 20n);
    await run({ type: 'credit', accountId: a, amount: 1n });
    await run({ type: 'void', accountId: a, holdId });
    const proof = await openReader(ledger).proof(a, 1, THE_SERVICE);
    expect(proof.lines.map((line) => line.startsWith('v2:'))).toEqual([false, true, true, true, true]);
    expect(proof.lines.reduce(nextHash, GENESIS_HASH)).toBe(proof.hash);
  });

  it('never let time run backwards on an account, whatever the clock says', async () => {
    const ahead = new Date(Date.now() + 3_600_000);
    const [later, undated] = [await open(), await open()];
    await operator.query('UPDATE bank.accounts SET posted_at = $2 WHERE account_id = $1', [later, ahead]);
    await operator.query('UPDATE bank.accounts SET posted_at = NULL WHERE account_id = $1', [undated]);
    await operator.query('UPDATE bank.transactions SET timestamp = $2 WHERE account_id = $1', [
      undated,
      ahead,
    ]);
    for (const accountId of [later, undated]) {
      const posted = await ledger.post({ type: 'credit', accountId, amount: 1n });
      expect(posted.timestamp).toEqual(ahead);
      expect(await row('SELECT posted_at FROM bank.accounts WHERE account_id = $1', accountId)).toEqual({
        posted_at: ahead,
      });
    }
  });

  it('find out that a change took effect though the answer to its COMMIT was lost', async () => {
    const accountId = await open();
    const { proxy, url } = await PostgresProxy.start(database.url);
    const behind = await openLedger(url);
    const answers: Effects[] = [];
    for (const [at, status] of [
      ['cut-after', 'frozen'],
      ['cut-before', 'open'],
    ] as const) {
      proxy.atCommit = at;
      proxy.onCut = () => proxy.heal();
      const change: Command = { type: 'change', accountId, changes: { status } };
      const answer = await run(change, behind).then(
        (effects) => answers.push(effects),
        (error: unknown) => (error as LedgerError).failure.code,
      );
      expect(answer).toBe(at === 'cut-after' ? 1 : 'DATABASE_FAILED');
    }
    expect(await accountRow(accountId)).toMatchObject({ status: 'frozen', revision: 1 });
    await behind.close();
    await proxy.stop();
  });
});
