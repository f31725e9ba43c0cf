import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { Client, escapeIdentifier } from 'pg';
import { archiveBank } from '../../src/admin/archive.js';
import { recordActOn } from '../../src/audit/audit-log.js';
import { backupBank } from '../../src/admin/backup/backup.js';
import { restoreBank } from '../../src/admin/backup/restore.js';
import { seedBank } from '../../src/admin/seed.js';
import { relocateShard } from '../../src/admin/relocation/relocate.js';
import { verifyBank } from '../../src/admin/verify/verify.js';
import { bootstrapShards } from '../../src/sharding/bootstrap-shards.js';
import { migrate } from '../../src/storage/migrate.js';
import type { ShardAddress } from '../../src/config/shard-address.js';
import { openAccount, startInstance } from '../support/app.js';
import { bearer, makeKey } from '../support/credentials.js';
import { createEmptyTestDatabase, type TestDatabase } from '../support/postgres.js';
import { deposit, post } from '../support/requests.js';
import { WEBHOOK_KEYS } from '../support/webhooks.js';
import { fillWholeLedger } from '../support/whole-ledger.js';

const ROLE = `service_${process.pid}`;
const PASSWORD = 'of-the-service';

let database: TestDatabase;
let other: TestDatabase;
let owner: Client;
let service: Client;

const asService = (url: string) => {
  const mine = new URL(url);
  [mine.username, mine.password] = [ROLE, PASSWORD];
  return mine.href;
};
const addressOf = (of: TestDatabase): ShardAddress => ({
  url: asService(of.url),
  schema: 'bank',
  migrationUrl: of.url,
});
const bank = () => [addressOf(database)];

async function connect(url: string): Promise<Client> {
  const client = new Client({ connectionString: url });
  await client.connect();
  return client;
}

beforeAll(async () => {
  database = await createEmptyTestDatabase('service-role');
  other = await createEmptyTestDatabase('service-role-target');
  owner = await connect(database.url);
  await owner.query(`CREATE ROLE ${ROLE} LOGIN PASSWORD '${PASSWORD}'`);
  await bootstrapShards(bank());
  await seedBank(bank(), { accounts: 3, balance: 100n });
  await archiveBank(bank(), new Date());
  await seedBank(bank(), { accounts: 3, balance: 100n });
  await recordActOn(bank(), { action: 'test.done', details: {} });
  await owner.query(
    `INSERT INTO bank.api_keys (name, hint, hash, scopes) VALUES ('k', 'h', sha256('x'), ARRAY['admin'])`,
  );
  service = await connect(asService(database.url));
});

afterAll(async () => {
  await service.end();
  for (const used of [database, other]) {
    const client = await connect(used.url);
    await client.query(`DROP OWNED BY ${ROLE}`);
    await client.end();
  }
  await owner.query(`DROP ROLE ${ROLE}`);
  await owner.end();
  await database.drop();
  await other.drop();
});

describe("the service's role", () => {
  it.each([
    'UPDATE bank.transactions SET amount = amount + 1',
    'UPDATE bank.transactions SET hash = sha256(hash)',
    'DELETE FROM bank.transactions',
    'TRUNCATE bank.transactions',
    'UPDATE bank.archived_transactions SET amount = amount + 1',
    'DELETE FROM bank.archived_transactions',
    'INSERT INTO bank.archived_transactions SELECT * FROM bank.archived_transactions',
    // Would take the transactions along.
    'DELETE FROM bank.accounts',
    'TRUNCATE bank.accounts CASCADE',
    `UPDATE bank.accounts SET owner = 'me'`,
    `UPDATE bank.accounts SET currency = 'EUR'`,
    'UPDATE bank.accounts SET created_at = NULL',
    'DELETE FROM bank.account_details',
    `UPDATE bank.account_events SET changes = '{}'`,
    'DELETE FROM bank.account_events',
    'UPDATE bank.holds SET amount = 1',
    'UPDATE bank.holds SET expires_at = NULL',
    'DELETE FROM bank.holds',
    'UPDATE bank.transaction_details SET description = NULL',
    'DELETE FROM bank.transaction_details',
    `UPDATE bank.account_openings SET owner = 'me'`,
    'DELETE FROM bank.account_openings',
    'UPDATE bank.accounts SET account_id = 7',
    `UPDATE bank.audit_events SET actor = 'somebody else'`,
    'DELETE FROM bank.audit_events',
    `INSERT INTO bank.audit_events SELECT event_id + 1, happened_at, action, actor, details, hash FROM bank.audit_events`,
    'UPDATE bank.api_keys SET revoked_at = NULL',
    `UPDATE bank.api_keys SET scopes = ARRAY['admin']`,
    `INSERT INTO bank.api_keys (name, hint, hash, scopes) VALUES ('mine', 'h', sha256('y'), ARRAY['admin'])`,
    'DELETE FROM bank.api_keys',
    'DELETE FROM bank.shard_identity',
    'UPDATE bank.shard_identity SET shard_index = 1',
    'CREATE TABLE bank.mine (n int)',
    `SET ROLE ${escapeIdentifier(new URL(process.env['TEST_POSTGRES_URL'] ?? 'postgres://postgres@x/y').username)}`,
  ])('may not %s', async (sql) => {
    await expect(service.query(sql)).rejects.toMatchObject({ code: '42501' });
  });

  it.each([
    'ALTER TABLE bank.transactions ADD COLUMN mine int',
    'ALTER TABLE bank.transactions DISABLE TRIGGER ALL',
    'DROP TABLE bank.transactions',
    'GRANT UPDATE ON bank.transactions TO PUBLIC',
  ])('may not %s, because it owns nothing', async (sql) => {
    // A GRANT of what one may not hand on is a warning.
    await service.query(sql).catch((error: unknown) => expect(error).toMatchObject({ code: '42501' }));
    const { rows } = await owner.query(
      `SELECT has_table_privilege('public', 'bank.transactions', 'UPDATE') AS granted,
              (SELECT count(*)::int FROM pg_attribute WHERE attrelid = 'bank.transactions'::regclass AND attname = 'mine') AS mine`,
    );
    expect(rows).toEqual([{ granted: false, mine: 0 }]);
  });

  it.each(['with the way to the owner', 'without it, once it is migrated'])(
    'is sufficient to serve every request, %s',
    async (which) => {
      const settings = {
        DATABASE_URL: asService(database.url),
        MIGRATION_DATABASE_URL: which.startsWith('without') ? '' : database.url,
      };
      const app = await startInstance(database.url, settings);
      try {
        const accountId = await openAccount(app, '10.00');
        expect((await post(app, accountId, deposit('1'))).status).toBe(201);
        const batch = await app.http
          .post('/transactions/batch')
          .send({ transactions: [{ accountId, amount: '1', type: 'deposit' }] });
        expect(batch.status).toBeLessThan(300);
        for (const path of [
          `/accounts/${accountId}`,
          `/accounts/${accountId}/balance`,
          `/accounts/${accountId}/proof?fromVersion=1`,
          `/accounts/${accountId}/transactions`,
          `/accounts/${accountId}/transactions?type=deposit`,
          '/accounts',
          '/accounts/1/transactions',
          '/transactions/txn1',
          '/health/ready',
        ]) {
          expect({ path, status: (await app.http.get(path)).status }).toEqual({ path, status: 200 });
        }
        // The relay has taken the lease and the events.
        const giveUpAt = Date.now() + 10_000;
        while ((await owner.query('SELECT FROM bank.outbox LIMIT 1')).rowCount !== 0) {
          if (Date.now() > giveUpAt) throw new Error('the outbox is not emptied');
          await new Promise((resolve) => setTimeout(resolve, 50));
        }
      } finally {
        await app.close();
      }
      expect((await verifyBank(bank())).ok).toBe(true);
    },
  );

  it('is sufficient for every kind of command, and for the lease of the sweeper', async () => {
    await fillWholeLedger(asService(database.url));
    expect((await verifyBank(bank())).ok).toBe(true);
    await service.query('UPDATE bank.shard_identity SET sweeper_id = NULL, sweeper_leased_until = NULL');
  });

  it('loses additional privileges at the next migration', async () => {
    await owner.query(`GRANT UPDATE, DELETE ON bank.transactions TO ${ROLE}`);
    await service.query('UPDATE bank.transactions SET amount = amount WHERE false');
    await migrate(addressOf(database), { index: 0, count: 1 });
    await expect(service.query('UPDATE bank.transactions SET amount = amount WHERE false')).rejects.toThrow(
      'permission denied',
    );
    await service.query('SELECT FROM bank.transactions');
  });

  it('is rejected if it may rewrite history by rights that it was not granted itself', async () => {
    const place = { index: 0, count: 1 };
    const username = escapeIdentifier(new URL(database.url).username);
    for (const [give, take] of [
      [`GRANT ${username} TO ${ROLE}`, `REVOKE ${username} FROM ${ROLE}`],
      ['GRANT DELETE ON bank.transactions TO PUBLIC', 'REVOKE DELETE ON bank.transactions FROM PUBLIC'],
      [`ALTER ROLE ${ROLE} SUPERUSER`, `ALTER ROLE ${ROLE} NOSUPERUSER`],
    ] as const) {
      await owner.query(give);
      await expect(migrate(addressOf(database), place)).rejects.toThrow('may change or delete');
      await owner.query(take);
      await migrate(addressOf(database), place);
    }
  });

  it('gets back revoked privileges that it needs', async () => {
    await owner.query(`REVOKE USAGE ON SEQUENCE bank.outbox_outbox_id_seq FROM ${ROLE}`);
    await migrate(addressOf(database), { index: 0, count: 1 });
    await service.query(`SELECT nextval('bank.outbox_outbox_id_seq')`);
  });

  it('has the same privileges after a restore and after a move', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'service-role-'));
    const target = await createEmptyTestDatabase('service-role-moved');
    try {
      const backup = join(folder, 'backup');
      await backupBank(bank(), { to: backup });
      await restoreBank([addressOf(other)], { from: backup, skipIds: 10 });
      const { host, pathname } = new URL(target.url);
      await relocateShard([addressOf(other)], 0, `postgresql://${host}${pathname}`, {
        maxPauseMs: 10_000,
      });
      const app = await startInstance(other.url, {
        DATABASE_URL: asService(other.url),
        MIGRATION_DATABASE_URL: '',
      });
      const accountId = await openAccount(app, '10.00');
      expect((await post(app, accountId, deposit('1'))).status).toBe(201);
      await app.close();
      const moved = await connect(asService(target.url));
      await expect(moved.query('DELETE FROM bank.transactions')).rejects.toThrow('permission denied');
      await moved.end();
      const events = await connect(target.url);
      const { rows } = await events.query('SELECT action FROM bank.audit_events');
      const acts = ['bank.migrated', 'test.done', 'bank.backed_up', 'bank.restored', 'shard.moved'];
      expect(rows.map(({ action }) => action as string)).toEqual(acts);
      expect((await events.query('SELECT FROM bank.api_keys')).rowCount).toBe(1);
      await events.query(`DROP OWNED BY ${ROLE}`);
      await events.end();
    } finally {
      await target.drop();
      await rm(folder, { recursive: true });
    }
  });

  it('is sufficient for the webhooks of an owner', async () => {
    const settings = { DATABASE_URL: asService(database.url), MIGRATION_DATABASE_URL: '', AUTH: 'on' };
    const app = await startInstance(database.url, { ...settings, WEBHOOK_KEYS });
    try {
      const { key } = await makeKey(app, { scopes: ['webhooks:write'], owner: 'ada' });
      const url = 'https://example.com/';
      const created = await app.http
        .post('/webhooks')
        .set(bearer(key))
        .send({ url, eventTypes: ['*'] });
      const path = `/webhooks/${(JSON.parse(created.text) as { id: string }).id}`;
      const answers = [
        created,
        await app.http.patch(path).set(bearer(key)).send({ status: 'disabled' }),
        await app.http.patch(path).set(bearer(key)).send({ status: 'enabled' }),
        await app.http.post(`${path}/secret`).set(bearer(key)),
        await app.http.post(`${path}/redeliveries`).set(bearer(key)).send({ since: '2026-01-01' }),
        await app.http.delete(path).set(bearer(key)),
      ];
      expect(answers.map(({ status }) => status)).toEqual([201, 200, 200, 200, 202, 204]);
    } finally {
      await app.close();
    }
  });
});
