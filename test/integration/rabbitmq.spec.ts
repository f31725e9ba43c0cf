import { createServer } from 'node:net';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { connect, type ConsumeMessage } from 'amqplib';
import { startRabbitMq, type RabbitMqServer } from '../../tools/stack/servers/rabbitmq.js';
import { tablesOf } from '../../src/storage/tables.js';
import { THE_SERVICE } from '../../src/domain/sender.js';
import type { LedgerEvent } from '../../src/domain/ledger-event.js';
import { EventRelay } from '../../src/messaging/event-relay.js';
import { InProcessPublisher } from '../../src/messaging/in-process-publisher.js';
import { LogReceiver } from '../../src/messaging/log-receiver.js';
import { Outbox } from '../../src/messaging/outbox.js';
import { RecentLocalBatches } from '../../src/messaging/recent-local-batches.js';
import { RabbitMqConnection } from '../../src/messaging/rabbitmq-connection.js';
import { RabbitMqPublisher } from '../../src/messaging/rabbitmq-publisher.js';
import { Metrics } from '../../src/observability/metrics.js';
import type { TransactionPosted } from '../../src/messaging/transaction-posted.js';
import { openAccount, startApp, startInstance, type TestApp } from '../support/app.js';
import { startCli } from '../support/cli.js';
import { expectEverythingArrived, isValidEvent, Listener, Load } from '../support/events.js';
import { openLedger, PATIENT, type TestLedger } from '../support/ledger.js';
import { createTestDatabase, query, type TestDatabase } from '../support/postgres.js';
import { PostgresProxy, type AtCommit } from '../../tools/stack/proxies/postgres-proxy.js';
import { metric, startService, waitUntil } from '../support/service.js';

/** Far more than a posting takes on a busy machine, far less than the broker is away. */
const PROMPT_MS = 3_000;

let broker: RabbitMqServer;
let exchange: string;
let tests = 0;

beforeAll(async () => {
  broker = await startRabbitMq();
}, 60_000);

afterAll(() => broker.stop());

beforeEach(() => {
  exchange = `bank-${(tests += 1)}`;
});

const settings = (more: Record<string, string> = {}) => ({
  RABBITMQ_URL: broker.url,
  RABBITMQ_EXCHANGE: exchange,
  ...more,
});

/** With a broker that hangs. */
const IMPATIENT = { rabbitmq: { confirmTimeoutMs: 2_000 } };

const becomes = (app: { url: string }, sample: string, value: number) =>
  waitUntil(async () => (await metric(app, sample)) === value, 30_000);

const becomesPositive = (app: { url: string }, sample: string) =>
  waitUntil(async () => (await metric(app, sample)) > 0, 30_000);

async function openAccounts(app: TestApp, count: number): Promise<number[]> {
  return Promise.all(Array.from({ length: count }, () => openAccount(app, '10.00')));
}

/** A deposit, a hold with a capture and its end, and, between two accounts, a transfer and its reversal. */
async function postOfAllKinds({ scheduler }: TestLedger, accountId: number, other: number): Promise<void> {
  await scheduler.submit({ accountId, type: 'credit', amount: 100n });
  const placed = await scheduler.submit({ type: 'hold', accountId, amount: 30n });
  const holdId = placed.transactions[0]?.transactionId ?? 0;
  const to = other === accountId ? undefined : { accountId: other };
  await scheduler.submit({ type: 'capture', accountId, holdId, amount: 10n, final: false, to });
  await scheduler.submit({ type: 'void', accountId, holdId });
  if (other === accountId) return;
  const legs = [
    { accountId, type: 'debit', amount: 5n },
    { accountId: other, type: 'credit', amount: 5n },
  ] as const;
  const { transactions } = await scheduler.submit({ type: 'transfer', accountId, legs });
  const transferId = transactions[0]?.transferId ?? 0;
  const accountIds = [accountId, other];
  await scheduler.submit({ type: 'transfer-reversal', accountId: other, transferId, accountIds });
}

describe('a service with RabbitMQ', () => {
  let app: TestApp;

  afterEach(() => app.close());

  it('publishes every transaction as a self-describing message', async () => {
    app = await startApp(settings(), IMPATIENT);
    const connection = await connect(broker.url);
    const channel = await connection.createChannel();
    await channel.assertExchange(exchange, 'topic');
    await channel.assertQueue('raw');
    await channel.bindQueue('raw', exchange, '#');
    const messages: ConsumeMessage[] = [];
    await channel.consume('raw', (message) => message && messages.push(message), { noAck: true });
    const accountId = await openAccount(app, '12.34');
    await waitUntil(() => Promise.resolve(messages.length === 1), 10_000);
    await connection.close();
    const [message] = messages;
    const event: unknown = JSON.parse(String(message?.content));
    expect(isValidEvent(event)).toBe(true);
    const [bank] = await query(app.databaseUrl, 'SELECT bank_id FROM bank.shard_identity');
    expect(event).toMatchObject({
      id: 'txn1',
      source: `urn:uuid:${String(bank?.bank_id)}`,
      subject: `accounts/${accountId}`,
      data: { accountId, amount: '12.34', balance: '12.34', version: 2, type: 'Deposit' },
    });
    expect(message?.fields.routingKey).toBe('transaction.posted.0');
    expect(message?.properties).toMatchObject({
      contentType: 'application/cloudevents+json',
      deliveryMode: 2,
      messageId: 'txn1',
      type: 'transaction.posted.v1',
      timestamp: Math.floor(Date.parse((event as { time: string }).time) / 1000),
      headers: { account: String(accountId) },
    });
  });

  it('goes on where queues are bound for transactions alone', async () => {
    app = await startApp(settings(), IMPATIENT);
    const ledger = await openLedger(app.databaseUrl);
    const connection = await connect(broker.url);
    const channel = await connection.createChannel();
    await channel.assertExchange(exchange, 'topic');
    await channel.assertQueue(`${exchange}.old`);
    await channel.bindQueue(`${exchange}.old`, exchange, 'transaction.posted.*');
    const messages: ConsumeMessage[] = [];
    await channel.consume(`${exchange}.old`, (message) => message && messages.push(message), { noAck: true });
    const [one = 0, other = 0] = await openAccounts(app, 2);
    await postOfAllKinds(ledger, one, other);
    await ledger.scheduler.submit({ type: 'change', accountId: one, changes: { status: 'frozen' } });
    await becomes(app, 'bank_rabbitmq_backlog_rows{shard="0"}', 0);
    await waitUntil(() => Promise.resolve(messages.length === 2 + 10), 10_000);
    expect(messages.map(({ properties }) => properties.type as string).sort()).toEqual([
      ...Array.from({ length: 9 }, () => 'transaction.posted.v1'),
      ...Array.from({ length: 3 }, () => 'transaction.posted.v2'),
    ]);
    await connection.close();
    await ledger.close();
  });

  it('keeps and reports events without a bound queue, and publishes them once there is one', async () => {
    app = await startApp(settings(), IMPATIENT);
    const accountIds = await openAccounts(app, 3);
    const load = new Load([app.url], accountIds);
    await load.more(30);
    const unroutable = 'bank_rabbitmq_publish_failures_total{shard="0",reason="unroutable"}';
    await waitUntil(async () => (await metric(app, unroutable)) >= 2, 20_000);
    await becomesPositive(app, 'bank_rabbitmq_backlog_rows{shard="0"}');
    await becomesPositive(app, 'bank_rabbitmq_oldest_age_seconds{shard="0"}');
    const listener = await Listener.start(broker, exchange);
    await load.more(30);
    await load.stop();
    await expectEverythingArrived(listener, app.databaseUrl);
    await listener.stop();
    expect([...load.statuses.keys()]).toEqual([201]);
    await becomes(app, 'bank_rabbitmq_backlog_rows{shard="0"}', 0);
    expect(await metric(app, 'bank_rabbitmq_oldest_age_seconds{shard="0"}')).toBe(0);
    expect(await metric(app, 'bank_rabbitmq_events_published_total{shard="0"}')).toBe(load.posted + 3);
  }, 60_000);

  it('continues posting while the broker hangs or is dead, and then all kinds of events arrive in order', async () => {
    app = await startApp(settings(), IMPATIENT);
    const ledger = await openLedger(app.databaseUrl, ...PATIENT);
    const listener = await Listener.start(broker, exchange);
    const accountIds = await openAccounts(app, 3);
    const [accountId = 0] = accountIds;
    const load = new Load([app.url], accountIds);
    const round = () =>
      Promise.all(
        accountIds.map((id, index) => postOfAllKinds(ledger, id, accountIds[(index + 1) % 3] ?? 0)),
      );
    const rounds = async (count: number) => {
      for (let done = 0; done < count; done++) await round();
    };
    await Promise.all([load.more(50), rounds(3)]);
    await broker.kill('SIGSTOP');
    const late = 'bank_rabbitmq_publish_failures_total{shard="0",reason="timeout"}';
    await becomesPositive(app, late);
    await broker.kill();
    await becomes(app, 'bank_rabbitmq_up', 0);
    await Promise.all([load.more(100), rounds(3)]);
    expect((await app.http.get('/health/ready')).status).toBe(200);
    await broker.start();
    await Promise.all([load.more(50), rounds(3)]);
    await becomes(app, 'bank_rabbitmq_up', 1);
    await load.stop();
    const limit = { type: 'change', accountId, changes: { overdraftLimit: 100n } } as const;
    const [changed] = (await ledger.scheduler.submit(limit)).accounts;
    await ledger.post({ accountId, type: 'debit', amount: (changed?.balance ?? 0n) + 100n });
    await expectEverythingArrived(listener, app.databaseUrl);
    await listener.stop();
    await ledger.close();
    expect([...load.statuses.keys()]).toEqual([201]);
    expect(load.slowestMs).toBeLessThan(PROMPT_MS);
    expect(listener.events.at(-1)?.data.balance).toBe('-1.00');
    const ids = (type: string) =>
      listener.all.filter((event) => event.type.startsWith(type)).map(({ id }) => id);
    const [expected] = await query(
      app.databaseUrl,
      `SELECT array_agg(DISTINCT 'tr' || transfer_id) FILTER (WHERE transfer_id > 0) AS transfers,
              array_agg('hold' || hold_id || '/' || version_after) FILTER (WHERE type = 'hold') AS placed,
              array_agg('hold' || hold_id || '/' || version_after) FILTER (WHERE type = 'debit' AND hold_id > 0)
                AS captured
       FROM bank.transactions WHERE transfer_id IS NOT NULL OR hold_id IS NOT NULL`,
    );
    const sorted = (list: unknown) => [...(list as string[])].sort();
    expect(sorted(ids('transfer.completed'))).toEqual(sorted(expected?.transfers));
    expect(sorted(ids('hold.placed'))).toEqual(sorted(expected?.placed));
    expect(sorted(ids('hold.captured'))).toEqual(sorted(expected?.captured));
    expect(ids('hold.voided')).toHaveLength(9 * 3);
    expect(ids('account.changed')).toEqual([`account${accountId}/1`]);
    // A hold's event never comes before its transaction's.
    const placeOf = new Map(listener.all.map(({ id }, place) => [id, place]));
    for (const { id, data } of listener.all.filter(({ type }) => type.startsWith('hold.')))
      expect(placeOf.get(id)).toBeGreaterThan(placeOf.get(String(data['transactionId'])) ?? Infinity);
  }, 90_000);

  it('continues posting while an alarm blocks the broker, and publishes afterwards', async () => {
    app = await startApp(settings(), IMPATIENT);
    const listener = await Listener.start(broker, exchange);
    const load = new Load([app.url], await openAccounts(app, 3));
    await broker.control('set_vm_memory_high_watermark', '0.00001');
    await becomes(app, 'bank_rabbitmq_blocked', 1);
    expect(await metric(app, 'bank_rabbitmq_up')).toBe(1);
    await load.more(100);
    const blocked = 'bank_rabbitmq_publish_failures_total{shard="0",reason="blocked"}';
    await becomesPositive(app, blocked);
    await broker.control('set_vm_memory_high_watermark', '0.4');
    await becomes(app, 'bank_rabbitmq_blocked', 0);
    await load.stop();
    await expectEverythingArrived(listener, app.databaseUrl);
    await listener.stop();
    expect([...load.statuses.keys()]).toEqual([201]);
    expect(load.slowestMs).toBeLessThan(PROMPT_MS);
  }, 60_000);
});

describe('a service whose broker accepts connections and says nothing', () => {
  it('starts, posts and stops as if there were no broker', async () => {
    const silent = createServer((socket) => socket.resume());
    await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve));
    const { port } = silent.address() as { port: number };
    const app = await startApp({ RABBITMQ_URL: `amqp://guest:guest@127.0.0.1:${port}` });
    try {
      const load = new Load([app.url], await openAccounts(app, 2));
      await load.more(50);
      await load.stop();
      expect([...load.statuses.keys()]).toEqual([201]);
      expect(await metric(app, 'bank_rabbitmq_up')).toBe(0);
      await becomesPositive(app, 'bank_rabbitmq_backlog_rows{shard="0"}');
    } finally {
      const startedMs = performance.now();
      await app.close();
      expect(performance.now() - startedMs).toBeLessThan(PROMPT_MS);
      await new Promise((resolve) => silent.close(resolve));
    }
  });
});

describe('several relays of one shard', () => {
  let database: TestDatabase;

  beforeEach(async () => {
    database = await createTestDatabase('rabbitmq');
  });

  afterEach(() => database.drop());

  it('lose nothing when one service of two is killed under load', async () => {
    const environment = settings({
      DATABASE_URL: database.url,
      AUTH: 'off',
      LEDGER_TRANSACTION_TIMEOUT_MS: '1000',
      LOG_LEVEL: 'error',
    });
    const listener = await Listener.start(broker, exchange);
    // Both look at the outbox equally often, so each gets its share of the events.
    const survivor = await startInstance(database.url, environment, { outbox: { pollMs: 500 } });
    const victim = await startService({ environment });
    const load = new Load([survivor.url, victim.url], await openAccounts(survivor, 3));
    const published = (app: { url: string }) =>
      metric(app, 'bank_rabbitmq_events_published_total{shard="0"}');
    for (const app of [survivor, victim]) {
      await waitUntil(async () => ((await published(app)) ?? 0) > 20, 20_000);
    }
    victim.child.kill('SIGKILL');
    await victim.exited;
    await load.more(50);
    await load.stop();
    await expectEverythingArrived(listener, database.url);
    await listener.stop();
    await survivor.close();
  }, 60_000);

  it.each<[AtCommit, string]>([
    ['cut-before', 'publish again what they had published'],
    ['cut-after', 'go on after what was removed'],
  ])(
    'lose nothing when the removal is %s its COMMIT: they %s',
    async (atCommit) => {
      const { proxy, url } = await PostgresProxy.start(database.url);
      const ledger = await openLedger(database.url);
      const relayed = await openLedger(url);
      const listener = await Listener.start(broker, exchange);
      const connection = new RabbitMqConnection(
        { url: broker.url, exchange },
        { info: () => undefined, warn: () => undefined },
      );
      let cuts = 0;
      proxy.onCut = () => {
        cuts += 1;
        proxy.atCommit = 'forward';
      };
      class CutAfterPublishing extends RabbitMqPublisher {
        override async publish(events: readonly LedgerEvent[]): Promise<void> {
          await super.publish(events);
          if (cuts < 3) proxy.atCommit = atCommit;
        }
      }
      const publisher = new CutAfterPublishing(connection, {
        exchange,
        confirmTimeoutMs: 5_000,
        bankId: '2b5d74f1-4b36-41ad-9d3c-0123456789ab',
        shardIndex: 0,
      });
      const tables = tablesOf('bank');
      const silent = { failing: () => undefined, recovered: () => undefined };
      const receiver = new LogReceiver(relayed.runner, tables, 500);
      await receiver.begin();
      const bus = new InProcessPublisher(new RecentLocalBatches());
      const relays = [
        new EventRelay(new Outbox(ledger.runner, tables, 500), bus, 10, new Metrics().forOutbox(0), silent),
        new EventRelay(receiver, publisher, 10, new Metrics().forRabbitMq(0), silent),
      ];
      for (const relay of relays) relay.start();
      const { accountId } = await ledger.opener.open({ openingDeposit: 100n }, THE_SERVICE);
      await waitUntil(async () => {
        await postOfAllKinds(ledger, accountId, accountId);
        return cuts === 3;
      }, 20_000);
      await expectEverythingArrived(listener, database.url);
      expect(listener.repeats > 0).toBe(atCommit === 'cut-before');
      await Promise.all(relays.map((relay) => relay.stop()));
      await connection.close();
      await listener.stop();
      await relayed.close();
      await ledger.close();
      await proxy.stop();
    },
    60_000,
  );
});

describe('events replay', () => {
  let app: TestApp;

  afterEach(() => app?.close());

  const replay = (...args: string[]) =>
    startCli(['events', 'replay', ...args], { ...settings(), DATABASE_URL: app.databaseUrl, AUTH: 'off' })
      .ended;

  it('has everything since a time published again, in order, and then what comes next; on record', async () => {
    app = await startApp(settings(), IMPATIENT);
    const listener = await Listener.start(broker, exchange);
    const [accountId = 0] = await openAccounts(app, 1);
    const ledger = await openLedger(app.databaseUrl);
    const post = () => ledger.post({ accountId, type: 'credit', amount: 1n });
    for (let n = 0; n < 5; n++) await post();
    await expectEverythingArrived(listener, app.databaseUrl);
    expect(listener.repeats).toBe(0);
    const before = listener.all.length;
    const since = new Date(Date.now() - 3_600_000).toISOString();
    const { code, stdout, stderr } = await replay('--since', since);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(stdout).toMatch(/^Shard 0: \d+ row\(s\) of the log are published again, from \S+Z on\.\n$/);
    await waitUntil(() => Promise.resolve(listener.repeats === before), 20_000);
    await post();
    await expectEverythingArrived(listener, app.databaseUrl);
    expect(listener.repeats).toBe(before);
    const acts = await query(
      app.databaseUrl,
      `SELECT details FROM bank.audit_events WHERE action = 'events.replayed'`,
    );
    expect(acts).toEqual([{ details: JSON.stringify({ since }) }]);
    await ledger.close();
    await listener.stop();
  });

  it('says so where nothing was ever published, and leaves no record', async () => {
    app = await startApp();
    expect(await replay('--since', '2026-01-01')).toMatchObject({
      ...{ code: 1, stdout: '' },
      stderr: expect.stringContaining('the bank has no broker'),
    });
    expect(await query(app.databaseUrl, 'SELECT FROM bank.audit_events')).toEqual([]);
    expect(await replay('--since', '2999-01-01')).toMatchObject({ code: 2 });
  });
});

describe('events tail', () => {
  let app: TestApp;

  afterEach(() => app?.close());

  /** No database is there: a command that opened the bank would fail. */
  const NO_BANK = { DATABASE_URL: 'postgresql://bank@127.0.0.1:1/bank', DATABASE_START_TIMEOUT_MS: '0' };

  async function tail(...args: string[]) {
    const cli = startCli(['events', 'tail', ...args], { ...NO_BANK, ...settings() });
    await waitUntil(() => Promise.resolve(cli.output().stderr.includes('Waiting for events')), 30_000);
    return cli;
  }

  it('prints the events of the given accounts, and ends after the given number', async () => {
    app = await startApp(settings(), IMPATIENT);
    const accountIds = await Promise.all([openAccount(app), openAccount(app), openAccount(app)]);
    const [one, other] = [accountIds[0] ?? 0, accountIds[2] ?? 0];
    const [machine, person] = await Promise.all([
      tail('--json', '--account', String(one), String(other), '--count', '3'),
      tail('--account', String(other), '--count', '1'),
    ]);
    for (const accountId of [...accountIds, one]) {
      await app.http.post(`/accounts/${accountId}/transactions`).send({ amount: '1.00', type: 'Deposit' });
    }
    const { code, stdout } = await machine.ended;
    expect(code).toBe(0);
    const events = stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as TransactionPosted);
    expect(events.filter((event) => !isValidEvent(event))).toEqual([]);
    expect(events.map(({ data }) => [data.accountId, data.version])).toEqual([
      [one, 2],
      [other, 2],
      [one, 3],
    ]);
    expect(await person.ended).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(
        new RegExp(`^\\S+Z  account ${other}, version 2: Deposit 1\\.00 → 1\\.00 \\(txn3\\)\n$`),
      ),
    });
  }, 60_000);

  it('shows holds, transfers and changes, also out of a durable queue', async () => {
    app = await startApp(settings(), IMPATIENT);
    const ledger = await openLedger(app.databaseUrl);
    const [one = 0, other = 0] = await openAccounts(app, 2);
    const queue = ['--queue', `${exchange}.kinds`];
    const first = await tail(...queue, '--count', '1');
    await ledger.post({ accountId: other, type: 'credit', amount: 1n });
    await first.ended;
    await postOfAllKinds(ledger, one, other);
    await ledger.scheduler.submit({ type: 'change', accountId: one, changes: { status: 'frozen' } });
    await ledger.close();
    const { code, stdout } = await (await tail(...queue, '--account', String(one), '--count', '15')).ended;
    expect(code).toBe(0);
    const [holdId] = /hold\d+/.exec(stdout) ?? [];
    const [captured, sent, back] = [...stdout.matchAll(/transfer (tr\d+)/g)].map(([text]) => text);
    const lines = stdout.replace(/^\S+Z {2}/gm, '').replace(/ \(txn\d+\)$/gm, '');
    expect(lines.trim().split('\n')).toEqual([
      `account ${one}, version 2: Deposit 10.00 → 10.00`,
      `account ${one}, version 3: Deposit 1.00 → 11.00`,
      `account ${one}, version 4: Hold 0.30 → 11.00, held 0.30`,
      `account ${one}, version 4: ${holdId} placed 0.30`,
      `account ${one}, version 5: Release 0.10 → 11.00, held 0.20`,
      `account ${one}, version 6: Withdraw 0.10 → 10.90`,
      `account ${one}, version 6: ${holdId} captured 0.10`,
      `${captured}: account ${one} Withdraw 0.10, account ${other} Deposit 0.10`,
      `account ${one}, version 7: Release 0.20 → 10.90, held 0.00`,
      `account ${one}, version 7: ${holdId} voided 0.20`,
      `account ${one}, version 8: Withdraw 0.05 → 10.85`,
      `${sent}: account ${one} Withdraw 0.05, account ${other} Deposit 0.05`,
      `account ${one}, version 9: Deposit 0.05 → 10.90`,
      `${back}: account ${one} Deposit 0.05, account ${other} Withdraw 0.05`,
      `account ${one}, revision 1: {"status":"frozen"}`,
    ]);
  }, 60_000);

  it('skips what looks like an event but is not, and continues', async () => {
    app = await startApp(settings(), IMPATIENT);
    const accountId = await openAccount(app);
    const following = await tail('--queue', `${exchange}.open`, '--count', '1');
    const connection = await connect(broker.url);
    const channel = await connection.createConfirmChannel();
    const type = 'transaction.posted.v1';
    for (const text of ['{', '{}', 'null', '{"data":{"accountId":"\u001b[2J"}}']) {
      channel.publish(exchange, type, Buffer.from(text), { type });
    }
    await channel.waitForConfirms();
    await connection.close();
    await app.http.post(`/accounts/${accountId}/transactions`).send({ amount: '1.00', type: 'Deposit' });
    const { code, stdout, stderr } = await following.ended;
    expect(code).toBe(0);
    expect(stdout).toMatch(/^\S+Z {2}account \d+, version 2: Deposit 1\.00 → 1\.00 \(txn\d+\)\n$/);
    expect(stderr.match(/Left out a message that is no event of a bank\./g)).toHaveLength(4);
  }, 60_000);

  it('continues a durable queue where it was left, and exits with 130 on Ctrl-C', async () => {
    app = await startApp(settings(), IMPATIENT);
    const first = await tail('--queue', `${exchange}.mine`, '--from-opening', '--json');
    const accountId = await openAccount(app, '1.00');
    await waitUntil(() => Promise.resolve(first.output().stdout.includes('"version":2')), 20_000);
    first.child.kill('SIGINT');
    const { code, stderr } = await first.ended;
    expect(code).toBe(130);
    expect(stderr).toContain('error: stopped by SIGINT');
    await app.http.post(`/accounts/${accountId}/transactions`).send({ amount: '1.00', type: 'Deposit' });
    const second = await tail('--queue', `${exchange}.mine`, '--json', '--count', '1');
    expect(JSON.parse((await second.ended).stdout)).toMatchObject({ data: { accountId, version: 3 } });
  }, 60_000);

  it.each([
    ['RABBITMQ_URL is missing', { RABBITMQ_URL: '' }, 'error: RABBITMQ_URL is not set'],
    [
      'no broker is there',
      { RABBITMQ_URL: 'amqp://127.0.0.1:1' },
      'error: RabbitMQ failed: connect ECONNREFUSED',
    ],
  ])(
    'says in a sentence that %s',
    async (_what, environment, message) => {
      const { code, stdout, stderr } = await startCli(['events', 'tail'], { ...NO_BANK, ...environment })
        .ended;
      expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
      expect(stderr).toContain(message);
      expect(stderr.trim().split('\n')).toHaveLength(1);
    },
    60_000,
  );

  it.each([
    [['--account', 'x'], "argument 'x' is invalid. It must be a whole number"],
    [['--count', '0'], "argument '0' is invalid. It must be a whole number from 1"],
    [['--queue', 'amq.mine'], 'must not begin with "amq."'],
  ])('rejects %j with exit code 2', async (args, message) => {
    const { code, stderr } = await startCli(['events', 'tail', ...args], settings()).ended;
    expect(code).toBe(2);
    expect(stderr).toContain(message);
  });
});
