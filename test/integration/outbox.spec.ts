import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { tablesOf } from '../../src/storage/tables.js';
import { EventPublisher } from '../../src/domain/ports.js';
import { THE_SERVICE } from '../../src/domain/sender.js';
import type { Transaction } from '../../src/domain/transaction.js';
import { OutboxRelay } from '../../src/messaging/outbox-relay.js';
import { Outbox } from '../../src/messaging/outbox.js';
import { Metrics } from '../../src/observability/metrics.js';
import { openAccount, startApp, type TestApp } from '../support/app.js';
import { openLedger, type TestLedger } from '../support/ledger.js';
import { createTestDatabase } from '../support/postgres.js';
import { waitUntil } from '../support/service.js';

const LEASE_MS = 5_000;

/** Keeps what it is given; fails as often as it is told to, after it has taken the events. */
class RecordingPublisher extends EventPublisher {
  readonly published: Transaction[] = [];
  failures = 0;

  assertReady(): void {
    // Always is.
  }

  publish(transactions: readonly Transaction[]): Promise<void> {
    this.published.push(...transactions);
    if (this.failures === 0) return Promise.resolve();
    this.failures -= 1;
    return Promise.reject(new Error('the broker is away'));
  }

  alreadyKnows(): boolean {
    return false;
  }
}

describe('the outbox relay', () => {
  let database: { url: string; drop(): Promise<void> };
  let ledger: TestLedger;

  beforeAll(async () => {
    database = await createTestDatabase();
    ledger = await openLedger(database.url);
  });

  afterAll(async () => {
    await ledger.close();
    await database.drop();
  });

  function relay(publisher: EventPublisher, failures: unknown[] = []): OutboxRelay {
    const outbox = new Outbox(ledger.runner, tablesOf('bank'), LEASE_MS);
    return new OutboxRelay(outbox, [publisher], 10, new Metrics().forOutbox(0), {
      failing: (error) => failures.push(error),
      recovered: () => undefined,
    });
  }

  async function isEmpty(): Promise<boolean> {
    return (await ledger.dataSource.query<unknown[]>('SELECT FROM bank.outbox')).length === 0;
  }

  async function post(accountIds: readonly number[], each: number): Promise<void> {
    const commands = Array.from({ length: each }, () =>
      accountIds.map((accountId) => ledger.post({ accountId, type: 'credit', amount: 1n })),
    );
    await Promise.all(commands.flat());
  }

  it('leaves the outbox to instances with a broker once one of them has published', async () => {
    const other = await createTestDatabase();
    const here = await openLedger(other.url);
    const outbox = (toBroker: boolean) => new Outbox(here.runner, tablesOf('bank'), LEASE_MS, toBroker);
    const nothingKnown = () => false;
    await here.opener.open({ openingDeposit: 100n }, THE_SERVICE);
    expect(await outbox(false).claim(10, nothingKnown)).toBeDefined();
    await here.dataSource.query('UPDATE bank.shard_identity SET relay_leased_until = NULL');
    const published = await outbox(true).claim(10, nothingKnown);
    expect(published?.outboxIds).toHaveLength(1);
    await here.dataSource.query('UPDATE bank.shard_identity SET relay_leased_until = NULL');
    expect(await outbox(false).claim(10, nothingKnown)).toBeUndefined();
    expect(await outbox(true).claim(10, nothingKnown)).toEqual(published);
    await here.close();
    await other.drop();
  });

  it('publishes every transaction, in version order for each account, and empties the outbox', async () => {
    const accountIds = await Promise.all(
      [1, 2, 3].map(async () => (await ledger.opener.open({ openingDeposit: 100n }, THE_SERVICE)).accountId),
    );
    const publisher = new RecordingPublisher();
    const [one, other] = [relay(publisher), relay(publisher)];
    one.start();
    other.start();
    for (let round = 0; round < 30; round++) await post(accountIds, 3);
    await waitUntil(isEmpty, 5_000);
    await Promise.all([one.stop(), other.stop()]);
    for (const accountId of accountIds) {
      const versions = publisher.published
        .filter((transaction) => transaction.accountId === accountId)
        .map(({ versionAfter }) => versionAfter);
      expect(versions).toEqual(Array.from({ length: 91 }, (_, index) => index + 2));
    }
  });

  it('publishes again what was not confirmed, and logs the failure once, not at every attempt', async () => {
    const { accountId } = await ledger.opener.open({}, THE_SERVICE);
    await post([accountId], 1);
    const publisher = new RecordingPublisher();
    publisher.failures = 3;
    const failures: unknown[] = [];
    const relayed = relay(publisher, failures);
    relayed.start();
    await waitUntil(isEmpty, 5_000);
    await relayed.stop();
    expect(publisher.published.map(({ versionAfter }) => versionAfter)).toEqual([2, 2, 2, 2]);
    expect(failures).toHaveLength(1);
  });
});

describe('a service whose events can not be published', () => {
  it('reports it with the shard once they have been waiting for long, and still serves', async () => {
    const app = await startApp({}, { outbox: { pollMs: 10 } });
    const operator = await openLedger(app.databaseUrl);
    const health = async () => {
      const { status, body } = await app.http.get('/health/ready');
      return { status, body: body as { status: string; error: Record<string, { message: string }> } };
    };
    try {
      await operator.dataSource.query(`
        CREATE FUNCTION bank.refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no lease'; END $$;
        CREATE TRIGGER refuse BEFORE UPDATE ON bank.shard_identity FOR EACH ROW EXECUTE FUNCTION bank.refuse()`);
      await openAccount(app, '10.00');
      await waitUntil(
        async () => /publish_failures_total{[^}]*"} [1-9]/.test((await app.http.get('/metrics')).text),
        5_000,
      );
      expect(await health()).toMatchObject({ status: 200, body: { status: 'ok' } });
      await operator.dataSource.query(`UPDATE bank.outbox SET created_at = now() - interval '31 seconds'`);
      await waitUntil(async () => (await health()).body.status !== 'ok', 5_000);
      const { status, body } = await health();
      expect({ status, overall: body.status, parts: Object.keys(body.error) }).toEqual({
        ...{ status: 200, overall: 'degraded', parts: ['events-0'] },
      });
      expect(JSON.stringify(body.error)).toMatch(/events have been waiting for 3\d s: other/);
      await operator.dataSource.query('DROP TRIGGER refuse ON bank.shard_identity');
      await waitUntil(async () => (await health()).body.status === 'ok', 15_000);
    } finally {
      await operator.close();
      await app.close();
    }
  }, 30_000);
});

describe('a service with its balance cache on', () => {
  let app: TestApp;
  let foreign: TestLedger;

  beforeAll(async () => {
    app = await startApp({ BALANCE_CACHE: 'on', BALANCE_CACHE_TTL_MS: '3600000' });
    foreign = await openLedger(app.databaseUrl);
  });

  afterAll(async () => {
    await foreign.close();
    await app.close();
  });

  it('soon shows what another process posted, such as the command line', async () => {
    const accountId = await openAccount(app, '10.00');
    const balance = async () => (await app.http.get(`/accounts/${accountId}/balance`)).text;
    expect(await balance()).toBe('{"balance":10.00,"version":2}');
    await foreign.post({ accountId, type: 'credit', amount: 500n });
    await waitUntil(async () => (await balance()) === '{"balance":15.00,"version":3}', 2_000);
  });

  it('empties the outbox of what it posted itself', async () => {
    const accountId = await openAccount(app, '10.00');
    await app.http.post(`/accounts/${accountId}/transactions`).send({ amount: 1, type: 'Deposit' });
    await waitUntil(
      async () => (await foreign.dataSource.query<unknown[]>('SELECT FROM bank.outbox')).length === 0,
      2_000,
    );
  });
});
