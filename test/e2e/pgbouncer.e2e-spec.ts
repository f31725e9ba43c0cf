import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { Client } from 'pg';
import { verifyBank } from '../../src/admin/verify/verify.js';
import { startPgBouncer, type PgBouncerServer } from '../../tools/stack/servers/pgbouncer.js';
import { openAccount, startInstance, type TestApp } from '../support/app.js';
import { createTestDatabase, type TestDatabase } from '../support/postgres.js';
import { waitUntil } from '../support/service.js';

const POOL_SIZE = 4;
const CLIENTS = 16;

let database: TestDatabase;
let pooler: PgBouncerServer;
let instances: TestApp[];
let accountIds: number[];

beforeAll(async () => {
  database = await createTestDatabase('pgbouncer');
  pooler = await startPgBouncer({ databases: { '*': database.url }, poolSize: POOL_SIZE });
  const settings = {
    DATABASE_URL: pooler.url(database.url),
    LEDGER_TRANSACTION_TIMEOUT_MS: '1000',
    LEDGER_COMMAND_TIMEOUT_MS: '2000',
  };
  instances = [
    await startInstance(database.url, settings),
    await startInstance(database.url, { ...settings, BALANCE_CACHE: 'off' }),
  ];
  const accounts = Array.from({ length: CLIENTS }, () => openAccount(instances[0] as TestApp));
  accountIds = await Promise.all(accounts);
}, 60_000);

afterAll(async () => {
  for (const instance of instances) await instance.close();
  await pooler.stop();
  await database.drop();
});

/** What to close after each test, even a failed one. */
const opened: { end(): Promise<void> }[] = [];

afterEach(async () => {
  await Promise.all(opened.splice(0).map((each) => each.end()));
});

interface Answer {
  readonly key: string;
  readonly status: number;
}

/** Deposits of 1.00 by many clients, each to an account of its own, now to one instance and now to the other. */
class Load {
  readonly answers: Answer[] = [];
  private stopping = false;
  private readonly clients = accountIds.map((accountId) => this.run(accountId));

  constructor(private readonly name: string) {
    opened.push(this);
  }

  async end(): Promise<void> {
    this.stopping = true;
    await Promise.all(this.clients);
  }

  count(status: number): number {
    return this.answers.filter((answer) => answer.status === status).length;
  }

  private async run(accountId: number): Promise<void> {
    for (let number = 0; !this.stopping; number++) {
      const key = `${this.name}-${accountId}-${number}`;
      const response = await fetch(`${instances[number % 2]?.url}/accounts/${accountId}/transactions`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', 'idempotency-key': key },
        body: '{"type":"Deposit","amount":"1.00"}',
      });
      await response.text();
      this.answers.push({ key, status: response.status });
    }
  }
}

async function connected(url: string): Promise<Client> {
  const client = new Client({ connectionString: url });
  client.on('error', () => undefined);
  await client.connect();
  opened.push(client);
  return client;
}

const SETTINGS = `SELECT name, setting FROM pg_settings WHERE name <> 'application_name' ORDER BY name`;
const LEFT_BEHIND = `
  SELECT pg_backend_pid() AS pid,
         (SELECT count(*) FROM pg_prepared_statements) AS prepared,
         (SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'advisory') AS locks,
         (SELECT count(*) FROM pg_listening_channels()) AS channels`;

describe(`two instances that share ${POOL_SIZE} sessions of PgBouncer`, () => {
  it('never use more, and leave no state on them', async () => {
    const direct = await connected(database.url);
    const sessionsNow = async () => {
      const { rows } = await direct.query<{ pid: number }>(
        `SELECT pid FROM pg_stat_activity
         WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()`,
      );
      return rows.map(({ pid }) => pid);
    };
    const load = new Load('sessions');
    let sessions: number[] = [];
    await waitUntil(async () => {
      sessions = await sessionsNow();
      expect(sessions.length).toBeLessThanOrEqual(POOL_SIZE);
      return load.count(201) > 500 && sessions.length === POOL_SIZE;
    }, 30_000);
    await load.end();

    const { rows: fresh } = await direct.query(SETTINGS);
    const clients = await Promise.all(sessions.map(() => connected(pooler.url(database.url))));
    // Open transactions each need a session of their own.
    for (const client of clients) await client.query('BEGIN');
    for (const client of clients) {
      const { rows } = await client.query<{ pid: number }>(LEFT_BEHIND);
      expect(rows).toEqual([{ pid: expect.any(Number), prepared: '0', locks: '0', channels: '0' }]);
      expect(sessions).toContain(rows[0]?.pid);
      expect((await client.query(SETTINGS)).rows).toEqual(fresh);
    }
  });

  it.each(['SIGKILL', 'SIGSTOP'] as const)(
    'give true answers when it gets %s, and recover afterwards',
    async (signal) => {
      const load = new Load(signal);
      await waitUntil(() => Promise.resolve(load.count(201) > 100), 30_000);
      await pooler.kill(signal);
      await waitUntil(() => Promise.resolve(load.count(408) > 0), 30_000);
      if (signal === 'SIGSTOP') await pooler.kill('SIGCONT');
      else await pooler.start();
      const before = load.count(201);
      await waitUntil(() => Promise.resolve(load.count(201) > before + 100), 30_000);
      await load.end();

      const direct = await connected(database.url);
      const { rows } = await direct.query<{ key: string }>(
        'SELECT idempotency_key AS key FROM bank.transactions WHERE idempotency_key LIKE $1',
        [`${signal}-%`],
      );
      const stored = new Set(rows.map(({ key }) => key));
      const keysOf = (status: number) =>
        load.answers.filter((a) => a.status === status).map(({ key }) => key);
      expect(keysOf(201).filter((key) => !stored.has(key))).toEqual([]);
      expect(keysOf(408).filter((key) => stored.has(key))).toEqual([]);
      // 503: Overloaded, or Outcome unknown.
      expect([201, 408, 503]).toEqual(expect.arrayContaining(load.answers.map(({ status }) => status)));
      expect((await verifyBank([{ url: database.url, schema: 'bank' }])).faults).toEqual([]);
    },
    90_000,
  );
});
