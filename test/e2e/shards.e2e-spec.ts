import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { verifyBank } from '../../src/admin/verify/verify.js';
import type { ShardAddress } from '../../src/config/shard-address.js';
import { openAccount, startInstance, type TestApp } from '../support/app.js';
import { createEmptyTestDatabase, query, type TestDatabase } from '../support/postgres.js';
import { startPostgres, type PostgresServer } from '../../tools/stack/servers/postgres.js';
import { waitUntil } from '../support/service.js';
import { balanceOf, deposit, eventually, post, receiptIn } from '../support/requests.js';

/** Shards of one bank: two in the test run's own server, two in one that is killed and frozen. */
const COUNT = 4;
const HEALTHY = [0, 1];
const ON_SERVER = [2, 3];
const EVERY_SHARD = [...HEALTHY, ...ON_SERVER];

let database: TestDatabase;
/** Sufficient to survive a crash of its processes, the only fault in these tests. */
const SETTINGS = { fsync: 'off', shared_buffers: '32MB', autovacuum: 'off' };

let server: PostgresServer;
let shards: ShardAddress[];
let app: TestApp;

beforeAll(async () => {
  [database, server] = await Promise.all([createEmptyTestDatabase('shards'), startPostgres(SETTINGS)]);
  shards = Array.from({ length: COUNT }, (_, index) => ({
    url: HEALTHY.includes(index) ? database.url : server.url,
    schema: `bank_${index}`,
  }));
  app = await startInstance(shards, {}, TIMEOUTS);
}, 60_000);

afterAll(async () => {
  await app.close();
  await server.stop();
  await database.drop();
});

/** Shorter than the defaults, so that what waits for a hung server does not take the tests long. */
const TIMEOUTS = {
  database: { connectTimeoutMs: 1_000, readTimeoutMs: 1_000 },
  ledger: { commandTimeoutMs: 2_000, transactionTimeoutMs: 1_000, resolveTimeoutMs: 2_000 },
};

const shardOf = (id: number) => (id - 1) % COUNT;

/** One account in each shard, by shard. */
async function accountInEach(target = app): Promise<number[]> {
  const accounts: number[] = [];
  while (accounts.filter(Boolean).length < COUNT) {
    const accountId = await openAccount(target, '100.00');
    accounts[shardOf(accountId)] = accountId;
  }
  return accounts;
}

interface Health {
  readonly status: string;
  readonly error: Record<string, unknown>;
}

async function readiness(target = app) {
  const startedMs = performance.now();
  const response = await target.http.get('/health/ready');
  const { status, error } = JSON.parse(response.text) as Health;
  return { code: response.status, status, down: Object.keys(error), ms: performance.now() - startedMs };
}

async function gauge(name: string, target = app): Promise<Record<string, number>> {
  const { text } = await target.http.get('/metrics');
  const found = text.matchAll(new RegExp(`^${name}\\{shard="(\\d+)"\\} (\\d+)$`, 'gm'));
  return Object.fromEntries([...found].map(([, shard, value]) => [String(shard), Number(value)]));
}

describe('a bank of several shards', () => {
  it('keeps an account and its transactions in the shard of their ids', async () => {
    const accounts = await accountInEach();
    for (const [shard, accountId] of accounts.entries()) {
      const response = await post(app, accountId, deposit('1.00'));
      expect(response.status).toBe(201);
      const transactionId = Number(receiptIn(response).id.slice('txn'.length));
      expect(shardOf(transactionId)).toBe(shard);
      expect((await app.http.get(`/transactions/txn${transactionId}`)).text).toBe(
        (await app.http.get(`/accounts/${accountId}/transactions?limit=1`)).text.replace(
          /^\{"data":\[(.*)\],"nextCursor":.*$/,
          '$1',
        ),
      );
      expect(await balanceOf(app, accountId)).toBe('{"balance":101.00,"version":3}');
    }
    expect((await verifyBank(shards)).faults).toEqual([]);
  });

  it('labels its metrics with the shard', async () => {
    await accountInEach();
    const every = Object.fromEntries(EVERY_SHARD.map((shard) => [shard, expect.any(Number)]));
    expect(await gauge('bank_shard_up')).toEqual({ 0: 1, 1: 1, 2: 1, 3: 1 });
    expect(await gauge('bank_ledger_queue_depth')).toEqual(every);
    expect(await gauge('bank_ledger_batch_transactions_count')).toEqual(every);
    expect(await gauge('bank_ledger_transactions_total')).toEqual(every);
    const { text } = await app.http.get('/metrics');
    for (let shard = 0; shard < COUNT; shard++) {
      for (const pool of ['ledger', 'general']) {
        expect(text).toContain(
          `bank_database_pool_connections{shard="${shard}",pool="${pool}",state="idle"}`,
        );
      }
    }
  });
});

describe('GET /accounts over several shards', () => {
  interface Listing {
    readonly data: readonly { readonly accountId: number }[];
    readonly nextCursor: string | null;
  }

  const page = async (limit: number, cursor: string | null) => {
    const response = await app.http.get('/accounts').query({ limit, ...(cursor !== null && { cursor }) });
    expect(response.status).toBe(200);
    return JSON.parse(response.text) as Listing;
  };

  const stored = async () => {
    const ids = await Promise.all(
      shards.map((shard) =>
        query<{ id: number }>(shard.url, `SELECT account_id::int AS id FROM ${shard.schema}.accounts`),
      ),
    );
    return ids.flat().map(({ id }) => id);
  };

  beforeAll(async () => {
    for (const [index, accounts] of [17, 0, 3, 60].entries()) {
      const shard = shards[index] as ShardAddress;
      await query(
        shard.url,
        `INSERT INTO ${shard.schema}.accounts (balance, version) SELECT 0, 1 FROM generate_series(1, ${accounts})`,
      );
    }
  });

  it.each([1, 3, 16, 200])(
    'returns every account once, in ascending order, %i at a time, while others are opened',
    async (limit) => {
      const before = await stored();
      const seen: number[] = [];
      let cursor: string | null = null;
      do {
        const listing: Listing = await page(limit, cursor);
        expect(listing.data.length).toBeLessThanOrEqual(limit);
        seen.push(...listing.data.map(({ accountId }) => accountId));
        // Some come before the cursor, in shards with fewer accounts, some behind it.
        if (seen.length < before.length) await openAccount(app);
        // The same page again: a cursor does not wear out, and what was opened since comes after what it gave.
        const again: Listing = await page(limit, cursor);
        if (again.data.length === listing.data.length) expect(again.data.at(0)).toEqual(listing.data.at(0));
        cursor = listing.nextCursor;
      } while (cursor !== null);
      expect(seen).toEqual([...new Set(seen)].sort((a, b) => a - b));
      expect(before.filter((id) => !seen.includes(id))).toEqual([]);
      const after = new Set(await stored());
      expect(seen.filter((id) => !after.has(id))).toEqual([]);
    },
  );
});

interface Acknowledged {
  readonly shard: number;
  readonly transactionId: string;
}

/** Between the requests of a client: what is measured is the service, not how busy the machine is. */
const PAUSE_MS = 20;

/** Clients that each post one deposit after the other to accounts in turn. */
function startLoad(accounts: readonly number[], clients = 16) {
  const acknowledged: Acknowledged[] = [];
  const refused: { readonly status: number; readonly ms: number }[] = [];
  let latencies: number[] = [];
  let sinceMs = performance.now();
  let stopping = false;
  const client = async (name: number) => {
    for (let n = name; !stopping; n++) {
      const accountId = accounts[n % accounts.length] as number;
      const startedMs = performance.now();
      const response = await fetch(`${app.url}/accounts/${accountId}/transactions`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: '{"type":"Deposit","amount":"0.01"}',
      });
      const body = (await response.json()) as { id: string };
      const ms = performance.now() - startedMs;
      latencies.push(ms);
      if (response.status === 201) {
        acknowledged.push({ shard: shardOf(accountId), transactionId: body.id.slice('txn'.length) });
      } else refused.push({ status: response.status, ms });
      await sleep(PAUSE_MS);
    }
  };
  const running = Array.from({ length: clients }, (_, name) => client(name));
  return {
    acknowledged,
    refused,
    /** Of the time since the last call. */
    measure() {
      const sorted = latencies.sort((a, b) => a - b);
      const perSecond = (sorted.length / (performance.now() - sinceMs)) * 1_000;
      latencies = [];
      sinceMs = performance.now();
      return { perSecond, p99Ms: sorted[Math.floor(sorted.length * 0.99)] ?? 0 };
    },
    async stop() {
      stopping = true;
      await Promise.all(running);
    },
  };
}

/** What a command may wait for its batch, and the batch for a connection and then for a server that hangs. */
const BOUND_MS = 2_000 + 1_000 + 2_000 + 1_000 + 2_000;
const MEASURED_MS = 1_500;

describe('one of two servers', () => {
  /** Openings one after the other, until each shard has had its turn several times. */
  async function openSeveral(): Promise<number> {
    const startedMs = performance.now();
    for (let n = 0; n < 5 * COUNT; n++) {
      const accountId = await openAccount(app);
      expect(HEALTHY).toContain(shardOf(accountId));
    }
    return performance.now() - startedMs;
  }

  it.each([
    ['killed', () => server.kill(), () => server.start()],
    ['frozen', () => server.kill('SIGSTOP'), () => server.kill('SIGCONT')],
  ])(
    '%s: only its own shards are affected, and they are used again when it is back',
    async (_how, takeDown, bringBack) => {
      const accounts = await accountInEach();
      const of = (list: readonly number[]) => list.map((shard) => accounts[shard] as number);
      const healthy = startLoad(of(HEALTHY));
      const sick = startLoad(of(ON_SERVER), 4);
      await sleep(MEASURED_MS);
      const before = healthy.measure();
      try {
        await takeDown();
        await sleep(MEASURED_MS);
        const during = healthy.measure();
        expect(during.perSecond).toBeGreaterThan(before.perSecond / 2);
        expect(during.p99Ms).toBeLessThan(Math.max(10 * before.p99Ms, 1_000));

        await eventually(async () => expect((await readiness()).status).toBe('degraded'), 10_000);
        expect(await readiness()).toMatchObject({ code: 200, down: ['shard-2', 'shard-3'] });
        expect((await readiness()).ms).toBeLessThan(2_000);
        expect(await gauge('bank_shard_up')).toEqual({ 0: 1, 1: 1, 2: 0, 3: 0 });
        for (const accountId of of(HEALTHY)) {
          const startedMs = performance.now();
          expect(await balanceOf(app, accountId)).toContain('"version"');
          expect(performance.now() - startedMs).toBeLessThan(1_000);
        }
        const reads = await Promise.all(
          of(ON_SERVER).map((id) => app.http.get(`/accounts/${id}/balance`).set('cache-control', 'no-cache')),
        );
        for (const { status } of reads) expect([408, 503]).toContain(status);
        await openSeveral();
        // Once its shards are known to fail, only one opening in a while still tries them.
        expect(await openSeveral()).toBeLessThan(BOUND_MS);
        await bringBack();
        await eventually(async () => expect((await readiness()).status).toBe('ok'), 20_000);
        const acknowledged = sick.acknowledged.length;
        await waitUntil(() => Promise.resolve(sick.acknowledged.length > acknowledged), 20_000);
      } finally {
        await Promise.all([healthy.stop(), sick.stop()]);
      }

      expect(healthy.refused).toEqual([]);
      expect(sick.refused.length).toBeGreaterThan(0);
      for (const { status, ms } of sick.refused) {
        expect([408, 503]).toContain(status);
        expect(ms).toBeLessThan(BOUND_MS);
      }
      // New accounts go to the shards that are back.
      await accountInEach();
      expect(await verifyBank(shards)).toMatchObject({ ok: true, faults: [] });
      await expectStored([...healthy.acknowledged, ...sick.acknowledged]);
    },
    90_000,
  );

  async function expectStored(acknowledged: readonly Acknowledged[]): Promise<void> {
    const stored = await Promise.all(
      shards.map(async (shard) => {
        const rows = await query<{ id: string }>(
          shard.url,
          `SELECT transaction_id AS id FROM ${shard.schema}.transactions`,
        );
        return new Set(rows.map(({ id }) => id));
      }),
    );
    expect(acknowledged.filter(({ shard, transactionId }) => !stored[shard]?.has(transactionId))).toEqual([]);
  }
});

describe('an opening with a key', () => {
  const openWith = (key: string, target = app) =>
    target.http
      .post('/accounts')
      .set({ 'content-type': 'application/json', 'idempotency-key': key })
      .send('{"owner":"Zoë 🏦"}');

  /** A key for each shard. */
  async function keyOfEach(prefix: string): Promise<string[]> {
    const keys: string[] = [];
    for (let n = 0; keys.filter(Boolean).length < COUNT; n++) {
      const { text } = await openWith(`${prefix}-${n}`).expect(201);
      keys[shardOf((JSON.parse(text) as { accountId: number }).accountId)] = `${prefix}-${n}`;
    }
    return keys;
  }

  it('goes to the shard of its key at every instance, and to no other when that shard is down', async () => {
    const other = await startInstance(shards, {}, TIMEOUTS);
    try {
      const keys = await keyOfEach('key');
      for (const key of keys) expect((await openWith(key, other)).status).toBe(409);
      await server.kill();
      try {
        for (const [shard, key] of keys.entries()) {
          const { status, text } = await openWith(key);
          if (HEALTHY.includes(shard)) expect(status).toBe(409);
          else expect({ status, text }).toEqual({ status: 408, text: LOST });
        }
        // Without a key it goes elsewhere.
        for (let n = 0; n < COUNT; n++) expect(HEALTHY).toContain(shardOf(await openAccount(app)));
      } finally {
        await server.start();
      }
      await eventually(async () => expect((await readiness()).status).toBe('ok'), 20_000);
      for (const key of keys) expect((await openWith(key)).status).toBe(409);
      expect((await verifyBank(shards)).faults).toEqual([]);
    } finally {
      await other.close();
    }
  }, 60_000);

  const LOST = '{"error":"Server Crashes","CurrentVersion":null}';
});

describe('a start while one of two servers is down', () => {
  let late: TestApp;

  afterEach(() => late.close());

  it('serves the shards of the other one, and opens the rest when it is back', async () => {
    const accounts = await accountInEach();
    await server.kill();
    try {
      late = await startInstance(shards, {}, TIMEOUTS);
      expect(await readiness(late)).toMatchObject({ status: 'degraded', down: ['shard-2', 'shard-3'] });
      expect(await gauge('bank_shard_up', late)).toEqual({ 0: 1, 1: 1, 2: 0, 3: 0 });
      for (const [shard, accountId] of accounts.entries()) {
        const { status } = await post(late, accountId, deposit('1.00'));
        expect(status).toBe(HEALTHY.includes(shard) ? 201 : 408);
      }
      // A listing without one shard's accounts would be wrong.
      expect((await late.http.get('/accounts')).status).toBe(408);
    } finally {
      await server.start();
    }
    await eventually(async () => expect((await readiness(late)).status).toBe('ok'), 20_000);
    for (const accountId of accounts) expect((await post(late, accountId, deposit('1.00'))).status).toBe(201);
    expect((await late.http.get('/accounts')).status).toBe(200);
  }, 60_000);
});
