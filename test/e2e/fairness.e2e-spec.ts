import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { setTimeout as sleep } from 'node:timers/promises';
import { Client } from 'pg';
import { openWithHistory } from '../support/history.js';
import { openAccount, startApp, startInstance, type TestApp } from '../support/app.js';
import { closeLineClients, LineClient, of } from './batches.js';
import { deposit, JSON_TYPE } from '../support/requests.js';

/** Users without credentials are distinguished by the addresses that a trusted proxy forwards. */
const OPEN_BEHIND_A_PROXY = { AUTH: 'off', TRUSTED_PROXIES: '127.0.0.1' };
const MANY = '192.0.2.1';
const FEW = '192.0.2.2';

let app: TestApp;
let accountId: number;

beforeAll(async () => {
  app = await startApp(OPEN_BEHIND_A_PROXY);
  accountId = await openAccount(app);
});

afterEach(closeLineClients);
afterAll(() => app.close());

async function send(instance: TestApp, from: string, path: string, body?: object) {
  const response = await fetch(instance.url + path, {
    method: body ? 'POST' : 'GET',
    headers: { 'content-type': JSON_TYPE, 'x-forwarded-for': from },
    body: body && JSON.stringify(body),
  });
  await response.arrayBuffer();
  return response.status;
}

/** Keeps this many requests of a user open until stopped; returns how often each status was answered. */
function flood(concurrency: number, request: () => Promise<number>) {
  const statuses = new Map<number, number>();
  let stopped = false;
  const one = async () => {
    while (!stopped) {
      const status = await request();
      statuses.set(status, (statuses.get(status) ?? 0) + 1);
      // Leaves the processor to the service.
      if (status === 503) await sleep(100);
    }
  };
  const all = Promise.all(Array.from({ length: concurrency }, one));
  return {
    statuses,
    stop: async () => {
      stopped = true;
      await all;
    },
  };
}

/** One after the other; with what they mostly took. */
async function inTurn(count: number, request: () => Promise<number>) {
  const statuses: number[] = [];
  const tookMs: number[] = [];
  for (let n = 0; n < count; n++) {
    const sentMs = performance.now();
    statuses.push(await request());
    tookMs.push(performance.now() - sentMs);
  }
  return { statuses, medianMs: tookMs.sort((a, b) => a - b)[count >> 1] };
}

describe('a bounded resource', () => {
  it('has a permit for a batch of another user while one sends slow batches', async () => {
    const slow = await Promise.all(
      Array.from({ length: 4 }, () => LineClient.open(app.url, '', true, { 'X-Forwarded-For': MANY })),
    );
    for (const client of slow) client.send(of(accountId, deposit('1')));
    await Promise.all(slow.slice(0, 2).map((client) => client.results(1)));
    const { statuses, medianMs } = await inTurn(3, () =>
      send(app, FEW, '/transactions/batch', [of(accountId, deposit('1'))]),
    );
    expect(statuses).toEqual([200, 200, 200]);
    // It did not have to wait until another's time was up, which takes 2.5 s.
    expect(medianMs).toBeLessThan(1_000);
    expect(slow.map(({ statuses: each }) => each.length)).toEqual([1, 1, 0, 0]);
  });

  it('accepts the few postings of one user while another sends far more than the service can process', async () => {
    const small = await startInstance(app.databaseUrl, OPEN_BEHIND_A_PROXY, {
      ledger: { maxInFlight: 4, queue: 40, batch: 40 },
    });
    const path = `/accounts/${accountId}/transactions`;
    const many = flood(150, () => send(small, MANY, path, deposit('1')));
    try {
      const { statuses, medianMs } = await inTurn(15, () => send(small, FEW, path, deposit('1')));
      expect(statuses).toEqual(new Array(15).fill(201));
      expect(medianMs).toBeLessThan(1_000);
    } finally {
      await many.stop();
      await small.close();
    }
    expect(many.statuses.get(503)).toBeGreaterThan(150);
    expect(many.statuses.get(201)).toBeGreaterThan(0);
  });

  it('serves the reads of one user while hundreds of slow listings of another wait', async () => {
    const operator = new Client({ connectionString: app.databaseUrl });
    await operator.connect();
    const long = await openWithHistory(operator, 10_000).finally(() => operator.end());
    const small = await startInstance(app.databaseUrl, { ...OPEN_BEHIND_A_PROXY, DATABASE_READ_POOL: '2' });
    try {
      let listed = 0;
      // Each examines the whole history and finds nothing.
      const listings = Array.from({ length: 300 }, () =>
        send(small, MANY, `/accounts/${long}/transactions?type=Withdraw`).finally(() => (listed += 1)),
      );
      const first = await Promise.race(listings);
      const { statuses } = await inTurn(10, () => send(small, FEW, `/accounts/${accountId}`));
      expect([first, ...statuses]).toEqual(new Array(11).fill(200));
      expect(listed).toBeLessThan(250);
      await Promise.all(listings);
    } finally {
      await small.close();
    }
  });
});
