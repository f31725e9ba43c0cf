import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { setTimeout as sleep } from 'node:timers/promises';
import { UNCHAINED } from '../../tools/bench/chained.js';
import { startInstance, type TestApp } from '../support/app.js';
import { createTestDatabase, onTestServer, query, type TestDatabase } from '../support/postgres.js';
import { RawClient } from '../support/raw-client.js';
import { waitUntil } from '../support/service.js';

/** So many that neither the service nor the sockets can hold the answer for a client that does not read it. */
const LINES = 99_999;
/** Users without credentials are distinguished by the addresses that a trusted proxy forwards. */
const SETTINGS = { AUTH: 'off', TRUSTED_PROXIES: '127.0.0.1', DATABASE_CONNECT_TIMEOUT_MS: '500' };

let database: TestDatabase;
let accountId: number;
let app: TestApp;
const clients: RawClient[] = [];

beforeAll(async () => {
  database = await createTestDatabase('statement-clients');
  const [opened] = await query<{ id: number }>(
    database.url,
    `INSERT INTO bank.accounts (balance, version, created_at, posted_at)
     VALUES (${LINES} * 0.01, 1 + ${LINES}, '2025-01-01', '2025-01-02') RETURNING account_id::int AS id`,
  );
  accountId = opened?.id ?? 0;
  await query(
    database.url,
    `INSERT INTO bank.transactions (account_id, type, amount, balance_after, version_after, timestamp, hash)
     SELECT $1::int, 'credit', 0.01, n * 0.01, n + 1, '2025-01-02', ${UNCHAINED} FROM generate_series(1, ${LINES}) n`,
    [accountId],
  );
}, 60_000);

afterEach(async () => {
  for (const client of clients.splice(0)) client.destroy();
  await app.close();
});

afterAll(() => database.drop());

const path = (format: string) =>
  `/accounts/${accountId}/statement?from=2025-01-01&to=2025-02-01&format=${format}`;

/** Asks for a statement. Without reading, the client takes what its own buffers hold. */
async function ask(user: string, { format = 'json', reads = false } = {}): Promise<RawClient> {
  const client = await RawClient.open(app.url, reads);
  clients.push(client);
  client.send(`GET ${path(format)} HTTP/1.1\r\nHost: bank\r\nX-Forwarded-For: ${user}\r\n\r\n`);
  return client;
}

const hasBegun = ({ socket, received }: RawClient) => socket.readableLength > 0 || received !== '';
const begun = (client: RawClient) => waitUntil(() => Promise.resolve(hasBegun(client)), 20_000);

/** How many the service has open. */
const connections = () =>
  new Promise<number>((resolve) => {
    const server = app.app.getHttpServer();
    server.getConnections((_, count) => resolve(count));
  });

describe('statements whose clients do not read them', () => {
  it('are four at a time, two of one user; the others wait until one is gone', async () => {
    app = await startInstance(database.url, SETTINGS, { ledger: { commandTimeoutMs: 30_000 } });
    const [a, b] = [await ask('192.0.2.1'), await ask('192.0.2.1')];
    await Promise.all([a, b].map(begun));
    const third = await ask('192.0.2.1');
    const others = [await ask('192.0.2.2'), await ask('192.0.2.2')];
    await Promise.all(others.map(begun));
    const last = await ask('192.0.2.3');
    await sleep(300);
    expect([third, last].map(hasBegun)).toEqual([false, false]);
    others[0]?.destroy();
    await begun(last);
    expect(hasBegun(third)).toBe(false);
    a.destroy();
    await begun(third);
  }, 60_000);

  it('are cut when nothing of them is taken for a while', async () => {
    app = await startInstance(database.url, SETTINGS, { http: { answerTimeoutMs: 1_000 } });
    const deaf = await ask('192.0.2.1');
    await begun(deaf);
    await waitUntil(async () => (await connections()) === 0, 60_000);
    // The end of the connection shows once what arrived before it is read.
    deaf.socket.on('data', (data: Buffer) => (deaf.received += data.toString('latin1')));
    deaf.socket.on('end', () => deaf.destroy());
    await deaf.closed;
    expect(deaf.received.endsWith('0\r\n\r\n')).toBe(false);
  }, 120_000);

  it('are whole when they are taken slowly', async () => {
    app = await startInstance(database.url, SETTINGS);
    const slow = await ask('192.0.2.2', { reads: true });
    const isWhole = () => slow.received.endsWith(']}\r\n0\r\n\r\n');
    while (!isWhole() && !slow.isClosed) {
      slow.socket.pause();
      await sleep(300);
      slow.socket.resume();
      await sleep(300);
    }
    expect(isWhole()).toBe(true);
  }, 120_000);
});

describe('a statement whose database is lost while it is written', () => {
  /** How a whole document of each form ends. */
  const ENDS = { json: ']}', csv: 'ClosingBalance', 'camt.053': '</Document>' };

  it.each(Object.entries(ENDS))(
    'as %s is cut, and does not look whole',
    async (format, end) => {
      app = await startInstance(database.url, SETTINGS);
      const client = await ask('192.0.2.1', { format, reads: true });
      client.socket.once('data', () => client.socket.pause());
      await begun(client);
      // Until the service has written what it may before the client takes it.
      await sleep(1_000);
      const name = new URL(database.url).pathname.slice(1);
      await onTestServer(`ALTER DATABASE "${name}" ALLOW_CONNECTIONS false`);
      try {
        await onTestServer(
          `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '${name}'`,
        );
        client.socket.resume();
        await client.closed;
      } finally {
        await onTestServer(`ALTER DATABASE "${name}" ALLOW_CONNECTIONS true`);
      }
      expect(client.statuses).toEqual([200]);
      expect(client.received.length).toBeGreaterThan(100_000);
      // Not by the whole text, which would be shown.
      expect(client.received.includes('Transfer-Encoding: chunked\r\n')).toBe(true);
      expect(client.received.endsWith('0\r\n\r\n')).toBe(false);
      expect(client.received.includes(end)).toBe(false);
    },
    60_000,
  );
});
