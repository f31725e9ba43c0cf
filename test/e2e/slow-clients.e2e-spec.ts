import { afterAll, afterEach, beforeAll, describe, expect, it, jest } from '@jest/globals';
import { once } from 'node:events';
import { get, type IncomingMessage } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { verifyBank } from '../../src/admin/verify/verify.js';
import { createTestDatabase, type TestDatabase } from '../support/postgres.js';
import { RawClient } from '../support/raw-client.js';
import { metric, startService, stopService, waitUntil, type ServiceProcess } from '../support/service.js';

jest.setTimeout(120_000);

/** Short, so that the tests are. A third of the time for a request is for its headers. */
const TIMEOUTS = {
  HTTP_REQUEST_TIMEOUT_MS: '2000',
  HTTP_KEEP_ALIVE_TIMEOUT_MS: '1000',
  DATABASE_CONNECT_TIMEOUT_MS: '10000',
};
/** A timeout, plus the time until it is noticed on a busy machine. */
const NOTICED_MS = 20_000;
const BODY = '{"amount":1.00,"type":"Deposit"}';
/** The longest that a well-behaved client waits while others misbehave: generous, for a busy machine. */
const SERVED_WITHIN_MS = 5_000;
const LISTING = 200;
/** Connections that do not read. */
const DEAF = 5;

let database: TestDatabase;
let service: ServiceProcess;
let accountId: number;
const clients: RawClient[] = [];

beforeAll(async () => {
  database = await createTestDatabase('slow-clients');
  service = await startService({ environment: { DATABASE_URL: database.url, AUTH: 'off', ...TIMEOUTS } });
  accountId = await openAccount(service);
});

afterEach(() => {
  for (const client of clients.splice(0)) client.destroy();
});

afterAll(async () => {
  await stopService(service);
  expect((await verifyBank([{ url: database.url, schema: 'bank' }])).faults).toEqual([]);
  await database.drop();
});

async function open(url = service.url, reads = true): Promise<RawClient> {
  const client = await RawClient.open(url, reads);
  clients.push(client);
  return client;
}

async function openAccount({ url }: ServiceProcess): Promise<number> {
  const response = await fetch(`${url}/accounts`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: '{"openingDeposit":1000.00}',
  });
  return ((await response.json()) as { accountId: number }).accountId;
}

/** A whole request whose body can be withheld. */
function posting(key: string, body = BODY): { head: string; body: string } {
  return {
    head:
      `POST /accounts/${accountId}/transactions HTTP/1.1\r\nHost: bank\r\nContent-Type: application/json\r\n` +
      `Idempotency-Key: ${key}\r\nContent-Length: ${body.length}\r\n\r\n`,
    body,
  };
}

async function version(): Promise<number> {
  const response = await fetch(`${service.url}/accounts/${accountId}/balance`, {
    headers: { 'cache-control': 'no-cache' },
  });
  return ((await response.json()) as { version: number }).version;
}

/** The status of a request from another address of this machine. */
async function statusFrom(localAddress: string, url: string): Promise<number | undefined> {
  const request = get(`${url}/accounts/${accountId}/balance`, { localAddress, agent: false });
  const [response] = (await once(request, 'response')) as [IncomingMessage];
  response.resume();
  return response.statusCode;
}

/** A well-behaved client that sends requests until stopped; reports its statuses and the longest duration. */
function goodClient(url: string, account = accountId) {
  let stopped = false;
  let slowestMs = 0;
  const statuses = new Set<number>();
  const done = (async () => {
    while (!stopped) {
      const startedMs = performance.now();
      for (const request of [
        fetch(`${url}/accounts/${account}/balance`),
        fetch(`${url}/accounts/${account}/transactions`, {
          method: 'POST',
          headers: { 'content-type': 'application/json' },
          body: BODY,
        }),
      ]) {
        const response = await request;
        await response.arrayBuffer();
        statuses.add(response.status);
      }
      slowestMs = Math.max(slowestMs, performance.now() - startedMs);
      await sleep(20);
    }
  })();
  return async () => {
    stopped = true;
    await done;
    expect([...statuses].sort()).toEqual([200, 201]);
    expect(slowestMs).toBeLessThan(SERVED_WITHIN_MS);
  };
}

describe('a client that sends slowly', () => {
  it.each([
    ['nothing', ''],
    ['half of its headers', posting('half-headers').head.slice(0, 60)],
  ])('and has sent only %s gets 408, and its connection is closed', async (_, bytes) => {
    const client = await open();
    client.send(bytes);
    await Promise.race([client.closed, sleep(NOTICED_MS)]);
    expect(client.isClosed).toBe(true);
    expect(client.received).toMatch(/^HTTP\/1\.1 408 /);
    expect(client.received).toMatch(/X-Request-Id: [0-9a-f-]{36}\r\n/);
    expect(client.received).toMatch(/\r\nx-error-code: NOT_RECEIVED\r\n/);
    expect(client.received).toMatch(/\r\n\r\n\{"error":"Request not received in time"\}$/);
  });

  it('can’t keep its connection open with a byte now and then', async () => {
    const stop = goodClient(service.url);
    const slow = await Promise.all(Array.from({ length: 50 }, () => open()));
    const bytes = posting('slowloris').head;
    for (let sent = 0; sent < 50 && !slow.every((client) => client.isClosed); sent++) {
      for (const client of slow) client.send(bytes.charAt(sent));
      await sleep(200);
    }
    expect(slow.map(({ statuses }) => statuses)).toEqual(slow.map(() => [408]));
    await stop();
  });

  it('gets 408 for half a body, and nothing is applied when the rest arrives after all', async () => {
    const before = await version();
    const { head, body } = posting('half-body');
    const client = await open();
    client.send(head.replace('\r\n', '\r\nAccept: application/problem+json\r\n') + body.slice(0, 10));
    client.socket.on('data', () => client.send(body.slice(10)));
    await Promise.race([client.closed, sleep(NOTICED_MS)]);
    expect(client.statuses).toEqual([408]);
    expect(client.received).toContain('\r\nContent-Type: application/problem+json; charset=utf-8\r\n');
    expect(client.received).toMatch(/,"code":"NOT_RECEIVED","error":"Request not received in time"}$/);
    expect(client.isClosed).toBe(true);
    expect(await version()).toBe(before);
    expect(await metric(service, 'bank_ledger_queue_depth{shard="0"}')).toBe(0);
    // Nothing was applied, so the key is free.
    const again = await open();
    again.send(head + body);
    await waitUntil(() => Promise.resolve(again.statuses.length > 0), NOTICED_MS);
    expect(again.statuses).toEqual([201]);
  });

  it('gets 408 for half of its headers, and nothing is applied when the rest arrives after all', async () => {
    const before = await version();
    const { head, body } = posting('late-rest');
    const client = await open();
    client.send(head.slice(0, 40));
    client.socket.on('data', () => client.send(head.slice(40) + body));
    await Promise.race([client.closed, sleep(NOTICED_MS)]);
    await sleep(500);
    expect(client.statuses).toEqual([408]);
    expect(await version()).toBe(before);
  });

  it('is answered at once when its body turns out to be invalid HTTP', async () => {
    const client = await open();
    client.send(
      `POST /accounts/${accountId}/transactions HTTP/1.1\r\nHost: bank\r\nContent-Type: application/json\r\n` +
        'Transfer-Encoding: chunked\r\n\r\nnot a length\r\n',
    );
    await Promise.race([client.closed, sleep(NOTICED_MS)]);
    expect(client.statuses).toEqual([400]);
  });
});

describe('a connection', () => {
  it('is closed when it has been idle for the configured time', async () => {
    const client = await open();
    client.send('GET /health/live HTTP/1.1\r\nHost: bank\r\n\r\n');
    await waitUntil(() => Promise.resolve(client.statuses.length > 0), NOTICED_MS);
    expect(client.received.toLowerCase()).toContain('keep-alive: timeout=1\r\n');
    const answeredMs = performance.now();
    await Promise.race([client.closed, sleep(NOTICED_MS)]);
    expect(client.isClosed).toBe(true);
    expect(performance.now() - answeredMs).toBeGreaterThan(900);
    expect(client.statuses).toEqual([200]);
  });

  it('has a limit of requests that wait for their answers', async () => {
    const client = await open();
    const { head, body } = posting('pipelined');
    const requests = Array.from({ length: 40 }, (_, index) => head.replace('pipelined', `p-${index}`) + body);
    client.send(requests.join(''));
    await waitUntil(() => Promise.resolve(client.statuses.length === requests.length), NOTICED_MS);
    const refused = client.statuses.filter((status) => status === 503).length;
    expect(client.statuses.filter((status) => status === 201)).toHaveLength(requests.length - refused);
    expect(refused).toBe(40 - 16);
    expect(client.received.match(/retry-after: 1\r\n/g)).toHaveLength(refused);
  });

  it('is cut when its client asks for listings and does not read them', async () => {
    const post = (index: number) =>
      fetch(`${service.url}/accounts/${accountId}/transactions`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', 'idempotency-key': `listing-${index}` },
        body: BODY,
      });
    await Promise.all(Array.from({ length: LISTING }, (_, index) => post(index)));
    const stop = goodClient(service.url);
    const residentBefore = await metric(service, 'process_resident_memory_bytes');
    const deaf = await Promise.all(Array.from({ length: DEAF }, () => open(service.url, false)));
    const request = `GET /accounts/${accountId}/transactions?limit=200 HTTP/1.1\r\nHost: bank\r\n\r\n`;
    const resident: number[] = [];
    const ask = async () => {
      for (const client of deaf) client.send(request.repeat(4));
      await sleep(50);
      resident.push(await metric(service, 'process_resident_memory_bytes'));
      return (await metric(service, 'bank_http_connections')) < DEAF;
    };
    await waitUntil(ask, 4 * NOTICED_MS);
    // Of each connection 4 answers of some 30 KB, and what the garbage collector leaves.
    expect(Math.max(...resident) - residentBefore).toBeLessThan(300 * 2 ** 20);
    await stop();
  });
});

describe('many connections', () => {
  it('that are idle need bounded memory and do not hold up others', async () => {
    const own = await startService({
      environment: { DATABASE_URL: database.url, AUTH: 'off', HTTP_REQUEST_TIMEOUT_MS: '90000' },
    });
    try {
      const residentBefore = await metric(own, 'process_resident_memory_bytes');
      const idle: RawClient[] = [];
      const stop = goodClient(own.url);
      while (idle.length < 2_000)
        idle.push(...(await Promise.all(Array.from({ length: 200 }, () => open(own.url)))));
      await waitUntil(async () => (await metric(own, 'bank_http_connections')) >= 2_000, NOTICED_MS);
      await sleep(1_000);
      await stop();
      expect(idle.filter(({ isClosed }) => isClosed)).toEqual([]);
      const resident = await metric(own, 'process_resident_memory_bytes');
      expect(resident - residentBefore).toBeLessThan(150 * 2 ** 20);
      // They have never sent anything, and do not hold up the stop.
      own.child.kill('SIGTERM');
      expect(await own.exited).toBe(0);
    } finally {
      own.child.kill('SIGKILL');
    }
  });

  it('over the limit get 503 until there is room again', async () => {
    const own = await startService({
      environment: { DATABASE_URL: database.url, AUTH: 'off', HTTP_MAX_CONNECTIONS: '20' },
    });
    try {
      await waitUntil(async () => {
        for (const client of clients.splice(0)) client.destroy();
        for (let index = 0; index < 20; index++) await open(own.url);
        const surplus = await open(own.url);
        surplus.send(`GET /accounts/${accountId}/balance HTTP/1.1\r\nHost: bank\r\n\r\n`);
        await surplus.closed;
        expect(surplus.statuses).toEqual([503]);
        expect(surplus.received).toMatch(/retry-after: 1\r\n/);
        expect(surplus.received).toMatch(/\{"error":"Overloaded"\}$/);
        return true;
      }, NOTICED_MS);
      // Another address gets the place of one of them.
      expect(await statusFrom('127.0.0.2', own.url)).toBe(200);
      for (const client of clients.splice(0)) client.destroy();
      await waitUntil(async () => {
        const response = await fetch(`${own.url}/accounts/${accountId}/balance`);
        return response.status === 200;
      }, NOTICED_MS);
    } finally {
      await stopService(own);
    }
  });

  it('with half a request do not keep the service from stopping gracefully', async () => {
    const own = await startService({ environment: { DATABASE_URL: database.url, AUTH: 'off' } });
    try {
      const { head, body } = posting('stopping');
      for (const bytes of ['', head.slice(0, 30), head + body.slice(0, 5)]) (await open(own.url)).send(bytes);
      await waitUntil(async () => (await metric(own, 'bank_http_connections')) >= 3, NOTICED_MS);
      own.child.kill('SIGTERM');
      const ended = await Promise.race([own.exited, sleep(30_000, 'still stopping', { ref: false })]);
      expect(ended).toBe(0);
    } finally {
      own.child.kill('SIGKILL');
    }
  });
});
