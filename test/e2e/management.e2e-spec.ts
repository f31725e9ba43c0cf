import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { Client } from 'pg';
import { freePort } from '@scalable-banking/embedded-postgres';
import { MANAGEMENT_CONNECTIONS } from '../../src/http/server/management.js';
import { startInstance, type TestApp } from '../support/app.js';
import { bearer, makeKey } from '../support/credentials.js';
import { createTestDatabase, type TestDatabase } from '../support/postgres.js';
import { RawClient } from '../support/raw-client.js';
import { spawnService } from '../support/service.js';

const NOT_FOUND = '{"error":"Not found"}';

describe('MANAGEMENT_PORT', () => {
  let database: TestDatabase;
  let app: TestApp;
  let management: string;

  beforeAll(async () => {
    database = await createTestDatabase();
    const port = await freePort();
    management = `http://127.0.0.1:${port}`;
    app = await startInstance(database.url, { MANAGEMENT_PORT: String(port), HTTP_MAX_CONNECTIONS: '20' });
  });

  afterAll(async () => {
    await app.close();
    await database.drop();
  });

  async function get(url: string): Promise<{ status: number; text: string; headers: Headers }> {
    const response = await fetch(url, { redirect: 'manual' });
    return { status: response.status, text: await response.text(), headers: response.headers };
  }

  it('is the only port with the metrics', async () => {
    expect(await get(`${app.url}/metrics`)).toMatchObject({ status: 404, text: NOT_FOUND });
    const metrics = await get(`${management}/metrics`);
    expect(metrics.status).toBe(200);
    expect(metrics.text).toContain('# TYPE bank_workers gauge');
    expect(metrics.headers.get('x-content-type-options')).toBe('nosniff');
  });

  it('is the only port that says which part of the service is down; both say whether it serves', async () => {
    const client = new Client({ connectionString: database.url });
    await client.connect();
    try {
      expect(await get(`${app.url}/health/ready`)).toMatchObject({ status: 200, text: '{"status":"ok"}' });
      const up = await get(`${management}/health/ready`);
      expect(up.status).toBe(200);
      expect(JSON.parse(up.text)).toMatchObject({ status: 'ok', details: { 'shard-0': { status: 'up' } } });
      await client.query('ALTER SCHEMA bank RENAME TO elsewhere');
      expect(await get(`${app.url}/health/ready`)).toMatchObject({ status: 503, text: '{"status":"error"}' });
      const down = await get(`${management}/health/ready`);
      expect(down.status).toBe(503);
      expect(JSON.parse(down.text)).toMatchObject({ details: { 'shard-0': { status: 'down' } } });
      for (const url of [app.url, management]) {
        expect(await get(`${url}/health/live`)).toMatchObject({ status: 200, text: '{"status":"ok"}' });
      }
    } finally {
      await client.query('ALTER SCHEMA IF EXISTS elsewhere RENAME TO bank').catch(() => undefined);
      await client.end();
    }
  });

  it.each([
    'GET /accounts',
    'GET /accounts/1/balance',
    'POST /accounts',
    'GET /docs',
    'GET /openapi.json',
    'GET /',
    'GET //metrics',
    'GET /metrics/',
    'GET /%6Detrics',
    'GET /metrics/../accounts',
    'GET /health/ready/../../accounts',
    'GET /metrics%3F/../accounts',
    'GET http://bank/accounts',
    'POST /metrics/',
    'OPTIONS *',
  ])('has nothing else: %s', async (line) => {
    const client = await RawClient.open(management);
    client.send(`${line} HTTP/1.1\r\nHost: bank\r\nContent-Length: 2\r\n\r\n{}`);
    await client.closed;
    expect(client.statuses).toEqual([404]);
    expect(client.received).toMatch(/x-request-id: [0-9a-f-]{36}\r\n/i);
    expect(client.received).toMatch(/x-error-code: NOT_FOUND\r\n/i);
    expect(client.received.endsWith(NOT_FOUND)).toBe(true);
  });

  it.each(['POST', 'DELETE', 'OPTIONS'])(
    'tells the methods of its paths, which the other port does not have: %s',
    async (method) => {
      const asked = (url: string) => fetch(url, { method, headers: { accept: 'application/problem+json' } });
      const own = await asked(`${management}/metrics`);
      expect(own.status).toBe(method === 'OPTIONS' ? 204 : 405);
      expect(own.headers.get('allow')).toBe('GET, HEAD, OPTIONS');
      for (const url of [`${app.url}/metrics`, `${management}/accounts`]) {
        const other = await asked(url);
        expect(other.status).toBe(404);
        expect(other.headers.get('allow')).toBeNull();
        expect(await other.json()).toMatchObject({ status: 404, code: 'NOT_FOUND', error: 'Not found' });
      }
    },
  );

  it('has its own limit of connections, independent of the other port', async () => {
    const idle: RawClient[] = [];
    const open = async (url: string, count: number) => {
      for (let index = 0; index < count; index++) idle.push(await RawClient.open(url));
    };
    try {
      await open(app.url, 20);
      expect((await get(`${management}/metrics`)).status).toBe(200);
      await open(management, MANAGEMENT_CONNECTIONS);
      expect(await get(`${management}/metrics`)).toMatchObject({
        status: 503,
        text: '{"error":"Overloaded"}',
      });
      for (const client of idle.splice(0, 20)) client.destroy();
      expect((await get(`${app.url}/health/live`)).status).toBe(200);
    } finally {
      for (const client of idle) client.destroy();
    }
  });

  it('answers invalid HTTP, and one request per connection', async () => {
    const nonsense = await RawClient.open(management);
    nonsense.send('nonsense\r\n\r\n');
    await nonsense.closed;
    expect(nonsense.statuses).toEqual([400]);
    const many = await RawClient.open(management);
    many.send('GET /health/live HTTP/1.1\r\nHost: bank\r\n\r\n'.repeat(3));
    await many.closed;
    expect(many.statuses).toEqual([200]);
  });

  it.each([
    ['an unknown expectation', 'GET /metrics HTTP/1.1\r\nHost: bank\r\nExpect: x', 417, 'EXPECTATION_FAILED'],
    ['CONNECT', 'CONNECT bank:1 HTTP/1.1\r\nHost: bank', 404, 'NOT_FOUND'],
  ])('answers what reaches no route: %s', async (_, head, status, code) => {
    const client = await RawClient.open(management);
    client.send(`${head}\r\nConnection: close\r\n\r\n`);
    await client.closed;
    expect(client.statuses).toEqual([status]);
    expect(client.received).toMatch(new RegExp(`x-error-code: ${code}\r\n`, 'i'));
    expect(client.received).toMatch(/x-request-id: [0-9a-f-]{36}\r\n/i);
  });

  it('requires no credential when the rest of the service does, and serves nothing else without one', async () => {
    const port = await freePort();
    const own = await startInstance(database.url, { MANAGEMENT_PORT: String(port), AUTH: 'on' });
    try {
      expect((await get(`http://127.0.0.1:${port}/metrics`)).status).toBe(200);
      expect((await get(`http://127.0.0.1:${port}/health/ready`)).text).toContain('shard-0');
      expect((await get(`http://127.0.0.1:${port}/accounts`)).status).toBe(404);
      expect((await get(`${own.url}/accounts`)).status).toBe(401);
      const { key } = await makeKey(own, { scopes: ['admin'] });
      const asAdmin = (path: string) => own.http.get(path).set(bearer(key));
      expect((await asAdmin('/metrics')).status).toBe(404);
      expect((await asAdmin('/health/ready')).text).toBe('{"status":"ok"}');
    } finally {
      await own.close();
    }
  });

  it('closes with the service', async () => {
    const port = await freePort();
    const own = await startInstance(database.url, { MANAGEMENT_PORT: String(port) });
    await get(`http://127.0.0.1:${port}/health/live`);
    await own.close();
    await expect(fetch(`http://127.0.0.1:${port}/health/live`)).rejects.toThrow('fetch failed');
  });

  it('that is in use makes the start fail with its name, before a database is created', async () => {
    const service = await spawnService({
      environment: { DATA_DIR: '/nonexistent', MANAGEMENT_PORT: new URL(management).port },
    });
    expect(await service.exited).toBe(1);
    expect(service.output()).toMatch(/MANAGEMENT_PORT \d+ is in use/);
    expect(service.output()).not.toContain('Making a new database');
  });
});
