import { Inject, Logger, Module, type OnModuleDestroy, type OnModuleInit } from '@nestjs/common';
import { CONFIG } from '../config/config.module.js';
import type { Config } from '../config/config.js';
import { Ledger } from '../domain/ports.js';
import { Metrics } from '../observability/metrics.js';
import type { Shard } from '../sharding/shard.js';
import { SHARDS } from '../sharding/sharding.module.js';
import { ShardLease } from '../storage/shard-lease.js';
import { tablesOf } from '../storage/tables.js';
import { TransactionRunner } from '../storage/transaction-runner.js';
import { ExpirySweeper } from './expiry-sweeper.js';
import { LedgerModule } from './ledger.module.js';

const SWEEPERS = Symbol('SWEEPERS');

/** One sweeper per shard. Not part of the ledger's module, because commands use that without the service. */
@Module({
  imports: [LedgerModule],
  providers: [{ provide: SWEEPERS, inject: [CONFIG, SHARDS, Ledger, Metrics], useFactory: createSweepers }],
})
export class SweeperModule implements OnModuleInit, OnModuleDestroy {
  constructor(@Inject(SWEEPERS) private readonly sweepers: ExpirySweeper[]) {}

  onModuleInit(): void {
    for (const sweeper of this.sweepers) sweeper.start();
  }

  async onModuleDestroy(): Promise<void> {
    await Promise.all(this.sweepers.map((sweeper) => sweeper.stop()));
  }
}

function createSweepers(
  config: Config,
  shards: readonly Shard[],
  ledger: Ledger,
  metrics: Metrics,
): ExpirySweeper[] {
  const logger = new Logger('Sweeper');
  const { commandTimeoutMs, transactionTimeoutMs } = config.ledger;
  return shards.map(
    ({ index, address, general }) =>
      new ExpirySweeper(
        ledger,
        new TransactionRunner(general, config.ledger),
        tablesOf(address.schema),
        new ShardLease('sweeper', commandTimeoutMs + transactionTimeoutMs),
        config.sweeper.pollMs,
        metrics.forSweeper(index),
        {
          failing: (error) =>
            logger.warn({ msg: `shard ${index}: expired holds can't be ended yet`, err: error }),
          recovered: () => logger.log(`shard ${index}: expired holds are ended again`),
        },
      ),
  );
}
