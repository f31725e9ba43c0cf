import {
  Inject,
  Logger,
  Module,
  type OnApplicationShutdown,
  type OnModuleDestroy,
  type OnModuleInit,
} from '@nestjs/common';
import { CacheModule } from '../cache/cache.module.js';
import { CONFIG } from '../config/config.module.js';
import type { Config } from '../config/config.js';
import { SHARDS } from '../sharding/sharding.module.js';
import type { Shard } from '../sharding/shard.js';
import { tablesOf } from '../storage/tables.js';
import { BalanceCache } from '../domain/ports.js';
import { RecentLocalBatches } from './recent-local-batches.js';
import { RecentLocalBatchesModule } from './recent-local-batches.module.js';
import { TransactionRunner } from '../storage/transaction-runner.js';
import { Metrics } from '../observability/metrics.js';
import { InProcessPublisher } from './in-process-publisher.js';
import { OutboxRelay } from './outbox-relay.js';
import { Outbox } from './outbox.js';
import { RabbitMqConnection } from './rabbitmq-connection.js';
import { RabbitMqPublisher } from './rabbitmq-publisher.js';

/** The injection token of the shards' {@link OutboxRelay}s, in the bank's order. */
export const RELAYS = Symbol('RELAYS');

/** The injection token of the {@link RabbitMqConnection}; undefined where no broker is configured. */
export const RABBITMQ = Symbol('RABBITMQ');

/** One relay per shard, from the outbox to this process's own bus and to RabbitMQ, where there is one. */
@Module({
  imports: [CacheModule, RecentLocalBatchesModule],
  providers: [
    {
      provide: InProcessPublisher,
      inject: [BalanceCache, RecentLocalBatches],
      useFactory: createBus,
    },
    { provide: RABBITMQ, inject: [CONFIG, Metrics], useFactory: connectBroker },
    {
      provide: RELAYS,
      inject: [CONFIG, SHARDS, InProcessPublisher, RABBITMQ, Metrics],
      useFactory: createRelays,
    },
  ],
  exports: [RABBITMQ, RELAYS],
})
export class MessagingModule implements OnModuleInit, OnModuleDestroy, OnApplicationShutdown {
  constructor(
    @Inject(RELAYS) private readonly relays: OutboxRelay[],
    @Inject(RABBITMQ) private readonly broker: RabbitMqConnection | undefined,
  ) {}

  onModuleInit(): void {
    for (const relay of this.relays) relay.start();
  }

  async onModuleDestroy(): Promise<void> {
    await Promise.all(this.relays.map((relay) => relay.stop()));
  }

  /** Runs after the HTTP server has answered its last request, which may have been queued. */
  async onApplicationShutdown(): Promise<void> {
    await this.broker?.close();
  }
}

/** The balance cache listens: so it learns of what others have posted, like the command line, without telling it. */
function createBus(balances: BalanceCache, recentLocalBatches: RecentLocalBatches): InProcessPublisher {
  const bus = new InProcessPublisher(recentLocalBatches);
  bus.subscribe((transactions) => {
    const accounts = transactions.map(({ accountId, balanceAfter, versionAfter }) => ({
      accountId,
      balance: balanceAfter,
      version: versionAfter,
    }));
    // More may have happened since: that what it holds is older than this is all that the cache may learn from it.
    return balances.record(accounts, -Infinity);
  });
  return bus;
}

function connectBroker({ rabbitmq }: Config, metrics: Metrics): RabbitMqConnection | undefined {
  if (!rabbitmq) return undefined;
  const logger = new Logger('RabbitMQ');
  const broker = new RabbitMqConnection(rabbitmq, {
    info: (message) => logger.log(message),
    warn: (message) => logger.warn(message),
  });
  metrics.watchBroker(() => broker.status);
  return broker;
}

function createRelays(
  config: Config,
  shards: readonly Shard[],
  bus: InProcessPublisher,
  broker: RabbitMqConnection | undefined,
  metrics: Metrics,
): OutboxRelay[] {
  const logger = new Logger('Outbox');
  const { ledger, rabbitmq } = config;
  const leaseMs = ledger.transactionTimeoutMs + (rabbitmq?.confirmTimeoutMs ?? 0);
  return shards.map(({ index, identity, address, general }) => {
    const outbox = new Outbox(
      new TransactionRunner(general, ledger),
      tablesOf(address.schema),
      leaseMs,
      broker !== undefined,
    );
    const settings = rabbitmq && { ...rabbitmq, bankId: identity.bankId, shardIndex: index };
    const publishers = broker && settings ? [bus, new RabbitMqPublisher(broker, settings)] : [bus];
    return new OutboxRelay(outbox, publishers, config.outbox.pollMs, metrics.forOutbox(index), {
      failing: (error) =>
        logger.warn({ msg: `shard ${index}: publishing failed and is tried again`, err: error }),
      recovered: () => logger.log(`shard ${index}: events are published again`),
    });
  });
}
