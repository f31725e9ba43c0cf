import {
  NO_STATE,
  receiverOf,
  type Attempt,
  type DeliveryState,
} from '../../src/messaging/webhooks/delivery-state.js';
import type { Overrides } from './config.js';
import { query } from './postgres.js';

/** A setting with which webhooks can be made. */
export const WEBHOOK_KEYS = Buffer.alloc(32, 7).toString('base64');

/** Nothing is sent: what is remembered of deliveries stays as a test writes it. */
export const NOTHING_SENT: Overrides = { webhooks: { pollMs: 3_600_000 } };

/** One that was accepted, of the event txn1. */
export const attempt = (more: Partial<Attempt> = {}): Attempt => ({
  ...{ position: 900_001, index: 0, eventId: 'txn1', type: 'transaction.posted.v1', accountId: 7, number: 1 },
  ...{ startedAt: '2026-05-01T12:00:00.000Z', durationMs: 12, status: 200, answer: 'ok' },
  ...more,
});

/** Has the only shard of a bank remember this of the deliveries of an endpoint. */
export async function rememberState(
  databaseUrl: string,
  webhookId: string,
  state: Partial<DeliveryState>,
): Promise<void> {
  await query(databaseUrl, 'UPDATE bank.event_cursors SET state = $2 WHERE receiver = $1', [
    receiverOf(Number(webhookId.slice(2))),
    JSON.stringify({ ...NO_STATE, ...state }),
  ]);
}

/** The same of one accepted attempt. */
export const rememberDelivery = (databaseUrl: string, webhookId: string): Promise<void> =>
  rememberState(databaseUrl, webhookId, { recent: [attempt()] });
