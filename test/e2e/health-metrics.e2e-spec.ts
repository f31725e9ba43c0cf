import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { Client } from 'pg';
import { Lifecycle } from '../../src/observability/lifecycle.js';
import { openAccount, startApp, type TestApp } from '../support/app.js';
import { deposit, eventually, post, withdrawal } from '../support/requests.js';

describe('health', () => {
  let app: TestApp;

  beforeAll(async () => {
    app = await startApp();
  });

  afterAll(() => app.close());

  const UP = '{"status":"up"}';

  it('is live', async () => {
    const response = await app.http.get('/health/live');
    expect(response.status).toBe(200);
    expect(response.text).toBe('{"status":"ok"}');
  });

  it('is ready while its database answers', async () => {
    const response = await app.http.get('/health/ready');
    expect(response.status).toBe(200);
    const checks = `{"service":${UP},"shard-0":${UP}}`;
    expect(response.text).toBe(`{"status":"ok","info":${checks},"error":{},"details":${checks}}`);
  });

  it('must not be cached', async () => {
    const response = await app.http.get('/health/ready');
    expect(response.headers['cache-control']).toContain('no-store');
  });

  it('is live but not ready while its database does not answer, and ready again afterwards', async () => {
    const client = new Client({ connectionString: app.databaseUrl });
    await client.connect();
    try {
      await client.query('ALTER SCHEMA bank RENAME TO elsewhere');
      const response = await app.http.get('/health/ready').set('accept', 'application/problem+json');
      expect(response.status).toBe(503);
      expect(response.headers['x-error-code']).toBe('NOT_READY');
      expect(response.headers['content-type']).toBe('application/json; charset=utf-8');
      const { status, error } = JSON.parse(response.text) as {
        status: string;
        error: Record<string, unknown>;
      };
      expect(status).toBe('error');
      expect(Object.keys(error)).toEqual(['shard-0']);
      expect(response.text).not.toMatch(/elsewhere|bank|postgres|stack/i);
      expect((await app.http.get('/health/live')).status).toBe(200);
      await client.query('ALTER SCHEMA elsewhere RENAME TO bank');
      expect((await app.http.get('/health/ready')).status).toBe(200);
    } finally {
      await client.end();
    }
  });

  it('is live but not ready while it is stopping, and still serves requests', async () => {
    const stopping = await startApp();
    try {
      const accountId = await openAccount(stopping);
      stopping.app.get(Lifecycle, { strict: false }).stop();
      const response = await stopping.http.get('/health/ready');
      expect(response.status).toBe(503);
      const { error } = JSON.parse(response.text) as { error: Record<string, unknown> };
      expect(Object.keys(error)).toEqual(['service']);
      expect((await stopping.http.get('/health/live')).status).toBe(200);
      expect((await post(stopping, accountId, deposit('1'))).status).toBe(201);
    } finally {
      await stopping.close();
    }
  });
});

describe('GET /metrics', () => {
  let app: TestApp;

  /** A separate service, whose counters contain nothing else. */
  beforeAll(async () => {
    app = await startApp();
    const accountId = await openAccount(app, '100.00');
    const key = { 'idempotency-key': 'k' };
    for (let i = 0; i < 3; i++) await post(app, accountId, deposit('1'));
    await post(app, accountId, deposit('1'), key);
    await post(app, accountId, deposit('1'), key);
    await post(app, accountId, deposit('2'), key);
    for (let i = 0; i < 2; i++) await post(app, accountId, withdrawal('1000'));
    await post(app, accountId, { ...deposit('1'), expectedVersion: 1 });
    await post(app, accountId, deposit('1'), { 'if-match': '"1"' });
    await post(app, accountId, deposit('9999999999999999.99'));
    await post(app, 999_999, deposit('1'));
    await post(app, accountId, '{');
    await app.http.get(`/accounts/${accountId}/balance`);
    await app.http.get(`/accounts/${accountId}/balance`).set('if-none-match', '*');
    await app.http.get('/secret-of-somebody/4711');
  });

  afterAll(() => app.close());

  /** The samples, by name and labels. */
  async function scrape(): Promise<Map<string, number>> {
    const response = await app.http.get('/metrics');
    const samples = response.text.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
    return new Map(
      samples.map((line) => {
        const space = line.lastIndexOf(' ');
        return [line.slice(0, space), Number(line.slice(space + 1))];
      }),
    );
  }

  const requests = (method: string, route: string, status: number) =>
    `bank_http_request_duration_seconds_count{method="${method}",route="${route}",status="${status}"}`;
  const refusals = (code: string) => `bank_ledger_refusals_total{shard="0",code="${code}"}`;
  const connections = (pool: string, state: string) =>
    `bank_database_pool_connections{shard="0",pool="${pool}",state="${state}"}`;
  const POSTING = '/accounts/:accountId/transactions';

  it('is in the format of Prometheus', async () => {
    const response = await app.http.get('/metrics');
    expect(response.status).toBe(200);
    expect(response.headers['content-type']).toMatch(/^text\/plain; version=0\.0\.4; charset=utf-8$/);
    expect(response.text).toContain('# TYPE bank_http_request_duration_seconds histogram\n');
    expect(response.text).toContain('# HELP bank_ledger_refusals_total ');
    for (const line of response.text.split('\n')) {
      expect(line).toMatch(
        /^$|^# (HELP|TYPE) \w+ .+$|^\w+({(\w+="[^"]*",?)*})? (-?[\d.]+(e[+-]?\d+)?|[+-]Inf|NaN)$/,
      );
    }
  });

  it('counts requests by method, route and status', async () => {
    await eventually(async () => {
      const samples = await scrape();
      expect(samples.get(requests('POST', '/accounts', 201))).toBe(1);
      expect(samples.get(requests('POST', POSTING, 201))).toBe(4);
      expect(samples.get(requests('POST', POSTING, 400))).toBe(1);
      expect(samples.get(requests('POST', POSTING, 404))).toBe(1);
      expect(samples.get(requests('POST', POSTING, 409))).toBe(2);
      expect(samples.get(requests('POST', POSTING, 412))).toBe(1);
      expect(samples.get(requests('POST', POSTING, 422))).toBe(4);
      expect(samples.get(requests('GET', '/accounts/:accountId/balance', 200))).toBe(1);
      expect(samples.get(requests('GET', '/accounts/:accountId/balance', 304))).toBe(1);
    });
  });

  it('never uses input of clients as labels', async () => {
    const samples = await scrape();
    expect(samples.get(requests('GET', 'unknown', 404))).toBe(1);
    expect([...samples.keys()].join('\n')).not.toMatch(/secret-of-somebody|4711|999999/);
  });

  it('counts rejections by code', async () => {
    const samples = await scrape();
    expect(samples.get(refusals('DUPLICATE_TRANSACTION'))).toBe(1);
    expect(samples.get(refusals('IDEMPOTENCY_KEY_REUSED'))).toBe(1);
    expect(samples.get(refusals('INSUFFICIENT_BALANCE'))).toBe(2);
    expect(samples.get(refusals('BALANCE_LIMIT_EXCEEDED'))).toBe(1);
    expect(samples.get(refusals('VERSION_MISMATCH'))).toBe(1);
    expect(samples.get(refusals('PRECONDITION_FAILED'))).toBe(1);
    expect(samples.get(refusals('ACCOUNT_NOT_FOUND'))).toBe(1);
    expect(samples.get(refusals('OVERLOADED')) ?? 0).toBe(0);
  });

  it('shows the number, size and duration of batches', async () => {
    const samples = await scrape();
    // The postings were sent one after the other, so each was a batch of its own; eight were rejected.
    expect(samples.get('bank_ledger_batch_transactions_count{shard="0"}')).toBe(12);
    expect(samples.get('bank_ledger_batch_transactions_sum{shard="0"}')).toBe(4);
    expect(samples.get('bank_ledger_transactions_total{shard="0"}')).toBe(4);
    expect(samples.get('bank_ledger_commit_duration_seconds_count{shard="0"}')).toBe(12);
    expect(samples.get('bank_ledger_commit_duration_seconds_sum{shard="0"}')).toBeGreaterThan(0);
  });

  it('shows the depth of the queue and the state of the pools', async () => {
    const samples = await scrape();
    expect(samples.get('bank_ledger_queue_depth{shard="0"}')).toBe(0);
    for (const pool of ['ledger', 'general']) {
      const states = ['idle', 'busy', 'waiting'].map((state) => samples.get(connections(pool, state)) ?? -1);
      expect(Math.min(...states)).toBeGreaterThanOrEqual(0);
    }
    expect(samples.get(connections('ledger', 'idle'))).toBeGreaterThan(0);
  });

  it('shows whether the database answers', async () => {
    expect((await scrape()).get('bank_shard_up{shard="0"}')).toBe(1);
  });

  it('shows a queue that is waiting', async () => {
    const client = new Client({ connectionString: app.databaseUrl });
    await client.connect();
    try {
      const accountId = await openAccount(app, '100.00');
      await client.query('BEGIN');
      await client.query('SELECT FROM bank.accounts WHERE account_id = $1 FOR UPDATE', [accountId]);
      const first = post(app, accountId, deposit('1'));
      await eventually(async () => {
        expect((await scrape()).get(connections('ledger', 'busy'))).toBe(1);
      });
      const rest = [1, 2, 3].map(() => post(app, accountId, deposit('1')));
      await eventually(async () => {
        expect((await scrape()).get('bank_ledger_queue_depth{shard="0"}')).toBe(3);
      });
      await client.query('ROLLBACK');
      for (const response of await Promise.all([first, ...rest])) expect(response.status).toBe(201);
      expect((await scrape()).get('bank_ledger_queue_depth{shard="0"}')).toBe(0);
    } finally {
      await client.end();
    }
  });

  it('counts what the outbox has published', async () => {
    await eventually(async () => {
      expect((await scrape()).get('bank_outbox_published_total{shard="0"}')).toBeGreaterThanOrEqual(5);
    });
  });

  it("shows the process's own metrics", async () => {
    const samples = await scrape();
    expect(samples.get('process_resident_memory_bytes')).toBeGreaterThan(0);
    expect(samples.has('nodejs_eventloop_lag_seconds')).toBe(true);
  });
});
