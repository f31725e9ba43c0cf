import { dataOf, pagesOf, splitCall, type Calls, type FilterOf } from './calls.js';
import * as api from './generated/api/sdk.gen.js';
import type {
  ChangeWebhook,
  CreateWebhook,
  Deliveries,
  DeliveryDetails,
  ListDeliveriesData,
  ListWebhooksData,
  Redeliver,
  Redelivery,
  RotateSecret,
  Webhook,
  WebhookWithSecret,
} from './generated/api/types.gen.js';
import type { Pages } from './pages.js';
import type { CallOptions } from './transport.js';

/** The endpoints that get events by HTTP. What changes one is sent once: only reading is repeated. */
export class WebhookEndpoints {
  constructor(private readonly calls: Calls) {}

  /** The answer alone has the secret. */
  create(webhook: CreateWebhook & CallOptions): Promise<WebhookWithSecret> {
    const [call, body] = splitCall(webhook);
    return dataOf(api.createWebhook({ ...this.calls.sending(call, {}), body }));
  }

  /** @param webhookId like `'wh7'` */
  get(webhookId: string, call?: CallOptions): Promise<Webhook> {
    return dataOf(api.getWebhook({ ...this.calls.reading(call), path: { webhookId } }));
  }

  list(filter: FilterOf<ListWebhooksData> & CallOptions = {}): Pages<Webhook> {
    const [call, query] = splitCall(filter);
    return pagesOf((cursor) =>
      api.listWebhooks({ ...this.calls.reading(call), query: { ...query, ...cursor } }),
    );
  }

  update(webhookId: string, changes: ChangeWebhook & CallOptions): Promise<Webhook> {
    const [call, body] = splitCall(changes);
    return dataOf(api.changeWebhook({ ...this.calls.sending(call, {}), path: { webhookId }, body }));
  }

  async delete(webhookId: string, call: CallOptions = {}): Promise<void> {
    await api.deleteWebhook({ ...this.calls.sending(call, {}), path: { webhookId } });
  }

  /** The answer alone has the new secret; the former one signs, too, for `overlapHours` (24). */
  rotateSecret(webhookId: string, options: RotateSecret & CallOptions = {}): Promise<WebhookWithSecret> {
    const [call, body] = splitCall(options);
    return dataOf(api.rotateWebhookSecret({ ...this.calls.sending(call, {}), path: { webhookId }, body }));
  }

  /** What the endpoint has not accepted, and the last events that were sent. */
  deliveries(
    webhookId: string,
    filter: NonNullable<ListDeliveriesData['query']> & CallOptions = {},
  ): Promise<Deliveries> {
    const [call, query] = splitCall(filter);
    return dataOf(api.listDeliveries({ ...this.calls.reading(call), path: { webhookId }, query }));
  }

  /** The request as it is sent, with each of its attempts. */
  delivery(webhookId: string, eventId: string, call?: CallOptions): Promise<DeliveryDetails> {
    return dataOf(api.getDelivery({ ...this.calls.reading(call), path: { webhookId, eventId } }));
  }

  /** Sends one event again, or all since a time. */
  redeliver(webhookId: string, what: Redeliver & CallOptions): Promise<Redelivery> {
    const [call, body] = splitCall(what);
    return dataOf(api.redeliver({ ...this.calls.sending(call, {}), path: { webhookId }, body }));
  }
}
