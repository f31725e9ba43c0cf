import { afterAll, afterEach, beforeAll, describe, expect, it, jest } from '@jest/globals';
import { spawnSync } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { Client } from 'pg';
import { createKey } from '../../src/admin/keys.js';
import { verifyBank } from '../../src/admin/verify/verify.js';
import { startCli } from '../support/cli.js';
import { createTestDatabase, type TestDatabase } from '../support/postgres.js';
import { RawClient } from '../support/raw-client.js';
import {
  spawnService,
  startService,
  stopService,
  temporaryDataDir,
  waitUntil,
  type ServiceProcess,
} from '../support/service.js';

/** A busy machine takes long to start three processes. */
const START_TIMEOUT_MS = 60_000;
jest.setTimeout(90_000);

interface Receipt {
  id: string;
  newVersion: string;
}

/** The worker processes of a service, those that only start too. */
function workersOf({ child }: ServiceProcess): number[] {
  const { stdout } = spawnSync('ps', ['--ppid', String(child.pid), '-o', 'pid=,args='], { encoding: 'utf8' });
  return stdout
    .split('\n')
    .filter((line) => line.includes('dist/src/worker.js'))
    .map((line) => parseInt(line, 10));
}

/** False: there is no such process any more. */
function signalled(pid: number, signal: NodeJS.Signals | 0): boolean {
  try {
    return process.kill(pid, signal);
  } catch {
    return false;
  }
}

function isRunning(pid: number): boolean {
  return signalled(pid, 0);
}

/** The lines of the log that have this message. */
function linesOf(service: ServiceProcess, message: string): { pid: number }[] {
  const lines = service.output().split('\n');
  const json = lines.filter((line) => line.startsWith('{') && line.endsWith('}'));
  return json
    .map((line) => JSON.parse(line) as { pid: number; msg: string })
    .filter(({ msg }) => msg === message);
}

/** Waits until every worker serves. */
function allServe(service: ServiceProcess, workers = 2): Promise<void> {
  return waitUntil(async () => (await scrape(service))('bank_workers') === workers, START_TIMEOUT_MS);
}

/** The sum of the samples whose name and labels begin like this. */
async function scrape(service: ServiceProcess): Promise<(sample: string) => number> {
  const response = await fetch(`${service.url}/metrics`);
  const lines = (await response.text()).split('\n');
  return (sample) =>
    lines
      .filter((line) => line.startsWith(sample))
      .reduce((total, line) => total + Number(line.slice(line.lastIndexOf(' '))), 0);
}

async function openAccount(service: ServiceProcess): Promise<number> {
  const headers = { 'content-type': 'application/json' };
  const response = await fetch(`${service.url}/accounts`, { method: 'POST', headers, body: '{}' });
  return ((await response.json()) as { accountId: number }).accountId;
}

async function post(service: ServiceProcess, accountId: number, key: string): Promise<Response> {
  return fetch(`${service.url}/accounts/${accountId}/transactions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'idempotency-key': key },
    body: '{"amount":1.00,"type":"Deposit"}',
  });
}

/** Callers pause, so that what starts or ends meanwhile gets its share of the processors. */
const PAUSE_MS = 10;
const PAUSE_WITHOUT_SERVICE_MS = 200;

/** Callers that post one after the other until stopped; a posting without an answer is not retried. */
function load(service: ServiceProcess, accountOf: () => number, callers: number) {
  const acknowledged: Receipt[] = [];
  const unexpected: number[] = [];
  let [stopped, sent] = [false, 0];
  const name = Math.random().toString(36);
  const call = async () => {
    try {
      const response = await post(service, accountOf(), `${name}-${sent++}`);
      if (response.status === 201) acknowledged.push((await response.json()) as Receipt);
      else if (response.status !== 503) unexpected.push(response.status);
      await sleep(PAUSE_MS);
    } catch {
      await sleep(PAUSE_WITHOUT_SERVICE_MS);
    }
  };
  const finished = Promise.all(
    Array.from({ length: callers }, async () => {
      while (!stopped) await call();
    }),
  );
  return {
    acknowledged,
    unexpected,
    grows: (by: number) => {
      const before = acknowledged.length;
      return waitUntil(() => Promise.resolve(acknowledged.length >= before + by), 20_000);
    },
    stop: async () => {
      stopped = true;
      await finished;
    },
  };
}

describe('several workers on the embedded PostgreSQL', () => {
  const folder = temporaryDataDir();
  const environment = { DATA_DIR: folder.path, WORKERS: '2', LOG_REQUESTS: 'all' };
  let service: ServiceProcess;

  beforeAll(async () => {
    service = await startService({ environment, startTimeoutMs: START_TIMEOUT_MS });
    await waitUntil(() => Promise.resolve(service.output().includes('Try:')), START_TIMEOUT_MS);
  });

  afterAll(async () => {
    service.child.kill('SIGKILL');
    await service.exited;
    folder.remove();
  });

  it('create one demo account, say once where they listen, both answer, and log their process ids', async () => {
    for (const message of [
      `API:        ${service.url}`,
      'the bank was empty: created a demo account with 1000.00',
    ]) {
      expect(linesOf(service, message).map(({ pid }) => pid)).toEqual([service.child.pid]);
    }
    const answers = await Promise.all(
      Array.from({ length: 8 }, async () => (await fetch(`${service.url}/accounts/1/balance`)).text()),
    );
    expect(new Set(answers)).toEqual(new Set(['{"balance":1000.00,"version":2}']));
    expect((await fetch(`${service.url}/health/ready`)).status).toBe(200);
    const answering = new Set(linesOf(service, 'request').map(({ pid }) => pid));
    expect([...answering].sort()).toEqual(workersOf(service).sort());
  });

  it('post to one account and to many without gaps, and never answer with a balance older than one acknowledged', async () => {
    const others = await Promise.all(Array.from({ length: 10 }, () => openAccount(service)));
    const before = (await scrape(service))('bank_ledger_transactions_total');
    const stale: string[] = [];
    const newest = { version: 2 };
    const versions: number[] = [];
    const spread = load(service, () => others[Math.floor(Math.random() * others.length)] ?? 1, 8);
    await Promise.all(
      Array.from({ length: 8 }, async (_, caller) => {
        for (let i = 0; i < 15; i++) {
          const receipt = (await (await post(service, 1, `hot-${caller}-${i}`)).json()) as Receipt;
          versions.push(Number(receipt.newVersion));
          newest.version = Math.max(newest.version, Number(receipt.newVersion));
          const known = newest.version;
          const balance = await (await fetch(`${service.url}/accounts/1/balance`)).text();
          if ((JSON.parse(balance) as { version: number }).version < known)
            stale.push(`${known}: ${balance}`);
        }
      }),
    );
    await spread.stop();
    expect(spread.unexpected).toEqual([]);
    expect(stale).toEqual([]);
    expect(versions.sort((a, b) => a - b)).toEqual(Array.from({ length: 120 }, (_, i) => i + 3));
    const verified = await startCli(['verify', '--json'], { DATA_DIR: folder.path }).ended;
    expect(JSON.parse(verified.stdout)).toMatchObject({ ok: true });
    const sample = await scrape(service);
    expect(sample('bank_ledger_transactions_total')).toBe(before + 120 + spread.acknowledged.length);
    expect(sample('bank_shard_up{shard="0"}')).toBe(1);
  });

  it('end with the primary process, even if that is killed', async () => {
    const workers = workersOf(service);
    expect(workers).toHaveLength(2);
    service.child.kill('SIGKILL');
    await service.exited;
    await waitUntil(() => Promise.resolve(!workers.some(isRunning)), 20_000);
    expect(
      linesOf(service, 'the primary process is gone')
        .map(({ pid }) => pid)
        .sort(),
    ).toEqual(workers.sort());
  });
});

describe('several workers on an existing PostgreSQL', () => {
  const HTTP_MAX_CONNECTIONS = 50;
  let database: TestDatabase;
  let service: ServiceProcess;

  const start = (overrides: Record<string, string> = {}) =>
    startService({
      environment: { DATABASE_URL: database.url, AUTH: 'off', WORKERS: '2', ...overrides },
      startTimeoutMs: START_TIMEOUT_MS,
    });

  beforeAll(async () => {
    database = await createTestDatabase();
    service = await start({ HTTP_MAX_CONNECTIONS: String(HTTP_MAX_CONNECTIONS) });
  });

  afterEach(async () => {
    expect((await verifyBank([{ url: database.url, schema: 'bank' }])).faults).toEqual([]);
  });

  afterAll(async () => {
    await stopService(service);
    await database.drop();
  });

  async function storedIds(accountId: number): Promise<Set<string>> {
    const client = new Client({ connectionString: database.url });
    await client.connect();
    const { rows } = await client.query<{ id: string }>(
      `SELECT 'txn' || transaction_id AS id FROM bank.transactions WHERE account_id = $1`,
      [accountId],
    );
    await client.end();
    return new Set(rows.map(({ id }) => id));
  }

  it('continue when one is killed under load: nothing acknowledged is lost, it is replaced, and counters never decrease', async () => {
    await allServe(service);
    const accountId = await openAccount(service);
    const traffic = load(service, () => accountId, 16);
    await traffic.grows(200);
    const before = (await scrape(service))('bank_ledger_transactions_total');
    const [killed = 0, survivor] = workersOf(service);
    // Those that are being handed to it when it ends must not wait for ever either.
    process.kill(killed, 'SIGSTOP');
    const clients = await Promise.all(Array.from({ length: 4 }, () => RawClient.open(service.url)));
    for (const client of clients) client.send('GET /health/live HTTP/1.0\r\n\r\n');
    await sleep(100);
    process.kill(killed, 'SIGKILL');
    await Promise.all(clients.map(({ closed }) => closed));
    expect(clients.filter(({ statuses }) => statuses[0] === 200)).not.toHaveLength(0);
    await traffic.grows(200);
    await allServe(service);
    await traffic.grows(100);
    await traffic.stop();
    expect(traffic.unexpected).toEqual([]);
    const workers = workersOf(service);
    expect(workers).toHaveLength(2);
    expect(workers).toContain(survivor);
    expect(workers).not.toContain(killed);
    expect((await scrape(service))('bank_ledger_transactions_total')).toBeGreaterThanOrEqual(before + 300);
    const stored = await storedIds(accountId);
    expect(traffic.acknowledged.filter(({ id }) => !stored.has(id))).toEqual([]);
  });

  it('close connections over their common limit instead of passing them on for ever', async () => {
    const [room, surplus] = [2 * (HTTP_MAX_CONNECTIONS + 256), 60];
    const clients = await Promise.all(
      Array.from({ length: room + surplus }, () => RawClient.open(service.url)),
    );
    await waitUntil(
      () => Promise.resolve(clients.filter(({ isClosed }) => isClosed).length >= surplus),
      5_000,
    );
    for (const { socket } of clients) socket.destroy();
    await waitUntil(
      async () => (await scrape(service))('bank_http_connections') < HTTP_MAX_CONNECTIONS,
      5_000,
    );
  });

  it('answer every open request on SIGTERM, apply nothing that they do not answer, and leave no process', async () => {
    const accountId = await openAccount(service);
    const traffic = load(service, () => accountId, 16);
    await traffic.grows(200);
    const workers = workersOf(service);
    service.child.kill('SIGTERM');
    expect(await service.exited).toBe(0);
    expect(workers.filter(isRunning)).toEqual([]);
    await traffic.stop();
    expect(linesOf(service, 'stopped')).toHaveLength(3);
    expect(traffic.unexpected).toEqual([]);
    expect(await storedIds(accountId)).toEqual(new Set(traffic.acknowledged.map(({ id }) => id)));
  });

  it('are given up when one keeps ending: the others stop gracefully', async () => {
    service = await start();
    await allServe(service);
    const [survivor = 0, ...rest] = workersOf(service);
    let ended = false;
    void service.exited.then(() => (ended = true));
    while (!ended) {
      for (const pid of workersOf(service)) if (pid !== survivor) signalled(pid, 'SIGKILL');
      await sleep(50);
    }
    expect(rest).toHaveLength(1);
    expect(await service.exited).toBe(1);
    expect(service.output()).toMatch(/replaced 5 times within a minute/);
    expect(isRunning(survivor)).toBe(false);
    expect(
      linesOf(service, 'stopped')
        .map(({ pid }) => pid)
        .sort(),
    ).toEqual([survivor, service.child.pid].sort());
  });

  it('reject settings that need Redis, and a database server that one of them rejects', async () => {
    const wrong = await spawnService({
      environment: { WORKERS: '2', BALANCE_CACHE: 'on', RATE_LIMIT_TRANSACTIONS_PER_SECOND: '10' },
    });
    await createKey([{ url: database.url, schema: 'bank' }], { name: 'test', scopes: ['admin'] });
    const unsafe = await spawnService({
      environment: { DATABASE_URL: database.url, WORKERS: '2', NODE_ENV: 'production' },
    });
    expect(await wrong.exited).toBe(1);
    expect(wrong.output()).toMatch(/BALANCE_CACHE.*REDIS_URL/);
    expect(wrong.output()).toMatch(/RATE_LIMIT_TRANSACTIONS_PER_SECOND.*REDIS_URL/);
    expect(await unsafe.exited).toBe(1);
    expect(unsafe.output().match(/Can't start\. .*does not keep what it commits/g)).toHaveLength(1);
  });
});
