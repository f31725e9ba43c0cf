import { describe, expect, it, jest } from '@jest/globals';
import { Client } from 'pg';
import { robustBounds } from '../../tools/bench/overload/report.js';
import { runOverload } from '../../tools/bench/overload/run.js';
import { seedBank } from '../../src/admin/seed.js';
import { openAccount, startApp } from '../support/app.js';
import { createTestDatabase } from '../support/postgres.js';
import { startService, stopService } from '../support/service.js';
import { RawClient } from '../support/raw-client.js';
import { deposit, eventually, post, rawPost } from '../support/requests.js';

// Much of this is load, on a machine that may be busy with other work.
jest.setTimeout(120_000);

const ACCOUNTS = 1_000;
const TINY = {
  ledger: {
    maxInFlight: 2,
    queue: 2,
    batch: 2,
    lockTimeoutMs: 60_000,
    transactionTimeoutMs: 60_000,
    commandTimeoutMs: 60_000,
  },
};

describe('more postings than may be in flight', () => {
  it('wait or, when the queue is full, get 503 at once, but a body that is not JSON gets its 400', async () => {
    const app = await startApp({}, TINY);
    const client = new Client({ connectionString: app.databaseUrl });
    try {
      const accountId = await openAccount(app, '10.00');
      await client.connect();
      // Not a row's lock, for which a lock waiter would wait: the whole batch waits.
      await client.query('BEGIN; LOCK TABLE bank.accounts IN ACCESS EXCLUSIVE MODE');
      const waiting = Array.from({ length: 4 }, () => post(app, accountId, deposit('1')));
      const answers = Promise.all(waiting.map(async (answer) => (await answer).status));
      await eventually(async () => {
        const { text } = await app.http.get('/metrics');
        expect(text).toContain('bank_ledger_requests_held{shard="0"} 2\n');
      }, 20_000);
      const refused = await post(app, accountId, deposit('1'));
      expect([refused.status, refused.text]).toEqual([503, '{"error":"Overloaded"}']);
      expect(refused.headers['retry-after']).toBe('1');
      expect(refused.headers['x-error-code']).toBe('OVERLOADED');
      expect((await post(app, accountId, '{"amount":')).status).toBe(400);
      await client.query('ROLLBACK');
      expect(await answers).toEqual([201, 201, 201, 201]);
      expect((await post(app, accountId, deposit('1'))).text).toContain('"newBalance":15.00');
    } finally {
      await client.end();
      await app.close();
    }
  });

  it('bound changes of accounts, too, which wait among them', async () => {
    const app = await startApp({}, TINY);
    const client = new Client({ connectionString: app.databaseUrl });
    try {
      const accountId = await openAccount(app);
      const change = (reference: number) =>
        app.http.patch(`/accounts/${accountId}`).send({ reference: String(reference) });
      await client.connect();
      await client.query('BEGIN; LOCK TABLE bank.accounts IN ACCESS EXCLUSIVE MODE');
      const answers = Promise.all([1, 2, 3, 4].map(async (reference) => (await change(reference)).status));
      await eventually(async () => {
        const { text } = await app.http.get('/metrics');
        expect(text).toContain('bank_ledger_requests_held{shard="0"} 2\n');
      }, 20_000);
      const refused = await change(5);
      expect([refused.status, refused.text]).toEqual([503, '{"error":"Overloaded"}']);
      await client.query('ROLLBACK');
      expect(await answers).toEqual([200, 200, 200, 200]);
      expect((await change(6)).text).toContain('"reference":"6"');
    } finally {
      await client.end();
      await app.close();
    }
  });

  it('give their permits back when their clients are gone', async () => {
    const app = await startApp({}, TINY);
    const client = new Client({ connectionString: app.databaseUrl });
    const clients: RawClient[] = [];
    try {
      const accountId = await openAccount(app, '10.00');
      await client.connect();
      await client.query('BEGIN; LOCK TABLE bank.accounts IN ACCESS EXCLUSIVE MODE');
      const body = JSON.stringify(deposit('1'));
      const requests = Array.from({ length: 4 }, () => RawClient.open(app.url));
      for (const client of await Promise.all(requests)) {
        clients.push(client);
        client.send(rawPost(accountId, '', body));
      }
      await eventually(async () => {
        const { text } = await app.http.get('/metrics');
        expect(text).toContain('bank_ledger_requests_held{shard="0"} 2\n');
      }, 20_000);
      for (const { socket } of clients) socket.resetAndDestroy();
      await eventually(async () => {
        const { text } = await app.http.get('/metrics');
        expect(text).toContain('bank_ledger_requests_held{shard="0"} 0\n');
      }, 20_000);
      await client.query('ROLLBACK');
      for (let index = 0; index < 5; index++) {
        expect((await post(app, accountId, deposit('1'))).status).toBe(201);
      }
    } finally {
      await client.end();
      await app.close();
    }
  });
});

describe('many times the load that the service can take', () => {
  it('leaves its answers true, its resources bounded, and lets it recover', async () => {
    const database = await createTestDatabase('overload');
    const shard = { url: database.url, schema: 'bank' };
    await seedBank([shard], { accounts: ACCOUNTS, balance: 100_000n });
    // So few permits that a few hundred connections overload it on any machine.
    const limits = { LEDGER_MAX_IN_FLIGHT: '20' };
    // A busy machine must not look like a failing database.
    const patience = { DATABASE_CONNECT_TIMEOUT_MS: '30000', LEDGER_TRANSACTION_TIMEOUT_MS: '30000' };
    const service = await startService({
      environment: { DATABASE_URL: database.url, AUTH: 'off', ...limits, ...patience },
    });
    try {
      const startedMs = performance.now();
      const report = await runOverload({
        service: { url: service.url, pid: service.child.pid ?? 0 },
        shard,
        accounts: ACCOUNTS,
        idle: 500,
        connections: 800,
        capacitySeconds: 2,
        calmSeconds: 4,
        overloadSeconds: 5,
        // The machine may have been busy while the capacity was measured.
        factor: 10,
      });
      const ranSeconds = (performance.now() - startedMs) / 1000;
      expect(robustBounds(report, 1_300).filter(({ holds }) => !holds)).toEqual([]);
      expect(report.overload.some(({ overloaded }) => overloaded > 0)).toBe(true);
      expect(report.overload.some(({ accepted }) => accepted.length > 0)).toBe(true);
      const recovered = report.after.some(
        ({ accepted, overloaded, unsent }) => accepted.length > 0 && overloaded + unsent === 0,
      );
      expect(recovered).toBe(true);
      // Thousands of rejections do not flood the log.
      const lines = service.output().match(/"status":503/g) ?? [];
      expect(lines.length).toBeLessThanOrEqual(10 * (ranSeconds + 1));
      expect(service.output()).toContain('more lines were left out: request, 503');
    } finally {
      await stopService(service);
      await database.drop();
    }
  });
});
