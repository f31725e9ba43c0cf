import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { Client } from 'pg';
import { archiveBank } from '../../src/admin/archive.js';
import { tablesOf } from '../../src/storage/tables.js';
import { THE_SERVICE } from '../../src/domain/sender.js';
import { Outbox } from '../../src/messaging/outbox.js';
import type { HoldStatus } from '../../src/domain/hold.js';
import { MAX_ID } from '../../src/domain/account.js';
import { AccountOwners } from '../../src/ledger/read/account-owners.js';
import { ShardRouter } from '../../src/sharding/shard-router.js';
import { HistoryReader } from '../../src/ledger/read/history-reader.js';
import { HoldReader } from '../../src/ledger/read/hold-reader.js';
import type { LedgerReader } from '../../src/ledger/read/ledger-reader.js';
import { StatementReader } from '../../src/ledger/read/statement-reader.js';
import { TransferReader } from '../../src/ledger/read/transfer-reader.js';
import { TransferRecords } from '../../src/ledger/read/transfer-records.js';
import { BatchLookups } from '../../src/ledger/write/batch-lookups.js';
import { countdown, openReader, openShards, openWithHistory, timeOf, walk } from '../support/history.js';
import { openLedger, PATIENT, type TestLedger } from '../support/ledger.js';
import { NOTHING_SUMMED, sumNext, takeSnapshot, type Progress } from '../../src/ledger/summary-statements.js';
import { blocksRead, kindsOf, planOf as planOfStatement, plansOf, rowsRead } from '../support/plans.js';
import { createTestDatabase, type TestDatabase } from '../support/postgres.js';

const LENGTH = 100_000;
const ARCHIVED = 90_000;

let database: TestDatabase;
let client: Client;
let ledger: TestLedger;
let accountId: number;
let reader: LedgerReader;

beforeAll(async () => {
  database = await createTestDatabase('long_history');
  client = new Client({ connectionString: database.url });
  await client.connect();
  ledger = await openLedger(database.url, ...PATIENT);
  reader = openReader(ledger);
  accountId = await openWithHistory(client, LENGTH);
  await client.query(
    `INSERT INTO bank.transaction_details (transaction_id, account_id, reference)
     SELECT transaction_id, account_id, 'r' FROM bank.transactions WHERE transaction_id % 2 = 0`,
  );
  await client.query('ANALYZE bank.transaction_details');
  await archiveBank([{ url: database.url, schema: 'bank' }], timeOf(ARCHIVED + 2));
}, 60_000);

afterAll(async () => {
  await ledger.close();
  await client.end();
  await database.drop();
});

/** Of the one statement that some work asks the archive with. */
const planOf = (work: () => Promise<unknown>) => planOfStatement(client, 'archived_transactions', work);

describe('with a long history, most of it in the archive', () => {
  it('page 10,000 of a listing costs the same as page 1, in either table', async () => {
    const list = (below: number) =>
      planOf(() => reader.transactionsBelow(accountId, below, 10, {}, THE_SERVICE));
    const first = await list(Number.MAX_SAFE_INTEGER);
    for (const page of [500, 1_000, 1_001, 5_000, 10_000]) {
      const below = LENGTH + 2 - (page - 1) * 10;
      const nodes = await list(below);
      expect([...kindsOf(nodes)].sort()).toEqual(['Index Scan', 'Limit', 'Merge Append', 'Nested Loop']);
      expect(rowsRead(nodes)).toBeLessThanOrEqual(12 + 7); // with the details of every second one
      expect(blocksRead(nodes)).toBeLessThanOrEqual(blocksRead(first) + 4);
    }
    // Three more for each row's details: two of the index, one of the table.
    expect(blocksRead(first)).toBeLessThanOrEqual(20 + 3 * 11);
    expect((await walk(reader, accountId, 1_000)).flat()).toEqual(countdown(LENGTH + 1, 2));
  });

  it('a filtered page reads at most 10,000 transactions, and says where the next one begins', async () => {
    const filter = { type: 'debit' } as const;
    const nodes = await planOf(() => reader.transactionsBelow(accountId, 60_001, 10, filter, THE_SERVICE));
    expect(rowsRead(nodes)).toBe(10_000);
    const pages = await walk(reader, accountId, 10, filter);
    expect(pages).toEqual(Array.from({ length: 10 }, () => []));
    const old = await walk(reader, accountId, 200, { to: timeOf(250) });
    expect(old.flat()).toEqual(countdown(249, 2));
    expect(old.findIndex((page) => page.length > 0)).toBe(9);
    expect(old.slice(9).map((page) => page.length)).toEqual([200, 48]);
  });

  it('a statement reads its own interval, and finds it in a few steps', async () => {
    const shards = openShards(ledger);
    const statements = new StatementReader(shards, new HistoryReader(shards));
    // The first ones are archived, and the last ones are not.
    for (const [from, to] of [
      [10_000, 10_600],
      [ARCHIVED - 100, ARCHIVED + 500],
    ] as const) {
      const bounds = () => statements.bounds(accountId, timeOf(from), timeOf(to), THE_SERVICE);
      const nodes = await planOf(bounds);
      const scans = nodes.filter((node) => node['Relation Name']?.endsWith('transactions'));
      expect([...kindsOf(scans)]).toEqual(['Index Scan']);
      // Two searches among 100,000 versions, of 17 steps each, and two balances.
      expect(rowsRead(nodes)).toBeLessThanOrEqual(2 * 17 + 4);
      const { span } = await bounds();
      expect(span).toMatchObject({
        opening: { version: from - 1, balance: BigInt(from - 2) },
        closing: { version: to - 1, balance: BigInt(to - 2) },
      });
      const sums = await planOf(() => statements.turnover(span, THE_SERVICE));
      expect(rowsRead(sums)).toBe(600);
      const versions: number[] = [];
      for await (const chunk of statements.movements(span, THE_SERVICE)) {
        versions.push(...chunk.map(({ versionAfter }) => versionAfter));
      }
      expect(versions).toEqual(countdown(to - 1, from).reverse());
      const chunk = await planOf(() => statements.movements(span, THE_SERVICE).next());
      // With the details of every second one.
      expect(rowsRead(chunk)).toBe(750);
    }
  });

  it('the balance at any time costs the same: one transaction for each halving of the history', async () => {
    const history = new HistoryReader(openShards(ledger));
    for (const version of [1, 2, 3, 50_000, ARCHIVED, ARCHIVED + 1, ARCHIVED + 2, LENGTH]) {
      const at = () => history.balanceAt(accountId, timeOf(version).getTime() + 59_999, THE_SERVICE);
      expect(await at()).toEqual({ accountId, version, balance: BigInt(version - 1), held: 0n, decimals: 2 });
      const nodes = await planOf(at);
      const scans = nodes.filter((node) => node['Relation Name']?.endsWith('transactions'));
      expect([...kindsOf(scans)]).toEqual(['Index Scan']);
      // The account, 17 halvings, and the transaction itself.
      expect(rowsRead(nodes)).toBeLessThanOrEqual(1 + 17 + 1);
      const exact = () => history.balanceOfVersion(accountId, version, THE_SERVICE);
      expect(await exact()).toEqual(await at());
      expect(rowsRead(await planOf(exact))).toBeLessThanOrEqual(2);
    }
  });

  it('a key is looked up, and no other filter reads more than a page may', async () => {
    for (const filter of [{ minAmount: '0.02' }, { maxAmount: '0.00' }]) {
      const list = () => reader.transactionsBelow(accountId, MAX_ID, 10, filter, THE_SERVICE);
      expect(await list()).toEqual({ transactions: [], nextBelow: LENGTH + 2 - 10_000 });
      expect(rowsRead(await planOf(list))).toBeLessThanOrEqual(10_000);
    }
    for (const version of [2, ARCHIVED, LENGTH]) {
      const filter = { idempotencyKey: `key-${version}` };
      const { transactions, nextBelow } = await reader.transactionsBelow(
        accountId,
        MAX_ID,
        10,
        filter,
        THE_SERVICE,
      );
      expect(transactions.map(({ versionAfter }) => versionAfter)).toEqual([version]);
      expect(nextBelow).toBeUndefined();
    }
  });

  it('a reference is looked up, however many transactions have others', async () => {
    const marked = [3, 4, 50_000, ARCHIVED, LENGTH - 1];
    const idOf = `SELECT transaction_id FROM ${tablesOf('bank').allTransactions} t WHERE account_id = $1 AND version_after = ANY($2)`;
    await client.query(
      `INSERT INTO bank.transaction_details (transaction_id, account_id, reference) SELECT transaction_id, $1, 'rare'
       FROM (${idOf}) marked ON CONFLICT (transaction_id) DO UPDATE SET reference = excluded.reference`,
      [accountId, marked],
    );
    expect(await walk(reader, accountId, 2, { reference: 'rare' })).toEqual([
      [LENGTH - 1, ARCHIVED],
      [50_000, 4],
      [3],
    ]);
    expect(await walk(reader, accountId, 2, { reference: 'none' })).toEqual([[]]);
    const statements: string[] = [];
    for (const filter of [{ reference: 'rare' }, { reference: 'rare', minAmount: '0.01' }]) {
      const nodes = await plansOf(client, 'transaction_details', () =>
        reader.transactionsBelow(accountId, 60_000, 10, filter, THE_SERVICE),
      );
      // The version before, the references, the transactions and their details, twice.
      expect(rowsRead(nodes)).toBeLessThanOrEqual(1 + 4 * 3);
      statements.push(...nodes.map((node) => node['Node Type']));
    }
    expect(statements).not.toContain('Seq Scan');
    // A common one is read up to 10,000 at a time.
    const common = await walk(reader, accountId, 7_000, { reference: 'r', minAmount: '0.01' });
    expect(common.flat()).toHaveLength(LENGTH / 2 - marked.filter((version) => version % 2 === 1).length);
    expect(new Set(common.flat()).size).toBe(common.flat().length);
  });

  it('a summary reads new transactions only', async () => {
    const tables = tablesOf('bank');
    let progress: Progress = NOTHING_SUMMED;
    for (let isLast = false; !isLast;) {
      const next = await ledger.runner.run((_, session) => sumNext(session, tables, progress, 0));
      [progress, isLast] = [next, next.isLast];
    }
    const snapshot = () => ledger.runner.run((_, session) => takeSnapshot(session, tables, progress));
    const { summary, unbalanced } = await snapshot();
    expect(unbalanced).toEqual([]);
    expect(summary['']).toMatchObject({ balance: String(LENGTH * 100), credits: String(LENGTH * 100) });
    const nodes = await planOf(snapshot);
    const scans = nodes.filter((node) => node['Relation Name']?.endsWith('transactions'));
    expect(rowsRead(scans)).toBe(0);
    const first = await planOf(() =>
      ledger.runner.run((_, session) => sumNext(session, tables, NOTHING_SUMMED, 0)),
    );
    expect(
      rowsRead(first.filter((node) => node['Relation Name']?.endsWith('transactions'))),
    ).toBeLessThanOrEqual(20_001);
  });

  it('a batch, a look-up and the relay use the indexes of both tables', async () => {
    const keys = [`key-${LENGTH}`, 'key-2', 'new'];
    const batch = await planOf(() =>
      Promise.allSettled(
        keys.map((idempotencyKey) => ledger.post({ accountId, type: 'credit', amount: 1n, idempotencyKey })),
      ),
    );
    const ids = await client.query<{ hot: number; archived: number }>(
      `SELECT (SELECT max(transaction_id)::int FROM bank.transactions) AS hot,
              (SELECT min(transaction_id)::int FROM bank.archived_transactions) AS archived`,
    );
    const [{ hot, archived }] = ids.rows as [{ hot: number; archived: number }];
    const single = await planOf(() => reader.transaction(hot, undefined, THE_SERVICE));
    const old = await planOf(() => reader.transaction(archived, undefined, THE_SERVICE));
    const outbox = new Outbox(ledger.runner, tablesOf('bank'), 5_000);
    const relayed = await planOf(() => outbox.claim(10, () => false));
    for (const nodes of [batch, single, old, relayed]) {
      const scans = nodes.filter((node) => node['Relation Name']?.endsWith('transactions'));
      expect(scans.map((node) => node['Relation Name']).sort()).toEqual([
        'archived_transactions',
        'transactions',
      ]);
      expect([...kindsOf(scans)]).toEqual(['Index Scan']);
      expect(rowsRead(nodes)).toBeLessThanOrEqual(4);
    }
    expect(rowsRead(single)).toBe(1);
  });
});

describe('where other accounts have many rows', () => {
  const OTHERS = 20_000;
  const FEW = 10;
  let shards: ReturnType<typeof openShards>;

  beforeAll(async () => {
    shards = openShards(ledger);
    // All but the last holds of the account have ended, before any of the others was placed.
    await client.query(
      `INSERT INTO bank.accounts (balance, version, owner) SELECT 0, 1, 'ada' FROM generate_series(1, ${OTHERS});
       INSERT INTO bank.holds (hold_id, account_id, amount, remaining, captured, status, expires_at, created_at, capturing)
       SELECT n, CASE WHEN n <= ${OTHERS} THEN ${accountId} ELSE ${accountId} + n - ${OTHERS} END, 1,
              (ended IS NULL)::int, 0, coalesce(ended, 'active'), now() - interval '1 hour', now(), 0
       FROM generate_series(1, 2 * ${OTHERS}) n,
         LATERAL (SELECT CASE WHEN n <= ${OTHERS - FEW} THEN 'voided' END AS ended) e;
       UPDATE bank.transactions SET transfer_id = transaction_id
       WHERE account_id = ${accountId} AND version_after > ${LENGTH + 1 - FEW};
       INSERT INTO bank.transactions
         (account_id, type, amount, balance_after, version_after, hash, transfer_id)
       SELECT ${accountId} + row_number() OVER (), 'debit', amount, 0, 2, hash, transfer_id
       FROM bank.transactions WHERE transfer_id IS NOT NULL;
       INSERT INTO bank.transaction_details (transaction_id, account_id, reference)
       SELECT transaction_id, account_id, 'r' FROM bank.transactions ON CONFLICT DO NOTHING;
       ANALYZE bank.accounts, bank.holds, bank.transactions, bank.transaction_details`,
    );
  }, 60_000);

  it("a page of an account's transfers reads its own legs, their owners and details", async () => {
    const transfers = new TransferReader(
      ...([shards, new ShardRouter(shards.shards.map((one) => new TransferRecords(one))), reader] as const),
      new AccountOwners(shards),
    );
    const nodes = await planOf(() => transfers.transfersBelow(accountId, MAX_ID, 5, 'ada', THE_SERVICE));
    // Of six transfers: the account's own legs, then all legs, their owners, and the details of the first ones.
    expect(rowsRead(nodes)).toBeLessThan(100);
  });

  it("a page of an account's holds reads its own", async () => {
    const holds = new HoldReader(shards, reader, new AccountOwners(shards));
    const list = (status?: HoldStatus) =>
      planOfStatement(client, '.holds', () => holds.holdsBelow(accountId, MAX_ID, 10, status, THE_SERVICE));
    // Of two statuses one more than the page has, and the details that some of them have.
    expect(rowsRead(await list())).toBeLessThanOrEqual(3 * 11);
    expect(rowsRead(await list('voided'))).toBeLessThanOrEqual(2 * 11);
    expect(rowsRead(await list('expired'))).toBeLessThanOrEqual(2 * 11);
    expect(rowsRead(await list('captured'))).toBe(0);
  });

  it('expired holds of accounts are found without those that have ended', async () => {
    const lookups = new BatchLookups(tablesOf('bank'));
    const accountIds = new Set([accountId, accountId + 1, accountId + 2]);
    const due = () => ledger.runner.run((_, session) => lookups.due(session, accountIds, new Date()));
    expect((await due()).get(accountId)).toHaveLength(FEW);
    const nodes = await planOfStatement(client, '.holds', due);
    expect(rowsRead(nodes)).toBe(FEW + 2);
  });
});
