import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import type { Command } from '../../src/domain/command.js';
import { EventPublisher } from '../../src/domain/ports.js';
import type { LedgerEvent } from '../../src/domain/ledger-event.js';
import { THE_SERVICE } from '../../src/domain/sender.js';
import { messageOf } from '../../src/messaging/bank-event.js';
import { EventLog, type LogRow } from '../../src/messaging/event-log.js';
import { EventRelay } from '../../src/messaging/event-relay.js';
import { InProcessPublisher } from '../../src/messaging/in-process-publisher.js';
import { LogReceiver } from '../../src/messaging/log-receiver.js';
import { Outbox } from '../../src/messaging/outbox.js';
import { RecentLocalBatches } from '../../src/messaging/recent-local-batches.js';
import { Metrics } from '../../src/observability/metrics.js';
import { tablesOf } from '../../src/storage/tables.js';
import { isValidEvent } from '../support/events.js';
import { openLedger, type TestLedger } from '../support/ledger.js';
import { createTestDatabase, type TestDatabase } from '../support/postgres.js';
import { waitUntil } from '../support/service.js';

const TABLES = tablesOf('bank');
const LEASE_MS = 5_000;
const HOUR_MS = 3_600_000;
const SILENT = { failing: () => undefined, recovered: () => undefined };

let database: TestDatabase;
let ledger: TestLedger;
let log: EventLog;

beforeAll(async () => {
  database = await createTestDatabase();
  ledger = await openLedger(database.url);
  log = new EventLog(ledger.runner, TABLES);
});

afterAll(async () => {
  await ledger.close();
  await database.drop();
});

const rows = <Row>(sql: string) => ledger.dataSource.query<Row[]>(sql);

const open = async () => (await ledger.opener.open({ openingDeposit: 1_000n }, THE_SERVICE)).accountId;

const mover = (outbox = new Outbox(ledger.runner, TABLES, LEASE_MS)) =>
  new EventRelay(
    outbox,
    new InProcessPublisher(new RecentLocalBatches()),
    5,
    new Metrics().forOutbox(0),
    SILENT,
  );

async function moveAll(): Promise<void> {
  const relay = mover();
  relay.start();
  await waitUntil(async () => (await rows('SELECT FROM bank.outbox')).length === 0, 10_000);
  await relay.stop();
}

/** All rows after a position, read a few at a time. */
async function readOn(position: number, maxEvents = 7): Promise<LogRow[]> {
  const all: LogRow[] = [];
  for (;;) {
    const page = await log.readAfter(all.at(-1)?.position ?? position, maxEvents);
    all.push(...page.rows);
    if (!page.more) return all;
  }
}

const idsOf = (events: readonly LedgerEvent[]) => events.map((event) => messageOf(event, '').id);

class Broker extends EventPublisher {
  readonly events: LedgerEvent[] = [];
  /** Called while the first chunk is on its way. */
  meanwhile: (() => Promise<void>) | undefined;

  assertReady(): void {
    // Always is.
  }

  alreadyKnows(): boolean {
    return false;
  }

  async publish(events: readonly LedgerEvent[]): Promise<void> {
    this.events.push(...events);
    const { meanwhile } = this;
    this.meanwhile = undefined;
    await meanwhile?.();
  }
}

describe('the log of events', () => {
  it('shows its rows in the order of their positions, whoever moves them there and however often', async () => {
    const accounts = await Promise.all([open(), open(), open()]);
    const begin = await log.end();
    const relays = [mover(), mover(), mover()];
    // A relay whose lease never holds: what it claims is claimed by others, too.
    const [head] = await rows<{ id: string }>('SELECT min(outbox_id) AS id FROM bank.outbox');
    for (const relay of relays) relay.start();
    const seen: LogRow[] = [];
    let posting = true;
    const reading = (async () => {
      let more = true;
      while (posting || more) {
        const page = await log.readAfter(seen.at(-1)?.position ?? begin, 5);
        seen.push(...page.rows);
        ({ more } = page);
      }
    })();
    const stale = new Outbox(ledger.runner, TABLES, 0);
    for (let round = 0; round < 40; round++) {
      await Promise.all(accounts.map((accountId) => ledger.post({ accountId, type: 'credit', amount: 1n })));
      const chunk = await stale.claim(10, () => true);
      if (chunk) await Promise.all([stale.complete(chunk), stale.complete(chunk)]);
    }
    await waitUntil(async () => (await rows('SELECT FROM bank.outbox')).length === 0, 10_000);
    posting = false;
    await reading;
    await Promise.all(relays.map((relay) => relay.stop()));
    expect(head).toBeDefined();
    // Read again afterwards: nothing has appeared behind the reader's back.
    expect((await readOn(begin)).map(({ position }) => position)).toEqual(
      seen.map(({ position }) => position),
    );
    const events = seen.flatMap((row) => row.events);
    for (const accountId of accounts) {
      const versions = events.flatMap((event) =>
        event.kind === 'transaction.posted' && event.transaction.accountId === accountId
          ? [event.transaction.versionAfter]
          : [],
      );
      const from = versions[0] ?? 0;
      expect(versions).toEqual(Array.from({ length: versions.length }, (_, index) => from + index));
      expect(versions.at(-1)).toBe(42);
    }
  });

  it('tells of submissions that were refused', async () => {
    const accountId = await open();
    await moveAll();
    const begin = await log.end();
    const debit: Command = {
      accountId,
      type: 'debit',
      amount: 5_000n,
      idempotencyKey: 'much',
      submitted: true,
    };
    const [decision] = await ledger.scheduler.decideInOrder([debit]);
    expect(decision).toMatchObject({ accepted: false });
    await moveAll();
    const [row] = await readOn(begin);
    const [event] = row?.events ?? [];
    expect(event).toBeDefined();
    const message = messageOf(event as LedgerEvent, '2b5d74f1-4b36-41ad-9d3c-0123456789ab');
    expect(isValidEvent(JSON.parse(message.body))).toBe(true);
    expect(JSON.parse(message.body)).toMatchObject({
      ...{ type: 'submission.refused.v1', subject: `accounts/${accountId}` },
      data: { accountId, idempotencyKey: 'much', code: 'INSUFFICIENT_BALANCE' },
    });
  });

  it('carries the trace context of the batch that wrote a row into its events', async () => {
    const traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';
    const accountId = await open();
    const begin = await log.end();
    await rows(`UPDATE bank.outbox SET traceparent = '${traceparent}'`);
    await moveAll();
    const events = (await readOn(begin)).flatMap((row) => row.events);
    const bodies = events.map((event) => JSON.parse(messageOf(event, '').body) as { traceparent?: string });
    expect(bodies.map((body) => body.traceparent)).toEqual([traceparent]);
    expect(events).toMatchObject([{ transaction: { accountId } }]);
  });

  it('finds what was posted since a time, and keeps what is young or not published yet', async () => {
    await open();
    await moveAll();
    const [first, second] = [
      await log.end(),
      await open()
        .then(moveAll)
        .then(() => log.end()),
    ];
    const third = await open()
      .then(moveAll)
      .then(() => log.end());
    const at = (hoursAgo: number) => new Date(Date.now() - hoursAgo * HOUR_MS);
    const age = (position: number, hours: number) =>
      rows(
        `UPDATE bank.event_log SET created_at = now() - interval '${hours} hours' WHERE position <= ${position}`,
      );
    await age(third, 1);
    await age(second, 10);
    await age(first, 20);
    expect(await log.positionBefore(at(15))).toBe(first);
    expect(await log.positionBefore(at(5))).toBe(second);
    expect(await log.positionBefore(at(0))).toBe(third);
    expect((await readOn(await log.positionBefore(at(100)))).at(-1)?.position).toBe(third);
    const left = async () =>
      (await rows<{ position: string }>('SELECT position FROM bank.event_log ORDER BY 1')).map(
        ({ position }) => Number(position),
      );
    const before = await left();
    await rows(`INSERT INTO bank.event_cursors VALUES ('rabbitmq', ${first - 1})`);
    await log.prune(5 * HOUR_MS);
    // The broker has still to get the first one.
    expect(await left()).toEqual(before.filter((position) => position >= first));
    await rows(`UPDATE bank.event_cursors SET position = ${third} WHERE receiver = 'rabbitmq'`);
    await log.prune(5 * HOUR_MS);
    expect(await left()).toEqual([third]);
    await log.prune(0);
    expect(await left()).toEqual([]);
    // Positions go on where they were.
    await open().then(moveAll);
    expect(await left()).toEqual([third + 1]);
    await rows(`DELETE FROM bank.event_cursors WHERE receiver = 'rabbitmq'`);
  });
});

describe('a broker', () => {
  it('begins at the end of the log, gets what waits in the outbox, and goes back when it is asked to', async () => {
    await open();
    await moveAll();
    const end = await log.end();
    const accountId = await open();
    const receiver = new LogReceiver(ledger.runner, TABLES, LEASE_MS);
    expect(await receiver.hasBegun()).toBe(false);
    // It has not begun, so nothing is published: not even by mistake from the very beginning.
    expect(await receiver.claim(1_000)).toBeUndefined();
    await receiver.begin();
    await receiver.begin();
    await moveAll();
    const broker = new Broker();
    const relay = new EventRelay(receiver, broker, 5, new Metrics().forRabbitMq(0), SILENT);
    // A replay while a chunk is on its way is not undone when the chunk arrives.
    broker.meanwhile = () => new LogReceiver(ledger.runner, TABLES, LEASE_MS).goBack(end - 1);
    relay.start();
    const expected = idsOf((await readOn(end)).flatMap(({ events }) => events));
    const again = idsOf((await readOn(end - 1)).flatMap(({ events }) => events));
    await waitUntil(() => Promise.resolve(broker.events.length >= expected.length + again.length), 10_000);
    expect(await receiver.isEmpty()).toBe(true);
    await relay.stop();
    expect(idsOf(broker.events)).toEqual([...expected, ...again]);
    expect(broker.events[0]).toMatchObject({ transaction: { accountId } });
  });
});
