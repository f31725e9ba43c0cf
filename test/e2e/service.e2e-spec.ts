import { afterEach, describe, expect, it, jest } from '@jest/globals';
import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { verifyBank } from '../../src/admin/verify/verify.js';
import { freePort } from '@scalable-banking/embedded-postgres';
import { createTestDatabase } from '../support/postgres.js';
import {
  spawnService,
  startService,
  stopService,
  temporaryDataDir,
  waitUntil,
  type ServiceProcess,
} from '../support/service.js';

// Most tests make one or two databases, on a machine that also runs other tests.
jest.setTimeout(90_000);

interface Receipt {
  id: string;
  newVersion: string;
}

async function post(service: ServiceProcess, accountId: number, key?: string): Promise<Response> {
  return fetch(`${service.url}/accounts/${accountId}/transactions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...(key !== undefined && { 'idempotency-key': key }) },
    body: '{"amount":1.00,"type":"Deposit"}',
  });
}

/** Callers pause, so that what starts or recovers meanwhile gets its share of the processors. */
const PAUSE_MS = 10;
const PAUSE_WITHOUT_SERVICE_MS = 200;

/** Callers that post one after the other until stopped; collects what was acknowledged. */
function load(service: () => ServiceProcess, accountId: number, callers: number) {
  const acknowledged: string[] = [];
  const unexpected: number[] = [];
  let stopped = false;
  let sent = 0;
  const finished = Promise.all(
    Array.from({ length: callers }, async () => {
      while (!stopped) {
        try {
          const response = await post(service(), accountId, `load-${sent++}`);
          if (response.status === 201) acknowledged.push(((await response.json()) as Receipt).id);
          else if (![408, 503].includes(response.status)) unexpected.push(response.status);
          await sleep(PAUSE_MS);
        } catch {
          await sleep(PAUSE_WITHOUT_SERVICE_MS);
        }
      }
    }),
  );
  return {
    acknowledged,
    unexpected,
    stop: async () => {
      stopped = true;
      await finished;
    },
  };
}

async function everyTransactionId(service: ServiceProcess, accountId: number): Promise<Set<string>> {
  const ids = new Set<string>();
  let cursor: string | null = '';
  while (cursor !== null) {
    const query: string = cursor === '' ? '' : `&cursor=${cursor}`;
    const response = await fetch(`${service.url}/accounts/${accountId}/transactions?limit=200${query}`);
    const page = (await response.json()) as { data: { id: string }[]; nextCursor: string | null };
    for (const { id } of page.data) ids.add(id);
    cursor = page.nextCursor;
  }
  return ids;
}

function postmasterPid(dataDir: string): number {
  return Number(readFileSync(join(dataDir, 'postgres', 'postmaster.pid'), 'utf8').split('\n')[0]);
}

describe('the service as a process, on its embedded PostgreSQL', () => {
  const cleanUp: (() => Promise<void> | void)[] = [];

  afterEach(async () => {
    for (const step of cleanUp.splice(0).reverse()) await step();
  });

  async function start(dataDir: string, environment: Record<string, string> = {}): Promise<ServiceProcess> {
    const service = await startService({ environment: { DATA_DIR: dataDir, ...environment } });
    cleanUp.push(() => stopService(service));
    return service;
  }

  function dataDir(): string {
    const folder = temporaryDataDir();
    cleanUp.push(() => folder.remove());
    return folder.path;
  }

  it('has a demo account, says where it listens, and stops gracefully on SIGTERM', async () => {
    const folder = dataDir();
    const service = await start(folder);
    expect(await (await fetch(`${service.url}/accounts/1/balance`)).text()).toBe(
      '{"balance":1000.00,"version":2}',
    );
    await waitUntil(() => Promise.resolve(service.output().includes('Access:')), 5_000);
    expect(service.output()).toContain('no credentials are needed: only this machine can send');
    const proxied = await fetch(`${service.url}/accounts`, { headers: { 'x-forwarded-for': '192.0.2.7' } });
    expect(proxied.status).toBe(400);
    expect(service.output()).toContain(service.url);
    expect(service.output()).toContain(`${service.url}/docs`);
    expect(service.output()).toContain(`curl ${service.url}/accounts/1/balance`);
    service.child.kill('SIGTERM');
    expect(await service.exited).toBe(0);
    expect(() => postmasterPid(folder)).toThrow();
  }, 90_000);

  it('answers every open request on SIGTERM', async () => {
    const service = await start(dataDir());
    const open = Array.from({ length: 200 }, () => post(service, 1));
    await Promise.race(open);
    service.child.kill('SIGTERM');
    const outcomes = await Promise.allSettled(open);
    expect(await service.exited).toBe(0);
    const answered = outcomes.flatMap((outcome) =>
      outcome.status === 'fulfilled' ? [outcome.value.status] : [],
    );
    // A connection that was still being opened may be refused; what was accepted is answered, and with success.
    expect(answered.length).toBeGreaterThan(0);
    expect(new Set(answered)).toEqual(new Set([201]));
  });

  it('stops under load without applying anything that it does not answer', async () => {
    const folder = dataDir();
    const first = await start(folder);
    const traffic = load(() => first, 1, 16);
    await waitUntil(() => Promise.resolve(traffic.acknowledged.length > 200), 20_000);
    first.child.kill('SIGTERM');
    expect(await first.exited).toBe(0);
    await traffic.stop();
    const second = await start(folder);
    const stored = await everyTransactionId(second, 1);
    // The opening deposit is one more.
    expect(stored.size).toBe(traffic.acknowledged.length + 1);
    expect(traffic.acknowledged.filter((id) => !stored.has(id))).toEqual([]);
  });

  it('keeps every acknowledged transaction after kill -9, and restarts at once', async () => {
    const folder = dataDir();
    const first = await start(folder);
    const traffic = load(() => first, 1, 16);
    await waitUntil(() => Promise.resolve(traffic.acknowledged.length > 300), 20_000);
    first.child.kill('SIGKILL');
    await first.exited;
    const second = await start(folder);
    await traffic.stop();
    const stored = await everyTransactionId(second, 1);
    expect(traffic.acknowledged.filter((id) => !stored.has(id))).toEqual([]);
    expect(traffic.unexpected).toEqual([]);
  });

  it('recovers by itself when its PostgreSQL is killed under load', async () => {
    const folder = dataDir();
    const service = await start(folder);
    const traffic = load(() => service, 1, 16);
    for (let round = 0; round < 2; round++) {
      const before = traffic.acknowledged.length;
      await waitUntil(() => Promise.resolve(traffic.acknowledged.length > before + 200), 20_000);
      process.kill(postmasterPid(folder), 'SIGKILL');
    }
    const before = traffic.acknowledged.length;
    await waitUntil(() => Promise.resolve(traffic.acknowledged.length > before + 200), 20_000);
    await traffic.stop();
    expect(traffic.unexpected).toEqual([]);
    const stored = await everyTransactionId(service, 1);
    expect(traffic.acknowledged.filter((id) => !stored.has(id))).toEqual([]);
    expect((await fetch(`${service.url}/health/ready`)).status).toBe(200);
    expect(service.output()).not.toContain('internal error');
  });

  it('does not start on the data folder of a running instance, or on a port in use', async () => {
    const folder = dataDir();
    const service = await start(folder);
    const second = await spawnService({ environment: { DATA_DIR: folder } });
    cleanUp.push(() => void second.child.kill('SIGKILL'));
    expect(await second.exited).toBe(1);
    expect(second.output()).toMatch(/in use by another running instance/);
    const third = await spawnService({
      environment: { DATA_DIR: dataDir(), PORT: new URL(service.url).port },
    });
    expect(await third.exited).toBe(1);
    expect(third.output()).toMatch(/PORT \d+ is in use/);
    expect(third.output()).not.toContain('Making a new database');
    expect((await post(service, 1)).status).toBe(201);
  });

  it('dies, and says why, when its data folder is removed', async () => {
    const folder = dataDir();
    const service = await start(folder);
    rmSync(folder, { recursive: true, force: true });
    const traffic = load(() => service, 1, 4);
    const ended = await Promise.race([
      service.exited,
      new Promise((resolve) => setTimeout(resolve, 90_000, 'alive')),
    ]);
    await traffic.stop();
    expect(ended).toBe(1);
    expect(service.output()).toMatch(/folder/);
  }, 120_000);
});

describe('the service as a process, on an existing PostgreSQL', () => {
  it('lists every problem of its environment by variable, without values', async () => {
    const service = await spawnService({
      environment: { DATABASE_URL: 'mysql://user:s3cret@host/x', LEDGER_BATCH: 'many', LOG_LEVEL: 'loud' },
    });
    expect(await service.exited).toBe(1);
    for (const name of ['DATABASE_URL', 'LEDGER_BATCH', 'LOG_LEVEL'])
      expect(service.output()).toContain(name);
    expect(service.output()).not.toContain('s3cret');
  });

  it('says what is wrong when the database does not answer', async () => {
    const port = await freePort();
    const service = await spawnService({
      environment: {
        DATABASE_URL: `postgresql://bank:s3cret@127.0.0.1:${port}/bank`,
        DATABASE_START_TIMEOUT_MS: '600',
      },
    });
    expect(await service.exited).toBe(1);
    expect(service.output()).toMatch(/database can't be used.*ECONNREFUSED/);
    expect(service.output()).not.toContain('s3cret');
  });

  it('migrates it, creates no demo account, and keeps clean books after kill -9 under load', async () => {
    const database = await createTestDatabase();
    const environment = { DATABASE_URL: database.url, AUTH: 'off' };
    const first = await startService({ environment });
    expect(await (await fetch(`${first.url}/accounts`)).text()).toBe('{"data":[],"nextCursor":null}');
    const opened = await fetch(`${first.url}/accounts`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: '{"openingDeposit": 1000.00}',
    });
    const { accountId } = (await opened.json()) as { accountId: number };
    const traffic = load(() => first, accountId, 16);
    await waitUntil(() => Promise.resolve(traffic.acknowledged.length > 300), 20_000);
    first.child.kill('SIGKILL');
    await first.exited;
    const second = await startService({ environment });
    await traffic.stop();
    const stored = await everyTransactionId(second, accountId);
    expect(traffic.acknowledged.filter((id) => !stored.has(id))).toEqual([]);
    expect((await verifyBank([{ url: database.url, schema: 'bank' }])).faults).toEqual([]);
    await stopService(second);
    await database.drop();
  });
});
