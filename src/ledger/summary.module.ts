import { Inject, Logger, Module, type OnModuleDestroy, type OnModuleInit } from '@nestjs/common';
import { CONFIG } from '../config/config.module.js';
import type { Config } from '../config/config.js';
import { Metrics } from '../observability/metrics.js';
import type { Shard } from '../sharding/shard.js';
import { SHARDS } from '../sharding/sharding.module.js';
import { ShardLease } from '../storage/shard-lease.js';
import { tablesOf } from '../storage/tables.js';
import { TransactionRunner } from '../storage/transaction-runner.js';
import { SummaryKeeper } from './summary-keeper.js';

const KEEPERS = Symbol('KEEPERS');

/** One keeper per shard. Not part of the ledger's module, because commands use that without the service. */
@Module({
  providers: [{ provide: KEEPERS, inject: [CONFIG, SHARDS, Metrics], useFactory: createKeepers }],
})
export class SummaryModule implements OnModuleInit, OnModuleDestroy {
  constructor(@Inject(KEEPERS) private readonly keepers: SummaryKeeper[]) {}

  onModuleInit(): void {
    for (const keeper of this.keepers) keeper.start();
  }

  async onModuleDestroy(): Promise<void> {
    await Promise.all(this.keepers.map((keeper) => keeper.stop()));
  }
}

function createKeepers(config: Config, shards: readonly Shard[], metrics: Metrics): SummaryKeeper[] {
  const logger = new Logger('Summary');
  const { intervalMs, statementTimeoutMs } = config.summary;
  const { resolveTimeoutMs, transactionTimeoutMs } = config.ledger;
  return shards.map(
    ({ index, address, general }) =>
      new SummaryKeeper(
        new TransactionRunner(general, { ...config.ledger, transactionTimeoutMs: statementTimeoutMs }),
        tablesOf(address.schema),
        new ShardLease('summary', 2 * statementTimeoutMs),
        { intervalMs, settledMs: transactionTimeoutMs + resolveTimeoutMs },
        metrics.forSummary(index),
        {
          failing: (error) => logger.warn({ msg: `shard ${index}: can't be summed up`, err: error }),
          recovered: () => logger.log(`shard ${index}: is summed up again`),
          unbalanced: (currencies) =>
            logger.error({
              msg: `shard ${index}: the accounts are not what their transactions come to; run \`verify\``,
              currencies,
            }),
        },
      ),
  );
}
