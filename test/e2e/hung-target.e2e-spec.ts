import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { Client } from 'pg';
import type { Response } from 'supertest';
import type { ShardAddress } from '../../src/config/shard-address.js';
import { parseMoney } from '../../src/domain/money.js';
import { Ledger } from '../../src/domain/ports.js';
import { THE_SERVICE } from '../../src/domain/sender.js';
import { bootstrapShards } from '../../src/sharding/bootstrap-shards.js';
import { startPostgres, type PostgresServer } from '../../tools/stack/servers/postgres.js';
import { shardList, startInstance, type TestApp } from '../support/app.js';
import { openInBoth } from '../support/between-shards.js';
import { startCli } from '../support/cli.js';
import { createEmptyTestDatabase, query, type TestDatabase } from '../support/postgres.js';
import { eventually, JSON_TYPE } from '../support/requests.js';

/** Shorter than the defaults, so that what waits for a hung server does not take the tests long. */
const TIMEOUTS = {
  database: { connectTimeoutMs: 1_000, readTimeoutMs: 1_000 },
  ledger: { commandTimeoutMs: 2_000, transactionTimeoutMs: 1_000, resolveTimeoutMs: 2_000 },
};

let database: TestDatabase;
/** Where the targets are; it is frozen. */
let server: PostgresServer;
let shards: ShardAddress[];
/** Leaves pending transfers to {@link finisher}, which is started when it is wanted. */
let app: TestApp;
let ledger: Ledger;
/** An account of each shard, beside which the others are opened. */
let near: number[];

beforeAll(async () => {
  const settings = { fsync: 'off', shared_buffers: '32MB', autovacuum: 'off' };
  [database, server] = await Promise.all([createEmptyTestDatabase('hung-target'), startPostgres(settings)]);
  shards = [
    { url: database.url, schema: 'bank_0' },
    { url: server.url, schema: 'bank_1' },
  ];
  await bootstrapShards(shards);
  const never = { transfers: { pollMs: 50, dueAfterMs: 3_600_000 } };
  app = await startInstance(shards, {}, { ...TIMEOUTS, ...never });
  ledger = app.app.get(Ledger, { strict: false });
  near = await openInBoth(ledger);
}, 60_000);

afterAll(async () => {
  await server.kill('SIGCONT');
  await app.close();
  await server.stop();
  await database.drop();
});

const finisher = () => startInstance(shards, {}, { ...TIMEOUTS, transfers: { pollMs: 50, dueAfterMs: 0 } });

async function open(shard: 0 | 1, amount = '0.00'): Promise<number> {
  const openingDeposit = amount === '0.00' ? undefined : (parseMoney(amount, 2) ?? 0n);
  return (await ledger.openAccount({ openingDeposit, near: near[shard] ?? 0 }, THE_SERVICE)).accountId;
}

const send = async (path: string, body: object, key?: string): Promise<Response> =>
  app.http
    .post(path)
    .set({ 'content-type': JSON_TYPE, ...(key !== undefined && { 'idempotency-key': key }) })
    .send(JSON.stringify(body));

const get = async (path: string) =>
  JSON.parse((await app.http.get(path).set('cache-control', 'no-cache')).text) as Record<string, unknown>;

const pendingNow = async () =>
  (
    await query<{ id: string }>(
      database.url,
      `SELECT transfer_id AS id FROM bank_0.transfers WHERE status = 'pending'`,
    )
  ).length;

/** Begins a transfer whose target can't be decided, because another session has locked the account's row. */
async function beginPending(from: number, to: number, amount: number, key: string): Promise<string> {
  const client = new Client({ connectionString: server.url });
  await client.connect();
  try {
    await client.query('BEGIN');
    await client.query('SELECT FROM bank_1.accounts WHERE account_id = $1 FOR UPDATE', [to]);
    const response = await send('/transfers', { from, to, amount }, key);
    expect([response.status, JSON.parse(response.text)]).toMatchObject([202, { status: 'pending' }]);
    // Until the service has given up its own attempt.
    await sleep(TIMEOUTS.ledger.commandTimeoutMs);
    return (JSON.parse(response.text) as { id: string }).id;
  } finally {
    await client.end();
  }
}

const cli = (...args: string[]) =>
  startCli(args, { SHARDS: shardList(shards), LOG_LEVEL: 'warn', DATABASE_START_TIMEOUT_MS: '1000' }).ended;

describe('while the target hangs', () => {
  /** Deposits at the source in a second, by clients that send one after the other. */
  async function depositsIn(ms: number, accountId: number): Promise<number> {
    const until = performance.now() + ms;
    let posted = 0;
    const client = async () => {
      while (performance.now() < until) {
        const { status } = await send(`/accounts/${accountId}/transactions`, { type: 'Deposit', amount: 1 });
        if (status === 201) posted += 1;
        await sleep(10);
      }
    };
    await Promise.all(Array.from({ length: 8 }, client));
    return posted;
  }

  it('refuses transfers before a row is written, and goes on with the source', async () => {
    const [from, to, busy] = [await open(0, '1000.00'), await open(1), await open(0)];
    const before = await depositsIn(1_500, busy);
    const made = await send('/transfers', { from, to, amount: 1 }, 'made-before');
    await server.kill('SIGSTOP');
    const answers: Response[] = [];
    try {
      let stopping = false;
      const clients = Array.from({ length: 300 }, async () => {
        while (!stopping) answers.push(await send('/transfers', { from, to, amount: 1 }));
      });
      await sleep(500);
      const during = await depositsIn(3_000, busy);
      stopping = true;
      await Promise.all(clients);
      // Not closed; how much it slows down is for the benchmark to say.
      expect(during / 2).toBeGreaterThan(before / 10);
      // What the source knows is told, whether or not the target answers.
      const repeat = await send('/transfers', { from, to, amount: 1 }, 'made-before');
      expect([repeat.status, repeat.headers['location']]).toEqual([409, made.headers['location']]);
      const reused = await send('/transfers', { from, to, amount: 2 }, 'made-before');
      expect(reused.headers['x-error-code']).toBe('IDEMPOTENCY_KEY_REUSED');
      expect((await send('/transfers', { from, to, amount: 5_000 })).status).toBe(408);
    } finally {
      await server.kill('SIGCONT');
    }
    expect(answers.length).toBeGreaterThan(300);
    for (const { status } of answers) expect([408, 503]).toContain(status);
    expect(await pendingNow()).toBe(0);
    expect(await get(`/accounts/${from}`)).toMatchObject({ balance: 999, held: 0 });
    await eventually(async () =>
      expect((await send('/transfers', { from, to, amount: 1 })).status).toBe(201),
    );
  }, 30_000);

  it('shows what is pending, and finishes it once the target is back', async () => {
    const [from, to] = [await open(0, '10.00'), await open(1)];
    const id = await beginPending(from, to, 4, 'pending');
    await server.kill('SIGSTOP');
    const another = await finisher();
    try {
      expect(await get(`/transfers/${id}`)).toMatchObject({ status: 'pending' });
      const [listed, cancelled] = await Promise.all([
        cli('transfers', 'list', '--pending'),
        cli('transfers', 'cancel', id),
      ]);
      expect(listed.stdout).toMatch(
        new RegExp(`^${id} .* account ${from} +account ${to} +shard 1 +4\\.00 +hold${id.slice(2)}$`, 'm'),
      );
      expect(listed).toMatchObject({
        code: 1,
        stderr: expect.stringContaining("shard 1 can't be read") as unknown,
      });
      const { text } = await another.http.get('/metrics');
      expect(text).toContain('bank_transfers_pending{shard="0",target="1"} 1');
      expect(text).toMatch(/bank_transfers_oldest_age_seconds\{shard="0",target="1"\} [1-9]/);
      expect(cancelled.code).toBe(1);
      expect(cancelled.stderr).toMatch(/^error: the database can't be used/m);
    } finally {
      await server.kill('SIGCONT');
    }
    const healedMs = performance.now();
    await eventually(
      async () => expect(await get(`/transfers/${id}`)).toMatchObject({ status: 'completed' }),
      10_000,
    );
    expect(performance.now() - healedMs).toBeLessThan(5_000);
    expect(await get(`/accounts/${from}`)).toMatchObject({ balance: 6, held: 0 });
    expect(await get(`/accounts/${to}`)).toMatchObject({ balance: 4 });
    await eventually(async () =>
      expect((await another.http.get('/metrics')).text).toContain(
        'bank_transfers_pending{shard="0",target="1"} 0',
      ),
    );
    await another.close();
  }, 60_000);
});

it('is cancelled by an operator, for good', async () => {
  const [from, to] = [await open(0, '10.00'), await open(1)];
  const id = await beginPending(from, to, 4, 'cancelled');
  expect(await get(`/accounts/${from}`)).toMatchObject({ balance: 10, held: 4 });
  const cancelled = await cli('transfers', 'cancel', id);
  expect(cancelled).toMatchObject({
    code: 0,
    stdout: `${id} is cancelled: account ${from} keeps its 4.00.\n`,
  });
  expect(await get(`/accounts/${from}`)).toMatchObject({ balance: 10, held: 0 });
  expect(await get(`/transfers/${id}`)).toMatchObject({ status: 'failed', failure: 'TRANSFER_CANCELLED' });
  const repeat = await send('/transfers', { from, to, amount: 4 }, 'cancelled');
  expect([repeat.status, repeat.headers['x-error-code']]).toEqual([409, 'TRANSFER_CANCELLED']);
  const again = await cli('transfers', 'cancel', id);
  expect(again).toMatchObject({
    code: 1,
    stderr: expect.stringContaining(`${id} is failed already`) as unknown,
  });
  const { stdout } = await cli('audit', 'list');
  expect(stdout).toContain('transfer.cancelled');
}, 60_000);

describe('as many as may be pending', () => {
  /** Adds pending transfers that nobody can finish, with ids far beyond the sequence. */
  const fill = (accountId: number, count: number, from = 1) =>
    query(
      database.url,
      `INSERT INTO bank_0.transfers
         (transfer_id, nonce, account_id, to_account_id, amount, hold_id, final, created_at, status)
       SELECT 1 + 2 * (1000000 + n), gen_random_uuid(), $1, ${near[1]}, 1, 1 + 2 * (1000000 + n), true, now(), 'pending'
       FROM generate_series($2::int, $3::int) AS n`,
      [accountId, from, from + count - 1],
    );

  it('of one account, and then of the shard: one more is refused', async () => {
    const [full, other, to] = [await open(0, '10.00'), await open(0, '10.00'), await open(1)];
    try {
      await fill(full, 1_000);
      const refused = await send('/transfers', { from: full, to, amount: 1 }, 'kept');
      expect([refused.status, refused.text]).toEqual([503, '{"error":"Too many pending transfers"}']);
      expect(refused.headers).toMatchObject({
        'x-error-code': 'TOO_MANY_PENDING_TRANSFERS',
        'retry-after': expect.any(String) as unknown,
      });
      expect((await send('/transfers', { from: other, to, amount: 1 })).status).toBe(201);
      await fill(near[0] ?? 0, 9_000, 1_001);
      expect((await send('/transfers', { from: other, to, amount: 1 })).status).toBe(503);
    } finally {
      await query(database.url, 'DELETE FROM bank_0.transfers WHERE transfer_id > 2000000');
    }
    expect((await send('/transfers', { from: full, to, amount: 1 }, 'kept')).status).toBe(201);
    expect(await get(`/accounts/${full}`)).toMatchObject({ balance: 9, held: 0 });
  });
});
