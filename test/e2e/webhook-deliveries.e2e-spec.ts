import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { createServer } from 'node:http';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Config } from '../../src/config/config.js';
import type { BankEvent } from '../../src/messaging/bank-event.js';
import type { Overrides } from '../support/config.js';
import { openAccount, startApp, startInstance, type TestApp } from '../support/app.js';
import { bootstrapShards } from '../../src/sharding/bootstrap-shards.js';
import { TcpProxy } from '../../tools/stack/proxies/tcp-proxy.js';
import { createEmptyTestDatabase, createTestDatabase, query } from '../support/postgres.js';
import { Receiver } from '../support/receiver.js';
import { metric, startService, waitUntil } from '../support/service.js';

const SETTINGS = {
  WEBHOOK_PRIVATE_ADDRESSES: 'on',
  WEBHOOK_KEYS: Buffer.alloc(32, 7).toString('base64'),
};

/** Minutes are tens of milliseconds. */
const retriesOf = (more: Partial<Config['webhooks']['retries']> = {}): Overrides => ({
  webhooks: {
    ...{ pollMs: 20, timeoutMs: 1_000 },
    retries: {
      ...{ firstRetryMs: 20, longestRetryMs: 100, longestLateRetryMs: 200, longestRetryAfterMs: 5_000 },
      ...{ giveUpAfterMs: 1_000, dropAfterMs: 60_000, switchOffAfterMs: 60_000, ...more },
    },
  },
});
const QUICK = retriesOf();

let app: TestApp;
let receivers: Receiver[];

beforeEach(() => {
  receivers = [];
});

afterEach(async () => {
  await app.close();
  for (const receiver of receivers) await receiver.stop();
});

const start = async (overrides: Overrides = QUICK) => (app = await startApp(SETTINGS, overrides));

async function receiverOf(
  eventTypes: readonly string[] = ['*'],
  at = app,
): Promise<Receiver & { id: string }> {
  const receiver = await Receiver.start();
  receivers.push(receiver);
  const created = await at.http.post('/webhooks').send({ url: receiver.url, eventTypes });
  expect(created.status).toBe(201);
  const { id, secret } = JSON.parse(created.text) as { id: string; secret: string };
  receiver.secret = secret;
  return Object.assign(receiver, { id });
}

async function deposit(accountId: number, times = 1, url = app.url): Promise<void> {
  for (let n = 0; n < times; n++) {
    const response = await fetch(`${url}/accounts/${accountId}/transactions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: '{"amount":"1.00","type":"Deposit"}',
    });
    expect(response.status).toBe(201);
  }
}

const until = (condition: () => boolean, ms = 15_000) => waitUntil(() => Promise.resolve(condition()), ms);

const upTo = (version: number) => Array.from({ length: version - 1 }, (_, index) => index + 2);

const isOf = (event: BankEvent, accountId: number) => event.data['accountId'] === accountId;

const webhook = async (id: string) =>
  JSON.parse((await app.http.get(`/webhooks/${id}`)).text) as Record<string, unknown>;

describe('an endpoint', () => {
  it('gets every event, signed and as its schema says, those of an account in order', async () => {
    await start();
    const receiver = await receiverOf();
    const accounts = await Promise.all([1, 2, 3, 4].map(() => openAccount(app, '10.00')));
    await Promise.all(accounts.map((accountId) => deposit(accountId, 20)));
    const [a = 0, b = 0] = accounts;
    await app.http.post('/transfers').send({ from: a, to: b, amount: '5.00' });
    await app.http.post(`/accounts/${a}/holds`).send({ amount: '3.00' });
    await app.http.patch(`/accounts/${a}`).send({ status: 'frozen' });
    await until(() => receiver.accepted.some(({ type }) => type === 'account.changed.v1'));
    await until(() => receiver.versionsOf(a).length === 23 && receiver.versionsOf(b).length === 22);
    expect(receiver.forged).toEqual([]);
    expect(receiver.versionsOf(a)).toEqual(upTo(24));
    expect(receiver.versionsOf(b)).toEqual(upTo(23));
    const types = new Set(receiver.accepted.map(({ type }) => type));
    expect(types).toEqual(
      new Set([
        ...['transaction.posted.v1', 'transaction.posted.v2', 'transfer.completed.v1'],
        ...['hold.placed.v1', 'account.changed.v1'],
      ]),
    );
    // Nothing was sent twice, and who looks sees how it went.
    expect(receiver.deliveries).toHaveLength(receiver.accepted.length);
    const posted = receiver.accepted.find((event) => isOf(event, a));
    expect(posted).toMatchObject({ sequence: '2', data: { version: 2 } });
    await waitUntil(async () => {
      const { text } = await app.http.get(`/webhooks/${receiver.id}/deliveries`);
      return text.includes('"httpStatus":204');
    }, 5_000);
  });

  it('gets the types that it asks for alone, and nothing from before it was made', async () => {
    await start();
    const accountId = await openAccount(app, '10.00');
    await waitUntil(
      async () => (await query(app.databaseUrl, 'SELECT FROM bank.outbox')).length === 0,
      5_000,
    );
    const receiver = await receiverOf(['hold.placed']);
    await deposit(accountId, 3);
    await app.http.post(`/accounts/${accountId}/holds`).send({ amount: '3.00' });
    await deposit(accountId);
    await until(() => receiver.deliveries.length > 0);
    await sleep(300);
    expect(receiver.accepted.map(({ type }) => type)).toEqual(['hold.placed.v1']);
  });

  it('that hangs, or fails altogether, harms no other, and gets everything once it is back', async () => {
    await start();
    const [good, hanging, failing] = [await receiverOf(), await receiverOf(), await receiverOf()];
    hanging.answer = () => undefined;
    failing.answer = () => ({ status: 500, body: 'x'.repeat(100_000) });
    const accounts = await Promise.all([1, 2, 3].map(() => openAccount(app, '10.00')));
    const startedMs = performance.now();
    await Promise.all(accounts.map((accountId) => deposit(accountId, 30)));
    await until(() => accounts.every((accountId) => good.versionsOf(accountId).length === 31), 5_000);
    expect(performance.now() - startedMs).toBeLessThan(5_000);
    for (const accountId of accounts) expect(good.versionsOf(accountId)).toEqual(upTo(32));
    // One that is down is tried now and then, not with everything.
    await sleep(1_000);
    expect(failing.deliveries.length).toBeLessThan(60);
    expect(hanging.deliveries.length).toBeLessThan(20);
    for (const receiver of [hanging, failing]) receiver.answer = () => ({ status: 200 });
    for (const receiver of [hanging, failing]) {
      await until(() => accounts.every((accountId) => receiver.versionsOf(accountId).length === 31));
    }
  });

  it('that refuses one event gets later ones of its account only after that, and others at once', async () => {
    await start(retriesOf({ giveUpAfterMs: 60_000 }));
    const receiver = await receiverOf(['transaction.posted']);
    const [a, b] = [await openAccount(app, '1.00'), await openAccount(app, '1.00')];
    let refuses = true;
    receiver.answer = (event) => ({
      status: refuses && isOf(event, a) && event.data['version'] === 3 ? 500 : 200,
    });
    await deposit(a, 5);
    await deposit(b, 5);
    await until(() => receiver.versionsOf(b).length === 6);
    await sleep(300);
    expect(receiver.versionsOf(a)).toEqual([2]);
    // What was tried is written down every second.
    await waitUntil(async () => {
      const { text } = await app.http.get(`/webhooks/${receiver.id}/deliveries?status=retrying`);
      return text.includes(`"accountId":${a},`) && text.includes('"waiting":4');
    }, 5_000);
    refuses = false;
    await until(() => receiver.versionsOf(a).length === 6);
    expect(receiver.versionsOf(a)).toEqual(upTo(7));
    const tries = receiver.deliveries.filter(({ event }) => isOf(event, a) && event.data['version'] === 3);
    expect(tries.length).toBeGreaterThan(2);
    expect(new Set(tries.map(({ headers }) => headers['webhook-id'])).size).toBe(1);
  });

  it('that refuses an event for long gets the later ones, shows the gap, and that event when it accepts it', async () => {
    await start(retriesOf({ giveUpAfterMs: 300 }));
    const receiver = await receiverOf(['transaction.posted']);
    const accountId = await openAccount(app, '1.00');
    let refuses = true;
    receiver.answer = (event) => ({ status: refuses && event.data['version'] === 3 ? 500 : 200 });
    await deposit(accountId, 4);
    await until(() => receiver.versionsOf(accountId).length === 4);
    expect(receiver.versionsOf(accountId)).toEqual([2, 4, 5, 6]);
    refuses = false;
    await until(() => receiver.versionsOf(accountId).length === 5);
    expect(receiver.versionsOf(accountId)).toEqual([2, 4, 5, 6, 3]);
  });

  it('that accepts nothing for days is switched off, says so, and goes on where it was when it is enabled', async () => {
    await start(retriesOf({ switchOffAfterMs: 1_000, giveUpAfterMs: 60_000 }));
    const receiver = await receiverOf(['transaction.posted']);
    receiver.answer = () => ({ status: 500 });
    const accountId = await openAccount(app, '1.00');
    await deposit(accountId, 3);
    await waitUntil(async () => (await webhook(receiver.id))['status'] === 'disabled', 15_000);
    expect(await webhook(receiver.id)).toMatchObject({ disabledBecause: 'failing' });
    await sleep(300);
    const tried = receiver.deliveries.length;
    await deposit(accountId);
    await sleep(500);
    expect(receiver.deliveries).toHaveLength(tried);
    receiver.answer = () => ({ status: 200 });
    expect((await app.http.patch(`/webhooks/${receiver.id}`).send({ status: 'enabled' })).status).toBe(200);
    await until(() => receiver.versionsOf(accountId).length === 5);
    expect(receiver.versionsOf(accountId)).toEqual(upTo(6));
  });

  it('that answers 410 gets nothing more', async () => {
    await start();
    const receiver = await receiverOf(['transaction.posted']);
    receiver.answer = () => ({ status: 410 });
    const accountId = await openAccount(app, '1.00');
    await waitUntil(async () => (await webhook(receiver.id))['status'] === 'disabled', 15_000);
    expect(await webhook(receiver.id)).toMatchObject({ disabledBecause: 'gone' });
    await deposit(accountId, 3);
    await sleep(300);
    expect(receiver.deliveries.length).toBeLessThan(4);
  });

  it('is not switched off by its former URL, which answers 410', async () => {
    await start();
    const [former, next] = [await receiverOf(['transaction.posted']), await Receiver.start()];
    receivers.push(next);
    next.secret = former.secret;
    former.answer = async () => {
      await app.http.patch(`/webhooks/${former.id}`).send({ url: next.url });
      return { status: 410 };
    };
    const accountId = await openAccount(app, '1.00');
    await until(() => next.versionsOf(accountId).length === 1);
    expect(await webhook(former.id)).toMatchObject({ status: 'enabled', url: next.url });
  });

  it('is left alone for as long as it asks to be with Retry-After', async () => {
    await start();
    const receiver = await receiverOf(['transaction.posted']);
    let asked = 0;
    receiver.answer = () => {
      asked += 1;
      return asked === 1 ? { status: 429, headers: { 'retry-after': '2' } } : { status: 200 };
    };
    const accountId = await openAccount(app, '1.00');
    await deposit(accountId, 2);
    await until(() => receiver.versionsOf(accountId).length === 3);
    const [first, second] = receiver.deliveries;
    expect((second?.atMs ?? 0) - (first?.atMs ?? 0)).toBeGreaterThan(1_900);
    expect(receiver.versionsOf(accountId)).toEqual([2, 3, 4]);
  });

  it('is not followed elsewhere', async () => {
    await start();
    const elsewhere: string[] = [];
    const other = createServer((request, response) => {
      elsewhere.push(request.url ?? '');
      response.end();
    }).listen(0, '127.0.0.1');
    await once(other, 'listening');
    const address = other.address() as { port: number };
    const receiver = await receiverOf(['transaction.posted']);
    receiver.answer = () => ({
      status: 307,
      headers: { location: `http://127.0.0.1:${address.port}/secret` },
    });
    await openAccount(app, '1.00');
    await until(() => receiver.deliveries.length > 3);
    expect(elsewhere).toEqual([]);
    other.close();
  });

  it('of an owner gets events of accounts that are still theirs, and no version of others', async () => {
    const database = await createTestDatabase();
    app = await startInstance(database.url, SETTINGS, QUICK);
    const [mine, theirs] = [await openAccount(app, '10.00'), await openAccount(app, '10.00')];
    const receiver = await receiverOf();
    await query(database.url, `UPDATE bank.webhooks SET owner = 'ada'`);
    await query(database.url, `UPDATE bank.accounts SET owner = 'ada' WHERE account_id = ${mine}`);
    // The list of endpoints is read every two seconds.
    await sleep(2_500);
    receiver.deliveries.length = 0;
    await deposit(theirs, 3);
    await app.http.post('/transfers').send({ from: theirs, to: mine, amount: '2.00' });
    await deposit(mine);
    await until(() => receiver.versionsOf(mine).length === 2);
    expect(receiver.versionsOf(theirs)).toEqual([]);
    const transfer = receiver.accepted.find(({ type }) => type === 'transfer.completed.v1');
    expect(transfer?.data['legs']).toEqual([
      expect.not.objectContaining({ version: expect.anything() }),
      expect.objectContaining({ accountId: mine, version: 3 }),
    ]);
    // From now on it is somebody else's.
    await query(database.url, `UPDATE bank.accounts SET owner = 'bob' WHERE account_id = ${mine}`);
    await deposit(mine);
    await sleep(500);
    expect(receiver.versionsOf(mine)).toHaveLength(2);
    // What came before the change is not sent again either, five seconds after it.
    await sleep(4_500);
    const eventId = receiver.accepted.find((event) => isOf(event, mine))?.id;
    receiver.deliveries.length = 0;
    expect((await app.http.post(`/webhooks/${receiver.id}/redeliveries`).send({ eventId })).status).toBe(202);
    await sleep(2_500);
    expect(receiver.deliveries.map(({ event }) => event.id)).toEqual([]);
    await app.close();
    await database.drop();
    await start();
  });
});

describe('what was sent', () => {
  it('is sent again: one event, or all since a time', async () => {
    await start();
    const receiver = await receiverOf(['transaction.posted']);
    const accountId = await openAccount(app, '1.00');
    await deposit(accountId, 4);
    await until(() => receiver.versionsOf(accountId).length === 5);
    const [first] = receiver.accepted;
    await waitUntil(async () => {
      const asked = await app.http.post(`/webhooks/${receiver.id}/redeliveries`).send({ eventId: first?.id });
      return asked.status === 202;
    }, 5_000);
    await until(() => receiver.deliveries.filter(({ event }) => event.id === first?.id).length === 2);
    const since = new Date(Date.now() - 3_600_000).toISOString();
    const before = receiver.deliveries.length;
    expect((await app.http.post(`/webhooks/${receiver.id}/redeliveries`).send({ since })).status).toBe(202);
    await until(() => receiver.deliveries.length >= before + 5);
    const again = receiver.deliveries.slice(before).map(({ event }) => event.data['version']);
    expect(again).toEqual(upTo(6));
    // And it goes on from there.
    await deposit(accountId);
    await until(() => receiver.versionsOf(accountId).length === 6);
  });
});

describe('a bank of two shards', () => {
  it('sends the events of one while the other, which has the list of webhooks, is down', async () => {
    const database = await createEmptyTestDatabase('webhooks');
    const { proxy, url } = await TcpProxy.start(database.url);
    const shards = [url, database.url].map((each, index) => ({ url: each, schema: `bank_${index}` }));
    await bootstrapShards(shards);
    app = await startInstance(shards, SETTINGS, QUICK);
    const receiver = await receiverOf(['transaction.posted']);
    const opened = [await openAccount(app, '1.00'), await openAccount(app, '1.00')];
    for (let tries = 0; new Set(opened.map((id) => id % 2)).size < 2 && tries < 20; tries++)
      opened.push(await openAccount(app, '1.00'));
    const near = opened.find((id) => id % 2 === 0) ?? 0;
    await until(() => opened.every((id) => receiver.versionsOf(id).length === 1));
    proxy.takeDown();
    await deposit(near, 3);
    await until(() => receiver.versionsOf(near).length === 4);
    // Longer than the list is valid without being read, if it were not kept.
    await sleep(5_000);
    await deposit(near);
    await until(() => receiver.versionsOf(near).length === 5);
    expect(receiver.versionsOf(near)).toEqual(upTo(6));
    expect(receiver.forged).toEqual([]);
    await app.close();
    await proxy.stop();
    await database.drop();
    await start();
  }, 60_000);
});

describe('two instances', () => {
  it('lose nothing when the one that sends is killed under load', async () => {
    const database = await createTestDatabase();
    const environment = { DATABASE_URL: database.url, AUTH: 'off', LOG_LEVEL: 'error', ...SETTINGS };
    const victim = await startService({ environment });
    const receiver = await Receiver.start();
    receivers.push(receiver);
    // Slow, so that some are on their way all the time.
    receiver.answer = () => sleep(20).then(() => ({ status: 200 }));
    const created = await fetch(`${victim.url}/webhooks`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ url: receiver.url, eventTypes: ['transaction.posted'] }),
    });
    ({ secret: receiver.secret } = (await created.json()) as { secret: string });
    await waitUntil(async () => {
      const leases = await query(database.url, 'SELECT webhooks_id AS holder FROM bank.shard_identity');
      return leases[0]?.['holder'] !== null;
    }, 15_000);
    app = await startInstance(database.url, SETTINGS, QUICK);
    const accounts = await Promise.all([1, 2, 3].map(() => openAccount(app, '1.00')));
    const load = Promise.all(accounts.map((accountId) => deposit(accountId, 60)));
    await until(() => receiver.deliveries.length > 20);
    victim.child.kill('SIGKILL');
    await victim.exited;
    await load;
    await until(() => accounts.every((accountId) => receiver.versionsOf(accountId).length === 61), 60_000);
    expect(receiver.forged).toEqual([]);
    for (const accountId of accounts) expect(receiver.versionsOf(accountId)).toEqual(upTo(62));
    expect(await metric(app, 'bank_webhook_attempts_total{shard="0",result="accepted"}')).toBeGreaterThan(0);
    await app.close();
    await database.drop();
    await start();
  }, 90_000);
});

describe('an endpoint far behind that wants little', () => {
  it('holds up no other one', async () => {
    await start();
    const accountId = await openAccount(app, '1.00');
    const [quick, slow] = [await receiverOf(), await receiverOf(['account.changed'])];
    await deposit(accountId);
    await until(() => quick.versionsOf(accountId).includes(3));
    await logAgain(200_000);
    const since = { since: '2026-01-01' };
    expect((await app.http.post(`/webhooks/${slow.id}/redeliveries`).send(since)).status).toBe(202);
    await sleep(1_500);
    const startedMs = performance.now();
    await deposit(accountId);
    await until(() => quick.versionsOf(accountId).includes(4), 60_000);
    expect(performance.now() - startedMs).toBeLessThan(3_000);
  }, 90_000);
});

/** So many more rows at the end of the log, of the last event, which the endpoints have passed. */
async function logAgain(rows: number): Promise<void> {
  const last = "(SELECT position FROM bank.event_cursors WHERE receiver = 'log')";
  await query(
    app.databaseUrl,
    `INSERT INTO bank.event_log
       SELECT position + n, transaction_ids, account_event_ids, refusal_ids, failed_transfer_ids, traceparent, created_at
       FROM bank.event_log, generate_series(1, ${rows}) n WHERE position = ${last}`,
  );
  await query(app.databaseUrl, `UPDATE bank.event_cursors SET position = position + ${rows}`);
}
