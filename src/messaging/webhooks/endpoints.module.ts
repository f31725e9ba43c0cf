import { Inject, Logger, Module, type OnModuleDestroy, type OnModuleInit } from '@nestjs/common';
import { CONFIG } from '../../config/config.module.js';
import type { Config } from '../../config/config.js';
import { messageOf } from '../../domain/error-message.js';
import { SHARDS } from '../../sharding/sharding.module.js';
import type { Shard } from '../../sharding/shard.js';
import { tablesOf } from '../../storage/tables.js';
import { TransactionRunner } from '../../storage/transaction-runner.js';
import { ShardDeliveries } from './deliveries.js';
import { Endpoints } from './endpoints.js';
import { WebhookSecrets } from './secrets.js';
import { WebhookStore } from './webhook-store.js';

/** The injection token of the {@link ShardDeliveries}, in the bank's order. */
export const DELIVERIES = Symbol('DELIVERIES');

/** The endpoints that get events by HTTP: what is known of them, and what became of their deliveries. */
@Module({
  providers: [
    {
      provide: WebhookSecrets,
      inject: [CONFIG],
      useFactory: ({ webhooks }: Config) => new WebhookSecrets(webhooks),
    },
    { provide: WebhookStore, inject: [CONFIG, SHARDS], useFactory: createStore },
    { provide: Endpoints, inject: [CONFIG, WebhookStore, WebhookSecrets], useFactory: createEndpoints },
    { provide: DELIVERIES, inject: [CONFIG, SHARDS], useFactory: createDeliveries },
  ],
  exports: [WebhookSecrets, WebhookStore, Endpoints, DELIVERIES],
})
export class EndpointsModule implements OnModuleInit, OnModuleDestroy {
  constructor(@Inject(Endpoints) private readonly endpoints: Endpoints) {}

  onModuleInit(): void {
    this.endpoints.start();
  }

  async onModuleDestroy(): Promise<void> {
    await this.endpoints.stop();
  }
}

function createStore({ ledger }: Config, [first]: readonly Shard[]): WebhookStore {
  if (!first) throw new Error('a bank has a shard');
  return new WebhookStore(new TransactionRunner(first.general, ledger), tablesOf(first.address.schema));
}

function createEndpoints({ auth }: Config, store: WebhookStore, secrets: WebhookSecrets): Endpoints {
  const logger = new Logger('Webhooks');
  return new Endpoints(store, secrets, auth.keysStaleMs, {
    stateChanged: (problem) => {
      if (problem === undefined) return logger.log('webhooks can be read again');
      const minutes = Math.round(auth.keysStaleMs / 60_000);
      logger.warn(
        `webhooks can't be read (${messageOf(problem)}): those that are known get events for ${minutes} min`,
      );
    },
    disabled: (webhookId, because) => logger.warn(`webhook wh${webhookId} was switched off: ${because}`),
  });
}

function createDeliveries({ ledger }: Config, shards: readonly Shard[]): ShardDeliveries[] {
  return shards.map(
    ({ general, address, identity }) =>
      new ShardDeliveries(new TransactionRunner(general, ledger), tablesOf(address.schema), identity.bankId),
  );
}
