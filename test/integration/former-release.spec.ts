import 'reflect-metadata';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { Client } from 'pg';
import { verifyBank } from '../../src/admin/verify/verify.js';
import type { ShardAddress } from '../../src/config/shard-address.js';
import { THE_SERVICE } from '../../src/domain/sender.js';
import { messageOf } from '../../src/messaging/bank-event.js';
import { EventLog } from '../../src/messaging/event-log.js';
import type { Chunk } from '../../src/messaging/event-source.js';
import { Outbox } from '../../src/messaging/outbox.js';
import { tablesOf } from '../../src/storage/tables.js';
import { MIGRATIONS } from '../../src/storage/data-source.js';
import { migrate, prepareTables } from '../../src/storage/migrate.js';
import {
  beforeBetweenShards,
  beforeEventLog,
  formerOpen,
  formerPost,
  formerRead,
  formerRecordAct,
  formerRelay,
  formerStart,
} from '../support/former-release-sql.js';
import { openLedger } from '../support/ledger.js';
import { createEmptyTestDatabase, type TestDatabase } from '../support/postgres.js';
import { waitUntil } from '../support/service.js';

const ALONE = { index: 0, count: 1 };
const before = (migration: string) =>
  MIGRATIONS.slice(
    0,
    MIGRATIONS.findIndex(({ name }) => name === migration),
  );
const FORMER = before('WholeLedger1795479300000');
const BEFORE_BETWEEN_SHARDS = before('BetweenShards1795479460000');
const BEFORE_EVENT_LOG = before('EventLog1795479470000');
/** SQLSTATEs: a NOT NULL column without a value, no such column, a prepared statement whose columns changed. */
const [NOT_NULL, NO_COLUMN, CHANGED_PLAN] = ['23502', '42703', '0A000'];

let database: TestDatabase;
let shard: ShardAddress;
let clients: Client[];

/** A connection of an instance of the former release. */
async function connect(): Promise<Client> {
  const client = new Client({ connectionString: database.url });
  await client.connect();
  clients.push(client);
  return client;
}

async function rows(sql: string): Promise<Record<string, unknown>[]> {
  return (await (clients[0] as Client).query<Record<string, unknown>>(sql)).rows;
}

beforeEach(async () => {
  clients = [];
  database = await createEmptyTestDatabase('former-release');
  shard = { url: database.url, schema: 'bank' };
  await prepareTables(shard, ALONE, FORMER);
  const client = await connect();
  await client.query(
    `INSERT INTO bank.shard_identity (bank_id, shard_index, shard_count) VALUES (gen_random_uuid(), 0, 1)`,
  );
  expect(await formerOpen(client, false)).toBe(1);
});

afterEach(async () => {
  await Promise.all(clients.map((client) => client.end()));
  await database.drop();
});

const ACTS: [what: string, act: (client: Client) => Promise<unknown>, state: string][] = [
  ['posting', (client) => formerPost(client, 1), NOT_NULL],
  ['opening with a deposit', (client) => formerOpen(client, true), NOT_NULL],
  ['archive, backup or other recorded act', formerRecordAct, NOT_NULL],
  ['relay', formerRelay, NO_COLUMN],
  ['start or command', formerStart, NO_COLUMN],
];

describe('an instance of the former release, on the schema of this one', () => {
  const BANK = ['accounts', 'transactions', 'outbox', 'audit_events', 'shard_identity'];
  const content = () => Promise.all(BANK.map((table) => rows(`SELECT * FROM bank.${table} ORDER BY 1`)));

  it.each(ACTS)('can do no %s, as it could before, and leaves nothing of it', async (_what, act, state) => {
    const former = await connect();
    await act(former);
    await formerPost(former, 1);
    await migrate(shard, ALONE);
    const before = await content();
    // It connects again, and no statement is prepared.
    await expect(act(await connect())).rejects.toMatchObject({ code: state });
    expect(await content()).toEqual(before);
  });

  it('can neither post nor read on a connection from before', async () => {
    const former = await connect();
    await formerPost(former, 1);
    await formerRead(former, 1);
    await migrate(shard, ALONE);
    await expect(formerPost(former, 1)).rejects.toMatchObject({ code: CHANGED_PLAN });
    await expect(formerRead(former, 1)).rejects.toMatchObject({ code: CHANGED_PLAN });
    expect((await formerRead(await connect(), 1)).rows).toMatchObject([{ balance: '0.01', version: '2' }]);
  });

  it('can still open an empty account, which is like any other', async () => {
    await migrate(shard, ALONE);
    const accountId = await formerOpen(await connect(), false);
    const ledger = await openLedger(database.url);
    expect(await ledger.post({ accountId, type: 'credit', amount: 1n })).toMatchObject({ versionAfter: 2 });
    await ledger.close();
    expect(await verifyBank([shard])).toMatchObject({ accounts: 2, ok: true });
  });
});

it('two releases at work at once: each acknowledged posting is there once, and no other', async () => {
  const acknowledged: string[] = [];
  const refused: string[] = [];
  let working = true;
  const former = Array.from({ length: 3 }, async (_, writer) => {
    let client = await connect();
    for (let n = 0; working; n++) {
      const key = `former-${writer}-${n}`;
      try {
        await formerPost(client, 1, key);
        acknowledged.push(key);
      } catch (error) {
        expect([NOT_NULL, CHANGED_PLAN]).toContain((error as { code?: string }).code);
        refused.push(key);
        client = await connect();
      }
    }
  });
  await waitUntil(() => Promise.resolve(acknowledged.length > 20), 20_000);
  await migrate(shard, ALONE);
  const ofFormer = acknowledged.length;
  const ledger = await openLedger(database.url);
  const { accountId: other } = await ledger.opener.open({ openingDeposit: 500n }, THE_SERVICE);
  for (let n = 0; n < 20; n++) {
    const key = `new-${n}`;
    await Promise.all([
      ledger.post({ accountId: 1, type: 'credit', amount: 1n, idempotencyKey: key }),
      ledger.scheduler.submit({ accountId: other, type: 'hold', amount: 1n, idempotencyKey: key }),
    ]);
    acknowledged.push(key);
  }
  await waitUntil(() => Promise.resolve(refused.length > 20), 20_000);
  working = false;
  await Promise.all(former);
  await ledger.close();

  expect(acknowledged.length).toBe(ofFormer + 20);
  const keys = await rows('SELECT idempotency_key AS key FROM bank.transactions WHERE account_id = 1');
  expect(keys.map(({ key }) => key as string).sort()).toEqual([...acknowledged].sort());
  expect(await verifyBank([shard])).toMatchObject({ ok: true, faults: [] });
}, 60_000);

describe('an instance of the release before transfers between shards, on the schema of this one', () => {
  const { deposit, hold, end, recordAct, relay, start } = beforeBetweenShards;
  const BANK = ['accounts', 'transactions', 'holds', 'outbox', 'audit_events', 'shard_identity'];
  const content = () => Promise.all(BANK.map((table) => rows(`SELECT * FROM bank.${table} ORDER BY 1`)));
  let holdId: number;

  /** With 0.06 in account 1, of which a half is on hold. */
  beforeEach(async () => {
    await prepareTables(shard, ALONE, BEFORE_BETWEEN_SHARDS);
    const former = await connect();
    await deposit(former);
    await deposit(former);
    holdId = await hold(former);
  });

  const HELD: [what: string, act: (client: Client) => Promise<unknown>, state: string][] = [
    ['place no second hold', hold, NOT_NULL],
    ['capture no hold', (client) => end(client, holdId, 'captured'), NOT_NULL],
    ['end no hold', (client) => end(client, holdId, 'voided'), NOT_NULL],
    ['begin no archive, backup, move or other recorded act', recordAct, NOT_NULL],
    ['relay nothing', relay, NO_COLUMN],
    ['not start', start, NO_COLUMN],
  ];

  it.each(HELD)('can %s, and leaves nothing of it', async (_what, act, state) => {
    const former = await connect();
    await deposit(former);
    await migrate(shard, ALONE);
    const migrated = await content();
    for (const client of [former, await connect()])
      await expect(act(client)).rejects.toMatchObject({ code: state });
    expect(await content()).toEqual(migrated);
  });

  it.each(['captured', 'voided'] as const)('could do all of that before: its hold is %s', async (as) => {
    const former = await connect();
    await end(former, holdId, as);
    for (const act of [recordAct, relay, start]) await act(former);
    await rows('DELETE FROM bank.audit_events');
    await migrate(shard, ALONE);
    expect(await verifyBank([shard])).toMatchObject({ accounts: 1, ok: true, faults: [] });
    expect(await rows('SELECT status, capturing FROM bank.holds')).toEqual([{ status: as, capturing: '0' }]);
  });

  it('can still deposit, on connections from before as on new ones, beside this release', async () => {
    const acknowledged: number[] = [];
    let working = true;
    const former = await connect();
    const deposits = (async () => {
      while (working) acknowledged.push(await deposit(former));
    })();
    await waitUntil(() => Promise.resolve(acknowledged.length > 20), 20_000);
    await migrate(shard, ALONE);
    const ledger = await openLedger(database.url);
    for (let n = 0; n < 20; n++) {
      const { transactionId } = await ledger.post({ accountId: 1, type: 'credit', amount: 1n });
      acknowledged.push(transactionId);
    }
    await ledger.scheduler.submit({ type: 'capture', accountId: 1, holdId, final: true });
    const ofBoth = acknowledged.length;
    await waitUntil(() => Promise.resolve(acknowledged.length > ofBoth + 20), 20_000);
    working = false;
    await deposits;
    await ledger.close();
    acknowledged.push(await deposit(await connect()));
    const stored = await rows(
      `SELECT transaction_id::int AS id FROM bank.transactions WHERE type = 'credit'`,
    );
    expect(stored).toHaveLength(acknowledged.length + 2);
    const ids = new Set(stored.map(({ id }) => id as number));
    expect(acknowledged.filter((id) => !ids.has(id))).toEqual([]);
    expect(await verifyBank([shard])).toMatchObject({ ok: true, faults: [] });
  }, 60_000);
});

describe('an instance of the release before the log of events, on the schema of this one', () => {
  const { deposit } = beforeBetweenShards;
  const REFUSED = Object.entries(beforeEventLog);
  const content = () =>
    Promise.all(
      ['outbox', 'audit_events', 'shard_identity'].map((table) => rows(`SELECT * FROM bank.${table}`)),
    );

  beforeEach(() => prepareTables(shard, ALONE, BEFORE_EVENT_LOG));

  it.each(REFUSED)('is refused its %s, which it could before', async (_what, act) => {
    const former = await connect();
    await deposit(former);
    await act(former);
    await rows('DELETE FROM bank.audit_events');
    await migrate(shard, ALONE);
    const migrated = await content();
    for (const client of [former, await connect()]) await expect(act(client)).rejects.toThrow();
    expect(await content()).toEqual(migrated);
  });

  it('can still deposit, and its events reach the log', async () => {
    const former = await connect();
    await deposit(former);
    await migrate(shard, ALONE);
    const ids = [await deposit(former), await deposit(await connect())];
    const ledger = await openLedger(database.url);
    const outbox = new Outbox(ledger.runner, tablesOf('bank'), 5_000);
    const chunk = await outbox.claim(1_000, () => true);
    await outbox.complete(chunk as Chunk);
    const { rows: logged } = await new EventLog(ledger.runner, tablesOf('bank')).readAfter(0, 1_000);
    await ledger.close();
    const told = logged.flatMap(({ events }) => events).map((event) => messageOf(event, '').id);
    expect(told.slice(-2)).toEqual(ids.map((id) => `txn${id}`));
    expect(await verifyBank([shard])).toMatchObject({ ok: true, faults: [] });
  });
});
