import { Logger, Module, type OnApplicationShutdown } from '@nestjs/common';
import { CacheModule } from '../cache/cache.module.js';
import { CONFIG } from '../config.module.js';
import type { Config } from '../config.js';
import { SHARDS } from '../database/database.module.js';
import type { Shard } from '../database/shard.js';
import type { ShardPool } from '../database/shard-pool.js';
import { tablesOf } from '../database/tables.js';
import { BalanceCache, Ledger } from '../domain/ports.js';
import { Metrics, type PoolLike } from '../observability/metrics.js';
import { AccountOpener } from './account-opener.js';
import { GroupCommit } from './group-commit.js';
import { GroupCommitLedger, type ShardWriter } from './group-commit-ledger.js';
import { LedgerReader } from './ledger-reader.js';
import { OwnBatches } from './own-batches.js';
import { PostBatch } from './post-batch.js';
import { ShardReader } from './shard-reader.js';
import { ShardRouter } from './shard-router.js';
import { TransactionRunner } from './transaction-runner.js';

/** Puts the ledger together, shard by shard. */
@Module({
  imports: [CacheModule],
  providers: [
    OwnBatches,
    {
      provide: GroupCommitLedger,
      inject: [CONFIG, SHARDS, BalanceCache, OwnBatches, Metrics],
      useFactory: (config: Config, shards: Shard[], ...parts: WriterParts) =>
        new GroupCommitLedger(new ShardRouter(shards.map((shard) => createWriter(config, shard, ...parts)))),
    },
    { provide: Ledger, useExisting: GroupCommitLedger },
    {
      provide: LedgerReader,
      inject: [CONFIG, SHARDS, BalanceCache],
      useFactory: (config: Config, shards: Shard[], balances: BalanceCache) => {
        const readers = shards.map(({ general, address }) => {
          const runner = new TransactionRunner(general, config.ledger);
          return new ShardReader(general, runner, tablesOf(address.schema), balances, config.readTimeoutMs);
        });
        return new LedgerReader(new ShardRouter(readers), balances);
      },
    },
  ],
  exports: [Ledger, LedgerReader, OwnBatches],
})
export class LedgerModule implements OnApplicationShutdown {
  constructor(private readonly ledger: GroupCommitLedger) {}

  /** By now the HTTP server has answered its last request. */
  async onApplicationShutdown(): Promise<void> {
    await this.ledger.close();
  }
}

type WriterParts = [balances: BalanceCache, ownBatches: OwnBatches, metrics: Metrics];

function createWriter(
  config: Config,
  shard: Shard,
  ...[balances, ownBatches, metrics]: WriterParts
): ShardWriter {
  const logger = new Logger('Ledger');
  const tables = tablesOf(shard.address.schema);
  const postBatch = new PostBatch(tables);
  metrics.watchPool(`ledger-${shard.index}`, () => poolOf(shard.ledger));
  metrics.watchPool(`general-${shard.index}`, () => poolOf(shard.general));
  return {
    groupCommit: new GroupCommit(
      new TransactionRunner(shard.ledger, config.ledger),
      postBatch,
      balances,
      ownBatches,
      config.ledger,
      metrics.forShard(shard.index),
      (error) => logger.error({ msg: 'a command failed by itself', err: error }),
    ),
    opener: new AccountOpener(
      new TransactionRunner(shard.general, config.ledger),
      postBatch,
      balances,
      tables,
    ),
  };
}

/** TypeORM keeps pg's pool on its driver; there is none before the shard is open. */
function poolOf({ dataSource }: ShardPool): PoolLike | undefined {
  return (dataSource.driver as unknown as { master?: PoolLike }).master;
}
