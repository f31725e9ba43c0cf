import { randomUUID } from 'node:crypto';
import type { Config } from '../../src/config/config.js';
import { USD } from '../../src/config/currencies.js';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, expect, it } from '@jest/globals';
import { Client } from 'pg';
import { archiveBank } from '../../src/admin/archive.js';
import { verifyBank } from '../../src/admin/verify/verify.js';
import type { OutgoingTransfer } from '../../src/domain/between-shards.js';
import { THE_SERVICE } from '../../src/domain/sender.js';
import {
  SummaryNotReadyError,
  SummaryReader,
  type CurrencyTotals,
} from '../../src/ledger/read/summary-reader.js';
import { SummaryKeeper } from '../../src/ledger/summary-keeper.js';
import { ShardLease } from '../../src/storage/shard-lease.js';
import { tablesOf } from '../../src/storage/tables.js';
import { UNCHAINED } from '../../tools/bench/chained.js';
import { openShards } from '../support/history.js';
import { openLedger, PATIENT, type TestLedger } from '../support/ledger.js';
import { createTestDatabase, type TestDatabase } from '../support/postgres.js';
import { eventually } from '../support/requests.js';
import { fillWholeLedger } from '../support/whole-ledger.js';

let database: TestDatabase;
let client: Client;
let ledger: TestLedger;
const keepers: SummaryKeeper[] = [];

beforeAll(async () => {
  database = await createTestDatabase('summary');
  client = new Client({ connectionString: database.url });
  await client.connect();
  ledger = await openLedger(database.url, ...PATIENT);
  await fillWholeLedger(database.url);
});

afterEach(async () => {
  await Promise.all(keepers.splice(0).map((keeper) => keeper.stop()));
  await client.query('DELETE FROM bank.ledger_summary');
});

afterAll(async () => {
  await ledger.close();
  await client.end();
  await database.drop();
});

/** Starts a keeper, and records what it tells. */
function keep(intervalMs = 50, settledMs = 60_000) {
  const seen = { times: new Set<number>(), failures: 0, recovered: 0, unbalanced: [] as string[] };
  const keeper = new SummaryKeeper(
    ledger.runner,
    tablesOf('bank'),
    new ShardLease('summary', 60_000),
    { intervalMs, settledMs },
    { taken: (asOf) => void seen.times.add(asOf.getTime()), failed: () => void seen.failures++ },
    {
      failing: () => undefined,
      recovered: () => void seen.recovered++,
      unbalanced: (currencies) => void seen.unbalanced.push(...currencies),
    },
  );
  keepers.push(keeper);
  keeper.start();
  return seen;
}

const read = () => new SummaryReader(openShards(ledger), { currency: USD } as Config).summary(THE_SERVICE);

/** What the tables hold now, by plain sums over all rows. */
async function counted(): Promise<CurrencyTotals> {
  const { rows } = await client.query<Record<'balance' | 'held' | 'credits' | 'debits' | 'open', string>>(
    `SELECT (sum(balance) * 100)::bigint AS balance, (sum(held) * 100)::bigint AS held,
       count(*) FILTER (WHERE status = 'open') AS open,
       (SELECT (sum(amount) * 100)::bigint FROM ${tablesOf('bank').allTransactions} t WHERE type = 'credit') AS credits,
       (SELECT (sum(amount) * 100)::bigint FROM ${tablesOf('bank').allTransactions} t WHERE type = 'debit') AS debits
     FROM bank.accounts`,
  );
  const [{ balance, held, credits, debits, open }] = rows as [(typeof rows)[0]];
  return {
    currency: USD,
    accounts: { open: Number(open), debits_blocked: 0, frozen: 1, closed: 1 },
    ...{
      balance: BigInt(balance),
      held: BigInt(held),
      inFlight: 0n,
      credits: BigInt(credits),
      debits: BigInt(debits),
    },
  };
}

/** Waits for a summary that was begun after now. */
async function nextSummary() {
  const { rows } = await client.query<{ now: Date }>('SELECT clock_timestamp() AS now');
  const now = rows[0]?.now ?? new Date();
  return eventuallyRead(async () => {
    const summary = await read();
    expect(summary.asOf.getTime()).toBeGreaterThan(now.getTime());
    return summary;
  });
}

async function eventuallyRead<T>(reading: () => Promise<T>): Promise<T> {
  let value: T | undefined;
  await eventually(async () => void (value = await reading()), 10_000);
  return value as T;
}

const summedTo = async () => {
  const { rows } = await client.query<{ summed_to: number }>(
    'SELECT summed_to::int FROM bank.ledger_summary',
  );
  return rows[0]?.summed_to;
};

it('is not there before it was made', async () => {
  await expect(read()).rejects.toThrow(SummaryNotReadyError);
});

it('has what all accounts hold and all transactions come to, whichever were summed up before', async () => {
  // None of the transactions is old enough; then all are.
  for (const settledMs of [3_600_000, 0]) {
    keep(50, settledMs);
    expect((await nextSummary()).currencies).toEqual([await counted()]);
    await keepers.pop()?.stop();
  }
  expect(await summedTo()).toBeGreaterThan(0);
  await archiveBank([{ url: database.url, schema: 'bank' }], new Date(Date.now() + 60_000));
  const accountId = (await ledger.opener.open({ openingDeposit: 7n }, THE_SERVICE)).accountId;
  const seen = keep(50, 0);
  await ledger.post({ accountId, type: 'debit', amount: 2n });
  const { currencies } = await nextSummary();
  expect(currencies).toEqual([await counted()]);
  const { accounts, balance } = await verifyBank([{ url: database.url, schema: 'bank' }]);
  const [{ accounts: byStatus, ...totals }] = currencies as [CurrencyTotals];
  expect(Object.values(byStatus).reduce((sum, count) => sum + count, 0)).toBe(accounts);
  expect(totals.balance).toBe(BigInt(balance.replace('.', '')));
  expect(totals.balance).toBe(totals.credits - totals.debits);
  expect(seen).toMatchObject({ failures: 0, unbalanced: [] });
});

it('is kept by currency, where NULL is that of the bank', async () => {
  const opened = await ledger.opener.open({ openingDeposit: 500n }, THE_SERVICE);
  await client.query(`UPDATE bank.accounts SET currency = 'EUR' WHERE account_id = $1`, [opened.accountId]);
  try {
    const all = await counted();
    keep();
    const { currencies } = await nextSummary();
    expect(currencies.map(({ currency, balance }) => [currency.code, balance])).toEqual([
      ['EUR', 500n],
      ['USD', all.balance - 500n],
    ]);
    expect(currencies[0]).toMatchObject({ credits: 500n, debits: 0n, accounts: { open: 1, closed: 0 } });
  } finally {
    await client.query('UPDATE bank.accounts SET currency = NULL');
  }
});

it('says what is on its way to other shards', async () => {
  const { accountId: from } = await ledger.opener.open({ openingDeposit: 500n }, THE_SERVICE);
  const to = from + 1;
  const legs = [
    { accountId: from, type: 'debit', amount: 120n },
    { accountId: to, type: 'credit', amount: 120n },
  ] as const;
  const before = await counted();
  const { outgoing } = await ledger.scheduler.submit({
    ...{ type: 'outgoing', accountId: from, to, amount: 120n, nonce: randomUUID(), toCurrency: undefined },
    request: { type: 'transfer', accountId: from, legs },
  });
  const transfer = outgoing[0] as OutgoingTransfer;
  const seen = keep();
  expect((await nextSummary()).currencies).toEqual([{ ...before, held: before.held + 120n, inFlight: 120n }]);
  const { transferId, nonce, amount, decimals } = transfer;
  const refusal = { credit: undefined, rejection: { code: 'TRANSFER_CANCELLED' } } as const;
  const decision = {
    transferId,
    nonce,
    accountId: to,
    from,
    amount,
    decimals,
    decidedAt: new Date(),
    ...refusal,
  };
  await ledger.scheduler.submit({ type: 'settlement', accountId: from, transfer, decision });
  expect((await nextSummary()).currencies).toEqual([before]);
  expect(seen).toMatchObject({ failures: 0, unbalanced: [] });
});

it('adds up at every moment, while postings go on', async () => {
  const accountIds: number[] = [];
  for (let n = 0; n < 5; n++)
    accountIds.push((await ledger.opener.open({ openingDeposit: 1_000n }, THE_SERVICE)).accountId);
  const seen = keep(10, 200);
  for (let round = 0; round < 60; round++) {
    await Promise.all(
      accountIds.flatMap((accountId) => [
        ledger.post({ accountId, type: 'credit', amount: BigInt(1 + round) }),
        ledger.post({ accountId, type: 'debit', amount: 1n }),
      ]),
    );
    await sleep(10);
  }
  expect((await nextSummary()).currencies).toEqual([await counted()]);
  expect(seen).toMatchObject({ failures: 0, unbalanced: [] });
  expect(seen.times.size).toBeGreaterThan(10);
  expect(await summedTo()).toBeGreaterThan(5 * 60);
});

it('finds a transaction that was committed later than any should be, and sums up all of them again', async () => {
  const [late, early] = await Promise.all(
    [1, 2].map(async () => (await ledger.opener.open({ openingDeposit: 100n }, THE_SERVICE)).accountId),
  );
  await client.query('BEGIN');
  await client.query(
    `INSERT INTO bank.transactions (account_id, type, amount, balance_after, version_after, hash)
     VALUES ($1, 'credit', 0.07, 1.07, 3, ${UNCHAINED})`,
    [late],
  );
  await ledger.post({ accountId: early as number, type: 'credit', amount: 1n });
  const seen = keep(50, 0);
  const reader = new Client({ connectionString: database.url });
  await reader.connect();
  const { rows } = await reader.query<{ last: number }>(
    'SELECT max(transaction_id)::int AS last FROM bank.transactions',
  );
  await reader.end();
  await eventually(async () => expect(await sumsOutside()).toBe(rows[0]?.last));
  await client.query('UPDATE bank.accounts SET balance = 1.07, version = 3 WHERE account_id = $1', [late]);
  await client.query('COMMIT');
  expect((await nextSummary()).currencies).toEqual([await counted()]);
  expect(seen).toMatchObject({ failures: 0, unbalanced: [''] });
});

/** How far the sums have come, seen from outside of the client's transaction. */
async function sumsOutside(): Promise<number | undefined> {
  const { rows } = await ledger.runner.run((_, other) =>
    other.query<{ summed_to: number }>('SELECT summed_to::int FROM bank.ledger_summary'),
  );
  return rows[0]?.summed_to;
}

it.each(['balance = balance + 0.01', 'version = version + 1', 'held = 0.01, active_holds = 1'])(
  'is not made of books that are wrong: %s',
  async (damage) => {
    const { accountId } = await ledger.opener.open({ openingDeposit: 100n }, THE_SERVICE);
    const seen = keep();
    const { asOf } = await nextSummary();
    await client.query(`UPDATE bank.accounts SET ${damage} WHERE account_id = $1`, [accountId]);
    await eventually(() => Promise.resolve(expect(seen.failures).toBeGreaterThan(1)));
    expect((await read()).asOf.getTime()).toBeGreaterThanOrEqual(asOf.getTime());
    const { asOf: last } = await read();
    await sleep(200);
    expect((await read()).asOf).toEqual(last);
    expect(seen.unbalanced.length).toBeGreaterThan(1);
    await client.query(
      'UPDATE bank.accounts SET balance = 1, version = 2, held = 0, active_holds = 0 WHERE account_id = $1',
      [accountId],
    );
    expect((await nextSummary()).currencies).toEqual([await counted()]);
    await eventually(() => Promise.resolve(expect(seen.recovered).toBe(1)));
  },
);

it('is made once by two keepers, and by the other one when the first has died', async () => {
  const both = [keep(300), keep(300)];
  await sleep(1_600);
  const times = new Set(both.flatMap((seen) => [...seen.times]));
  expect(times.size).toBeGreaterThanOrEqual(2);
  expect(times.size).toBeLessThanOrEqual(6);
  await Promise.all(keepers.splice(0).map((keeper) => keeper.stop()));
  const lease = (seconds: number) =>
    client.query(
      `UPDATE bank.shard_identity
       SET summary_id = gen_random_uuid(), summary_leased_until = clock_timestamp() + $1 * interval '1 s'`,
      [seconds],
    );
  await lease(3_600);
  const { asOf } = await read();
  keep(50);
  await sleep(300);
  expect((await read()).asOf).toEqual(asOf);
  await lease(0);
  await nextSummary();
});
