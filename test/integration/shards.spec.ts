import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { escapeIdentifier } from 'pg';
import { pino } from 'pino';
import { openDatabases, StartError } from '../../src/app/open-databases.js';
import { resetAccount } from '../../src/admin/reset.js';
import { seedBank } from '../../src/admin/seed.js';
import { verifyBank } from '../../src/admin/verify/verify.js';
import { loadConfig } from '../../src/config/config.js';
import { bootstrapShards, ShardsDownError } from '../../src/sharding/bootstrap-shards.js';
import { migrate } from '../../src/storage/migrate.js';
import type { ShardAddress } from '../../src/config/shard-address.js';
import { openAccount, shardList, startInstance } from '../support/app.js';
import { PostgresProxy } from '../../tools/stack/proxies/postgres-proxy.js';
import { createEmptyTestDatabase, query, type TestDatabase } from '../support/postgres.js';
import { waitUntil } from '../support/service.js';

const SILENT = pino({ level: 'silent' });

let database: TestDatabase;

beforeEach(async () => {
  database = await createEmptyTestDatabase('shards');
});
afterEach(() => database.drop());

/** Shards in schemas of one database. */
const shardsIn = (url: string, count: number, name = 'bank'): ShardAddress[] =>
  Array.from({ length: count }, (_, index) => ({ url, schema: `${name}_${index}` }));

/** Each its own spelling of the same place. */
function spelledOtherwise({ url, schema }: ShardAddress): ShardAddress {
  const other = new URL(url);
  other.hostname = 'localhost';
  return { url: other.href, schema };
}

interface Recorded {
  readonly bank_id: string;
  readonly shard_index: number;
  readonly shard_count: number;
}

/** What each shard says of itself. */
const recorded = async (shards: readonly ShardAddress[]) =>
  Promise.all(
    shards.map(async ({ url, schema }) => {
      const [row] = await query<Recorded>(
        url,
        `SELECT bank_id, shard_index, shard_count FROM ${schema}.shard_identity`,
      );
      return row;
    }),
  );

const openAccounts = (shard: ShardAddress, count = 1) =>
  query(
    shard.url,
    `INSERT INTO ${shard.schema}.accounts (balance, version) SELECT 0, 1 FROM generate_series(1, ${count})`,
  );

describe('creating a bank', () => {
  it('records the place and the bank in each shard, and lets each draw the ids of its place', async () => {
    const shards = shardsIn(database.url, 3);
    const { bankId, down } = await bootstrapShards(shards);
    expect(await recorded(shards)).toEqual(
      [0, 1, 2].map((index) => ({ bank_id: bankId, shard_index: index, shard_count: 3 })),
    );
    expect(down.size).toBe(0);
    for (const [index, shard] of shards.entries()) {
      await openAccounts(shard, 3);
      const ids = await query(
        shard.url,
        `SELECT account_id::int AS id FROM ${shard.schema}.accounts ORDER BY 1`,
      );
      expect(ids).toEqual([1, 4, 7].map((first) => ({ id: first + index })));
    }
  });

  it('changes nothing the second time', async () => {
    const shards = shardsIn(database.url, 2);
    const first = await bootstrapShards(shards);
    expect(await bootstrapShards(shards)).toEqual({ ...first, migrations: [] });
  });

  it('continues with the same bank when it was interrupted', async () => {
    const shards = shardsIn(database.url, 4);
    // It begins with the last shard.
    const { bankId } = await migrate(shards[3] as ShardAddress, { index: 3, count: 4 });
    await migrate(shards[2] as ShardAddress, { index: 2, count: 4 }, bankId);
    expect((await bootstrapShards(shards)).bankId).toBe(bankId);
    expect((await recorded(shards)).map((row) => row?.bank_id)).toEqual([bankId, bankId, bankId, bankId]);
  });

  it('waits for all shards when it was interrupted', async () => {
    const [first, second, third] = shardsIn(database.url, 3) as [ShardAddress, ShardAddress, ShardAddress];
    await migrate(third, { index: 2, count: 3 });
    const down = { ...second, url: 'postgresql://bank@127.0.0.1:1/bank' };
    await expect(bootstrapShards([first, down, third], { allowDown: true })).rejects.toThrow(
      'the bank is not whole yet, and not all of its shards can be reached',
    );
    await bootstrapShards([first, second, third]);
  });

  it('agrees on one bank when several instances create it at once', async () => {
    const shards = shardsIn(database.url, 3);
    const founders = await Promise.all(Array.from({ length: 4 }, () => bootstrapShards(shards)));
    expect(new Set(founders.map(({ bankId }) => bankId)).size).toBe(1);
    expect((await recorded(shards)).map((row) => row?.bank_id)).toEqual(
      Array<string | undefined>(3).fill(founders[0]?.bankId),
    );
  });
});

describe('a list of shards that is not the bank', () => {
  let shards: ShardAddress[];
  let bankId: string;

  beforeEach(async () => {
    shards = shardsIn(database.url, 3);
    ({ bankId } = await bootstrapShards(shards));
  });

  const shard = (index: number) => shards[index] as ShardAddress;
  const place = (index: number) =>
    `127.0.0.1:${new URL(database.url).port}${new URL(database.url).pathname}, schema "bank_${index}"`;

  it('is rejected in the wrong order', async () => {
    await expect(bootstrapShards([shard(0), shard(2), shard(1)])).rejects.toThrow(
      `the shards are listed in the wrong order: ${place(2)} holds shard 2 (of 0 to 2) but is listed as shard 1`,
    );
  });

  it('is rejected when it is too short or too long', async () => {
    await expect(bootstrapShards(shards.slice(0, 2))).rejects.toThrow(
      `the bank has 3 shard(s), as ${place(0)} records, but the configuration lists 2`,
    );
    await expect(bootstrapShards([...shards, { ...shard(0), schema: 'bank_3' }])).rejects.toThrow(
      'the bank has 3 shard(s), as',
    );
  });

  it('is rejected with a shard of another bank', async () => {
    const other = shardsIn(database.url, 3, 'other');
    const { bankId: otherBank } = await bootstrapShards(other);
    await expect(bootstrapShards([shard(0), other[1] as ShardAddress, shard(2)])).rejects.toThrow(
      `schema "other_1" holds a shard of another bank (${otherBank}) than the rest of the list (${bankId})`,
    );
  });

  it('is rejected with an empty schema in place of a shard', async () => {
    const empty = { url: database.url, schema: 'empty' };
    await expect(bootstrapShards([shard(0), empty, shard(2)])).rejects.toThrow(
      `schema "empty" is listed as shard 1 of the bank ${bankId} but holds no shard: a wrong address?`,
    );
    expect(await query(database.url, `SELECT FROM pg_namespace WHERE nspname = 'empty'`)).toEqual([]);
  });

  it('is rejected with an empty schema in place of the first shard, once the bank is in use', async () => {
    await openAccounts(shard(2));
    await expect(
      bootstrapShards([{ url: database.url, schema: 'empty' }, shard(1), shard(2)]),
    ).rejects.toThrow(`schema "empty" is listed as shard 0 of the bank ${bankId} but holds no shard`);
  });

  it('is rejected with the same shard twice, however it is written', async () => {
    await expect(bootstrapShards([shard(0), shard(1), spelledOtherwise(shard(1))])).rejects.toThrow(
      'the shards are listed in the wrong order: localhost:',
    );
    const fresh = { url: database.url, schema: 'fresh' };
    await expect(bootstrapShards([spelledOtherwise(fresh), fresh])).rejects.toThrow(
      'schema "fresh" holds shard 1 of 2, but is configured as shard 0 of 2',
    );
  });

  it('is rejected when the connections for migrations lead elsewhere', async () => {
    const other = await createEmptyTestDatabase('elsewhere');
    try {
      const elsewhere = shards.map(({ schema }) => ({ url: other.url, schema }));
      await expect(startInstance(elsewhere, { MIGRATION_SHARDS: shardList(shards) })).rejects.toThrow(
        /schema "bank_\d" is not the shard \d of 3 of bank .* that the connection for migrations leads to/,
      );
    } finally {
      await other.drop();
    }
  });
});

describe('opening a bank none of whose shards can be reached', () => {
  const shards = shardsIn('postgresql://bank@127.0.0.1:1/bank', 2);

  it('waits, then says why in one sentence', async () => {
    const config = loadConfig({ SHARDS: shardList(shards), DATABASE_START_TIMEOUT_MS: '700' });
    const startedMs = performance.now();
    const opening = openDatabases(config, SILENT, { holder: 'tests', allowDown: true });
    const error = await opening.catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(StartError);
    expect((error as Error).message).toMatch(
      /^the database can't be used: shard 0 \(127\.0\.0\.1:1\/bank, schema "bank_0"\): .*ECONNREFUSED.*; shard 1 \(.*\)/,
    );
    expect(performance.now() - startedMs).toBeGreaterThanOrEqual(700);
  });

  it('does not wait when waiting does not help', async () => {
    const wrong = new URL(database.url);
    wrong.pathname = '/no_such_database';
    const list = [
      { url: database.url, schema: 'bank_0' },
      { url: wrong.href, schema: 'bank_1' },
    ];
    const config = loadConfig({ SHARDS: shardList(list), DATABASE_START_TIMEOUT_MS: '600000' });
    const opening = openDatabases(config, SILENT, { holder: 'tests', allowDown: true });
    await expect(opening).rejects.toThrow('database "no_such_database" does not exist');
  });
});

describe('a bank of several shards, of which one is down', () => {
  it('is opened without it only on request', async () => {
    const shards = shardsIn(database.url, 2);
    const { bankId } = await bootstrapShards(shards);
    const down = { url: 'postgresql://bank@127.0.0.1:1/bank', schema: 'bank_1' };
    const list = [shards[0] as ShardAddress, down];
    await expect(bootstrapShards(list)).rejects.toThrow(ShardsDownError);
    expect(await bootstrapShards(list, { allowDown: true })).toMatchObject({ bankId, down: new Set([1]) });
  });

  it('is served when only the pooler of that one is down, and that one once it is back', async () => {
    const direct = shardsIn(database.url, 2) as [ShardAddress, ShardAddress];
    const pooler = await PostgresProxy.start(database.url);
    pooler.proxy.takeDown();
    try {
      const shards = [direct[0], { ...direct[1], url: pooler.url }];
      const settings = { MIGRATION_SHARDS: shardList(direct), DATABASE_CONNECT_TIMEOUT_MS: '1000' };
      const app = await startInstance(shards, settings);
      try {
        expect((await app.http.get('/health/ready')).text).toContain('"status":"degraded"');
        expect((await app.http.post('/accounts').send({})).text).toContain('"accountId":1,');
        pooler.proxy.heal();
        const isReady = async () => (await app.http.get('/health/ready')).text.includes('"status":"ok"');
        await waitUntil(isReady, 20_000);
      } finally {
        await app.close();
      }
      pooler.proxy.takeDown();
      const all = direct.map((shard) => ({ ...shard, url: pooler.url }));
      await expect(startInstance(all, settings)).rejects.toThrow('no shard can be opened: ');
    } finally {
      await pooler.proxy.stop();
    }
  });

  it('is opened within 10 s, whatever becomes of a connection that opens it', async () => {
    // To look where it is, to migrate it, to look for a pooler, and one of each pool.
    const CONNECTIONS = [1, 2, 3, 4, 5];
    const direct = shardsIn(database.url, 1 + CONNECTIONS.length);
    await bootstrapShards(direct);
    const proxies = await Promise.all(CONNECTIONS.map(() => PostgresProxy.start(database.url)));
    for (const { proxy } of proxies) proxy.takeDown();
    const [first, ...others] = direct as [ShardAddress, ...ShardAddress[]];
    const list = [first, ...others.map(({ schema }, index) => ({ url: proxies[index]?.url ?? '', schema }))];
    const app = await startInstance(list);
    try {
      const loseTheOtherEnd = async (proxy: PostgresProxy, connection: number) => {
        proxy.heal();
        proxy.delayMs = 50;
        await waitUntil(() => Promise.resolve(proxy.accepted === connection), 10_000);
        // Its log-in, which takes 300 ms, has a time limit of its own.
        await sleep(350);
        proxy.halfOpen();
        proxy.delayMs = 0;
      };
      await Promise.all(proxies.map(({ proxy }, index) => loseTheOtherEnd(proxy, index + 1)));
      const health = async () => (await app.http.get('/health/ready')).text;
      expect(await health()).toContain('"status":"degraded"');
      await waitUntil(async () => (await health()).includes('"status":"ok"'), 10_000);
    } finally {
      await app.close();
      await Promise.all(proxies.map(({ proxy }) => proxy.stop()));
    }
  }, 60_000);
});

/** As on Citus with a role for each distributed schema. */
describe('a role for each shard that may use one schema only', () => {
  const COUNT = 2;
  let roles: string[];
  let shards: ShardAddress[];

  const create = async (schemaFor: (role: string, schema: string) => string) => {
    const suffix = database.url.slice(-12);
    roles = Array.from({ length: COUNT }, (_, index) => `shard_${index}_${suffix}`);
    await query(database.url, 'REVOKE ALL ON SCHEMA public FROM PUBLIC');
    const databaseName = escapeIdentifier(new URL(database.url).pathname.slice(1));
    await query(database.url, `REVOKE ALL ON DATABASE ${databaseName} FROM PUBLIC`);
    shards = [];
    for (const [index, role] of roles.entries()) {
      const schema = `bank_${index}`;
      const url = new URL(database.url);
      [url.username, url.password] = [role, 'secret'];
      await query(database.url, `CREATE ROLE ${role} LOGIN PASSWORD 'secret'`);
      await query(database.url, `GRANT CONNECT ON DATABASE ${databaseName} TO ${role}`);
      await query(database.url, schemaFor(role, schema));
      shards.push({ url: url.href, schema });
    }
  };

  afterEach(async () => {
    for (const role of roles) await query(database.url, `DROP OWNED BY ${role} CASCADE; DROP ROLE ${role}`);
  });

  const OWNED = (role: string, schema: string) => `CREATE SCHEMA ${schema} AUTHORIZATION ${role}`;

  it.each([
    ['own', OWNED],
    [
      'may make tables in',
      (role: string, schema: string) =>
        `CREATE SCHEMA ${schema}; GRANT USAGE, CREATE ON SCHEMA ${schema} TO ${role}`,
    ],
  ])('serves everything when the roles %s their schema', async (_what, schemaFor) => {
    await create(schemaFor);
    const [first, second] = shards as [ShardAddress, ShardAddress];
    const app = await startInstance(shards);
    try {
      const accountIds = [await openAccount(app, '100.00'), await openAccount(app, '100.00')];
      for (const accountId of accountIds) {
        const path = `/accounts/${accountId}`;
        const post = (body: object, key: string) =>
          app.http.post(`${path}/transactions`).set('idempotency-key', key).send(body);
        expect((await post({ type: 'Deposit', amount: '1.00' }, 'a')).status).toBe(201);
        expect((await post({ type: 'Deposit', amount: '1.00' }, 'a')).status).toBe(409);
        expect((await post({ type: 'Withdraw', amount: '1000.00' }, 'b')).status).toBe(422);
        const withdrawal = await post({ type: 'Withdraw', amount: '0.50' }, 'c');
        expect(withdrawal.status).toBe(201);
        expect((await app.http.get(withdrawal.headers['location'] as string)).status).toBe(200);
        const read = await app.http.get(`${path}/balance`).set('cache-control', 'no-cache');
        expect(read.text).toBe('{"balance":100.50,"version":4}');
        const list = await app.http.get(`${path}/transactions?type=Deposit&from=2000-01-01T00:00:00Z`);
        expect((JSON.parse(list.text) as { data: unknown[] }).data).toHaveLength(2);
      }
      expect((JSON.parse((await app.http.get('/accounts')).text) as { data: unknown[] }).data).toHaveLength(
        2,
      );
      expect((await app.http.get('/health/ready')).text).toContain('"status":"ok"');
      await waitUntil(
        async () => (await query(first.url, 'SELECT FROM bank_0.outbox LIMIT 1')).length === 0,
        10_000,
      );
    } finally {
      await app.close();
    }
    await seedBank(shards, { accounts: 10, balance: 100n });
    const session = {
      config: loadConfig({ SHARDS: shardList(shards) }),
      bank: await bootstrapShards(shards),
      logger: SILENT,
    };
    await resetAccount(session, 3, 5n);
    expect(await verifyBank(shards)).toMatchObject({ accounts: 12, ok: true, faults: [] });
    // The roles are as narrow as they are meant to be.
    await expect(query(first.url, 'SELECT FROM bank_1.accounts')).rejects.toThrow(
      'permission denied for schema',
    );
    await expect(query(second.url, 'SELECT FROM bank_0.accounts')).rejects.toThrow(
      'permission denied for schema',
    );
    await expect(query(first.url, 'CREATE TABLE public.other ()')).rejects.toThrow(
      'permission denied for schema',
    );
  });

  it("says so when a shard is listed with another one's role", async () => {
    await create(OWNED);
    await bootstrapShards(shards);
    const [first, second] = shards as [ShardAddress, ShardAddress];
    await expect(
      bootstrapShards([first, { ...second, url: first.url }], { allowDown: true }),
    ).rejects.toThrow(/^shard 1 \(.*, schema "bank_1"\): permission denied for schema bank_1$/);
  });
});
