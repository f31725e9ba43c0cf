import { Inject, Logger, Module, type OnModuleDestroy, type OnModuleInit } from '@nestjs/common';
import { CacheModule } from '../cache/cache.module.js';
import { CONFIG } from '../config.module.js';
import type { Config } from '../config.js';
import { SHARDS } from '../database/database.module.js';
import type { Shard } from '../database/shard.js';
import { tablesOf } from '../database/tables.js';
import { BalanceCache } from '../domain/ports.js';
import { LedgerModule } from '../ledger/ledger.module.js';
import { OwnBatches } from '../ledger/own-batches.js';
import { TransactionRunner } from '../ledger/transaction-runner.js';
import { Metrics } from '../observability/metrics.js';
import { InProcessPublisher } from './in-process-publisher.js';
import { OutboxRelay } from './outbox-relay.js';

const RELAYS = Symbol('RELAYS');

/** One relay per shard, from the outbox to this process's own bus. */
@Module({
  imports: [CacheModule, LedgerModule],
  providers: [
    {
      provide: InProcessPublisher,
      inject: [BalanceCache, OwnBatches],
      useFactory: createBus,
    },
    {
      provide: RELAYS,
      inject: [CONFIG, SHARDS, InProcessPublisher, Metrics],
      useFactory: createRelays,
    },
  ],
})
export class EventsModule implements OnModuleInit, OnModuleDestroy {
  constructor(@Inject(RELAYS) private readonly relays: OutboxRelay[]) {}

  onModuleInit(): void {
    for (const relay of this.relays) relay.start();
  }

  async onModuleDestroy(): Promise<void> {
    await Promise.all(this.relays.map((relay) => relay.stop()));
  }
}

/** The balance cache listens: so it learns of what others have posted, like the command line, without telling it. */
function createBus(balances: BalanceCache, ownBatches: OwnBatches): InProcessPublisher {
  const bus = new InProcessPublisher(ownBatches);
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

function createRelays(
  config: Config,
  shards: readonly Shard[],
  publisher: InProcessPublisher,
  metrics: Metrics,
): OutboxRelay[] {
  const logger = new Logger('Outbox');
  return shards.map(
    ({ index, address, general }) =>
      new OutboxRelay(
        new TransactionRunner(general, config.ledger),
        tablesOf(address.schema),
        publisher,
        config.outboxPollMs,
        (rows) => metrics.outboxPublished(index, rows),
        (error) => logger.warn({ msg: 'publishing failed and is tried again', err: error }),
      ),
  );
}
