import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { tablesOf } from '../../src/storage/tables.js';
import { EventPublisher } from '../../src/domain/ports.js';
import { THE_SERVICE } from '../../src/domain/sender.js';
import type { IncomingTransfer, OutgoingTransfer } from '../../src/domain/between-shards.js';
import type { Command } from '../../src/domain/command.js';
import type { LedgerEvent, TransferCompleted } from '../../src/domain/ledger-event.js';
import type { Transaction } from '../../src/domain/transaction.js';
import { messageOf, type BankEvent } from '../../src/messaging/bank-event.js';
import { EventRelay } from '../../src/messaging/event-relay.js';
import { Outbox } from '../../src/messaging/outbox.js';
import { Metrics } from '../../src/observability/metrics.js';
import { openAccount, startApp, type TestApp } from '../support/app.js';
import { EVENT_TYPES, isValidEvent } from '../support/events.js';
import { openLedger, type TestLedger } from '../support/ledger.js';
import { createTestDatabase } from '../support/postgres.js';
import { waitUntil } from '../support/service.js';

const LEASE_MS = 5_000;

/** Keeps what it is given; fails as often as it is told to, after it has taken the events. */
class RecordingPublisher extends EventPublisher {
  readonly events: LedgerEvent[] = [];
  failures = 0;

  get published(): Transaction[] {
    return this.events.flatMap((event) => (event.kind === 'transaction.posted' ? [event.transaction] : []));
  }

  assertReady(): void {
    // Always is.
  }

  publish(events: readonly LedgerEvent[]): Promise<void> {
    this.events.push(...events);
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

  function relay(publisher: EventPublisher, failures: unknown[] = []): EventRelay {
    const outbox = new Outbox(ledger.runner, tablesOf('bank'), LEASE_MS);
    return new EventRelay(outbox, publisher, 10, new Metrics().forOutbox(0), {
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

  /** Publishes all that waits. */
  async function drained(): Promise<LedgerEvent[]> {
    const publisher = new RecordingPublisher();
    const relayed = relay(publisher);
    relayed.start();
    await waitUntil(isEmpty, 5_000);
    await relayed.stop();
    return publisher.events;
  }

  const open = async (openingDeposit: bigint) =>
    (await ledger.opener.open({ openingDeposit }, THE_SERVICE)).accountId;

  const execute = async (command: Command) => ledger.scheduler.submit(command);

  it('tells of holds, transfers and changes, each behind the transaction that completes it', async () => {
    const [a, b] = [await open(10_000n), await open(1_000n)];
    const hold = async (amount: bigint, expiresInMs?: number) => {
      const { transactions } = await execute({ type: 'hold', accountId: a, amount, expiresInMs });
      return transactions[0]?.transactionId ?? 0;
    };
    const sent = await execute({
      ...{ type: 'transfer', accountId: a, details: { reference: 'rent', description: 'secret' } },
      legs: [
        { accountId: a, type: 'debit', amount: 3_000n },
        { accountId: b, type: 'credit', amount: 3_000n },
      ],
    });
    const transferId = sent.transactions[0]?.transferId ?? 0;
    const captured = await hold(4_000n, 3_600_000);
    await execute({ type: 'capture', accountId: a, holdId: captured, amount: 1_000n, final: false });
    await execute({
      ...{ type: 'capture', accountId: a, holdId: captured, amount: 500n, final: true, to: { accountId: b } },
    });
    const voided = await hold(200n);
    await execute({ type: 'void', accountId: a, holdId: voided });
    const expired = await hold(300n, 1);
    await sleep(5);
    await execute({ type: 'expiry', accountId: a });
    await execute({ type: 'transfer-reversal', accountId: b, transferId, accountIds: [a, b] });
    const metadata = '{"name":"secret"}';
    const changes = {
      status: 'debits_blocked',
      overdraftLimit: 5_000n,
      reference: 'mine',
      metadata,
    } as const;
    await execute({ type: 'change', accountId: a, changes });
    await execute({ type: 'change', accountId: b, changes: { overdraftLimit: 500n } });
    await execute({ type: 'debit', accountId: b, amount: 1_600n });

    const events = (await drained()).map((event) => {
      const { id, type, body } = messageOf(event, '2b5d74f1-4b36-41ad-9d3c-0123456789ab');
      expect(body).not.toContain('secret');
      const read = JSON.parse(body) as BankEvent;
      expect([read.id, read.type, isValidEvent(read)]).toEqual([id, type, true]);
      return read;
    });
    // The others are of transfers between shards, and of submissions.
    const elsewhere = ['transfer.failed.v1', 'submission.refused.v1'];
    expect(new Set([...events.map(({ type }) => type), ...elsewhere])).toEqual(new Set(EVENT_TYPES));
    expect(new Set(events.map(({ id }) => id)).size).toBe(events.length);
    const about = (prefix: string) => events.filter(({ type }) => type.startsWith(prefix));
    const told = (list: readonly BankEvent[]) =>
      list.map(({ type, id }) => `${type.replace(/\.v\d$/, '')} ${id}`);
    expect(told(about('hold.'))).toEqual([
      `hold.placed hold${captured}/4`,
      `hold.captured hold${captured}/6`,
      `hold.captured hold${captured}/8`,
      `hold.placed hold${voided}/9`,
      `hold.voided hold${voided}/10`,
      `hold.placed hold${expired}/11`,
      `hold.expired hold${expired}/12`,
    ]);
    expect(about('hold.captured').map(({ data }) => data)).toMatchObject([
      { amount: '10.00', remaining: '30.00', version: 6 },
      { amount: '5.00', remaining: '0.00', version: 8 },
    ]);
    const [placed] = about('hold.placed');
    const lasts = Date.parse(String(placed?.data['expiresAt'])) - Date.parse(placed?.time ?? '');
    expect(lasts).toBe(3_600_000);
    const [simple, ofCapture, back] = about('transfer.').map(({ data }) => data);
    expect(simple).toMatchObject({
      reference: 'rent',
      legs: [
        { accountId: a, type: 'Withdraw', amount: '30.00', version: 3 },
        { accountId: b, type: 'Deposit', amount: '30.00', version: 3 },
      ],
    });
    expect(ofCapture).toMatchObject({
      holdId: `hold${captured}`,
      legs: [{ accountId: a }, { accountId: b }],
    });
    expect(back).toMatchObject({
      legs: [{ reverses: `txn${transferId}` }, { reverses: expect.any(String) }],
    });
    expect(about('account.').map(({ data }) => data)).toEqual([
      {
        ...{ accountId: a, revision: 1 },
        changes: {
          ...{ status: 'debits_blocked', overdraftLimit: '50.00', reference: 'mine' },
          metadata: { digest: expect.any(String) },
        },
      },
      { accountId: b, revision: 1, changes: { overdraftLimit: '5.00' } },
    ]);
    expect(events.at(-1)).toMatchObject({
      ...{ type: 'transaction.posted.v2', data: { type: 'Withdraw', balance: '-1.00', held: '0.00' } },
    });
    // What a transaction completes comes at once behind it, and each account's versions in order.
    const versions = new Map<number, number>();
    events.forEach(({ type, data }, index) => {
      if (type.startsWith('transaction.')) {
        const { accountId, version } = data as { accountId: number; version: number };
        expect(version).toBe((versions.get(accountId) ?? 1) + 1);
        versions.set(accountId, version);
      } else if (type.startsWith('hold.'))
        expect(events[index - 1]?.data).toMatchObject({ version: data['version'] });
    });
  });

  it('keeps transfers and captures whole in batches of more than a thousand transactions', async () => {
    const count = 40;
    const payers = await Promise.all(Array.from({ length: count }, () => open(100_000n)));
    const others = await Promise.all(Array.from({ length: count }, () => open(100_000n)));
    await drained();
    const commands = payers.flatMap((accountId): Command[] => [
      ...Array.from({ length: 12 }, () => ({ type: 'credit', accountId, amount: 1n }) as const),
      { type: 'hold', accountId, amount: 10n },
      {
        ...{ type: 'transfer', accountId },
        legs: [
          { accountId, type: 'debit', amount: BigInt(count) },
          ...others.map((other) => ({ accountId: other, type: 'credit', amount: 1n }) as const),
        ],
      },
    ]);
    const effects = await Promise.all(ledger.scheduler.submitAtomically(commands, THE_SERVICE));
    const rows = await ledger.dataSource.query<{ size: number }[]>(
      'SELECT cardinality(transaction_ids) AS size FROM bank.outbox ORDER BY outbox_id',
    );
    expect(rows.length).toBeGreaterThan(2);
    const events = await drained();
    const kinds = (kind: LedgerEvent['kind']) => events.filter((event) => event.kind === kind);
    expect(kinds('hold.placed')).toHaveLength(count);
    const legs = kinds('transfer.completed').map((event) =>
      (event as TransferCompleted).legs.map(({ transactionId }) => transactionId),
    );
    const transfers = effects.flatMap(({ transactions }) =>
      transactions[0]?.transferId === undefined
        ? []
        : [transactions.map(({ transactionId }) => transactionId)],
    );
    expect(legs).toEqual(transfers);
    expect(kinds('transaction.posted')).toHaveLength(count * (14 + count));
  });

  it('tells of a reversal apart from the hold that expired to make room for it', async () => {
    const [a, b] = [await open(1_000n), await open(1_000n)];
    const legs = [
      { accountId: b, type: 'credit', amount: 100n },
      { accountId: a, type: 'debit', amount: 100n },
    ] as const;
    const { transactions } = await execute({ type: 'transfer', accountId: a, legs });
    const transferId = transactions[0]?.transferId ?? 0;
    await execute({ type: 'hold', accountId: b, amount: 1_100n, expiresInMs: 1 });
    await sleep(5);
    await drained();
    await execute({ type: 'transfer-reversal', accountId: b, transferId, accountIds: [a, b] });
    const events = (await drained()).map((event) => messageOf(event, ''));
    const [posted, expired, first, second, transfer] = events;
    expect(events.map(({ type }) => type.split('.').slice(0, 2).join('.'))).toEqual([
      ...['transaction.posted', 'hold.expired', 'transaction.posted', 'transaction.posted'],
      'transfer.completed',
    ]);
    expect([posted?.accountId, expired?.accountId]).toEqual([b, b]);
    expect(transfer?.id).toBe(first?.id.replace('txn', 'tr'));
    expect(JSON.parse(transfer?.body ?? '')).toMatchObject({
      data: { legs: [{ transactionId: first?.id }, { transactionId: second?.id }] },
    });
  });

  it('tells of a transfer between shards once, where it is paid and when it is completed', async () => {
    const [from, to] = [await open(1_000n), await open(1n)];
    const request: Command = { type: 'transfer', accountId: from, legs: [] };
    const begin = async (amount: bigint) => {
      const asked = { nonce: randomUUID(), toCurrency: undefined, to, amount, request };
      const details = { reference: 'rent' };
      const { outgoing } = await execute({ type: 'outgoing', accountId: from, details, ...asked });
      return outgoing[0] as OutgoingTransfer;
    };
    // The second shard is this one, too: what is told depends on the rows alone.
    const finish = async (transfer: OutgoingTransfer, cancelled = false) => {
      const decided = await execute({ type: 'incoming', accountId: to, transfer, cancelled });
      const [decision] = decided.incoming as [IncomingTransfer];
      await execute({ type: 'settlement', accountId: from, transfer, decision });
    };
    const told = async () =>
      (await drained()).map((event) => messageOf(event, '')).map(({ type, id }) => `${type} ${id}`);
    await drained();
    const transfer = await begin(300n);
    const { transferId } = transfer;
    expect(await told()).toEqual([
      `transaction.posted.v2 txn${transferId}`,
      `hold.placed.v1 hold${transferId}/3`,
    ]);
    const failed = await begin(200n);
    await drained();
    await finish(failed, true);
    const failure = await drained();
    expect(failure.map((event) => messageOf(event, '')).map(({ type, id }) => `${type} ${id}`)).toEqual([
      expect.stringMatching(/^transaction\.posted\.v2 /),
      `hold.voided.v1 hold${failed.transferId}/5`,
      `transfer.failed.v1 tr${failed.transferId}`,
    ]);
    const failedEvent = JSON.parse(messageOf(failure.at(-1) as LedgerEvent, randomUUID()).body) as BankEvent;
    expect(isValidEvent(failedEvent)).toBe(true);
    expect(failedEvent.data).toEqual({
      ...{ transferId: `tr${failed.transferId}`, accountId: from, toAccountId: to, amount: '2.00' },
    });
    await finish(transfer);
    const events = await drained();
    const messages = events.map((event) => messageOf(event, randomUUID()));
    expect(messages.map(({ type, accountId }) => `${type} ${accountId === from ? 'from' : 'to'}`)).toEqual([
      'transaction.posted.v1 to',
      ...['transaction.posted.v2 from', 'transaction.posted.v1 from', 'hold.captured.v1 from'],
      'transfer.completed.v1 from',
    ]);
    const completed = JSON.parse(messages.at(-1)?.body ?? '') as BankEvent;
    expect(isValidEvent(completed)).toBe(true);
    expect(completed).toMatchObject({
      ...{ id: `tr${transferId}` },
      data: {
        ...{ holdId: `hold${transferId}`, reference: 'rent' },
        legs: [
          { accountId: from, type: 'Withdraw', amount: '3.00', version: 7 },
          { accountId: to, type: 'Deposit', amount: '3.00', version: 3 },
        ],
      },
    });
  });

  it('reads what a hold had left when its capture was posted, not what it has left today', async () => {
    const accountId = await open(10_000n);
    const { transactions } = await execute({ type: 'hold', accountId, amount: 1_000n });
    const holdId = transactions[0]?.transactionId ?? 0;
    const capture = async (amount: bigint) => {
      await execute({ type: 'capture', accountId, holdId, amount, final: false });
    };
    const leftIn = (events: readonly LedgerEvent[]) =>
      events.flatMap((event) => (event.kind === 'hold.captured' ? [event.remaining] : []));
    await capture(100n);
    await capture(200n);
    expect(leftIn(await drained())).toEqual([900n, 700n]);
    await capture(300n);
    await capture(400n);
    expect(leftIn(await drained())).toEqual([400n, 0n]);
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
    // A hold moves the version, though not the balance; so does its end.
    const { transactions } = await foreign.scheduler.submit({ type: 'hold', accountId, amount: 100n });
    await waitUntil(async () => (await balance()) === '{"balance":15.00,"version":4}', 2_000);
    const holdId = transactions[0]?.transactionId ?? 0;
    await foreign.scheduler.submit({ type: 'void', accountId, holdId });
    await waitUntil(async () => (await balance()) === '{"balance":15.00,"version":5}', 2_000);
    await foreign.scheduler.submit({ type: 'change', accountId, changes: { overdraftLimit: 1_000n } });
    await foreign.scheduler.submit({ type: 'debit', accountId, amount: 2_000n });
    await waitUntil(async () => (await balance()) === '{"balance":-5.00,"version":6}', 2_000);
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
