import { Inject, Logger, Module, type OnModuleDestroy, type OnModuleInit } from '@nestjs/common';
import { CONFIG } from '../../config/config.module.js';
import type { Config } from '../../config/config.js';
import { Metrics } from '../../observability/metrics.js';
import type { Shard } from '../../sharding/shard.js';
import { SHARDS } from '../../sharding/sharding.module.js';
import { tablesOf } from '../../storage/tables.js';
import { TransactionRunner } from '../../storage/transaction-runner.js';
import { EventLog } from '../event-log.js';
import type { ShardDeliveries } from './deliveries.js';
import { WebhookDeliverer } from './deliverer.js';
import { Endpoints } from './endpoints.js';
import { DELIVERIES, EndpointsModule } from './endpoints.module.js';
import { WebhookSender } from './webhook-sender.js';

const DELIVERERS = Symbol('DELIVERERS');

/** Sends events to webhooks. */
@Module({
  imports: [EndpointsModule],
  providers: [
    {
      provide: WebhookSender,
      inject: [CONFIG],
      useFactory: ({ webhooks }: Config) => new WebhookSender(webhooks),
    },
    {
      provide: DELIVERERS,
      inject: [CONFIG, SHARDS, Endpoints, WebhookSender, DELIVERIES, Metrics],
      useFactory: createDeliverers,
    },
  ],
})
export class DeliveryModule implements OnModuleInit, OnModuleDestroy {
  constructor(
    @Inject(DELIVERERS) private readonly deliverers: readonly WebhookDeliverer[],
    private readonly sender: WebhookSender,
  ) {}

  onModuleInit(): void {
    for (const deliverer of this.deliverers) deliverer.start();
  }

  async onModuleDestroy(): Promise<void> {
    await Promise.all(this.deliverers.map((deliverer) => deliverer.stop()));
    await this.sender.close();
  }
}

function createDeliverers(
  { ledger, webhooks }: Config,
  shards: readonly Shard[],
  endpoints: Endpoints,
  sender: WebhookSender,
  deliveries: readonly ShardDeliveries[],
  metrics: Metrics,
): WebhookDeliverer[] {
  const logger = new Logger('Webhooks');
  const { pollMs, retries } = webhooks;
  return shards.map(({ index, identity, address, general }) => {
    const runner = new TransactionRunner(general, ledger);
    const tables = tablesOf(address.schema);
    const others = deliveries.filter((_, shard) => shard !== index);
    return new WebhookDeliverer(
      ...([runner, tables, new EventLog(runner, tables), endpoints, sender] as const),
      { bankId: identity.bankId, pollMs, policy: retries },
      metrics.forWebhooks(index),
      {
        failing: (error) =>
          logger.warn({ msg: `shard ${index}: webhooks failed and are tried again`, err: error }),
        recovered: () => logger.log(`shard ${index}: webhooks are sent again`),
        skipped: (webhookId) =>
          logger.warn(
            `shard ${index}: webhook wh${webhookId} has missed events that are not retained any more`,
          ),
      },
      (webhookId) => anyAccepts(others, webhookId, retries.switchOffAfterMs),
    );
  });
}

async function anyAccepts(
  shards: readonly ShardDeliveries[],
  webhookId: number,
  withinMs: number,
): Promise<boolean> {
  const sinceMs = Date.now() - withinMs;
  const accepts = await Promise.all(
    shards.map(async (shard) => {
      // What can't be read may have been accepted.
      const state = await shard.state(webhookId).catch(() => undefined);
      return state?.recent.some(
        ({ status = 0, startedAt }) => status >= 200 && status < 300 && Date.parse(startedAt) >= sinceMs,
      );
    }),
  );
  return accepts.some((accepted) => accepted !== false);
}
