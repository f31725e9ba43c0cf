import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { connect, type ChannelModel, type ConfirmChannel, type Options } from 'amqplib';
import { verifyBank } from '../../src/admin/verify/verify.js';
import { sealed } from '../../src/submissions/submission-message.js';
import { Topology } from '../../src/submissions/topology.js';
import { OpenApiContract, type Answer } from '../../tools/fuzz/contract.js';
import { PostgresProxy } from '../../tools/stack/proxies/postgres-proxy.js';
import { TcpProxy } from '../../tools/stack/proxies/tcp-proxy.js';
import { startRabbitMq, type RabbitMqServer } from '../../tools/stack/servers/rabbitmq.js';
import { openAccount, startApp, startInstance, type TestApp } from '../support/app.js';
import { startCli } from '../support/cli.js';
import { bearer, makeKey } from '../support/credentials.js';
import { createTestDatabase, query, type TestDatabase } from '../support/postgres.js';
import { metric, waitUntil } from '../support/service.js';

interface Submission {
  readonly id: string;
  readonly kind: string;
  readonly status: 'queued' | 'posted' | 'refused';
  readonly transaction?: { readonly id: string; readonly newVersion: string };
  readonly transfer?: { readonly id: string };
  readonly hold?: { readonly id: string; readonly remaining: number };
  readonly refusal?: { readonly status: number; readonly code: string; readonly body: object };
}

const ASYNC = { prefer: 'respond-async' };
const settledWithin = 30_000;

let broker: RabbitMqServer;
let exchange: string;
let tests = 0;

beforeAll(async () => {
  broker = await startRabbitMq();
}, 120_000);

afterAll(() => broker.stop());

beforeEach(() => {
  exchange = `async-${(tests += 1)}`;
});

const settings = (more: Record<string, string> = {}) => ({
  RABBITMQ_URL: broker.url,
  RABBITMQ_EXCHANGE: exchange,
  ...more,
});

type Headers = Readonly<Record<string, string>>;

const submit = (app: TestApp, path: string, key: string, body: object, headers: Headers = {}) =>
  app.http
    .post(path)
    .set({ ...ASYNC, 'idempotency-key': key, ...headers })
    .send(body);

const post = (app: TestApp, path: string, key: string, body: object, headers: Headers = {}) =>
  app.http
    .post(path)
    .set({ 'idempotency-key': key, ...headers })
    .send(body);

const transactionsOf = (accountId: number) => `/accounts/${accountId}/transactions`;
const deposit = (amount: string) => ({ amount, type: 'Deposit' });
const withdrawal = (amount: string) => ({ amount, type: 'Withdraw' });

const contract = new OpenApiContract();

function expectDocumented(path: string, answer: Answer): void {
  const ofPath = path.endsWith('/transactions') ? 'postTransaction' : 'placeHold';
  expect(contract.answerProblems(path === '/transfers' ? 'postTransfer' : ofPath, answer)).toEqual([]);
}

/** Submits once the broker is connected. */
async function accepted(app: TestApp, path: string, key: string, body: object, headers: Headers = {}) {
  let response = await submit(app, path, key, body, headers);
  await waitUntil(async () => {
    if (response.status === 503) response = await submit(app, path, key, body, headers);
    return response.status !== 503;
  }, settledWithin);
  expect([response.status, response.text]).toEqual([202, expect.stringContaining('"status":"queued"')]);
  expect(response.headers).toMatchObject({ 'preference-applied': 'respond-async' });
  expectDocumented(path, response);
  return response.headers['location'] as string;
}

async function decided(app: TestApp, location: string, headers: Headers = {}): Promise<Submission> {
  let submission: Submission | undefined;
  await waitUntil(async () => {
    const { status, text } = await app.http.get(location).set(headers);
    expect([status, text]).toEqual([200, expect.any(String)]);
    submission = JSON.parse(text) as Submission;
    return submission.status !== 'queued';
  }, settledWithin);
  return submission as Submission;
}

const statusOf = (response: { status: number; text: string }) => [
  response.status,
  JSON.parse(response.text) as object,
];

/** The keys of an account's transactions, in the order of their versions. */
async function keysOf(app: TestApp, accountId: number): Promise<string[]> {
  const rows = await query(
    app.databaseUrl,
    `SELECT idempotency_key FROM bank.transactions
     WHERE account_id = ${accountId} AND idempotency_key IS NOT NULL ORDER BY version_after`,
  );
  return rows.map((row) => String(row.idempotency_key));
}

const refusalsIn = (app: TestApp) =>
  query(
    app.databaseUrl,
    `SELECT account_id::int, idempotency_key, rejection::json->>'code' AS code FROM bank.refused_submissions ORDER BY 1, 2`,
  );

const booksAreWhole = async (app: TestApp) =>
  expect((await verifyBank([{ url: app.databaseUrl, schema: 'bank' }])).ok).toBe(true);

const bankIdOf = async (app: TestApp) =>
  String((await query(app.databaseUrl, 'SELECT bank_id FROM bank.shard_identity'))[0]?.bank_id);

/** A service that publishes with a user of its own. */
async function withChannel<T>(url: string, work: (channel: ConfirmChannel) => Promise<T>): Promise<T> {
  const connection: ChannelModel = await connect(url);
  connection.on('error', () => undefined);
  try {
    return await work(await connection.createConfirmChannel());
  } finally {
    await connection.close().catch(() => undefined);
  }
}

/** -1: there is no such queue yet. */
const count = async (queue: string) =>
  withChannel(broker.url, async (channel) => {
    channel.on('error', () => undefined);
    return channel.checkQueue(queue).then(
      ({ messageCount }) => messageCount,
      () => -1,
    );
  });

describe('a bank with a broker', () => {
  let app: TestApp;

  beforeEach(async () => {
    app = await startApp(settings());
  });

  afterEach(() => app.close());

  it('accepts postings, transfers and holds, and tells what became of them', async () => {
    const [one, other] = [await openAccount(app, '100.00'), await openAccount(app, '5.00')];
    const ofPosting = await accepted(app, transactionsOf(one), 'p', deposit('1.25'));
    const ofTransfer = await accepted(app, '/transfers', 't', { from: one, to: other, amount: '2.00' });
    const ofHold = await accepted(app, `/accounts/${one}/holds`, 'h', { amount: 3, reference: 'hotel' });
    expect(await decided(app, ofPosting)).toMatchObject({
      ...{ kind: 'transaction', status: 'posted', accountId: one, idempotencyKey: 'p' },
      transaction: { type: 'Deposit', amount: 1.25, newBalance: 101.25, newVersion: '3' },
    });
    expect(await decided(app, ofTransfer)).toMatchObject({
      ...{ kind: 'transfer', status: 'posted' },
      transfer: {
        legs: [
          { accountId: one, amount: 2 },
          { accountId: other, newBalance: 7 },
        ],
      },
    });
    const placed = await decided(app, ofHold);
    expect(placed).toMatchObject({
      kind: 'hold',
      status: 'posted',
      hold: { remaining: 3, reference: 'hotel' },
    });
    const inText = await app.http.get(ofHold).set('accept', 'application/json; money=string');
    expect(JSON.parse(inText.text)).toMatchObject({ hold: { remaining: '3.00' } });
    // A repeat of each is told of what the first one made, at once or later.
    expect(await accepted(app, transactionsOf(one), 'p', deposit('1.25'))).toBe(ofPosting);
    expect(await accepted(app, '/transfers', 't', { from: one, to: other, amount: '2.00' })).toBe(ofTransfer);
    const again = await post(app, transactionsOf(one), 'p', deposit('1.25'));
    expect(statusOf(again)).toMatchObject([409, { error: 'Duplicate transaction' }]);
    expect(
      statusOf(await post(app, `/accounts/${one}/holds`, 'h', { amount: 3, reference: 'hotel' })),
    ).toEqual([409, { error: 'Duplicate hold', holdId: placed.hold?.id }]);
    // Another request with a used key is refused, and the first one's outcome stays.
    const reused = await accepted(app, transactionsOf(one), 'p', deposit('9.00'));
    expect(await decided(app, reused)).toMatchObject({
      status: 'refused',
      refusal: { status: 422, code: 'IDEMPOTENCY_KEY_REUSED', body: { error: 'Idempotency key reused' } },
    });
    expect((await decided(app, ofPosting)).status).toBe('posted');
    await waitUntil(
      async () => (await metric(app, 'bank_submissions_queued{shard="0"}')) === 0,
      settledWithin,
    );
    expect(await refusalsIn(app)).toEqual([]);
    await booksAreWhole(app);
  }, 90_000);

  it('records a refusal once, and answers every repeat with it', async () => {
    const one = await openAccount(app, '10.00');
    const location = await accepted(app, transactionsOf(one), 'much', withdrawal('10.01'));
    const refusal = { status: 422, code: 'INSUFFICIENT_BALANCE', body: { error: 'Insufficient Balance' } };
    expect(await decided(app, location)).toMatchObject({ status: 'refused', refusal });
    // Which decimals an account has is known when it is read.
    const tooFine = await decided(app, await accepted(app, transactionsOf(one), 'fine', deposit('1.001')));
    expect(tooFine).toMatchObject({ refusal: { status: 400, body: { details: [{ field: 'amount' }] } } });
    // The money comes too late.
    expect((await app.http.post(transactionsOf(one)).send(deposit('5.00'))).status).toBe(201);
    const repeat = await post(app, transactionsOf(one), 'much', withdrawal('10.01'));
    expect(statusOf(repeat)).toEqual([422, { error: 'Insufficient Balance' }]);
    expect(await accepted(app, transactionsOf(one), 'much', withdrawal('10.01'))).toBe(location);
    const other = await post(app, transactionsOf(one), 'much', withdrawal('1.00'));
    expect(statusOf(other)).toEqual([422, { error: 'Idempotency key reused' }]);
    const repeated = 'bank_submissions_settled_total{shard="0",outcome="repeated"}';
    await waitUntil(async () => (await metric(app, repeated)) === 1, settledWithin);
    expect(await decided(app, location)).toMatchObject({ status: 'refused', refusal });
    expect(await refusalsIn(app)).toEqual([
      { account_id: one, idempotency_key: 'fine', code: 'TOO_MANY_DECIMALS' },
      { account_id: one, idempotency_key: 'much', code: 'INSUFFICIENT_BALANCE' },
    ]);
    expect(await metric(app, 'bank_submissions_settled_total{shard="0",outcome="refused"}')).toBe(2);
    await booksAreWhole(app);
  }, 90_000);

  it('refuses at the door what it can see there, and ids that it did not make', async () => {
    const one = await openAccount(app, '10.00');
    const path = transactionsOf(one);
    const first = await accepted(app, path, 'k', deposit('1.00'));
    const field = async (response: PromiseLike<{ status: number; text: string }>) => {
      const { status, text } = await response;
      const { details } = JSON.parse(text) as { details?: { field: string }[] };
      return [status, details?.[0]?.field];
    };
    expect(await field(app.http.post(path).set(ASYNC).send(deposit('1.00')))).toEqual([
      400,
      'Idempotency-Key',
    ]);
    expect(await field(submit(app, path, 'a', deposit('1.00001')))).toEqual([400, 'amount']);
    expect(await field(submit(app, path, 'a', deposit('1'), { 'if-match': '"2"' }))).toEqual([
      400,
      'If-Match',
    ]);
    expect(await field(submit(app, path, 'a', deposit('1'), { prefer: 'return=minimal' }))).toEqual([
      400,
      'Prefer',
    ]);
    const soon = { amount: 1, expiresAt: new Date().toISOString() };
    expect(await field(submit(app, `/accounts/${one}/holds`, 'a', soon))).toEqual([400, 'expiresAt']);
    // Nothing of a dry run is to be done later.
    const rehearsal = await submit(app, `${path}?dryRun=true`, 'a', deposit('1'));
    expect([rehearsal.status, rehearsal.headers['preference-applied']]).toEqual([200, undefined]);
    const [text = '', signature = ''] = first.slice('/submissions/'.length).split('.');
    const forged = Buffer.from(Buffer.from(text, 'base64url').toString().replace('"k"', '"K"')).toString(
      'base64url',
    );
    for (const id of [`${forged}.${signature}`, text, `${text}.`, 'x.y', `${text}.${'A'.repeat(43)}`]) {
      expect(statusOf(await app.http.get(`/submissions/${id}`))).toEqual([
        404,
        { error: 'Submission not found' },
      ]);
    }
    // An account that does not exist leaves no trace.
    const nowhere = await accepted(app, transactionsOf(999_999), 'a', deposit('1.00'));
    const dropped = 'bank_submissions_settled_total{shard="0",outcome="dropped"}';
    await waitUntil(async () => (await metric(app, dropped)) === 1, settledWithin);
    expect((await app.http.get(nowhere)).status).toBe(404);
    expect(await refusalsIn(app)).toEqual([]);
  }, 90_000);
});

describe('a bank without a broker', () => {
  it('ignores the preference', async () => {
    const app = await startApp();
    try {
      const one = await openAccount(app, '10.00');
      const posted = await submit(app, transactionsOf(one), 'k', deposit('1.00'));
      expect([posted.status, posted.headers['preference-applied']]).toEqual([201, undefined]);
      const other = await submit(app, transactionsOf(one), 'l', deposit('1.00'), { prefer: 'wait=3' });
      expect(other.status).toBe(400);
    } finally {
      await app.close();
    }
  }, 60_000);
});

describe('several instances, and what fails around them', () => {
  let database: TestDatabase;
  const instances: TestApp[] = [];

  beforeEach(async () => {
    database = await createTestDatabase('submissions');
  });

  afterEach(async () => {
    for (const instance of instances.splice(0)) await instance.close();
    await database.drop();
  });

  async function start(url = database.url, more: Record<string, string> = {}): Promise<TestApp> {
    const instance = await startInstance(url, settings(more), { submissions: { confirmTimeoutMs: 2_000 } });
    instances.push(instance);
    return instance;
  }

  /** One after the other, so their order is known: each withdrawal needs the deposit before it. */
  async function submitPairs(
    app: TestApp,
    accountId: number,
    pairs: number,
    prefix: string,
  ): Promise<string[]> {
    const keys: string[] = [];
    for (let n = 0; n < pairs; n++) {
      for (const [kind, body] of [
        ['in', deposit('1.00')],
        ['out', withdrawal('1.00')],
      ] as const) {
        const key = `${prefix}-${n}-${kind}`;
        await accepted(app, transactionsOf(accountId), key, body);
        keys.push(key);
      }
    }
    return keys;
  }

  it('post in the order of each account while consumers come and go, and each key once', async () => {
    const proxies = [await TcpProxy.start(broker.url), await TcpProxy.start(broker.url)];
    const apps = [
      await start(database.url, { RABBITMQ_URL: proxies[0]?.url ?? '' }),
      await start(database.url, { RABBITMQ_URL: proxies[1]?.url ?? '' }),
    ] as const;
    const [first] = apps;
    const accounts = [await openAccount(first), await openAccount(first), await openAccount(first)];
    let submitted = false;
    const submitting = Promise.all(
      accounts.map((accountId, index) => submitPairs(apps[index % 2] as TestApp, accountId, 40, 'k')),
    ).finally(() => (submitted = true));
    // Each cut hands the queue over to another consumer, with what the last one had not acknowledged.
    for (let cuts = 0; !submitted; cuts++) {
      await sleep(500);
      proxies[cuts % 2]?.proxy.reset();
    }
    const keys = await submitting;
    await waitUntil(async () => {
      const posted = await Promise.all(accounts.map((accountId) => keysOf(first, accountId)));
      return posted.every((list, index) => list.length === keys[index]?.length);
    }, 60_000);
    for (const [index, accountId] of accounts.entries())
      expect(await keysOf(first, accountId)).toEqual(keys[index]);
    expect(await refusalsIn(first)).toEqual([]);
    await booksAreWhole(first);
    for (const { proxy } of proxies) await proxy.stop();
  }, 180_000);

  it('wait while the database is down, accept meanwhile, and go on with the first undecided one', async () => {
    const { proxy, url } = await PostgresProxy.start(database.url);
    const app = await start(url, { LEDGER_TRANSACTION_TIMEOUT_MS: '1000' });
    const one = await openAccount(app);
    const before = await submitPairs(app, one, 5, 'before');
    proxy.takeDown();
    const startedMs = performance.now();
    const during = await submitPairs(app, one, 20, 'during');
    while (performance.now() - startedMs < 10_000) await sleep(100);
    expect((await query(database.url, 'SELECT FROM bank.refused_submissions')).length).toBe(0);
    proxy.heal();
    const keys = [...before, ...during];
    const direct = { databaseUrl: database.url } as TestApp;
    await waitUntil(async () => (await keysOf(direct, one)).length === keys.length, 60_000);
    expect(await keysOf(direct, one)).toEqual(keys);
    await booksAreWhole(direct);
    await instances.pop()?.close();
    await proxy.stop();
  }, 120_000);

  it.each(['cut-before', 'cut-after'] as const)(
    'decide each key once when the COMMIT of a refusal and a posting is %s',
    async (atCommit) => {
      const { proxy, url } = await PostgresProxy.start(database.url);
      const app = await start(url);
      const one = await openAccount(app, '1.00');
      await accepted(app, transactionsOf(one), 'first', deposit('1.00'));
      let cuts = 0;
      proxy.onCut = () => {
        cuts += 1;
        if (cuts === 3) proxy.atCommit = 'forward';
      };
      await waitUntil(
        async () => (await keysOf({ databaseUrl: database.url } as TestApp, one)).length === 1,
        20_000,
      );
      proxy.atCommit = atCommit;
      const refused = await accepted(app, transactionsOf(one), 'refused', withdrawal('99.00'));
      const posted = await accepted(app, transactionsOf(one), 'posted', withdrawal('2.00'));
      await waitUntil(() => Promise.resolve(cuts > 0), 20_000);
      proxy.atCommit = 'forward';
      expect(await decided(app, posted)).toMatchObject({ status: 'posted' });
      expect(await decided(app, refused)).toMatchObject({ status: 'refused' });
      const direct = { databaseUrl: database.url } as TestApp;
      expect(await refusalsIn(direct)).toHaveLength(1);
      expect(await keysOf(direct, one)).toEqual(['first', 'posted']);
      await booksAreWhole(direct);
      await instances.pop()?.close();
      await proxy.stop();
    },
    90_000,
  );

  it('answer 503 while the broker hangs or is away, post nothing past the queue, and go on', async () => {
    const { proxy, url } = await TcpProxy.start(broker.url);
    const app = await start(database.url, { RABBITMQ_URL: url });
    const one = await openAccount(app);
    const first = await submitPairs(app, one, 5, 'first');
    await waitUntil(async () => (await keysOf(app, one)).length === first.length, settledWithin);
    proxy.silence();
    const hung = await submit(app, transactionsOf(one), 'hung', deposit('1.00'));
    expect([hung.status, hung.headers['x-error-code']]).toEqual([503, 'OUTCOME_UNKNOWN']);
    proxy.takeDown();
    await waitUntil(async () => (await metric(app, 'bank_rabbitmq_up')) === 0, 30_000);
    const dead = await submit(app, transactionsOf(one), 'dead', deposit('1.00'));
    expect([dead.status, dead.headers['x-error-code']]).toEqual([503, 'BROKER_UNAVAILABLE']);
    for (const answer of [hung, dead]) expectDocumented(transactionsOf(one), answer);
    expect((await app.http.get('/health/ready')).status).toBe(200);
    expect(await keysOf(app, one)).toEqual(first);
    proxy.heal();
    await waitUntil(async () => (await metric(app, 'bank_rabbitmq_up')) === 1, 60_000);
    // The same key again, whatever became of it.
    await accepted(app, transactionsOf(one), 'hung', deposit('1.00'));
    const last = await submitPairs(app, one, 5, 'last');
    const keys = [...first, 'hung', ...last];
    await waitUntil(async () => (await keysOf(app, one)).length === keys.length, 60_000);
    expect(await keysOf(app, one)).toEqual(keys);
    await booksAreWhole(app);
    await instances.pop()?.close();
    await proxy.stop();
  }, 120_000);

  it('are full at some point, and keep what they have accepted', async () => {
    // Another consumer is active, and takes one message that it never acknowledges.
    const connection = await connect(broker.url);
    const channel = await connection.createConfirmChannel();
    const topology = new Topology(exchange, 3);
    await topology.assert(channel, 0);
    await channel.prefetch(1);
    await channel.consume(topology.queueOf(0), () => undefined);
    const app = await startInstance(database.url, settings(), { submissions: { maxQueued: 3 } });
    instances.push(app);
    const one = await openAccount(app);
    const acceptedKeys: string[] = [];
    const refused: unknown[] = [];
    await accepted(app, transactionsOf(one), 'k-0', deposit('1.00'));
    for (let n = 1; n < 40; n++) {
      const { status, headers } = await submit(app, transactionsOf(one), `k-${n}`, deposit('1.00'));
      if (status === 202) acceptedKeys.push(`k-${n}`);
      else refused.push([status, headers['x-error-code']]);
    }
    expect(refused).not.toEqual([]);
    expect(refused).toEqual(refused.map(() => [503, 'OVERLOADED']));
    expect(await keysOf(app, one)).toEqual([]);
    await connection.close();
    const keys = ['k-0', ...acceptedKeys];
    await waitUntil(async () => (await keysOf(app, one)).length >= keys.length, settledWithin);
    expect(await keysOf(app, one)).toEqual(keys);
  }, 90_000);
});

describe('other services', () => {
  let app: TestApp;
  const USER = 'billing';

  beforeAll(async () => {
    await broker.control('add_user', USER, 'secret');
    // It may write to the exchange for submissions, and do nothing else.
    await broker.control('set_permissions', USER, '^$', '^async-[0-9]+\\.submissions$', '^$');
  }, 120_000);

  beforeEach(async () => {
    app = await startApp(settings({ AUTH: 'on' }));
  });

  afterEach(() => app.close());

  async function admin() {
    return bearer((await makeKey(app)).key);
  }

  /** @returns whether the broker took it */
  async function send(item: unknown, options: Options.Publish = {}, routingKey = '0'): Promise<boolean> {
    const url = broker.url.replace('guest:guest', `${USER}:secret`);
    const bank = await bankIdOf(app);
    return withChannel(url, async (channel) => {
      channel.on('error', () => undefined);
      const body = typeof item === 'string' ? item : JSON.stringify(item);
      channel.publish(`${exchange}.submissions`, routingKey, Buffer.from(body), {
        ...{ userId: USER, type: 'submission.v1', persistent: true, headers: { bank } },
        ...options,
      });
      return channel.waitForConfirms().then(
        () => true,
        () => false,
      );
    });
  }

  const open = async (headers: Headers, body: object = {}) => {
    const { text } = await app.http.post('/accounts').set(headers).send(body);
    return (JSON.parse(text) as { accountId: number }).accountId;
  };

  async function cli(...args: string[]): Promise<string> {
    const environment = { ...settings(), DATABASE_URL: app.databaseUrl };
    const ended = await startCli(['submissions', ...args], environment).ended;
    expect([args.join(' '), ended.code, ended.stderr]).toEqual([args.join(' '), 0, expect.any(String)]);
    return ended.stdout;
  }

  const untilDead = async (messages: number) =>
    waitUntil(async () => (await count(`${exchange}.submissions.dead`)) === messages, settledWithin);

  it('submit in the name of an API key, and only what that may do', async () => {
    const key = await admin();
    const one = await open(key, { openingDeposit: 10 });
    const item = (idempotencyKey: string, type = 'Deposit') => ({
      ...{ accountId: one, amount: '1.00', type, idempotencyKey },
    });
    await untilDead(0);
    await send(item('early'));
    await untilDead(1);
    const ofService = await makeKey(app, { name: `rabbitmq:${USER}`, scopes: ['deposits:write'] });
    await send(item('mine'));
    await send(item('not-mine', 'Withdraw'));
    await waitUntil(async () => (await keysOf(app, one)).includes('mine'), settledWithin);
    await waitUntil(async () => (await refusalsIn(app)).length === 1, settledWithin);
    expect(await refusalsIn(app)).toEqual([
      { account_id: one, idempotency_key: 'not-mine', code: 'SENDER_REFUSED' },
    ]);
    expect(statusOf(await post(app, transactionsOf(one), 'not-mine', withdrawal('1.00'), key))).toEqual([
      422,
      { error: 'Sender refused' },
    ]);
    // Nobody can send as another user, or past the exchange.
    expect(await send(item('guest'), { userId: 'guest' })).toBe(false);
    await query(
      app.databaseUrl,
      `UPDATE bank.api_keys SET revoked_at = now() WHERE key_id = ${ofService.keyId}`,
    );
    await send(item('revoked'));
    await untilDead(2);
    expect(await keysOf(app, one)).toEqual(['mine']);
  }, 120_000);

  it('are put aside when malformed, and can be replayed or discarded', async () => {
    const key = await admin();
    const one = await open(key, { openingDeposit: 10 });
    await makeKey(app, { name: `rabbitmq:${USER}`, scopes: ['transactions:write'] });
    const item = { accountId: one, amount: '1.00', type: 'Deposit', idempotencyKey: 'k' };
    await untilDead(0);
    const malformed: [unknown, Options.Publish?][] = [
      ['{'],
      [{ ...item, amount: '1.00001' }],
      [{ ...item, idempotencyKey: undefined }],
      [{ type: 'Void', holdId: 'hold1', idempotencyKey: 'k' }],
      [item, { headers: { bank: 'another' } }],
      [item, { userId: undefined }],
    ];
    for (const [body, options] of malformed) await send(body, options);
    await untilDead(malformed.length);
    await send({ ...item, idempotencyKey: 'good' });
    await waitUntil(async () => (await keysOf(app, one)).includes('good'), settledWithin);
    expect(await keysOf(app, one)).toEqual(['good']);
    const listed = await cli('list');
    expect(listed).toContain('body is not valid JSON');
    expect(listed).toContain('must be an amount greater than zero');
    expect(listed).toContain('idempotencyKey is missing');
    expect(listed).toContain("the header bank must be the bank's id");
    expect(await count(`${exchange}.submissions.dead`)).toBe(malformed.length);
    // Whose accounts a stranger's message names is not known, so it spends no key.
    const [id = ''] = /^\w+(?=.*must be an amount)/m.exec(listed) ?? [];
    expect(await cli('discard', id)).toContain('1 discarded');
    expect(await refusalsIn(app)).toEqual([]);
    expect((await post(app, transactionsOf(one), 'k', deposit('1.00'), key)).status).toBe(201);
    expect(await cli('replay', '--all')).toContain(`${malformed.length - 1} replayed`);
    // All of them are as malformed as before.
    await untilDead(malformed.length - 1);
    expect(await cli('discard', '--all')).toContain(`${malformed.length - 1} discarded`);
    expect(await count(`${exchange}.submissions.dead`)).toBe(0);
    await booksAreWhole(app);
  }, 180_000);

  it('can not pass for others, nor break the commands for what is put aside', async () => {
    const key = await admin();
    const one = await open(key, { openingDeposit: 10 });
    await makeKey(app, { name: 'rabbitmq:other', scopes: ['transactions:write'] });
    const bank = await bankIdOf(app);
    const item = { accountId: one, amount: '1.00', type: 'Withdraw', idempotencyKey: 'stolen' };
    const own = (principal: object) => JSON.stringify([[{ principal, at: 0 }, JSON.stringify(item)]]);
    const forged: [unknown, Options.Publish][] = [
      [item, { userId: undefined, headers: { bank, 'x-user': 'other', 'x-shard': 7, 'x-reason': {} } }],
      [own({ id: 'key:1', scopes: ['admin'] }), { headers: { bank, signature: 'x' } }],
      ['[[{},"x"]]', { headers: { bank: 'x', signature: 'x' } }],
      ['[[{"user":"other"},5]]', { headers: { bank, signature: 'x' } }],
      [{ type: 'Transfer', legs: [null], idempotencyKey: 'x' }, {}],
      ['null', {}],
    ];
    await untilDead(0);
    for (const [body, options] of forged) await send(body, options);
    await untilDead(forged.length);
    const listed = await cli('list');
    expect(listed.trimEnd().split('\n')).toHaveLength(forged.length);
    expect(listed).not.toMatch(/user other {2}|key:1 {2}/);
    expect(await cli('replay', '--all')).toContain(`${forged.length} replayed`);
    await untilDead(forged.length);
    expect(await cli('discard', '--all')).toContain(`${forged.length} discarded`);
    expect([await keysOf(app, one), await refusalsIn(app)]).toEqual([[], []]);
  }, 120_000);

  it('that are put aside after they were accepted spend their key when they are discarded', async () => {
    const key = await admin();
    const one = await open(key, { openingDeposit: 10 });
    const [identity] = await query(
      app.databaseUrl,
      'SELECT submission_secret AS secret FROM bank.shard_identity',
    );
    const principal = { id: 'everybody', owner: undefined, scopes: new Set([]) };
    const item = JSON.stringify({ type: 'Void', accountId: one, holdId: 'hold1', idempotencyKey: 'k' });
    await untilDead(0);
    const { body, type, headers } = sealed([{ claim: { principal, at: 0 }, item }], {
      bankId: await bankIdOf(app),
      secret: String(identity?.secret),
    });
    await withChannel(broker.url, async (channel) => {
      channel.publish('', `${exchange}.submissions.0`, body, { type, headers, persistent: true });
      await channel.waitForConfirms();
    });
    await untilDead(1);
    expect(await cli('list')).toContain('everybody');
    // Where they were put aside may be gone: it is made anew.
    await broker.control('delete_queue', `${exchange}.submissions.dead`);
    await withChannel(broker.url, async (channel) => {
      channel.publish('', `${exchange}.submissions.0`, body, { type, headers, persistent: true });
      await channel.waitForConfirms();
    });
    await untilDead(1);
    expect(await cli('discard', '--all')).toContain('1 discarded');
    expect(await refusalsIn(app)).toEqual([
      { account_id: one, idempotency_key: 'k', code: 'SUBMISSION_DISCARDED' },
    ]);
    expect(statusOf(await post(app, transactionsOf(one), 'k', deposit('1.00'), key))).toEqual([
      422,
      { error: 'Submission discarded' },
    ]);
  }, 120_000);

  it('of an owner spend no keys of others, and neither does an owner over HTTP', async () => {
    const key = await admin();
    const ada = await makeKey(app, { owner: 'ada', scopes: ['transactions:read', 'deposits:write'] });
    const bob = await makeKey(app, { owner: 'bob', scopes: ['transactions:read', 'deposits:write'] });
    const one = await open(key, { openingDeposit: 10, owner: 'ada' });
    const mine = await accepted(app, transactionsOf(one), 'mine', deposit('1.00'), bearer(ada.key));
    const foreign = await accepted(app, transactionsOf(one), 'order', deposit('1.00'), bearer(bob.key));
    expect(await decided(app, mine, bearer(ada.key))).toMatchObject({ status: 'posted' });
    for (const headers of [bearer(bob.key), key]) {
      expect((await app.http.get(foreign).set(headers)).status).toBe(404);
    }
    expect((await app.http.get(mine).set(bearer(bob.key))).status).toBe(404);
    expect((await app.http.get(mine).set(key)).status).toBe(200);
    expect((await app.http.get(mine)).status).toBe(401);
    expect((await post(app, transactionsOf(one), 'order', deposit('1.00'), bearer(ada.key))).status).toBe(
      201,
    );
    expect(await refusalsIn(app)).toEqual([]);
    await booksAreWhole(app);
  }, 120_000);
});

it('keeps what it has accepted on the disk of a broker that is killed', async () => {
  const database = await createTestDatabase('submissions');
  const { proxy, url } = await PostgresProxy.start(database.url);
  const app = await startInstance(url, settings());
  try {
    const one = await openAccount(app);
    await accepted(app, transactionsOf(one), 'k-0', deposit('1.00'));
    proxy.takeDown();
    const keys = ['k-0', 'k-1', 'k-2', 'k-3'];
    for (const key of keys.slice(1)) await accepted(app, transactionsOf(one), key, deposit('1.00'));
    await broker.kill();
    await broker.start();
    proxy.heal();
    const direct = { databaseUrl: database.url } as TestApp;
    await waitUntil(async () => (await keysOf(direct, one)).length === keys.length, 60_000);
    expect(await keysOf(direct, one)).toEqual(keys);
    await booksAreWhole(direct);
  } finally {
    await app.close();
    await proxy.stop();
    await database.drop();
  }
}, 240_000);
