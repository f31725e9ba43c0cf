import 'reflect-metadata';
import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { Client } from 'pg';
import { startPgBouncer } from '../../tools/stack/servers/pgbouncer.js';
import { startPostgres, type PostgresServer } from '../../tools/stack/servers/postgres.js';
import { createKey } from '../../src/admin/keys.js';
import { bootstrapShards } from '../../src/sharding/bootstrap-shards.js';
import { COMMIT_DURABLY, NotDurableError } from '../../src/storage/durability.js';
import { shardList, startInstance } from '../support/app.js';
import { spawnService, startService, stopService, waitUntil } from '../support/service.js';
import { TcpProxy } from '../../tools/stack/proxies/tcp-proxy.js';

/** A server with default durability: everything on. */
let server: PostgresServer;
let client: Client;

beforeAll(async () => {
  server = await startPostgres();
  client = new Client({ connectionString: server.url });
  await client.connect();
  await bootstrapShards([{ url: server.url, schema: 'bank' }]);
}, 60_000);

afterAll(async () => {
  await client.end();
  await server.stop();
});

const undo: string[] = [];

afterEach(async () => {
  for (const statement of undo.splice(0)) await client.query(statement);
  await client.query('SELECT pg_reload_conf()');
});

/** @param setting like `SYSTEM SET fsync = off`; undone after the test */
async function alter(setting: string): Promise<void> {
  undo.push(`ALTER ${setting.replace(/SET (\w+) = .*/, 'RESET $1')}`);
  await client.query(`ALTER ${setting}`);
  await client.query('SELECT pg_reload_conf()');
  const [, name = '', value = ''] = /SET (\w+) = (\w+)/.exec(setting) ?? [];
  // A reload takes effect after a delay.
  await waitUntil(async () => (await settingInNewSession(name)) === value, 10_000);
}

async function settingInNewSession(name: string): Promise<string | undefined> {
  const session = new Client({ connectionString: server.url });
  await session.connect();
  try {
    return (await session.query<{ value: string }>(`SELECT current_setting('${name}') AS value`)).rows[0]
      ?.value;
  } finally {
    await session.end();
  }
}

const startsInProduction = async (url = server.url) => {
  const instance = await startInstance(url, {
    NODE_ENV: 'production',
    AUTH: 'on',
    MIGRATION_DATABASE_URL: server.url,
  });
  await instance.close();
};

describe('a server that may lose what it commits', () => {
  it.each([
    ['SYSTEM SET fsync = off', 'fsync'],
    ['SYSTEM SET full_page_writes = off', 'full_page_writes'],
    ['SYSTEM SET synchronous_commit = off', 'synchronous_commit'],
    ['DATABASE bank SET synchronous_commit = off', 'synchronous_commit'],
    ['ROLE bank SET synchronous_commit = off', 'synchronous_commit'],
  ])('is rejected in production: %s', async (setting, name) => {
    await alter(setting);
    const starting = startsInProduction();
    await expect(starting).rejects.toThrow(NotDurableError);
    await expect(starting).rejects.toThrow(`, schema "bank" does not keep what it commits: ${name} is off: `);
  });

  it.each(['local', 'remote_write', 'on', 'remote_apply'])(
    'is not one with synchronous_commit=%s',
    async (value) => {
      await alter(`DATABASE bank SET synchronous_commit = ${value}`);
      await startsInProduction();
    },
  );

  it('is recognised through PgBouncer', async () => {
    await alter('DATABASE bank SET synchronous_commit = off');
    const pooler = await startPgBouncer({ databases: { bank: server.url }, poolSize: 4 });
    try {
      await expect(startsInProduction(pooler.url(server.url))).rejects.toThrow(NotDurableError);
    } finally {
      await pooler.stop();
    }
  });

  it('is reported in a sentence by a service that does not start, and in a warning by one that does', async () => {
    await alter('SYSTEM SET full_page_writes = off');
    await alter('DATABASE bank SET synchronous_commit = off');
    const environment = { DATABASE_URL: server.url };
    const bank = [{ url: server.url, schema: 'bank' }];
    await bootstrapShards(bank);
    await createKey(bank, { name: 'test', scopes: ['admin'] });
    const refused = await spawnService({ environment: { ...environment, NODE_ENV: 'production' } });
    expect(await refused.exited).toBe(1);
    expect(refused.output()).toMatch(
      /^Can't start\. the server of [^\n]* full_page_writes is off: [^\n]*; synchronous_commit is off: [^\n]*$/m,
    );
    expect(refused.output()).not.toMatch(/^ +at /m);
    const warned = await startService({ environment });
    await stopService(warned);
    expect(warned.output()).toMatch(/"level":40[^\n]*full_page_writes is off[^\n]*synchronous_commit is off/);
  }, 120_000);

  it('is also rejected if it was down at the start, until it is put right', async () => {
    await client.query('CREATE DATABASE other');
    const otherUrl = new URL(server.url);
    otherUrl.pathname = '/other';
    const { proxy, url } = await TcpProxy.start(otherUrl.href);
    const shards = [
      { url: server.url, schema: 'bank_0' },
      { url, schema: 'bank_1' },
    ];
    await bootstrapShards(shards);
    await createKey(shards, { name: 'test', scopes: ['admin'] });
    proxy.takeDown();
    const service = await startService({
      environment: { SHARDS: shardList(shards), NODE_ENV: 'production' },
    });
    try {
      const status = async () =>
        ((await (await fetch(`${service.url}/health/ready`)).json()) as { status: string }).status;
      expect(await status()).toBe('degraded');
      await client.query('ALTER DATABASE other SET synchronous_commit = off');
      proxy.heal();
      const refusal = "shard 1 can't be opened yet: the server of";
      await waitUntil(() => Promise.resolve(service.output().includes(refusal)), 20_000);
      expect(await status()).toBe('degraded');
      await client.query('ALTER DATABASE other RESET synchronous_commit');
      await waitUntil(async () => (await status()) === 'ok', 20_000);
      expect(service.output()).toContain('shard 1 is open');
    } finally {
      await stopService(service);
      await proxy.stop();
    }
  }, 120_000);
});

describe('a transaction that must not be lost', () => {
  it.each([
    ['off', 'on'],
    ['local', 'local'],
    ['remote_write', 'remote_write'],
    ['on', 'on'],
    ['remote_apply', 'remote_apply'],
  ])('on a server with synchronous_commit %s has %s', async (before, during) => {
    await client.query(`SET synchronous_commit = ${before}`);
    await client.query(`BEGIN; ${COMMIT_DURABLY}`);
    const { rows } = await client.query(`SELECT current_setting('synchronous_commit') AS value`);
    await client.query('COMMIT; RESET synchronous_commit');
    expect(rows).toEqual([{ value: during }]);
  });
});
