import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { Client } from 'pg';
import { revokeKey } from '../../src/admin/keys.js';
import { SCOPES } from '../../src/access/principal.js';
import { bootstrapShards } from '../../src/sharding/bootstrap-shards.js';
import type { ShardAddress } from '../../src/config/shard-address.js';
import { startPostgres, type PostgresServer } from '../../tools/stack/servers/postgres.js';
import { startInstance, type TestApp } from '../support/app.js';
import { createEmptyTestDatabase, query, type TestDatabase } from '../support/postgres.js';
import { waitUntil } from '../support/service.js';
import { Wallet } from '../support/wallet.js';
import { deposit, JSON_TYPE } from '../support/requests.js';

/** Two shards on two servers. The first one has the keys, and is frozen. */
let server: PostgresServer;
let database: TestDatabase;
let shards: ShardAddress[];
let wallet: Wallet;
let app: TestApp;
let key: string;
/** An account on the second shard. */
let accountId: number;

beforeAll(async () => {
  [server, database] = await Promise.all([
    startPostgres({ fsync: 'off', shared_buffers: '32MB', autovacuum: 'off' }),
    createEmptyTestDatabase('keys_outage'),
  ]);
  shards = [server.url, database.url].map((url, index) => ({ url, schema: `bank_${index}` }));
  await bootstrapShards(shards);
  wallet = new Wallet(shards);
  app = await startInstance(shards, wallet.settings, {
    database: { connectTimeoutMs: 1_000, readTimeoutMs: 1_000 },
  });
  key = await wallet.key({ scopes: SCOPES });
  do accountId = await open();
  while (accountId % 2 === 1);
}, 60_000);

afterAll(async () => {
  await app.close();
  await server.stop();
  await database.drop();
});

const send = (path: string, credential = key, body?: object) =>
  fetch(`${app.url}${path}`, {
    method: body ? 'POST' : 'GET',
    headers: { authorization: `Bearer ${credential}`, ...(body && { 'content-type': JSON_TYPE }) },
    ...(body && { body: JSON.stringify(body) }),
  });

async function open(): Promise<number> {
  const opened = (await (await send('/accounts', key, {})).json()) as { accountId: number };
  return opened.accountId;
}

const health = async () =>
  (await (await send('/health/ready')).json()) as { status: string; error: Record<string, unknown> };

/** Between the requests of a client: what is measured is the service, not how busy the machine is. */
const PAUSE_MS = 20;

/** Clients that post to the second shard, one request after the other, until they are told to stop. */
function startLoad(credential = key, clients = 8) {
  const statuses = new Set<number>();
  let durationsMs: number[] = [];
  let stopped = false;
  const running = Array.from({ length: clients }, async () => {
    while (!stopped) {
      const startedMs = performance.now();
      const { status } = await send(`/accounts/${accountId}/transactions`, credential, deposit('0.01'));
      statuses.add(status);
      durationsMs.push(performance.now() - startedMs);
      await sleep(PAUSE_MS);
    }
  });
  return {
    statuses,
    /** Of the requests since the last call. */
    p99Ms(): number {
      const sorted = durationsMs.sort((a, b) => a - b);
      durationsMs = [];
      return sorted[Math.floor(sorted.length * 0.99)] ?? Infinity;
    },
    async stop() {
      stopped = true;
      await Promise.all(running);
    },
  };
}

describe('while the database with the keys hangs', () => {
  it('the other shard serves known keys as fast as before, and unknown ones get 503', async () => {
    const [revoked, fresh] = [await wallet.key(), await wallet.key()];
    expect((await send(`/accounts/${accountId}`, revoked)).status).toBe(200);
    await revokeKey(shards, await idOf(revoked));
    await waitUntil(async () => (await send(`/accounts/${accountId}`, revoked)).status === 401, 5_000);
    const load = startLoad();
    try {
      await sleep(1_000);
      const beforeMs = load.p99Ms();
      await server.kill('SIGSTOP');
      await sleep(5_000);
      expect(load.p99Ms()).toBeLessThan(Math.max(3 * beforeMs, 200));
      expect([...load.statuses]).toEqual([201]);
      const startedMs = performance.now();
      const unknown = await send(`/accounts/${accountId}`, fresh);
      expect(performance.now() - startedMs).toBeLessThan(500);
      expect({ status: unknown.status, text: await unknown.text() }).toEqual({
        status: 503,
        text: '{"error":"Credential store unavailable"}',
      });
      expect(unknown.headers.get('retry-after')).toBe('1');
      expect(unknown.headers.get('x-error-code')).toBe('CREDENTIAL_STORE_UNAVAILABLE');
      expect((await send(`/accounts/${accountId}`, revoked)).status).toBe(401);
      expect(await (await send('/health/ready', fresh)).json()).toEqual({ status: 'degraded' });
      expect(await health()).toMatchObject({
        status: 'degraded',
        error: { 'api-keys': { message: "can't be read" } },
      });
      expect(await (await send('/metrics')).text()).toContain('bank_api_keys_readable 0');
    } finally {
      await server.kill('SIGCONT');
      await load.stop();
    }
    await waitUntil(async () => (await send(`/accounts/${accountId}`, fresh)).status === 200, 5_000);
    await waitUntil(async () => (await health()).status === 'ok', 5_000);
    expect([...load.statuses]).toEqual([201]);
  }, 30_000);

  async function idOf(credential: string): Promise<number> {
    const [key] = await query<{ id: number }>(
      server.url,
      'SELECT key_id::int AS id FROM bank_0.api_keys WHERE hint = $1',
      [`${credential.slice(0, 9)}…`],
    );
    return key?.id ?? 0;
  }
});

describe('while slow reads hold every connection to the database with the keys', () => {
  it('a key that was never seen is found at once', async () => {
    const fresh = await wallet.key();
    const client = new Client({ connectionString: server.url });
    await client.connect();
    try {
      // Reads of accounts wait for this, those of keys do not.
      await client.query('BEGIN; LOCK TABLE bank_0.accounts IN ACCESS EXCLUSIVE MODE');
      const slow = Array.from({ length: 16 }, () => send('/accounts'));
      await sleep(100);
      const startedMs = performance.now();
      expect((await send(`/accounts/${accountId}`, fresh)).status).toBe(200);
      expect(performance.now() - startedMs).toBeLessThan(500);
      await Promise.all(slow);
    } finally {
      await client.end();
    }
  });
});
