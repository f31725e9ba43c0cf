import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { Client } from 'pg';
import { verifyBank } from '../../src/admin/verify/verify.js';
import { openAccount, startApp, startInstance, type TestApp } from '../support/app.js';
import { RawClient } from '../support/raw-client.js';
import {
  closeLineClients,
  LineClient,
  NDJSON_TYPE,
  of,
  PATIENCE_MS,
  postBatch,
  statusesIn,
} from './batches.js';
import { balanceOf, deposit, eventually, JSON_TYPE } from '../support/requests.js';

let app: TestApp;
let operator: Client;

beforeAll(async () => {
  app = await startApp();
  operator = new Client({ connectionString: app.databaseUrl });
  await operator.connect();
});

afterEach(closeLineClients);

afterAll(async () => {
  expect((await verifyBank([{ url: app.databaseUrl, schema: 'bank' }])).faults).toEqual([]);
  await operator.end();
  await app.close();
});

describe('a batch under the rate limit', () => {
  it('counts each transaction; an atomic one needs room for all of them', async () => {
    // One more each second: a quarter of an hour until there is room for 900.
    const limited = await startInstance(app.databaseUrl, {
      RATE_LIMIT_TRANSACTIONS_PER_SECOND: '1',
      RATE_LIMIT_BURST: '1000',
    });
    try {
      const accountId = await openAccount(app);
      const items = (count: number) => Array.from({ length: count }, () => of(accountId, deposit('1')));
      const most = await postBatch(limited, [...items(995), { amount: 1 }], { query: '?atomic=false' });
      expect(statusesIn(most)).toEqual([...new Array<number>(995).fill(201), 400]);
      const refused = await postBatch(limited, items(900), { query: '?atomic=true' });
      expect(refused.status).toBe(429);
      expect(refused.text).toBe('{"error":"Too many requests"}');
      expect(Number(refused.headers['retry-after'])).toBeGreaterThan(1);
      expect(refused.headers['ratelimit-policy']).toBe('"transactions";q=1000;w=1000');
      const applied = await postBatch(limited, items(2), { query: '?atomic=true' });
      expect(applied.status).toBe(200);
      const over = await postBatch(limited, items(900));
      expect(over.status).toBe(200);
      const statuses = statusesIn(over);
      const admitted = statuses.filter((status) => status === 201).length;
      expect(admitted).toBeGreaterThanOrEqual(3);
      expect(statuses).toEqual([
        ...new Array<number>(admitted).fill(201),
        ...new Array<number>(900 - admitted).fill(429),
      ]);
      expect(await balanceOf(app, accountId)).toBe(
        `{"balance":${997 + admitted}.00,"version":${998 + admitted}}`,
      );
    } finally {
      await limited.close();
    }
  });
});

describe('a misbehaving client of batches', () => {
  const LIMITS = {
    http: { headersTimeoutMs: 500, requestTimeoutMs: 1_000, answerTimeoutMs: 1_000 },
    // A batch has at most ten transactions in the ledger at a time.
    ledger: { commandTimeoutMs: 4_000, queue: 80, batch: 80 },
  };
  const PLACES = 4;
  const PLACES_OF_ONE = 2;
  const GOOD = '{"accountId":1,"amount":1,"type":"Deposit"}';
  let short: TestApp;
  let accountId: number;

  beforeAll(async () => {
    short = await startInstance(app.databaseUrl, {}, LIMITS);
    accountId = await openAccount(app, '1.00');
  });
  afterAll(() => short.close());

  it('that does not send the rest is told so in the results, and cut', async () => {
    const client = await LineClient.open(short.url);
    client.send(of(accountId, deposit('1')));
    client.raw.send('5\r\n{"acc');
    expect(await client.results(2)).toEqual([201, 408]);
    expect(client.raw.received).toContain('{"error":"Request not received in time"}');
    await client.raw.closed;
  });

  it.each([
    ['a JSON text', '', `Content-Type: ${JSON_TYPE}\r\nContent-Length: 99\r\n\r\n[{"accountId"`],
    ['a line', '', `Content-Type: ${NDJSON_TYPE}\r\nContent-Length: 99\r\n\r\n{"accountId"`],
    [
      'lines of an atomic batch',
      '?atomic=true',
      `Content-Type: ${NDJSON_TYPE}\r\nContent-Length: 99\r\n\r\n${GOOD}\n`,
    ],
  ])('that sends half of %s is answered 408, and nothing is applied', async (_, query, rest) => {
    const client = await RawClient.open(short.url);
    client.send(`POST /transactions/batch${query} HTTP/1.1\r\nHost: bank\r\n${rest}`);
    await client.closed;
    expect(client.statuses).toEqual([408]);
  });

  it('that closes its side halfway gets the results of what had arrived', async () => {
    const client = await LineClient.open(short.url);
    client.send(of(accountId, deposit('1')));
    await client.results(1);
    client.raw.socket.end();
    await client.raw.closed;
    expect(client.statuses).toEqual([201, 408]);
  });

  it('that reads nothing is cut, and its permit is free again', async () => {
    const name = 'x'.repeat(15_000);
    for (let place = 0; place < PLACES; place++) {
      const client = await LineClient.open(short.url, '', false);
      for (let n = 0; n < 500; n++) client.send(`{"${name}":1}`);
      client.end();
    }
    // Waits until all four have their permits. (How long they keep them depends on the system too: its buffers may hold
    // everything that they don't read.)
    await sleep(300);
    await eventually(async () => {
      expect((await postBatch(short, [of(accountId, deposit('1'))])).status).toBe(200);
    }, PATIENCE_MS);
  });

  it('that disconnects stops what has not reached the ledger yet', async () => {
    await operator.query(`BEGIN; SELECT FROM bank.accounts WHERE account_id = ${accountId} FOR UPDATE`);
    const before = JSON.parse(await balanceOf(app, accountId)) as { version: number };
    const client = await LineClient.open(short.url);
    client.send(...Array.from({ length: 2_000 }, () => of(accountId, deposit('1'))));
    client.end();
    await sleep(300);
    client.raw.destroy();
    await sleep(300);
    await operator.query('COMMIT');
    // What had reached the ledger is carried out; a batch of another client comes after it.
    expect(statusesIn(await postBatch(short, [of(accountId, deposit('1'))]))).toEqual([201]);
    // Time in which most of the others would be posted, too.
    await sleep(1_000);
    const after = JSON.parse(await balanceOf(app, accountId)) as { version: number };
    // Only writing the first results shows that it has disconnected, not just closed its side.
    expect(after.version - before.version).toBeGreaterThanOrEqual(1 + 10);
    expect(after.version - before.version).toBeLessThan(100);
  });

  it('that uses up its permits has to wait with its next batch, which is served once one is free or rejected in time', async () => {
    const slow = await Promise.all(Array.from({ length: PLACES_OF_ONE }, () => LineClient.open(app.url)));
    for (const client of slow) client.send(of(accountId, deposit('1')));
    await Promise.all(slow.map((client) => client.results(1)));
    const refused = await postBatch(app, [of(accountId, deposit('1'))]);
    expect(refused.status).toBe(503);
    expect(refused.headers['retry-after']).toBe('1');
    const held = postBatch(app, [of(accountId, deposit('1'))]);
    await sleep(100);
    slow[0]?.raw.destroy();
    expect((await held).status).toBe(200);
    for (const client of slow.slice(1)) client.end();
    expect((await postBatch(app, [of(accountId, deposit('1'))])).status).toBe(200);
  });
});
