import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from '@jest/globals';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { Client } from 'pg';
import type { BankEvent } from '../../src/messaging/bank-event.js';
import { consumeEvents } from '../../src/messaging/event-consumer.js';
import { RepeatFilter } from '../../src/messaging/repeat-filter.js';
import type { TransactionPosted } from '../../src/messaging/transaction-posted.js';
import { waitUntil } from './service.js';

const ajv = new Ajv2020();
const schemas = new Map(
  readdirSync('docs/events').map((name) => {
    const schema = JSON.parse(readFileSync(`docs/events/${name}`, 'utf8')) as object;
    return [name.replace('.schema.json', ''), ajv.compile(schema)];
  }),
);

/** The types that have a published schema. */
export const EVENT_TYPES = [...schemas.keys()];

/** Whether it is as the published schema of its type says. */
export function isValidEvent(event: unknown): boolean {
  const { type } = Object(event) as { type?: unknown };
  return typeof type === 'string' && schemas.get(type)?.(event) === true;
}

export const isPosted = (event: BankEvent): event is TransactionPosted =>
  event.type === 'transaction.posted.v1' || event.type === 'transaction.posted.v2';

/** The reference consumer with its own durable queue; reconnects whenever it loses the broker. */
export class Listener {
  /** The events that pass the filter of repeats. */
  readonly all: BankEvent[] = [];
  repeats = 0;
  private readonly filter = new RepeatFilter({ maxAccounts: 10_000, fromOpening: true });
  private readonly ending = new AbortController();
  private running: Promise<void> = Promise.resolve();

  private constructor() {}

  static async start(broker: { url: string }, exchange: string): Promise<Listener> {
    const listener = new Listener();
    const ready = Promise.withResolvers<void>();
    listener.running = listener.listen(broker.url, exchange, ready.resolve);
    await ready.promise;
    return listener;
  }

  /** Those of transactions. */
  get events(): TransactionPosted[] {
    return this.all.filter(isPosted);
  }

  async stop(): Promise<void> {
    this.ending.abort();
    await this.running;
  }

  private async listen(url: string, exchange: string, onReady: () => void): Promise<void> {
    const settings = { url, exchange, queue: `${exchange}.all`, onReady, signal: this.ending.signal };
    while (!this.ending.signal.aborted) {
      await consumeEvents(settings, (event) => this.take(event)).catch(() => sleep(50));
    }
  }

  private take(event: BankEvent): void {
    if (this.filter.isNew(event)) this.all.push(event);
    else this.repeats += 1;
  }
}

/**
 * Expects that exactly the transactions in the database have arrived, each account's in version order, and that the
 * outbox becomes empty.
 */
export async function expectEverythingArrived(listener: Listener, databaseUrl: string): Promise<void> {
  const client = new Client({ connectionString: databaseUrl });
  await client.connect();
  try {
    await waitUntil(async () => (await client.query('SELECT FROM bank.outbox')).rowCount === 0, 30_000);
    const { rows: posted } = await client.query<{ data: object }>(POSTED);
    await waitUntil(() => Promise.resolve(listener.events.length >= posted.length), 10_000);
    const arrived = [...listener.events]
      .sort((a, b) => a.data.accountId - b.data.accountId)
      .map((event) => event.data);
    expect(arrived).toEqual(posted.map((row) => row.data));
    expect(listener.all.filter((event) => !isValidEvent(event))).toEqual([]);
  } finally {
    await client.end();
  }
}

/** The expected event of each transaction. */
const POSTED = `
  SELECT jsonb_strip_nulls(jsonb_build_object(
    'transactionId', 'txn' || transaction_id, 'accountId', account_id,
    'type', CASE type WHEN 'credit' THEN 'Deposit' WHEN 'debit' THEN 'Withdraw' ELSE initcap(type) END,
    'amount', amount::text, 'balance', balance_after::text, 'version', version_after,
    'held', CASE WHEN type IN ('hold', 'release') OR balance_after < 0 THEN coalesce(held_after, 0.00)::text END,
    'idempotencyKey', idempotency_key, 'transferId', 'tr' || transfer_id, 'holdId', 'hold' || hold_id,
    'reverses', 'txn' || reverses_id, 'reference', reference, 'effectiveDate', effective_date)) AS data
  FROM bank.transactions LEFT JOIN bank.transaction_details USING (transaction_id, account_id)
  ORDER BY account_id, version_after`;

/** Several callers that post to some accounts all the time, each one request after the other. */
export class Load {
  readonly statuses = new Map<number, number>();
  slowestMs = 0;
  private readonly callers: Promise<void>[];
  private stopped = false;

  constructor(urls: readonly string[], accountIds: readonly number[]) {
    const callers = urls.flatMap((url) => accountIds.map((accountId) => [url, accountId] as const));
    this.callers = callers.map(([url, accountId]) => this.call(url, accountId));
  }

  get posted(): number {
    return this.statuses.get(201) ?? 0;
  }

  /** Waits until this many more transactions have been posted. */
  async more(count: number): Promise<void> {
    const goal = this.posted + count;
    await waitUntil(() => Promise.resolve(this.posted >= goal), 20_000);
  }

  async stop(): Promise<void> {
    this.stopped = true;
    await Promise.all(this.callers);
  }

  private async call(url: string, accountId: number): Promise<void> {
    for (let sent = 1; !this.stopped; sent++) {
      const startedMs = performance.now();
      const status = await this.post(url, accountId, sent).catch(() => 0);
      this.slowestMs = Math.max(this.slowestMs, performance.now() - startedMs);
      this.statuses.set(status, (this.statuses.get(status) ?? 0) + 1);
      await sleep(2);
    }
  }

  private async post(url: string, accountId: number, sent: number): Promise<number> {
    const type = sent % 3 === 0 ? 'Withdraw' : 'Deposit';
    const response = await fetch(`${url}/accounts/${accountId}/transactions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'idempotency-key': `${url}-"${sent}` },
      body: JSON.stringify({ amount: '0.01', type }),
    });
    await response.arrayBuffer();
    return response.status;
  }
}
