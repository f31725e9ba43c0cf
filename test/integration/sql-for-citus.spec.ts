import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { Client } from 'pg';
import { assignAccounts } from '../../src/admin/assign-accounts.js';
import { archiveBank } from '../../src/admin/archive.js';
import { exportHeads } from '../../src/admin/audit/heads.js';
import { backupBank } from '../../src/admin/backup/backup.js';
import { createKey, listKeys, revokeKey, rotateKey } from '../../src/admin/keys.js';
import { restoreBank } from '../../src/admin/backup/restore.js';
import { seedBank } from '../../src/admin/seed.js';
import { relocateShard } from '../../src/admin/relocation/relocate.js';
import { listShards } from '../../src/admin/list-shards.js';
import { verifyBank } from '../../src/admin/verify/verify.js';
import { bootstrapShards } from '../../src/sharding/bootstrap-shards.js';
import type { ShardAddress } from '../../src/config/shard-address.js';
import { openAccount, startInstance, type TestApp } from '../support/app.js';
import { createEmptyTestDatabase, type TestDatabase } from '../support/postgres.js';
import { commandsOf, SqlRecorder, type Recorded } from '../support/recorded-sql.js';
import { waitUntil } from '../support/service.js';
import { idOfSubmission } from '../support/submissions.js';
import { fillWholeLedger } from '../support/whole-ledger.js';

const SCHEMAS = ['bank_0', 'bank_1'];

/** The tests do not run Citus, so this checks that no SQL is sent that Citus rejects or runs much more slowly. */
describe('the SQL of a bank of two shards', () => {
  let recorded: readonly Recorded[];
  let volatile: RegExp;
  let databases: TestDatabase[];
  let folder: string;

  const shardsIn = (database: TestDatabase | undefined): ShardAddress[] =>
    SCHEMAS.map((schema) => ({ url: database?.url ?? '', schema }));
  const during = (what: RegExp) => recorded.filter((query) => what.test(query.during));

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'bank-sql-'));
    databases = await Promise.all([1, 2, 3].map(() => createEmptyTestDatabase('sql')));
    volatile = await volatileFunctions();
    recorded = await recordAll();
  }, 60_000);

  afterAll(async () => {
    await Promise.all(databases.map((database) => database.drop()));
    await rm(folder, { recursive: true });
  });

  /** By the server's own catalogue; as a call. */
  async function volatileFunctions(): Promise<RegExp> {
    const client = new Client({ connectionString: databases[0]?.url });
    await client.connect();
    const { rows } = await client.query<{ name: string }>(
      `SELECT DISTINCT proname AS name FROM pg_proc WHERE provolatile = 'v' AND proname ~ '^[a-z]'`,
    );
    await client.end();
    return new RegExp(`\\b(${rows.map(({ name }) => name).join('|')})\\(`);
  }

  async function recordAll(): Promise<Recorded[]> {
    const [bank, restored, moved] = databases;
    const shards = shardsIn(bank);
    const recorder = new SqlRecorder();
    try {
      await recorder.recording('migrate', () => bootstrapShards(shards));
      await recorder.recording('service', () => serve(shards));
      await recorder.recording('commands', () => command(shards));
      await recorder.recording('migrate', () => bootstrapShards(shardsIn(restored)));
      const to = join(folder, 'backup');
      await recorder.recording('backup', () => backupBank(shards, { to }));
      await recorder.recording('restore', () => restoreBank(shardsIn(restored), { from: to, skipIds: 0 }));
      await recorder.recording('move', async () => {
        const target = new URL(moved?.url ?? '');
        [target.username, target.password] = ['', ''];
        await relocateShard(shards, 1, target.href, { maxPauseMs: 10_000 });
      });
    } finally {
      recorded = recorder.stop();
    }
    return [...recorded];
  }

  /** Every kind of request, the relay and the sweeper. */
  async function serve(shards: readonly ShardAddress[]): Promise<void> {
    const app = await startInstance(
      shards,
      { AUTH: 'off' },
      { sweeper: { pollMs: 100 }, transfers: { pollMs: 100 } },
    );
    const firstOf = async (listing: string, path: string): Promise<string> => {
      const { body } = (await app.http.get(listing)) as { body: { data: { id: string }[] } };
      return `${path}/${body.data[0]?.id}`;
    };
    try {
      const [first, second] = [await openAccount(app, '10.00'), await openAccount(app)];
      for (const status of [201, 409]) {
        const opened = await app.http.post('/accounts').set('idempotency-key', 'key').send({});
        expect(opened.status).toBe(status);
      }
      const expiring = await app.http
        .post(`/accounts/${first}/holds`)
        .send({ amount: '1.00', expiresInSeconds: 1 });
      expect(expiring.status).toBe(201);
      const filled: number[] = [];
      for (const { url, schema } of shards) filled.push(...(await fillWholeLedger(url, schema)));
      const [other = 0] = filled;
      const nearby = await app.http.post('/accounts').send({ near: other, reference: 'near' });
      expect(nearby.status).toBe(201);
      const posting = { type: 'Deposit', amount: '1.00' };
      for (const [accountId, more] of [
        [first, {}],
        [second, { expectedVersion: 1 }],
        [first, { expectedVersion: 99 }],
      ] as const) {
        await app.http
          .post(`/accounts/${accountId}/transactions`)
          .set('idempotency-key', 'key')
          .send({ ...posting, ...more });
      }
      await betweenShards(app, filled);
      const transactions = Array.from({ length: 3 }, () => ({ accountId: first, ...posting }));
      for (const atomic of [true, false]) {
        const { status } = await app.http.post('/transactions/batch').send({ atomic, transactions });
        expect(status).toBe(200);
      }
      for (const path of [
        ...[`/accounts/${first}`, `/accounts/${first}/balance`, '/accounts', `/accounts/${first}/proof`],
        ...[`/accounts/${first}/transactions?type=Deposit`, '/transactions/txn1', '/health/ready'],
        ...[`/accounts/${other}/holds`, `/accounts/${other}/holds?status=captured`],
        ...[`/accounts/${other}/transfers`, await firstOf(`/accounts/${other}/holds`, '/holds')],
        ...[await firstOf(`/accounts/${other}/transfers`, '/transfers')],
        `/submissions/${await idOfSubmission(shards[0]?.url ?? '', first, 'key', shards[0]?.schema)}`,
      ]) {
        const { status } = await app.http.get(path).set('cache-control', 'no-cache');
        expect({ path, status }).toEqual({ path, status: 200 });
      }
      await waitUntil(async () => {
        const { text } = await app.http.get('/metrics');
        return ['bank_outbox_published_total', 'bank_sweeper_expired_holds_total'].every((name) =>
          new RegExp(`^${name}\\{shard="\\d"\\} [1-9]`, 'm').test(text),
        );
      }, 10_000);
    } finally {
      await app.close();
    }
  }

  /** Each step of each kind of transfer between shards. */
  async function betweenShards(app: TestApp, filled: readonly number[]): Promise<void> {
    const [from, to] = [0, 1].map((shard) => filled.find((id) => (id - 1) % 2 === shard)) as [number, number];
    const post = async (path: string, body: object): Promise<string> => {
      const { status, text } = await app.http
        .post(path)
        .set('idempotency-key', path.replaceAll('/', '-'))
        .send(body);
      expect({ path, status, text }).toMatchObject({ status: 201 });
      return (JSON.parse(text) as { id: string }).id;
    };
    const transfer = await post('/transfers', { from, to, amount: '2.00', reference: 'there' });
    await post(`/transfers/${transfer}/reversal`, { amount: '1.00' });
    const hold = await post(`/accounts/${from}/holds`, { amount: '2.00' });
    await post(`/holds/${hold}/capture`, { amount: '1.00', final: false, to, reference: 'part' });
    const listed = await app.http.get(`/accounts/${from}/transfers`);
    expect(listed.text).toContain(transfer);
  }

  async function command(shards: readonly ShardAddress[]): Promise<void> {
    await seedBank(shards, { accounts: 20, balance: 100n, owner: 'somebody' });
    await assignAccounts(shards, { accounts: [1, 2], owner: 'somebody' });
    const { keyId } = await createKey(shards, { name: 'test', scopes: ['admin'] });
    const rotated = await rotateKey(shards, keyId, { overlapMs: 0 });
    await revokeKey(shards, rotated.keyId);
    await listKeys(shards);
    await listShards(shards, { url: 'http://127.0.0.1:1' });
    await archiveBank(shards, new Date());
    await exportHeads(shards, '00000000-0000-4000-8000-000000000000', join(folder, 'heads'));
    expect(await verifyBank(shards)).toMatchObject({ ok: true });
  }

  it('is recorded for every activity', () => {
    for (const what of ['migrate', 'service', 'commands', 'backup', 'restore', 'move']) {
      expect({ what, statements: during(new RegExp(what)).length > 5 }).toEqual({ what, statements: true });
    }
    for (const sql of [
      ...[/INSERT INTO "bank_0"\.transactions/, /INSERT INTO "bank_0"\.transaction_details/],
      ...[/INSERT INTO "bank_0"\.holds/, /INSERT INTO "bank_0"\.account_events/],
      ...[/INSERT INTO "bank_0"\.account_details/, /reverses_id = o\.transaction_id/, /hold_id = n\.id/],
      ...[/UPDATE "bank_0"\."shard_identity" SET "relay_id"/, /"shard_identity" SET "sweeper_id"/],
      ...[/LATERAL \(\s*SELECT [^(]*\."?holds"?\s+WHERE account_id = a\.id/],
      ...[/INSERT INTO "bank_0"\.transfers/, /UPDATE "bank_0"\.transfers/, /INSERT INTO "bank_1"\.incoming/],
      /FROM "bank_0"\.transfers WHERE status = 'pending' GROUP BY target/,
    ]) {
      expect({ sql, recorded: during(/service/).some((query) => sql.test(query.sql)) }).toEqual({
        sql,
        recorded: true,
      });
    }
  });

  it('names tables of only one schema in each query', () => {
    const named = (sql: string) => SCHEMAS.filter((schema) => sql.includes(schema));
    expect(recorded.filter(({ sql }) => named(sql).length > 1)).toEqual([]);
  });

  it('calls no volatile function where rows are updated or deleted', () => {
    const changes = /(?<!FOR |KEY |DO )\bUPDATE\s|\bDELETE\s+FROM\b/;
    const changing = recorded.filter(({ sql }) => changes.test(sql));
    expect(changing.length).toBeGreaterThan(5);
    expect(changing.filter(({ sql }) => volatile.test(sql))).toEqual([]);
  });

  it('has no INSERT inside a CTE', () => {
    expect(recorded.filter(({ sql }) => /\(\s*INSERT\b/i.test(sql))).toEqual([]);
  });

  it('reads a table in each INSERT … SELECT of a posting, so that it runs where the tables are', () => {
    const inserts = during(/service/).filter(({ sql }) => /^INSERT\b[\s\S]*\bSELECT\b/.test(sql));
    expect(inserts.length).toBeGreaterThan(0);
    expect(inserts.filter(({ sql }) => !/\bFROM\s+"bank_[01]"\./.test(sql))).toEqual([]);
  });

  it('has only one command in each query that names a table', () => {
    expect(
      recorded.filter(
        ({ sql }) => commandsOf(sql).length > 1 && (/bank_/.test(sql) || /CREATE|ALTER|DROP/.test(sql)),
      ),
    ).toEqual([]);
  });

  it('adds each constraint by an ALTER TABLE of its own', () => {
    const altering = recorded.filter(({ sql }) => /ADD CONSTRAINT/.test(sql));
    expect(altering.length).toBeGreaterThan(5);
    const beside =
      /ADD CONSTRAINT[\s\S]*(ADD CONSTRAINT|ALTER COLUMN|ADD COLUMN)|(COLUMN|DROP)[\s\S]*ADD CONSTRAINT/;
    expect(altering.filter(({ sql }) => beside.test(sql))).toEqual([]);
  });

  it('leaves identity columns alone that draw the right ids', () => {
    const identity = /ALTER COLUMN \w+\s+SET INCREMENT/;
    expect(during(/migrate/).filter(({ sql }) => identity.test(sql))).toHaveLength(10);
    expect(during(/restore/).filter(({ sql }) => identity.test(sql))).toEqual([]);
  });
});
