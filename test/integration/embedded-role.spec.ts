import 'reflect-metadata';
import { rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import {
  freePort,
  openCluster,
  roleUrl as urlOfRole,
  type ServerAddress,
  settleRole,
  startServer,
} from '@scalable-banking/embedded-postgres';
import { Client, escapeIdentifier } from 'pg';
import type { AuditLog } from '../../src/audit/audit-log.js';
import { archiveBank } from '../../src/admin/archive.js';
import { readEvents } from '../../src/admin/audit/events.js';
import { backupBank } from '../../src/admin/backup/backup.js';
import { restoreBank } from '../../src/admin/backup/restore.js';
import { seedBank } from '../../src/admin/seed.js';
import { relocateShard } from '../../src/admin/relocation/relocate.js';
import { verifyBank } from '../../src/admin/verify/verify.js';
import { bootstrapShards } from '../../src/sharding/bootstrap-shards.js';
import { MIGRATIONS } from '../../src/storage/data-source.js';
import { EMBEDDED_NAMES, handOver } from '../../src/app/embedded-bank.js';
import { prepareTables } from '../../src/storage/migrate.js';
import { startPostgres, type PostgresServer } from '../../tools/stack/servers/postgres.js';
import { startCli } from '../support/cli.js';
import { openLedger } from '../support/ledger.js';
import { createEmptyTestDatabase, onTestServer } from '../support/postgres.js';
import { startService, stopService, temporaryDataDir } from '../support/service.js';

/** As the release before made it: the superuser is the only role, and owns the bank. */
let server: PostgresServer;
let superuser: Client;
let address: ServerAddress;

const PLACE = { index: 0, count: 1 };
const bankOf = (url: string) => [{ url, schema: 'bank' }];

const roleUrl = () => urlOfRole(address);

/** As a start does. @returns whether the superuser owned anything */
const settle = async () => {
  let handedOver = false;
  await settleRole(address, async (client) => {
    handedOver = await handOver(client);
  });
  return handedOver;
};

/** By role, of everything outside the system's own schemas. */
const owners = async () =>
  (
    await superuser.query<{ owner: string }>(
      `SELECT DISTINCT owner::regrole::text FROM (
         SELECT relowner AS owner, relnamespace AS schema FROM pg_class WHERE relkind <> 't'
         UNION ALL SELECT nspowner, oid FROM pg_namespace) owned
       JOIN pg_namespace n ON n.oid = schema WHERE nspname LIKE 'bank%'`,
    )
  ).rows.map(({ owner }) => owner);

beforeAll(async () => {
  server = await startPostgres({ fsync: 'off' });
  address = { ...EMBEDDED_NAMES, port: server.port, password: new URL(server.url).password };
  superuser = new Client({ connectionString: server.url });
  await superuser.connect();
  await bootstrapShards(bankOf(server.url));
  await seedBank(bankOf(server.url), { accounts: 3, balance: 100_00n });
  await prepareTables({ url: server.url, schema: 'bank_older' }, PLACE, MIGRATIONS.slice(0, 4));
});

afterAll(async () => {
  await superuser.end();
  await server.stop();
});

describe('the role of an embedded bank', () => {
  it('gets all of the bank or nothing, once', async () => {
    expect(await owners()).toEqual(['bank']);
    await superuser.query(
      `CREATE FUNCTION public.fail() RETURNS event_trigger LANGUAGE plpgsql AS
         'BEGIN IF EXISTS (SELECT FROM pg_event_trigger_ddl_commands() WHERE object_identity = ''bank.transactions'')
          THEN RAISE EXCEPTION ''interrupted''; END IF; END';
       CREATE EVENT TRIGGER fail ON ddl_command_end EXECUTE FUNCTION public.fail()`,
    );
    await expect(settle()).rejects.toThrow('interrupted');
    expect(await owners()).toEqual(['bank']);
    await superuser.query('DROP EVENT TRIGGER fail');
    expect(await settle()).toBe(true);
    expect(await owners()).toEqual(['bank_service']);
    expect(await settle()).toBe(false);
    const { events, firstBroken } = await readEvents(bankOf(roleUrl()));
    expect(events.map(({ action }) => action).filter((action) => action === 'bank.handed_over')).toHaveLength(
      1,
    );
    expect(firstBroken).toBeUndefined();
  });

  it('may do nothing outside the bank', async () => {
    const role = new Client({ connectionString: roleUrl() });
    await role.connect();
    try {
      const { rows } = await role.query(
        `SELECT rolsuper, rolcreaterole, rolcreatedb, rolreplication, rolbypassrls,
                (SELECT array_agg(other.rolname::text) FROM pg_roles other
                 WHERE pg_has_role(r.oid, other.oid, 'MEMBER') AND other.oid <> r.oid) AS memberships
         FROM pg_roles r WHERE rolname = current_user`,
      );
      expect(rows).toEqual([
        {
          ...{ rolsuper: false, rolcreaterole: false, rolcreatedb: false, rolreplication: false },
          ...{ rolbypassrls: false, memberships: ['pg_database_owner'] },
        },
      ]);
      for (const sql of [
        `COPY bank.outbox FROM PROGRAM 'true'`,
        `COPY bank.outbox TO '/tmp/outbox'`,
        `SELECT pg_read_file('PG_VERSION')`,
        'SET ROLE bank',
        'SET session_replication_role = replica',
        `ALTER SYSTEM SET fsync = off`,
      ]) {
        await expect(role.query(sql)).rejects.toMatchObject({ code: '42501' });
      }
    } finally {
      await role.end();
    }
  });

  it('can do everything that the bank needs: migrate, post, verify, archive, back up, restore and move', async () => {
    const older = [{ url: roleUrl(), schema: 'bank_older' }];
    expect((await bootstrapShards(older)).migrations).toHaveLength(MIGRATIONS.length - 4);
    const shards = bankOf(roleUrl());
    const ledger = await openLedger(roleUrl());
    await ledger.post({ accountId: 2, type: 'credit', amount: 1n });
    await ledger.close();
    await archiveBank(shards, new Date());
    const whole = { accounts: 3, transactions: 4, balance: '300.01', ok: true };
    expect(await verifyBank(shards)).toMatchObject(whole);
    const folder = join(tmpdir(), `bank-role-${server.port}`);
    const target = await createEmptyTestDatabase('embedded-role');
    try {
      await backupBank(shards, { to: folder });
      await restoreBank([{ url: roleUrl(), schema: 'bank_restored' }], { from: folder, skipIds: 0 });
      expect(await verifyBank([{ url: roleUrl(), schema: 'bank_restored' }])).toMatchObject(whole);

      const there = new URL(target.url);
      const database = escapeIdentifier(there.pathname.slice(1));
      // The server of the tests is an embedded one, too, and has the role.
      await onTestServer(`ALTER ROLE bank_service PASSWORD '${new URL(roleUrl()).password}'`);
      await onTestServer(`ALTER DATABASE ${database} OWNER TO bank_service`);
      [there.username, there.password] = ['', ''];
      await relocateShard(shards, 0, there.href, { maxPauseMs: 5_000 });
      expect(await verifyBank((await bootstrapShards(shards)).shards)).toMatchObject(whole);
    } finally {
      rmSync(folder, { recursive: true, force: true });
      await target.drop();
    }
  });
});

/** Makes a data folder as the release before did, in which the superuser owns an empty bank. */
async function makeOldFolder(folder: string): Promise<void> {
  const cluster = await openCluster(folder, EMBEDDED_NAMES, { sync: false });
  const port = await freePort();
  const old = await startServer(cluster, { port, settings: { fsync: 'off' } });
  const bank = bankOf(`postgresql://bank:${cluster.password}@127.0.0.1:${port}/bank`);
  await bootstrapShards(bank);
  await old.stop();
}

it('is created by the service and the command line on a data folder of the previous release', async () => {
  const folder = temporaryDataDir();
  try {
    await makeOldFolder(folder.path);
    const environment = { DATA_DIR: folder.path };
    const service = await startService({ environment });
    try {
      const posted = await fetch(`${service.url}/accounts/1/transactions`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: '{"amount": 1, "type": "Deposit"}',
      });
      expect(await posted.json()).toMatchObject({ newBalance: 1001, newVersion: '3' });
      const seeded = await startCli(['seed', '--accounts', '2'], environment).ended;
      expect(seeded).toMatchObject({ code: 0 });
      expect(service.output()).toContain('no longer belongs to a superuser');
    } finally {
      await stopService(service);
    }
    const listed = await startCli(['audit', 'list', '--json'], environment).ended;
    const { events, firstBroken } = JSON.parse(listed.stdout) as AuditLog;
    expect(events.map(({ action }) => action)).toEqual([
      ...['bank.migrated', 'bank.handed_over', 'demo_account.opened', 'accounts.seeded'],
    ]);
    expect(firstBroken).toBeUndefined();
  } finally {
    folder.remove();
  }
}, 60_000);
