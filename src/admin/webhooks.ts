import type { Config } from '../config/config.js';
import type { ShardAddress } from '../config/shard-address.js';
import { WebhookSecrets } from '../messaging/webhooks/secrets.js';
import { allWebhooks, statusOf, type WebhookStatus } from '../messaging/webhooks/webhook-store.js';
import { inFirstShard } from './shards.js';

export interface WebhookListed {
  /** Like wh7. */
  readonly id: string;
  readonly url: string;
  readonly eventTypes: readonly string[];
  readonly description: string | null;
  /** Whose accounts' events it gets; null: those of all accounts. */
  readonly owner: string | null;
  readonly status: WebhookStatus;
  readonly disabledAt: Date | null;
  readonly disabledBecause: string | null;
  readonly createdAt: Date;
}

/** The endpoints that get events by HTTP, by id; not their secrets. */
export async function listWebhooks(
  shards: readonly ShardAddress[],
  { webhooks }: Pick<Config, 'webhooks'>,
): Promise<WebhookListed[]> {
  const secrets = new WebhookSecrets(webhooks);
  const stored = await inFirstShard(shards, 'bank-webhooks', allWebhooks);
  return Promise.all(
    stored.map(async (webhook) => {
      const { webhookId, url, eventTypes, description, owner, disabledAt, disabledBecause, createdAt } =
        webhook;
      const isReadable = (await secrets.decrypt(webhook.secret)) !== undefined;
      return {
        ...{ id: `wh${webhookId}`, url, eventTypes, description, owner },
        ...{ status: statusOf(webhook, isReadable), disabledAt, disabledBecause, createdAt },
      };
    }),
  );
}
