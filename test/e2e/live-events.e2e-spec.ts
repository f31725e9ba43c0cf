import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { assignAccounts } from '../../src/admin/assign-accounts.js';
import { createKey, revokeKey } from '../../src/admin/keys.js';
import type { ShardAddress } from '../../src/config/shard-address.js';
import { parseMoney } from '../../src/domain/money.js';
import { Ledger } from '../../src/domain/ports.js';
import { THE_SERVICE } from '../../src/domain/sender.js';
import { bootstrapShards } from '../../src/sharding/bootstrap-shards.js';
import { startInstance, type TestApp } from '../support/app.js';
import { openInBoth, TwoShards } from '../support/between-shards.js';
import type { Overrides } from '../support/config.js';
import { bearer } from '../support/credentials.js';
import { isPosted, isValidEvent } from '../support/events.js';
import { EventStreamClient, type Received } from '../support/event-stream.js';
import { createEmptyTestDatabase, query, type TestDatabase } from '../support/postgres.js';
import { eventually, fieldsIn } from '../support/requests.js';
import { Wallet } from '../support/wallet.js';

/** The longest that a revocation or a change of owner may take. */
const WITHIN_MS = 5_000;

let database: TestDatabase;
let shards: ShardAddress[];
let wallet: Wallet;
/** Two instances of one bank with two shards. */
let [app, other]: TestApp[] = [];
let ledger: Ledger;
let as: (owner?: string) => Record<string, string>;
let asAdmin: Record<string, string>;
let near: number[];
const clients: EventStreamClient[] = [];

const start = (events: Overrides['events'] = {}, http: Overrides['http'] = {}) =>
  startInstance(shards, wallet.settings, { transfers: { pollMs: 50, dueAfterMs: 0 }, events, http });

beforeAll(async () => {
  database = await createEmptyTestDatabase('live-events');
  shards = [0, 1].map((index) => ({ url: database.url, schema: `bank_${index}` }));
  await bootstrapShards(shards);
  wallet = new Wallet(shards);
  const senders = await wallet.senders(['ada', 'bob']);
  as = (owner) => senders(owner);
  asAdmin = bearer(await wallet.key({ scopes: ['admin'] }));
  [app, other] = [await start(), await start()];
  ledger = app.app.get(Ledger, { strict: false });
  near = await openInBoth(ledger);
});

afterEach(() => clients.splice(0).forEach((client) => client.close()));

afterAll(async () => {
  await app?.close();
  await other?.close();
  await database.drop();
});

const cents = (amount: string) => parseMoney(amount, 2) ?? 0n;

async function open(shard: 0 | 1 = 0, amount = '100.00', owner?: string): Promise<number> {
  const opening = { openingDeposit: cents(amount), owner, near: near[shard] ?? 0 };
  return (await ledger.openAccount(opening, THE_SERVICE)).accountId;
}

async function listen(
  path: string,
  after?: string | number,
  headers = as(),
  on = app,
): Promise<EventStreamClient> {
  const cursor = after !== undefined && { 'last-event-id': String(after) };
  const client = await EventStreamClient.open(`${on?.url}${path}`, { ...headers, ...cursor });
  clients.push(client);
  return client;
}

const listenTo = (
  accountId: number,
  ...more: [after?: string | number, headers?: Record<string, string>, on?: TestApp]
) => listen(`/accounts/${accountId}/events`, ...more);

const deposit = (accountId: number, amount = 1n) => ledger.execute({ type: 'credit', accountId, amount });

async function send<T>(path: string, body: object, headers = as()): Promise<T> {
  const { text, status } = await (app as TestApp).http.post(path).set(headers).send(body);
  if (status >= 300) throw new Error(`${path}: ${status} ${text}`);
  return JSON.parse(text) as T;
}

const versionsOf = (events: readonly Received[]) =>
  events.flatMap(({ data }) => (isPosted(data) ? [data.data.version] : []));

const upTo = (last: number, first = 2) => Array.from({ length: last - first + 1 }, (_, at) => first + at);

const withoutRepeats = (events: readonly Received[]) => [
  ...new Map(events.map((event) => [event.data.id, event])).values(),
];

describe('GET /accounts/{id}/events', () => {
  it('sends events as server-sent events that begin now, and tells where', async () => {
    const accountId = await open();
    const client = await listenTo(accountId);
    expect(client.status).toBe(200);
    expect(client.headers).toMatchObject({
      ...{ 'content-type': 'text/event-stream', 'cache-control': 'no-store', 'x-accel-buffering': 'no' },
    });
    await eventually(() => Promise.resolve(expect([client.retry, client.lastId]).toEqual(['1000', '2'])));
    await deposit(accountId, 150n);
    await client.until((events) => events.length > 0);
    const [{ type, id, data } = client.events[0] as Received] = client.events;
    expect([type, id]).toEqual(['transaction.posted.v1', '3']);
    expect(isValidEvent(data)).toBe(true);
    expect(data).toMatchObject({
      subject: `accounts/${accountId}`,
      data: { amount: '1.50', balance: '101.50' },
    });
    expect(client.events).toHaveLength(1);
  });

  it('replays all versions after Last-Event-ID, then goes on without a gap while both instances post', async () => {
    const accountId = await open();
    let posting = true;
    const elsewhere = (other as TestApp).app.get(Ledger, { strict: false });
    const posters = [ledger, elsewhere].map(async (one) => {
      while (posting) await one.execute({ type: 'credit', accountId, amount: 1n });
    });
    await sleep(300);
    const listening = [await listenTo(accountId, 1), await listenTo(accountId, 1, as(), other)];
    await sleep(1_000);
    posting = false;
    await Promise.all(posters);
    const { version } = await stateOf(accountId);
    for (const client of listening) {
      await client.until((events) => versionsOf(events).at(-1) === version);
      expect(versionsOf(client.events)).toEqual(upTo(version));
      expect(client.events.map(({ id }) => Number(id))).toEqual(upTo(version));
    }
  });

  it('loses nothing, whenever the connection breaks', async () => {
    const accountId = await open();
    let posting = true;
    const poster = (async () => {
      while (posting) {
        const { holds } = await ledger.execute({ type: 'hold', accountId, amount: 2n });
        const holdId = holds[0]?.holdId ?? 0;
        await ledger.execute({ type: 'capture', accountId, holdId, amount: 1n, final: true });
        await ledger.execute({ type: 'change', accountId, changes: { reference: `r${holdId}` } });
        await sleep(Math.random() * 30);
      }
    })();
    const received: Received[] = [];
    let last = '1';
    for (let turn = 0; turn < 15; turn++) {
      const client = await listenTo(accountId, last, as(), turn % 2 ? other : app);
      await sleep(Math.random() * 300);
      client.close();
      received.push(...client.events);
      last = client.lastId ?? last;
    }
    posting = false;
    await poster;
    const { version, revision } = await stateOf(accountId);
    const client = await listenTo(accountId, last);
    await client.until(() => client.lastId === String(version));
    received.push(...client.events);
    const events = withoutRepeats(received);
    expect(versionsOf(events)).toEqual(upTo(version));
    const count = (type: string) => events.filter((event) => event.type === type).length;
    expect(count('account.changed.v1')).toBe(revision);
    expect(count('hold.placed.v1')).toBe(revision);
    expect(count('hold.captured.v1')).toBe(revision);
  });

  it('ends a version with its id, so that a version is repeated as a whole', async () => {
    const [from, to] = [await open(), await open()];
    const { id } = await send<{ id: string }>(`/accounts/${from}/holds`, { amount: '5.00' });
    await send(`/holds/${id}/capture`, { amount: '3.00', to });
    for (const after of [1, undefined]) {
      const client = await listenTo(from, after);
      if (after === undefined) {
        const { id } = await send<{ id: string }>(`/accounts/${from}/holds`, { amount: '5.00' });
        await send(`/holds/${id}/capture`, { amount: '3.00', to });
      }
      const expected = [
        ['transaction.posted.v2', undefined],
        ['hold.placed.v1', after === 1 ? '3' : '6'],
        ['transaction.posted.v2', after === 1 ? '4' : '7'],
        ['transaction.posted.v1', undefined],
        ['hold.captured.v1', undefined],
        ['transfer.completed.v1', after === 1 ? '5' : '8'],
      ];
      await client.until(() => client.lastId === expected.at(-1)?.[1]);
      expect(client.events.map(({ type, id }) => [type, id]).slice(after === 1 ? 1 : 0)).toEqual(expected);
    }
  });

  it('has the same events, byte for byte, whether they are replayed or come as they happen', async () => {
    const [one, two, far] = [await open(), await open(), await open(1)];
    const live = await Promise.all([one, two, far].map((accountId) => listenTo(accountId)));
    const bank = await listen('/events', undefined, asAdmin);
    await postEverything(one, two, far);
    // The sweeper writes it down.
    await live[0]?.until((events) => events.some(({ type }) => type === 'hold.expired.v1'));
    for (const [index, accountId] of [one, two, far].entries()) {
      const { version } = await stateOf(accountId);
      const [now, later] = [live[index] as EventStreamClient, await listenTo(accountId, 2)];
      for (const client of [now, later]) await client.until(() => client.lastId === String(version));
      const kept = (events: readonly Received[]) =>
        events
          .filter(({ type }) => type !== 'transfer.failed.v1')
          .map(({ data }) => JSON.stringify(data))
          .sort();
      expect(kept(later.events)).toEqual(kept(now.events));
      const all = new Set(bank.events.map(({ data }) => JSON.stringify(data)));
      expect(now.events.filter(({ data }) => !all.has(JSON.stringify(data)))).toEqual([]);
      expect(now.events.filter(({ data }) => !isValidEvent(data))).toEqual([]);
    }
    const types = new Set(live.flatMap(({ events }) => events.map(({ type }) => type)));
    expect([...types].sort()).toEqual([
      'account.changed.v1',
      ...['hold.captured.v1', 'hold.expired.v1', 'hold.placed.v1', 'hold.voided.v1'],
      ...['transaction.posted.v1', 'transaction.posted.v2', 'transfer.completed.v1', 'transfer.failed.v1'],
    ]);
  });

  it('refuses a Last-Event-ID that is no version, or one that the account has not reached', async () => {
    const accountId = await open();
    for (const id of ['0', '1.5', 'x', '-1', '1,2', '9'.repeat(20)]) {
      const refused = await (app as TestApp).http
        .get(`/accounts/${accountId}/events`)
        .set({ ...as(), 'last-event-id': id });
      expect([id, refused.status, fieldsIn(refused)]).toEqual([id, 400, ['Last-Event-ID']]);
    }
    const early = await listenTo(accountId, 3);
    expect([early.status, early.headers['x-error-code']]).toEqual([404, 'VERSION_NOT_REACHED']);
  });

  it('answers HEAD at once, without a stream', async () => {
    const accountId = await open();
    const head = await (app as TestApp).http.head(`/accounts/${accountId}/events`).set(as());
    expect([head.status, head.headers['content-type']]).toEqual([200, 'text/event-stream']);
    await eventually(async () => expect(await openStreams()).toBe(0));
  });
});

describe('who may listen', () => {
  it('to an owner another account seems not to exist', async () => {
    const accountId = await open(0, '1.00', 'ada');
    expect((await listenTo(accountId, undefined, as('ada'))).status).toBe(200);
    const refused = await listenTo(accountId, undefined, as('bob'));
    expect([refused.status, refused.headers['x-error-code']]).toEqual([404, 'ACCOUNT_NOT_FOUND']);
    expect((await listen('/events', undefined, as('ada'))).status).toBe(403);
  });

  it('an owner is told nothing of the accounts of others but that money went there', async () => {
    const [mine, others] = [await open(0, '9.00', 'ada'), await open()];
    const client = await listenTo(mine, undefined, as('ada'));
    await send('/transfers', { from: mine, to: others, amount: '1.00' });
    const replayed = await listenTo(mine, 2, as('ada'));
    for (const one of [client, replayed]) {
      await one.until(() => one.lastId === '3');
      const [posted, completed] = one.events.map(({ data }) => data);
      expect(posted).toMatchObject({ type: 'transaction.posted.v1', data: { accountId: mine } });
      const legs = [
        { accountId: mine, type: 'Withdraw', version: 3 },
        { accountId: others, type: 'Deposit' },
      ];
      expect(completed).toMatchObject({ type: 'transfer.completed.v1', data: { legs } });
      expect(JSON.stringify(completed).match(/"version"/g)).toHaveLength(1);
      expect(one.events).toHaveLength(2);
    }
  });

  it('a stream ends when its key is revoked, without any event, and so when its account gets another owner', async () => {
    const [one, two, three] = [await open(), await open(0, '1.00', 'ada'), await open()];
    const { key, keyId } = await createKey(shards, { name: 'test', scopes: ['transactions:read'] });
    const revoked = await listenTo(one, undefined, bearer(key));
    const assigned = await listenTo(two, undefined, as('ada'));
    const stays = await listenTo(three);
    await sleep(1_500);
    expect([revoked, assigned].map(({ ended }) => ended)).toEqual([false, false]);
    await revokeKey(shards, keyId);
    await assignAccounts(shards, { accounts: [two], owner: 'bob' });
    await sleep(WITHIN_MS);
    expect([revoked, assigned, stays].map(({ ended }) => ended)).toEqual([true, true, false]);
    expect((await listenTo(one, undefined, bearer(key))).status).toBe(401);
    await deposit(two);
    expect(assigned.events.filter(({ data }) => isPosted(data))).toEqual([]);
  });
});

describe('GET /events', () => {
  it('has an id for each event, from which it goes on exactly', async () => {
    const [one, far] = [await open(), await open(1)];
    const all = await listen('/events', undefined, asAdmin);
    await eventually(() => Promise.resolve(expect(all.lastId).toMatch(/^\d+,\d+$/)));
    for (let turn = 0; turn < 4; turn++) {
      await Promise.all([deposit(one), deposit(far)]);
      await send('/transfers', { from: one, to: far, amount: '1.00' });
      await send('/transfers', { from: one, to: near[0], amount: '1.00' });
    }
    await quiet(all);
    const sent = all.events.map(({ data }) => data.id);
    expect(new Set(sent).size).toBe(sent.length);
    for (const [index, event] of all.events.entries()) {
      const rest = await listen('/events', event.id, asAdmin, index % 2 ? other : app);
      await rest.until(({ length }) => length >= sent.length - index - 1);
      await sleep(10);
      expect(rest.events.map(({ data }) => data.id).sort()).toEqual(sent.slice(index + 1).sort());
      rest.close();
    }
  });

  it('refuses an id that is none, and one of which the log has not kept what follows', async () => {
    for (const id of ['1', '1,2,3', 'x,1', '1,-1', '1.x,1', '1;1']) {
      const refused = await (app as TestApp).http.get('/events').set({ ...asAdmin, 'last-event-id': id });
      expect([id, refused.status, fieldsIn(refused)]).toEqual([id, 400, ['Last-Event-ID']]);
    }
    await deposit(await open());
    await deposit(await open(1));
    await sleep(500);
    for (const schema of ['bank_0', 'bank_1'])
      await query(
        database.url,
        `DELETE FROM ${schema}.event_log WHERE position < (SELECT max(position) FROM ${schema}.event_log)`,
      );
    for (const id of ['1,1', `${Number.MAX_SAFE_INTEGER},-`]) {
      const gone = await listen('/events', id, asAdmin);
      expect([id, gone.status, gone.headers['x-error-code']]).toEqual([id, 410, 'EVENTS_GONE']);
    }
    expect((await listen('/events', '-,-', asAdmin)).status).toBe(200);
  });
});

describe('streams have limits', () => {
  it('a user has at most so many, and a process', async () => {
    const own = await start({ maxStreams: 3, maxStreamsPerUser: 2 });
    try {
      const accountId = await open(0, '1.00', 'ada');
      const path = `/accounts/${accountId}/events`;
      const [first] = [await listen(path, 1, as(), own), await listen(path, 1, as(), own)];
      const third = await listen(path, 1, as(), own);
      expect([third.status, third.headers['retry-after']]).toEqual([429, '10']);
      expect((await listen(path, 1, as('ada'), own)).status).toBe(200);
      expect((await listen(path, 1, as('ada'), own)).status).toBe(503);
      first?.close();
      await eventually(async () => expect((await listen(path, 1, as(), own)).status).toBe(200));
    } finally {
      await own.close();
    }
  });

  it('a silent stream has a heartbeat, and is not cut', async () => {
    const own = await start(
      { heartbeatMs: 300, checkMs: 100 },
      { answerTimeoutMs: 500, requestTimeoutMs: 500, headersTimeoutMs: 200 },
    );
    try {
      const accountId = await open();
      const client = await listen(`/accounts/${accountId}/events`, undefined, as(), own);
      await sleep(3_000);
      expect(client.comments.length).toBeGreaterThanOrEqual(5);
      expect(client.ended).toBe(false);
      await deposit(accountId);
      await client.until((events) => versionsOf(events).at(-1) === 3);
    } finally {
      await own.close();
    }
  });

  it('a client that pauses gets everything later, and one that never reads is cut', async () => {
    const own = await start({}, { answerTimeoutMs: 3_000 });
    try {
      const accountId = await open();
      const path = `/accounts/${accountId}/events`;
      const [slow, deaf] = [await listen(path, 1, as(), own), await listen(path, 1, as(), own)];
      deaf.pause();
      for (let turn = 0; turn < 60; turn++) {
        if (turn % 4 === 0) slow.pause();
        if (turn % 4 === 3) slow.resume();
        await Promise.all(Array.from({ length: 250 }, () => deposit(accountId)));
      }
      slow.resume();
      await slow.until((events) => versionsOf(events).at(-1) === 15_002, 20_000);
      expect(versionsOf(slow.events)).toEqual(upTo(15_002));
      await eventually(async () => expect(await openStreams(own)).toBe(1), 10_000);
    } finally {
      await own.close();
    }
  }, 60_000);

  it('a service that stops ends them at once', async () => {
    const own = await start();
    const accountId = await open();
    const client = await listen(`/accounts/${accountId}/events`, undefined, as(), own);
    const bank = await listen('/events', undefined, asAdmin, own);
    const startedMs = performance.now();
    await own.close();
    expect(performance.now() - startedMs).toBeLessThan(2_000);
    expect([client.ended, bank.ended]).toEqual([true, true]);
  });

  it('are counted, and are no slow requests', async () => {
    const accountId = await open();
    const client = await listenTo(accountId);
    expect(await openStreams()).toBe(1);
    client.close();
    await eventually(async () => expect(await openStreams()).toBe(0));
    const { text } = await (app as TestApp).http.get('/metrics').set(asAdmin);
    expect(text).not.toMatch(/route="\/accounts\/:accountId\/events",status="200"/);
  });
});

async function openStreams(of = app): Promise<number> {
  const { text } = await (of as TestApp).http.get('/metrics').set(asAdmin);
  return Number(/^bank_event_streams (\d+)$/m.exec(text)?.[1]);
}

async function stateOf(accountId: number): Promise<{ version: number; revision: number }> {
  const { headers } = await (app as TestApp).http.get(`/accounts/${accountId}`).set(as());
  const [, version, revision] = /^"(\d+)\.(\d+)"$/.exec(headers['etag'] ?? '') ?? [];
  return { version: Number(version), revision: Number(revision) };
}

/** Waits until nothing more arrives. */
async function quiet(client: EventStreamClient): Promise<void> {
  for (let before = -1; before < client.events.length; await sleep(700)) before = client.events.length;
}

/** A transfer that its target refuses only after the money was put on hold. */
async function failTransfer(from: number, to: number): Promise<void> {
  const bank = await TwoShards.open(shards);
  const begun = await bank.begin(from, to, 100n);
  await bank.finish(begun, true);
  await bank.close();
}

/** One of each kind of event, on accounts of which the first two are in one shard. */
async function postEverything(one: number, two: number, far: number): Promise<void> {
  const hold = async (more = {}) =>
    (await send<{ id: string }>(`/accounts/${one}/holds`, { amount: '2.00', ...more })).id;
  await send('/transfers', { from: one, to: two, amount: '1.00' });
  await send('/transfers', { from: one, to: far, amount: '1.00' });
  await send(`/holds/${await hold()}/capture`, { amount: '1.00' });
  await send(`/holds/${await hold()}/capture`, { to: far });
  await send(`/holds/${await hold()}/void`, {});
  await hold({ expiresInSeconds: 1 });
  await ledger.execute({ type: 'change', accountId: two, changes: { reference: 'rent' } });
  await failTransfer(two, far);
  await send(`/accounts/${far}/transactions`, { amount: '1.00', type: 'Deposit' });
}
