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
import { EventLog } from './event-log.js';
import { EventRelay } from './event-relay.js';
import { EventTail } from './event-tail.js';
import { LogPruner } from './log-pruner.js';
import { LogReceiver } from './log-receiver.js';
import { Outbox } from './outbox.js';
import { RabbitMqConnection } from './rabbitmq-connection.js';
import { RabbitMqPublisher } from './rabbitmq-publisher.js';

/** The injection token of the {@link EventRelay}s of each shard, in the bank's order. */
export const RELAYS = Symbol('RELAYS');

/** The injection token of the {@link EventTail} of each shard, in the bank's order. */
export const TAILS = Symbol('TAILS');

const PRUNERS = Symbol('PRUNERS');

/** The injection token of the {@link RabbitMqConnection}; undefined where no broker is configured. */
export const RABBITMQ = Symbol('RABBITMQ');

/**
 * For each shard a relay from the outbox to this process's own bus and to the log, and one from the log to RabbitMQ,
 * where there is one.
 */
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
      inject: [CONFIG, SHARDS, InProcessPublisher, RABBITMQ, Metrics, TAILS],
      useFactory: createRelays,
    },
    { provide: TAILS, inject: [CONFIG, SHARDS], useFactory: createTails },
    { provide: PRUNERS, inject: [CONFIG, SHARDS], useFactory: createPruners },
  ],
  exports: [RABBITMQ, RELAYS, TAILS],
})
export class MessagingModule implements OnModuleInit, OnModuleDestroy, OnApplicationShutdown {
  private readonly works: readonly { start(): void; stop(): Promise<void> }[];

  constructor(
    @Inject(RELAYS) relays: readonly (readonly EventRelay[])[],
    @Inject(PRUNERS) pruners: readonly LogPruner[],
    @Inject(TAILS) private readonly tails: readonly EventTail[],
    @Inject(RABBITMQ) private readonly broker: RabbitMqConnection | undefined,
  ) {
    this.works = [...relays.flat(), ...pruners];
  }

  onModuleInit(): void {
    for (const work of this.works) work.start();
  }

  async onModuleDestroy(): Promise<void> {
    await Promise.all([...this.works, ...this.tails].map((work) => work.stop()));
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
    const accounts = transactions.map(({ accountId, balanceAfter, versionAfter, decimals }) => ({
      accountId,
      balance: balanceAfter,
      version: versionAfter,
      decimals,
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
  tails: readonly EventTail[],
): EventRelay[][] {
  const logger = new Logger('Events');
  const { ledger, rabbitmq, outbox } = config;
  return shards.map(({ index, identity, address, general }) => {
    const runner = new TransactionRunner(general, ledger);
    const tables = tablesOf(address.schema);
    const log = (what: string) => ({
      failing: (error: unknown) =>
        logger.warn({ msg: `shard ${index}: ${what} failed and is tried again`, err: error }),
      recovered: () => logger.log(`shard ${index}: ${what} succeeds again`),
    });
    const toLog = (begin?: () => Promise<void>) =>
      new EventRelay(
        new Outbox(runner, tables, ledger.transactionTimeoutMs, () => tails[index]?.wake()),
        bus,
        outbox.pollMs,
        metrics.forOutbox(index),
        log('moving events to the log'),
        begin,
      );
    if (!broker || !rabbitmq) return [toLog()];
    const receiver = new LogReceiver(runner, tables, ledger.transactionTimeoutMs + rabbitmq.confirmTimeoutMs);
    const publisher = new RabbitMqPublisher(broker, {
      ...{ ...rabbitmq, bankId: identity.bankId, shardIndex: index },
    });
    const toBroker = new EventRelay(
      receiver,
      publisher,
      outbox.pollMs,
      metrics.forRabbitMq(index),
      log('publishing'),
    );
    // The broker gets what waits in the outbox, too.
    return [toLog(() => receiver.begin()), toBroker];
  });
}

function createTails({ ledger, outbox }: Config, shards: readonly Shard[]): EventTail[] {
  return shards.map(({ index, address, general }) => {
    const log = new EventLog(new TransactionRunner(general, ledger), tablesOf(address.schema));
    return new EventTail(log, outbox.pollMs, new Logger(`Events of shard ${index}`));
  });
}

function createPruners({ ledger, events }: Config, shards: readonly Shard[]): LogPruner[] {
  return shards.map(({ address, general }) => {
    const log = new EventLog(new TransactionRunner(general, ledger), tablesOf(address.schema));
    return new LogPruner(log, events.retentionMs);
  });
}
