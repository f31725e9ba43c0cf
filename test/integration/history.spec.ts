import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { Client } from 'pg';
import { LedgerError } from '../../src/domain/errors.js';
import { THE_SERVICE } from '../../src/domain/sender.js';
import { HistoryReader, type PastBalance } from '../../src/ledger/read/history-reader.js';
import { UNCHAINED } from '../../tools/bench/chained.js';
import { openShards } from '../support/history.js';
import { openLedger, type TestLedger } from '../support/ledger.js';
import { createTestDatabase, type TestDatabase } from '../support/postgres.js';

/** A numeric keeps the decimals with which it is written. */
const money = (cents: number) => (cents / 100).toFixed(2);

let database: TestDatabase;
let client: Client;
let ledger: TestLedger;
let history: HistoryReader;

beforeAll(async () => {
  database = await createTestDatabase('history');
  client = new Client({ connectionString: database.url });
  await client.connect();
  ledger = await openLedger(database.url);
  history = new HistoryReader(openShards(ledger));
});

afterAll(async () => {
  await ledger.close();
  await client.end();
  await database.drop();
});

const balanceAt = (accountId: number, atMs: number) => history.balanceAt(accountId, atMs, THE_SERVICE);

/** What a read finds, or the code of its failure. */
const outcomeOf = (read: Promise<PastBalance>) =>
  read.catch((error: unknown) => {
    if (error instanceof LedgerError) return error.failure.code;
    throw error;
  });

const START_MS = Date.parse('2025-03-01T00:00:00Z');

/** A transaction: milliseconds after the one before, cents, and what it leaves on hold. */
interface Step {
  readonly afterMs: number;
  readonly amount: number;
  readonly held: number;
}

interface Story {
  readonly steps: readonly Step[];
  /** How many of them lie in the archive. */
  readonly archived: number;
  readonly isDated: boolean;
}

const stories: fc.Arbitrary<Story> = fc.record({
  steps: fc.array(
    fc.record({
      // Often none: a batch gives all its transactions one time.
      afterMs: fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 4 })),
      amount: fc.integer({ min: 1, max: 9 }),
      held: fc.integer({ min: 0, max: 3 }),
    }),
    { maxLength: 40 },
  ),
  archived: fc.nat(40),
  isDated: fc.boolean(),
});

/** Writes a story as rows. @returns the account, and the states that it went through */
async function write({ steps, archived, isDated }: Story) {
  let [timeMs, balance] = [START_MS, 0];
  const states = steps.map(({ afterMs, amount, held }, index) => {
    timeMs += afterMs;
    balance += amount;
    // No more can be on hold than there is.
    return { timeMs, amount, balance, held: Math.min(held, balance), version: index + 2 };
  });
  const { rows } = await client.query<{ id: number }>(
    `INSERT INTO bank.accounts (balance, version, created_at, posted_at, held, active_holds)
     VALUES ($1, $2, $3, $4, $5::numeric, sign($5::numeric)) RETURNING account_id::int AS id`,
    [
      ...[money(balance), steps.length + 1, isDated ? new Date(START_MS) : null],
      states.length > 0 && isDated ? new Date(timeMs) : null,
      (states.at(-1)?.held ?? 0) / 100,
    ],
  );
  const accountId = rows[0]?.id ?? 0;
  for (const [index, state] of states.entries()) {
    const isOld = index < archived;
    await client.query(
      `INSERT INTO bank.${isOld ? 'archived_transactions' : 'transactions'}
         (${isOld ? 'transaction_id,' : ''} account_id, type, amount, balance_after, version_after, held_after, timestamp, hash)
       VALUES (${isOld ? "nextval(pg_get_serial_sequence('bank.transactions', 'transaction_id'))," : ''}
         $1, 'credit', $2, $3, $4, $5, $6, ${UNCHAINED})`,
      [
        ...[accountId, money(state.amount), money(state.balance), state.version],
        ...[state.held === 0 ? null : money(state.held), new Date(state.timeMs)],
      ],
    );
  }
  return { accountId, states };
}

describe('the balance at a time', () => {
  it('is what a walk through all transactions finds, wherever they lie', async () => {
    await fc.assert(
      fc.asyncProperty(stories, async (story) => {
        const { accountId, states } = await write(story);
        const lastMs = states.at(-1)?.timeMs ?? START_MS;
        for (let atMs = START_MS - 1; atMs <= lastMs + 1; atMs++) {
          let [balance, held, version] = [0, 0, 1];
          for (const state of states) if (state.timeMs <= atMs) ({ balance, held, version } = state);
          const expected = { accountId, balance: BigInt(balance), held: BigInt(held), version, decimals: 2 };
          const isThere = atMs >= START_MS || !story.isDated;
          expect(await outcomeOf(balanceAt(accountId, atMs))).toEqual(isThere ? expected : 'NOT_YET_OPENED');
        }
        for (const { balance, held, version } of states) {
          expect(await history.balanceOfVersion(accountId, version, THE_SERVICE)).toEqual({
            ...{ accountId, balance: BigInt(balance), held: BigInt(held), version, decimals: 2 },
          });
        }
        const beyond = history.balanceOfVersion(accountId, states.length + 2, THE_SERVICE);
        expect(await outcomeOf(beyond)).toBe('VERSION_NOT_REACHED');
      }),
      { numRuns: 30 },
    );
  }, 120_000);

  it('of an account that is not there: not found', async () => {
    expect(await outcomeOf(balanceAt(999_999, START_MS))).toBe('ACCOUNT_NOT_FOUND');
    expect(await outcomeOf(history.balanceOfVersion(999_999, 1, THE_SERVICE))).toBe('ACCOUNT_NOT_FOUND');
  });

  it('is not known before its time has come, by the clock of the database', async () => {
    const { accountId } = await write({ steps: [], archived: 0, isDated: true });
    expect(await outcomeOf(balanceAt(accountId, Date.now() + 60_000))).toBe('TIME_IN_FUTURE');
  });
});

describe('while a transaction with an earlier time is being committed', () => {
  /** Draws a time behind the account's lock, as a batch does, and writes its transaction. */
  async function postWithoutCommit(accountId: number): Promise<number> {
    await client.query('BEGIN');
    await client.query('SELECT FROM bank.accounts WHERE account_id = $1 FOR UPDATE', [accountId]);
    const { rows } = await client.query<{ now: Date }>(
      `SELECT date_trunc('milliseconds', clock_timestamp()) AS now`,
    );
    const drawn = rows[0]?.now ?? new Date(0);
    await client.query(
      `INSERT INTO bank.transactions (account_id, type, amount, balance_after, version_after, timestamp, hash)
       VALUES ($1, 'credit', 0.07, 0.12, 3, $2, ${UNCHAINED})`,
      [accountId, drawn],
    );
    await client.query(
      'UPDATE bank.accounts SET balance = 0.12, version = 3, posted_at = $2 WHERE account_id = $1',
      [accountId, drawn],
    );
    return drawn.getTime();
  }

  const STEP = { afterMs: 0, amount: 5, held: 0 };
  const open = () => write({ steps: [STEP], archived: 0, isDated: true });

  it.each([
    ['COMMIT', { balance: 12n, version: 3 }],
    ['ROLLBACK', { balance: 5n, version: 2 }],
  ])('the answer waits for its %s', async (end, expected) => {
    const { accountId } = await open();
    const drawnMs = await postWithoutCommit(accountId);
    await sleep(2);
    let answered = false;
    const read = balanceAt(accountId, drawnMs).finally(() => (answered = true));
    await sleep(150);
    expect(answered).toBe(false);
    await client.query(end);
    expect(await read).toEqual({ accountId, held: 0n, decimals: 2, ...expected });
  });

  it('a time before a transaction that is visible waits for nobody', async () => {
    const steps = [STEP, { ...STEP, afterMs: 9 }];
    const { accountId } = await write({ steps, archived: 0, isDated: true });
    await client.query('BEGIN');
    await client.query('SELECT FROM bank.accounts WHERE account_id = $1 FOR UPDATE', [accountId]);
    const past = await outcomeOf(balanceAt(accountId, START_MS + 8));
    await client.query('ROLLBACK');
    expect(past).toMatchObject({ version: 2, balance: 5n });
  });

  it('never changes, under load: an answer stays what it was', async () => {
    const { accountId } = await write({ steps: [], archived: 0, isDated: true });
    const answers: { atMs: number; past: PastBalance }[] = [];
    let isOver = false;
    const readers = Array.from({ length: 4 }, async () => {
      while (!isOver) {
        const atMs = Date.now() - 1;
        const past = await outcomeOf(balanceAt(accountId, atMs));
        if (typeof past !== 'string') answers.push({ atMs, past });
      }
    });
    const post = () => ledger.post({ accountId, type: 'credit', amount: 1n });
    try {
      for (let round = 0; round < 60; round++) await Promise.all([post(), post(), post()]);
    } finally {
      isOver = true;
      await Promise.all(readers);
    }
    expect(answers.length).toBeGreaterThan(20);
    for (const { atMs, past } of answers) expect(await balanceAt(accountId, atMs)).toEqual(past);
  });
});
