import 'reflect-metadata';
import { createHash } from 'node:crypto';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gunzipSync, gzipSync } from 'node:zlib';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { Client } from 'pg';
import { EmbeddedPostgres } from '@scalable-banking/embedded-postgres';
import { recordActOn } from '../../src/audit/audit-log.js';
import { archiveBank } from '../../src/admin/archive.js';
import { readEvents } from '../../src/admin/audit/events.js';
import type { BackupFile, Manifest } from '../../src/admin/backup/format.js';
import { backupBank } from '../../src/admin/backup/backup.js';
import { restoreBank, type RestoreOptions } from '../../src/admin/backup/restore.js';
import { restoreText } from '../../src/cli/restore.js';
import { seedBank } from '../../src/admin/seed.js';
import { PAIRS } from '../../src/admin/verify/pairs.js';
import { verifyBank } from '../../src/admin/verify/verify.js';
import { bootstrapShards } from '../../src/sharding/bootstrap-shards.js';
import { MIGRATIONS } from '../../src/storage/data-source.js';
import { EMBEDDED_NAMES } from '../../src/app/embedded-bank.js';
import { prepareTables, ShardMismatchError } from '../../src/storage/migrate.js';
import type { ShardAddress } from '../../src/config/shard-address.js';
import { BANK_TABLES } from '../../src/storage/tables.js';
import { THE_SERVICE } from '../../src/domain/sender.js';
import { userMessage } from '../../src/app/user-message.js';
import { CommandError } from '../../src/admin/command-error.js';
import { PostgresProxy } from '../../tools/stack/proxies/postgres-proxy.js';
import { startInstance } from '../support/app.js';
import { fillTwoShards, TwoShards } from '../support/between-shards.js';
import { startCli } from '../support/cli.js';
import { formerPost } from '../support/former-release-sql.js';
import { openLedger } from '../support/ledger.js';
import { createEmptyTestDatabase, query, type TestDatabase } from '../support/postgres.js';
import { temporaryDataDir, waitUntil } from '../support/service.js';
import { fillWholeLedger } from '../support/whole-ledger.js';

let source: TestDatabase;
let target: TestDatabase;
let folder: string;

beforeAll(async () => {
  [source, target] = await Promise.all([
    createEmptyTestDatabase('backup'),
    createEmptyTestDatabase('restore'),
  ]);
});

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'bank-backup-'));
});

/** Schemas are dropped faster than databases are made. The session of a killed process may still be there. */
async function clear(database: TestDatabase): Promise<void> {
  const others = 'datname = current_database() AND pid <> pg_backend_pid()';
  await query(database.url, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE ${others}`);
  await query(database.url, 'DROP SCHEMA IF EXISTS bank, bank_0, bank_1 CASCADE');
}

afterEach(async () => {
  await clear(target);
  rmSync(folder, { recursive: true, force: true });
});

afterAll(async () => {
  await source.drop();
  await target.drop();
});

const bankIn = ({ url }: TestDatabase): ShardAddress[] => [{ url, schema: 'bank' }];
const shardsIn = ({ url }: TestDatabase): ShardAddress[] => [
  { url, schema: 'bank_0' },
  { url, schema: 'bank_1' },
];

const to = (name = 'backup') => join(folder, name);
const backup = async (shards: readonly ShardAddress[], name?: string) =>
  (await backupBank(shards, { to: to(name) })).manifest;
const restore = (shards: readonly ShardAddress[], options: Partial<RestoreOptions> = {}) =>
  restoreBank(shards, { from: to(), skipIds: 1_000_000, ...options });

/** A bank of some accounts, whose events still wait. */
async function foundBank(shards: readonly ShardAddress[], accounts = 5): Promise<string> {
  const { bankId } = await bootstrapShards(shards);
  await seedBank(shards, { accounts, balance: 350_00n });
  return bankId;
}

/** The hash of the rows in each file except the log, to which a backup and a restore add. */
const contents = ({ shards }: Manifest) =>
  shards.flatMap(({ files }) =>
    files
      .filter(({ table }) => table !== 'audit_events')
      .map(({ table, contentSha256 }) => ({ table, contentSha256 })),
  );

const actsIn = async (shards: readonly ShardAddress[]) => {
  const { events, firstBroken } = await readEvents(shards);
  expect(firstBroken).toBeUndefined();
  return events.map(({ action, details }) => ({ action, details: JSON.parse(details) as object }));
};

/** Transfers from each shard to the other, which are captures now and then, or fail, until they are told to stop. */
async function startCrosswiseLoad(bank: TwoShards) {
  const pairs = await Promise.all(
    Array.from({ length: 6 }, () =>
      Promise.all([bank.openAccount(0, 1_000_00n), bank.openAccount(1, 1_000_00n)]),
    ),
  );
  let [working, made] = [true, 0];
  const work = pairs.map(async ([one, other], n) => {
    const [from, target] = n % 2 === 0 ? [one, other] : [other, one];
    for (; working; made++) {
      const isCapture = made % 4 === 0;
      const capture = isCapture ? { holdId: await bank.placeHold(from, 5n), final: true } : undefined;
      await bank.finish(await bank.begin(from, target, 3n, { capture }), made % 5 === 0);
    }
  });
  const stop = () => {
    working = false;
    return Promise.all(work);
  };
  return { total: '12000.00', made: () => made, stop };
}

async function pendingIn({ url }: TestDatabase): Promise<number> {
  const each = [0, 1].map((shard) => `SELECT FROM bank_${shard}.transfers WHERE status = 'pending'`);
  return (await query(url, each.join(' UNION ALL '))).length;
}

/** Rewrites the manifest like somebody who knows how it is made. */
function rewriteManifest(change: (body: Manifest) => void): void {
  const body = JSON.parse(readFileSync(join(to(), 'manifest.json'), 'utf8')) as Manifest;
  Reflect.deleteProperty(body, 'checksum');
  change(body);
  const checksum = createHash('sha256').update(JSON.stringify(body)).digest('hex');
  writeFileSync(join(to(), 'manifest.json'), JSON.stringify({ ...body, checksum }));
}

/** Expects that a restore has left nothing: only empty tables that are not a bank. */
async function expectNothing(database: TestDatabase): Promise<void> {
  const tables = await query<{ name: string }>(
    database.url,
    `SELECT format('%I.%I', schemaname, tablename) AS name FROM pg_tables
     WHERE tablename IN ('accounts', 'transactions', 'archived_transactions', 'outbox', 'shard_identity')`,
  );
  for (const { name } of tables) expect(await query(database.url, `SELECT FROM ${name}`)).toEqual([]);
}

describe('a backup', () => {
  afterEach(() => clear(source));

  it('holds one moment of a bank that keeps posting, and is restored row by row', async () => {
    await foundBank(bankIn(source), 20);
    const ledger = await openLedger(source.url);
    const { accountId: keyed } = await ledger.opener.open(
      { openingDeposit: 350_00n, owner: 'ada', idempotencyKey: 'key' },
      THE_SERVICE,
    );
    const acknowledged: number[] = [];
    let posting = true;
    const writers = Array.from({ length: 8 }, async (_, writer) => {
      for (let n = 0; posting; n++) {
        const accountId = 1 + ((n + writer) % 20);
        const command = { accountId, type: 'credit', amount: 1n, idempotencyKey: `${writer}-${n}` } as const;
        acknowledged.push((await ledger.post(command)).transactionId);
      }
    });
    await waitUntil(() => Promise.resolve(acknowledged.length > 200), 20_000);
    await archiveBank(bankIn(source), new Date());
    const before = [...acknowledged];
    const archiving = archiveBank(bankIn(source), new Date(), { stepRows: 10 });
    const manifest = await backup(bankIn(source));
    await archiving;
    const during = acknowledged.length - before.length;
    posting = false;
    await Promise.all(writers);
    await ledger.close();
    expect(during).toBeGreaterThan(0);

    const { totals, bankId } = await restore(bankIn(target));
    expect(totals).toEqual(manifest.shards[0]?.books);
    expect(totals.faulty).toBe(0);
    expect(bankId).not.toBe(manifest.bankId);
    const { accounts, transactions, balance } = totals;
    expect(await verifyBank(bankIn(target))).toMatchObject({ accounts, transactions, balance, ok: true });
    // Backed up once more, each account, transaction and waiting event is the same text.
    expect(contents(await backup(bankIn(target), 'again'))).toEqual(contents(manifest));
    const ids = await query<{ id: number }>(
      target.url,
      `SELECT transaction_id::int AS id FROM bank.transactions
       UNION ALL SELECT transaction_id::int FROM bank.archived_transactions`,
    );
    expect(await query(target.url, 'SELECT FROM bank.archived_transactions LIMIT 1')).toHaveLength(1);
    const restored = new Set(ids.map(({ id }) => id));
    expect(before.filter((id) => !restored.has(id))).toEqual([]);
    const reopened = await openLedger(target.url);
    await expect(
      reopened.opener.open({ openingDeposit: 350_00n, owner: 'ada', idempotencyKey: 'key' }, THE_SERVICE),
    ).rejects.toMatchObject({
      failure: { code: 'DUPLICATE_ACCOUNT', accountId: keyed },
    });
    await reopened.close();
  }, 60_000);

  it('holds holds, details and events of accounts, and an overdrawn account, and they go on after a restore', async () => {
    await bootstrapShards(bankIn(source));
    await fillWholeLedger(source.url);
    await archiveBank(bankIn(source), new Date());
    const lastIds = `SELECT
      (SELECT max(transaction_id)::int FROM bank.archived_transactions) AS transaction,
      (SELECT max(event_id)::int FROM bank.account_events) AS event`;
    const [last] = await query<{ transaction: number; event: number }>(source.url, lastIds);
    const manifest = await backup(bankIn(source));
    expect(manifest).toMatchObject({ formatVersion: 5, shards: [{ books: { accounts: 5, faulty: 0 } }] });
    const filled = manifest.shards[0]?.files.filter(({ rows }) => rows > 0).map(({ table }) => table);
    expect(filled).toEqual(
      expect.arrayContaining(['holds', 'transaction_details', 'account_details', 'account_events']),
    );
    await restore(bankIn(target), { skipIds: 100 });
    expect(contents(await backup(bankIn(target), 'again'))).toEqual(contents(manifest));
    expect(
      await query(target.url, 'SELECT balance, overdraft_limit FROM bank.accounts WHERE account_id = 3'),
    ).toEqual([{ balance: '-7.00', overdraft_limit: '7.00' }]);
    // The hold is captured with the next ids, and the next event is chained to those of the backup.
    const ledger = await openLedger(target.url);
    const [hold] = await query<{ id: number }>(
      target.url,
      `SELECT hold_id::int AS id FROM bank.holds WHERE status = 'active'`,
    );
    const capture = { type: 'capture', accountId: 1, holdId: hold?.id ?? 0, final: true } as const;
    const { transactions } = await ledger.scheduler.submit(capture);
    const first = (last?.transaction ?? 0) + 101;
    expect(transactions.map(({ transactionId }) => transactionId)).toEqual([first, first + 1]);
    await ledger.scheduler.submit({ type: 'change', accountId: 4, changes: { status: 'open' } });
    await ledger.close();
    expect(await query(target.url, lastIds)).toMatchObject([{ event: (last?.event ?? 0) + 101 }]);
    expect(await verifyBank(bankIn(target))).toMatchObject({ accounts: 5, ok: true, faults: [] });
  });

  it('holds every table and every column of the schema', async () => {
    await foundBank(bankIn(source));
    const { shards } = await backup(bankIn(source));
    const tables = await query<{ name: string }>(
      source.url,
      `SELECT tablename AS name FROM pg_tables WHERE schemaname = 'bank'`,
    );
    const known = [...BANK_TABLES.map(({ name }) => name), 'migrations'];
    expect(tables.map(({ name }) => name).sort()).toEqual(known.sort());
    for (const { table, columns } of shards[0]?.files ?? []) {
      const found = await query<{ name: string }>(
        source.url,
        `SELECT column_name::text AS name FROM information_schema.columns
         WHERE table_schema = 'bank' AND table_name = '${table}'`,
      );
      expect([...columns].sort()).toEqual(found.map(({ name }) => name).sort());
    }
  });

  it('of several shards is of one moment, however far their snapshots are apart', async () => {
    const shards = shardsIn(source);
    await bootstrapShards(shards);
    const bank = await TwoShards.open(shards);
    const load = await startCrosswiseLoad(bank);
    // What the backup sends to shard 1 arrives a while after what it sends to shard 0.
    const { proxy, url } = await PostgresProxy.start(source.url);
    const delayed = [shards[0], { ...shards[1], url }] as ShardAddress[];
    const names = ['one', 'two'];
    for (const name of names) {
      const onStep = (step: string) => (proxy.delayMs = step === 'taking the snapshots' ? 80 : 0);
      const before = load.made();
      await backupBank(delayed, { to: to(name), onStep });
      expect(load.made()).toBeGreaterThan(before);
    }
    await load.stop();
    await bank.close();
    await proxy.stop();

    let pending = 0;
    for (const name of names) {
      await clear(target);
      await restore(shardsIn(target), { from: to(name) });
      expect(await verifyBank(shardsIn(target))).toMatchObject({ faults: [], ok: true });
      pending += await pendingIn(target);
      // The bank finishes what was under way.
      const service = await startInstance(shardsIn(target), {}, { transfers: { pollMs: 20, dueAfterMs: 0 } });
      await waitUntil(async () => (await pendingIn(target)) === 0, 20_000);
      await service.close();
      expect(await verifyBank(shardsIn(target))).toMatchObject({ balance: load.total, faults: [], ok: true });
    }
    // Else the test would say nothing.
    expect(pending).toBeGreaterThan(0);
  }, 120_000);

  it('of several shards holds transfers between them at each of their steps', async () => {
    await bootstrapShards(shardsIn(source));
    const bank = await TwoShards.open(shardsIn(source));
    await fillTwoShards(bank, () => archiveBank(shardsIn(source), new Date(Date.now() + 1_000)));
    await bank.close();
    const manifest = await backup(shardsIn(source));
    const rowsOf = (shard: number, name: string) =>
      manifest.shards[shard]?.files.find(({ table }) => table === name)?.rows;
    expect([0, 1].map((shard) => rowsOf(shard, 'transfers'))).toEqual([7, 3]);
    expect([0, 1].map((shard) => rowsOf(shard, 'incoming_transfers'))).toEqual([3, 5]);
    await restore(shardsIn(target));
    expect(contents(await backup(shardsIn(target), 'again'))).toEqual(contents(manifest));
    expect(await verifyBank(shardsIn(target))).toMatchObject({ accounts: 2, faults: [], ok: true });
  });

  it('of several shards says when one does not know what another sent it', async () => {
    await bootstrapShards(shardsIn(source));
    const bank = await TwoShards.open(shardsIn(source));
    const { completed } = await fillTwoShards(bank);
    await bank.close();
    await query(
      source.url,
      `DELETE FROM bank_1.incoming_transfers WHERE transfer_id = ${completed.transferId}`,
    );
    const { shards } = await backup(shardsIn(source));
    expect(shards.map(({ books }) => books.faulty)).toEqual([1, 1]);
    expect((await restore(shardsIn(target))).totals.faulty).toBe(2);
    expect((await verifyBank(shardsIn(target))).faults).toEqual([
      { accountId: 1, checks: [PAIRS.name] },
      { accountId: 2, checks: ['incoming_are_credits'] },
    ]);
  });

  it('of several shards gives up when steps of transfers hold their tables all the time', async () => {
    await foundBank(shardsIn(source), 2);
    const holder = new Client({ connectionString: source.url });
    await holder.connect();
    await holder.query('BEGIN; LOCK TABLE bank_1.incoming_transfers IN ROW EXCLUSIVE MODE');
    const stopper = new AbortController();
    const stopped = backupBank(shardsIn(source), { to: to(), signal: stopper.signal });
    setTimeout(() => stopper.abort(new Error('stopped')), 1_000);
    await expect(stopped).rejects.toThrow(/stopped|aborted/);
    await expect(backup(shardsIn(source))).rejects.toThrow('the shards have no common moment');
    await holder.query('COMMIT');
    await holder.end();
    expect((await backup(shardsIn(source))).shards).toHaveLength(2);
  }, 60_000);

  it('reports inconsistent books, and stores and restores them unchanged', async () => {
    await foundBank(bankIn(source));
    await query(source.url, 'UPDATE bank.accounts SET balance = 351 WHERE account_id = 2');
    const { shards } = await backup(bankIn(source));
    expect(shards[0]?.books).toEqual({ accounts: 5, transactions: 5, balance: '1751.00', faulty: 1 });
    expect((await restore(bankIn(target))).totals.faulty).toBe(1);
    expect((await verifyBank(bankIn(target))).faults).toEqual([
      { accountId: 2, checks: ['balance_is_sum', 'balance_is_last'] },
    ]);
  });

  it('never overwrites anything', async () => {
    await foundBank(bankIn(source));
    writeFileSync(to('file'), '');
    await expect(backup(bankIn(source), '.')).rejects.toThrow('is not empty; a backup needs a new folder');
    await expect(backup(bankIn(source), 'file')).rejects.toThrow('is a file; a backup needs a new folder');
    await expect(backup(bankIn(source), 'none/backup')).rejects.toThrow('no folder can be made in');
    mkdirSync(to('elsewhere'));
    symlinkSync(to('elsewhere'), to('link'));
    symlinkSync(to('nowhere'), to('loose'));
    for (const link of ['link', 'loose']) {
      await expect(backup(bankIn(source), link)).rejects.toThrow('is a link; a backup needs a new folder');
    }
    await expect(backup(bankIn(source), 'x'.repeat(250))).rejects.toThrow('no folder can be made in');
    // A mount point: found out before any work, too.
    await expect(backupBank(bankIn(source), { to: '/dev/shm/../shm' })).rejects.toThrow(
      /is not empty|can't be used/,
    );
    expect(readdirSync(folder).sort()).toEqual(['elsewhere', 'file', 'link', 'loose']);
    expect(await actsIn(bankIn(source))).toHaveLength(1);
  });

  it('accepts an empty folder, and leaves it empty when it fails', async () => {
    await foundBank(bankIn(source));
    mkdirSync(to('empty'));
    const stopped = AbortSignal.abort(new Error('stopped'));
    await expect(backupBank(bankIn(source), { to: to('empty'), signal: stopped })).rejects.toThrow('stopped');
    expect(readdirSync(folder)).toEqual(['empty']);
    await backup(bankIn(source), 'empty');
    expect(readdirSync(to('empty')).sort()).toEqual(['manifest.json', 'shard-0']);
  });

  it('is recorded in the audit log, and so is a restore', async () => {
    await foundBank(bankIn(source));
    const { manifest, sha256 } = await backupBank(bankIn(source), { to: to() });
    const migrated = {
      action: 'bank.migrated',
      details: { applied: MIGRATIONS.map(({ name }) => name), granted: [] },
    };
    const backedUp = { action: 'bank.backed_up', details: { to: to() } };
    expect(await actsIn(bankIn(source))).toEqual([migrated, backedUp]);
    await bootstrapShards(bankIn(target));
    const { bankId } = await restore(bankIn(target), { sha256 });
    const restored = {
      action: 'bank.restored',
      details: { from: to(), sha256, of: manifest.bankId, bankId },
    };
    // The log of the backup in place of the one that the target's founding began.
    expect(await actsIn(bankIn(target))).toEqual([migrated, backedUp, restored]);
    await restore(bankIn(target), { sha256 });
    expect(await actsIn(bankIn(target))).toHaveLength(3);
  });

  it('leaves nothing when its session ends halfway', async () => {
    await foundBank(bankIn(source));
    await holdUpOutbox(source);
    const backing = backup(bankIn(source));
    await waitForPart('shard-0/transactions.csv.gz');
    const ended = expect(backing).rejects.toThrow();
    await query(
      source.url,
      `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'bank-backup'`,
    );
    await ended;
    expect(readdirSync(folder)).toEqual([]);
  });

  it('that was killed is not accepted', async () => {
    await foundBank(bankIn(source));
    await holdUpOutbox(source);
    const { child, ended } = startCli(['backup', '--to', to()], { DATABASE_URL: source.url });
    await waitForPart('shard-0/transactions.csv.gz');
    child.kill('SIGKILL');
    await ended;
    const [left = ''] = readdirSync(folder);
    expect(left).toMatch(/^backup\.partial-/);
    await expect(restore(bankIn(target), { from: to(left) })).rejects.toThrow(
      'is no backup: there is no manifest.json in it',
    );
  });

  it('that is interrupted by Ctrl-C leaves nothing', async () => {
    await foundBank(bankIn(source));
    await holdUpOutbox(source);
    const { child, ended } = startCli(['backup', '--to', to()], { DATABASE_URL: source.url });
    await waitForPart('shard-0/transactions.csv.gz');
    child.kill('SIGINT');
    expect(await ended).toMatchObject({ code: 130, stdout: '' });
    expect(readdirSync(folder)).toEqual([]);
  });
});

/** Reading the outbox, which a backup does last, takes a minute from here on. */
async function holdUpOutbox(database: TestDatabase): Promise<void> {
  await query(
    database.url,
    `ALTER TABLE bank.outbox RENAME TO slow;
     CREATE VIEW bank.outbox AS SELECT * FROM bank.slow WHERE (SELECT pg_sleep(60)::text) IS NOT NULL`,
  );
}

/** Waits until a file of a backup exists under its temporary name. */
async function waitForPart(file: string): Promise<void> {
  const parts = () => readdirSync(folder).filter((name) => name.includes('.partial-'));
  await waitUntil(() => Promise.resolve(parts().some((part) => existsSync(to(join(part, file))))), 20_000);
}

describe('a restored bank', () => {
  afterEach(() => clear(source));

  it('continues with unused ids, and knows the old keys', async () => {
    await bootstrapShards(bankIn(source));
    const posted = async (url: string, key: string) => {
      const service = await startInstance(url);
      try {
        const headers = { 'content-type': 'application/json', 'idempotency-key': key };
        const path = '/accounts/1/transactions';
        const { status, text } = await service.http
          .post(path)
          .set(headers)
          .send('{"type":"Deposit","amount":1}');
        const opened = await service.http.post('/accounts').send({});
        return { status, body: JSON.parse(text) as object, opened: JSON.parse(opened.text) as object };
      } finally {
        await service.close();
      }
    };
    await seedBank(bankIn(source), { accounts: 2, balance: 1_00n });
    const first = await posted(source.url, 'key-1');
    expect(first).toMatchObject({ status: 201, body: { id: 'txn3' }, opened: { accountId: 3 } });
    await backup(bankIn(source));
    // Acknowledged, and lost: nobody else may get these ids.
    expect(await posted(source.url, 'key-2')).toMatchObject({
      body: { id: 'txn4' },
      opened: { accountId: 4 },
    });

    await restore(bankIn(target), { skipIds: 1_000 });
    const duplicate = { error: 'Duplicate transaction', transactionId: 'txn3' };
    expect(await posted(target.url, 'key-1')).toMatchObject({ status: 409, body: duplicate });
    const again = await posted(target.url, 'key-2');
    // The refused one has used up an id.
    expect(again).toMatchObject({ status: 201, body: { id: 'txn1005' }, opened: { accountId: 1005 } });
    expect(await verifyBank(bankIn(target))).toMatchObject({ transactions: 4, ok: true });
  }, 60_000);

  it('has the shards of the old one and a new id, and is rejected until all shards are restored', async () => {
    const oldId = await foundBank(shardsIn(source), 7);
    const manifest = await backup(shardsIn(source));
    expect(manifest).toMatchObject({ bankId: oldId, shardCount: 2 });
    const { bankId } = await restore(shardsIn(target));
    expect(bankId).not.toBe(oldId);
    // As if it had been killed between the two commits, of which that of shard 0 is the last.
    await query(target.url, 'DROP SCHEMA bank_0 CASCADE');
    await expect(bootstrapShards(shardsIn(target))).rejects.toThrow('is listed as shard 0 of the bank');
    const steps: string[] = [];
    expect((await restore(shardsIn(target), { onStep: (step) => steps.push(step) })).bankId).toBe(bankId);
    expect(steps).toContain('shard 1: was restored before');
    expect((await bootstrapShards(shardsIn(target))).bankId).toBe(bankId);
    expect(contents(await backup(shardsIn(target), 'again'))).toEqual(contents(manifest));

    await seedBank(shardsIn(target), { accounts: 2, balance: 1n });
    const newest = await query<{ id: number }>(
      target.url,
      `SELECT max(account_id)::int AS id FROM bank_0.accounts UNION ALL SELECT max(account_id)::int FROM bank_1.accounts`,
    );
    expect(newest).toEqual([{ id: 7 + 2_000_000 + 2 }, { id: 6 + 2_000_000 + 2 }]);
    expect(await verifyBank(shardsIn(target))).toMatchObject({ accounts: 9, ok: true });
    // Of two banks: they can't be mixed up.
    const mixed = [shardsIn(source)[0], shardsIn(target)[1]] as ShardAddress[];
    await expect(bootstrapShards(mixed)).rejects.toThrow(ShardMismatchError);
  }, 60_000);

  it('of several shards that existed before gets another id, which exposes an incomplete restore', async () => {
    await foundBank(shardsIn(source), 3);
    await backup(shardsIn(source));
    const founded = await bootstrapShards(shardsIn(target));
    const { bankId } = await restore(shardsIn(target));
    expect(bankId).not.toBe(founded.bankId);
    expect(await verifyBank(shardsIn(target))).toMatchObject({ accounts: 3, ok: true });
    expect((await bootstrapShards(shardsIn(target))).bankId).toBe(bankId);
    // As if it had been killed between the two commits: one shard restored, the other only founded.
    await query(target.url, `UPDATE bank_0.shard_identity SET bank_id = '${founded.bankId}'`);
    await expect(bootstrapShards(shardsIn(target))).rejects.toThrow(ShardMismatchError);
  });

  it('that existed before keeps its id, and its running service continues', async () => {
    await foundBank(bankIn(source), 3);
    await backup(bankIn(source));
    const { bankId } = await bootstrapShards(bankIn(target));
    const service = await startInstance(target.url, {}, { ledger: { lockTimeoutMs: 5_000 } });
    const opened: Promise<{ status: number; text: string }>[] = [];
    const onStep = (step: string) => {
      if (step === 'shard 0: loading') {
        // They come while the tables are locked, and wait.
        for (let n = 0; n < 3; n++)
          opened.push(service.http.post('/accounts').send({ openingDeposit: '1.00' }));
      }
    };
    expect((await restore(bankIn(target), { onStep })).bankId).toBe(bankId);
    for (const { status, text } of await Promise.all(opened)) {
      expect({ status, text }).toMatchObject({ status: 201 });
      expect((JSON.parse(text) as { accountId: number }).accountId).toBeGreaterThan(1_000_000);
    }
    expect((await service.http.get('/accounts/3/balance')).text).toBe('{"balance":350.00,"version":2}');
    await service.close();
    expect(await verifyBank(bankIn(target))).toMatchObject({ accounts: 6, balance: '1053.00', ok: true });
  });

  it.each([
    { formatVersion: 1, without: 'Archive1795478900000', files: ['accounts', 'transactions', 'outbox'] },
    {
      formatVersion: 2,
      without: 'CredentialsAndAudit1795479000000',
      files: ['accounts', 'transactions', 'archived_transactions', 'outbox'],
    },
    {
      formatVersion: 3,
      without: 'OpeningsAndRevisions1795479100000',
      files: ['accounts', 'transactions', 'archived_transactions', 'outbox', 'api_keys', 'audit_events'],
    },
    {
      formatVersion: 4,
      without: 'WholeLedger1795479300000',
      files: [
        ...['accounts', 'account_openings', 'transactions', 'archived_transactions'],
        ...['outbox', 'api_keys', 'audit_events'],
      ],
    },
  ])('from a backup of format $formatVersion is migrated', async ({ formatVersion, without, files }) => {
    const older = MIGRATIONS.slice(
      0,
      MIGRATIONS.findIndex(({ name }) => name === without),
    );
    const place = { index: 0, count: 1 };
    await prepareTables(bankIn(source)[0] as ShardAddress, place, older);
    await query(
      source.url,
      `INSERT INTO bank.shard_identity (bank_id, shard_index, shard_count) VALUES (gen_random_uuid(), 0, 1)`,
    );
    if (formatVersion >= 3) {
      await query(
        source.url,
        'INSERT INTO bank.accounts (balance, version) SELECT 0, 1 FROM generate_series(1, 4)',
      );
      const former = new Client({ connectionString: source.url });
      await former.connect();
      for (const accountId of [1, 2, 3, 4]) await formerPost(former, accountId);
      await former.end();
    } else {
      await query(
        source.url,
        `INSERT INTO bank.accounts (balance, version) SELECT 0.01, 2 FROM generate_series(1, 4);
         INSERT INTO bank.transactions (account_id, type, amount, balance_after, version_after)
           SELECT account_id, 'credit', 0.01, 0.01, 2 FROM bank.accounts`,
      );
    }
    // A relay that was at work when the backup was made.
    await query(source.url, `UPDATE bank.shard_identity SET relay_until = '9999-01-01'`);
    const written = await backup(bankIn(source));
    expect(written.migrations).toEqual(older.map(({ name }) => name));
    expect(written.shards[0]?.files.map(({ table }) => table)).toEqual(files);
    rewriteManifest((body) => Object.assign(body, { formatVersion }));
    await restore(bankIn(target));
    expect((await bootstrapShards(bankIn(target))).migrations).toEqual([]);
    expect(await verifyBank(bankIn(target))).toMatchObject({ accounts: 4, ok: true });
    // Nobody knows when they were opened.
    expect(await query(target.url, 'SELECT DISTINCT created_at FROM bank.accounts')).toEqual([
      { created_at: null },
    ]);
    // In the schema of the backup, if that has a log; else as soon as there is one.
    expect(await query(target.url, 'SELECT relay_lease_ends FROM bank.shard_identity')).toEqual([
      { relay_lease_ends: null },
    ]);
    const acts = files.includes('audit_events')
      ? ['bank.backed_up', 'bank.restored', 'bank.migrated']
      : ['bank.migrated', 'bank.restored'];
    expect((await actsIn(bankIn(target))).map(({ action }) => action)).toEqual(acts);
    // Its files do not fit the newest schema.
    await query(target.url, 'DROP SCHEMA bank CASCADE');
    await bootstrapShards(bankIn(target));
    await expect(restore(bankIn(target))).rejects.toThrow('restore into a database without a bank');
    expect(await query(target.url, 'SELECT FROM bank.accounts')).toEqual([]);
  });
});

describe('not restored', () => {
  /** What a program leaves that a backup has run. */
  const PROOF = join(tmpdir(), `bank-backup-proof-${process.pid}`);
  let whole: string;

  beforeAll(async () => {
    whole = mkdtempSync(join(tmpdir(), 'bank-backup-'));
    await foundBank(bankIn(source));
    await backupBank(bankIn(source), { to: whole });
  });
  beforeEach(() => cpSync(whole, to(), { recursive: true }));
  afterAll(async () => {
    await clear(source);
    rmSync(whole, { recursive: true });
  });

  const file = (name: string) => join(to(), 'shard-0', `${name}.csv.gz`);
  const DAMAGE: [what: string, damage: () => void, message: string][] = [
    ['without its manifest', () => rmSync(join(to(), 'manifest.json')), 'is no backup'],
    ['that is no folder', () => rmSync(to(), { recursive: true }), 'is no backup'],
    ['whose manifest is cut off', () => cutOff(join(to(), 'manifest.json')), 'manifest.json is damaged'],
    [
      'whose manifest was changed',
      () => flip(join(to(), 'manifest.json'), '"rows": '),
      'manifest.json is damaged',
    ],
    ['without a file', () => rmSync(file('outbox')), 'outbox.csv.gz is missing'],
    ['with a file that is cut off', () => cutOff(file('transactions')), 'bytes instead of'],
    ['with a file in which a bit flipped', () => flip(file('accounts')), 'accounts.csv.gz is damaged'],
    [
      'of a format to come',
      () => rewriteManifest((body) => Object.assign(body, { formatVersion: 6 })),
      'has the format version 6; this release reads the versions 1, 2, 3, 4, 5',
    ],
    [
      'of a schema to come',
      () => rewriteManifest((body) => body.migrations.push('Later1')),
      'the backup is of a later release: its schema has the migration Later1',
    ],
    [
      'whose rows were changed',
      () => forge('accounts', moveMoney, 'for the file alone'),
      'the SHA-256 of its content is not that of the manifest',
    ],
    [
      'whose rows were changed thoroughly',
      () => forge('accounts', moveMoney),
      'would not hold what the backup holds',
    ],
    [
      'whose columns are SQL',
      () => rename('outbox', 'outbox_id', `outbox_id) FROM PROGRAM 'touch ${PROOF}; true' (FORMAT csv); --`),
      'manifest.json is damaged',
    ],
    [
      'with a column that there is not',
      () => rename('outbox', 'created_at', 'tableoid'),
      'columns of outbox are not those',
    ],
    [
      'with a column of another table',
      () => rename('api_keys', 'owner', 'balance'),
      'columns of api_keys are not those',
    ],
    ['without a column', () => dropColumn('api_keys'), 'columns of api_keys are not those'],
    [
      'without a table',
      () =>
        rewriteManifest((body) =>
          body.shards[0]?.files.splice(body.shards[0].files.indexOf(entryOf(body, 'outbox')), 1),
        ),
      'lacks the table outbox',
    ],
    [
      'with text for a number',
      () => forge('accounts', (rows) => rows.replace('\n1,', '\none,')),
      "has rows that .* can't hold .SQLSTATE 22P02.",
    ],
    [
      'with a row twice',
      () => forge('accounts', (rows) => rows + rows.slice(rows.indexOf('\n') + 1)),
      'SQLSTATE 23505',
    ],
    ['with a row that is cut off', () => forge('accounts', (rows) => rows.slice(0, -70)), 'SQLSTATE 22'],
    [
      'with an endless text',
      () => forge('accounts', (rows) => rows.replace('1,350.00', `1,${'9'.repeat(9_999)}`)),
      'SQLSTATE 23514',
    ],
    [
      'with an id that no bank has',
      () => forge('outbox', (rows) => rows.replace('\n1,', '\n-1,')),
      'ids that no bank has',
    ],
    ...['accounts', 'transactions', 'outbox'].map((table): [string, () => void, string] => [
      `whose ids of ${table} are still to be handed out`,
      () =>
        rewriteManifest((body) =>
          Object.assign(entryOf(body, table), { sequence: { last: '1', called: false } }),
        ),
      `rows of ${table} with ids that its sequence is still to hand out`,
    ]),
    [
      'whose ids of holds are still to be handed out',
      () => forge('holds', (rows) => `${rows}6,1,1.00,1.00,0.00,active,,2026-05-01 00:00:00+00,0\n`),
      'rows of holds with ids that its sequence is still to hand out',
    ],
    [
      'with a hold of which more remains than it had',
      () => forge('holds', (rows) => `${rows}5,1,1.00,2.00,0.00,active,,2026-05-01 00:00:00+00,0\n`),
      'SQLSTATE 23514',
    ],
    [
      'with an overdrawn account that has no overdraft limit',
      () => forge('accounts', (rows) => rows.replace('1,350.00', '1,-350.00')),
      'SQLSTATE 23514',
    ],
    [
      'with fewer rows than it says',
      () => forge('outbox', (rows) => `${rows.split('\n')[0]}\n`),
      'would not hold what the backup holds',
    ],
    [
      'of another time',
      () =>
        rewriteManifest(({ shards }) =>
          Object.assign(shards[0]?.identity ?? {}, { created_at: '2026-99-99T00:00:00Z' }),
        ),
      'SQLSTATE 22008',
    ],
  ];

  function cutOff(path: string): void {
    const whole = readFileSync(path);
    writeFileSync(path, whole.subarray(0, whole.length - 10));
  }

  /** @param after the first place after this text; else in the middle */
  function flip(path: string, after?: string): void {
    const bytes = readFileSync(path);
    const place = after === undefined ? bytes.length >> 1 : bytes.indexOf(after) + after.length;
    bytes[place] = (bytes[place] ?? 0) ^ 1;
    writeFileSync(path, bytes);
  }

  /** From one account to another. */
  const moveMoney = (rows: string) => rows.replace('1,350.00', '1,351.00').replace('2,350.00', '2,349.00');

  const entryOf = ({ shards }: Manifest, table: string) =>
    shards[0]?.files.find((other) => other.table === table) as BackupFile;

  /** Changes the rows of a table, and makes the manifest fit, but for what they come to. */
  function forge(table: string, change: (rows: string) => string, ...half: string[]): void {
    const rows = change(gunzipSync(readFileSync(file(table))).toString());
    const packed = gzipSync(rows);
    writeFileSync(file(table), packed);
    const hash = (content: string | Buffer) => createHash('sha256').update(content).digest('hex');
    rewriteManifest((body) => {
      Object.assign(entryOf(body, table), { bytes: packed.length, sha256: hash(packed) });
      if (half.length > 0) return;
      Object.assign(entryOf(body, table), { contentSha256: hash(rows), contentBytes: rows.length });
    });
  }

  /** In the file as in the manifest. */
  function rename(table: string, name: string, other: string): void {
    forge(table, (rows) => rows.replace(name, other));
    rewriteManifest((body) => {
      const entry = entryOf(body, table);
      entry.columns = entry.columns.map((column) => (column === name ? other : column));
    });
  }

  function dropColumn(table: string): void {
    forge(table, (rows) => rows.replace(/,\w+\n/, '\n'));
    rewriteManifest((body) => entryOf(body, table).columns.pop());
  }

  it.each(DAMAGE)('is a backup %s', async (_what, damage, message) => {
    damage();
    const restoring = restore(bankIn(target));
    await expect(restoring).rejects.toThrow(CommandError);
    await expect(restoring).rejects.toThrow(new RegExp(message));
    await expectNothing(target);
    expect(existsSync(PROOF)).toBe(false);
  });

  it('is a backup whose manifest is not the expected one', async () => {
    await expect(restore(bankIn(target), { sha256: '0'.repeat(64) })).rejects.toThrow(
      'is not the one that --sha256 names',
    );
    expect(await query(target.url, `SELECT FROM pg_namespace WHERE nspname = 'bank'`)).toEqual([]);
  });

  it('is anything into the bank itself: the message says what was found and that nothing was done', async () => {
    const again = await restoreBank(bankIn(source), { from: to(), skipIds: 0 });
    expect(again).toMatchObject({ restored: [], found: [{ shard: 0, differ: [] }] });
    expect(restoreText(again)).toMatch(/^Nothing was restored: the bank \S+ held the backup's 5 account/);
    await query(source.url, 'DELETE FROM bank.outbox');
    const emptied = await restoreBank(bankIn(source), { from: to(), skipIds: 0 });
    expect(restoreText(emptied)).toContain(
      'are those of the backup, row by row. These tables differ: outbox.',
    );
    expect(restoreText(emptied)).not.toContain('Every row');
  });

  it('is a backup into a bank with accounts or with another number of shards', async () => {
    await seedBank((await bootstrapShards(bankIn(target))).shards, { accounts: 5, balance: 350_01n });
    await expect(restore(bankIn(target))).rejects.toThrow(
      /holds accounts, keys or administrative acts; a backup is restored into an empty bank only$/,
    );
    expect(await verifyBank(bankIn(target))).toMatchObject({ accounts: 5, balance: '1750.05', ok: true });
    await expect(restore(shardsIn(target))).rejects.toThrow(
      'the backup is of a bank of 1 shard(s), but the configuration lists 2',
    );
    await expect(restore([{ url: target.url, schema: 'bank' }], { skipIds: 2 ** 53 })).rejects.toThrow();
  });

  it('is a backup into the place to which a shard is being moved', async () => {
    await bootstrapShards(bankIn(target));
    await query(target.url, 'CREATE TABLE bank.shard_arriving ()');
    await expect(restore(bankIn(target))).rejects.toThrow('is the target of `shards move`');
  });

  it('is half a backup: a restore that loses its session leaves nothing, and can be run again', async () => {
    await bootstrapShards(bankIn(target));
    await query(
      target.url,
      `CREATE FUNCTION bank.wait() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(60); RETURN NEW; END';
       CREATE TRIGGER wait BEFORE INSERT ON bank.transactions FOR EACH ROW EXECUTE FUNCTION bank.wait()`,
    );
    const restoring = restore(bankIn(target)).catch((reason: unknown) => reason);
    const session = `FROM pg_stat_activity WHERE application_name = 'bank-restore' AND wait_event = 'PgSleep'`;
    await waitUntil(
      async () => (await query(target.url, `SELECT pg_terminate_backend(pid) ${session}`)).length > 0,
      20_000,
    );
    const error = await restoring;
    expect(userMessage(error)).toMatch(/^the database failed: /);
    expect(await query(target.url, 'SELECT FROM bank.accounts')).toEqual([]);
    await query(target.url, 'DROP TRIGGER wait ON bank.transactions');
    await restore(bankIn(target));
    expect(await verifyBank(bankIn(target))).toMatchObject({ accounts: 5, ok: true });
  });
});

describe('backup and restore from the command line', () => {
  afterEach(() => clear(source));

  it('carries a bank from one data folder to another', async () => {
    const [old, fresh] = [temporaryDataDir(), temporaryDataDir()];
    const open = ({ path }: { path: string }) =>
      EmbeddedPostgres.open({
        ...EMBEDDED_NAMES,
        dataDir: path,
        holder: 'tests',
        settings: { fsync: 'off' },
        log: () => undefined,
      });
    try {
      // The one runs, as with a service; of the other there is not even the folder's content.
      const running = await open(old);
      await foundBank([{ url: running.url, schema: 'bank' }], 3);
      const backedUp = await startCli(['backup', '--to', to()], { DATA_DIR: old.path }).ended;
      await running.close();
      expect(backedUp.code).toBe(0);
      expect(backedUp.stdout).toMatch(
        /^Backed up 3 account\(s\) with 1050\.00 in all and 3 transaction\(s\)\n/,
      );
      expect(backedUp.stdout).toMatch(/Every file was read again, and the books are whole\.\n$/);
      const restored = await startCli(['restore', '--from', to()], { DATA_DIR: fresh.path }).ended;
      expect(restored.code).toBe(0);
      expect(restored.stdout).toMatch(
        /^Restored 3 account\(s\) with 1050\.00 in all and 3 transaction\(s\)\n/,
      );
      expect(restored.stdout).toMatch(/The books are whole\.\n$/);
      const again = await open(fresh);
      const shards = [{ url: again.url, schema: 'bank' }];
      await seedBank(shards, { accounts: 1, balance: 1n });
      const newest = await query<{ id: number }>(
        again.url,
        'SELECT max(account_id)::int AS id FROM bank.accounts',
      );
      expect(await verifyBank(shards)).toMatchObject({ accounts: 4, balance: '1050.01', ok: true });
      await again.close();
      expect(newest).toEqual([{ id: 1_000_000_004 }]);
    } finally {
      old.remove();
      fresh.remove();
    }
  }, 120_000);

  it('exits with 1 when the books are inconsistent', async () => {
    await foundBank(bankIn(source));
    await query(source.url, 'UPDATE bank.accounts SET balance = 351 WHERE account_id = 2');
    const backedUp = await startCli(['backup', '--to', to()], { DATABASE_URL: source.url }).ended;
    expect(backedUp.code).toBe(1);
    expect(backedUp.stdout).toContain('The books are NOT whole: 1 account(s) fail');
    const restored = await startCli(['restore', '--from', to()], { DATABASE_URL: target.url }).ended;
    expect(restored.code).toBe(1);
    expect(restored.stdout).toContain('The books are NOT whole, and were not');
  }, 120_000);

  it('exits with 1 when the audit log is inconsistent', async () => {
    await foundBank(bankIn(source));
    await recordActOn(bankIn(source), { action: 'account.reset', details: { account: 1 } });
    await query(source.url, `UPDATE bank.audit_events SET actor = 'somebody else'`);
    await backup(bankIn(source));
    const restored = await startCli(['restore', '--from', to()], { DATABASE_URL: target.url }).ended;
    expect(restored.code).toBe(1);
    expect(restored.stdout).toContain('The audit log is NOT whole');
  }, 120_000);
});
