import { Logger, Module, type OnApplicationShutdown } from '@nestjs/common';
import { CacheModule } from '../cache/cache.module.js';
import { CONFIG } from '../config.module.js';
import type { Config } from '../config.js';
import { SHARDS } from '../database/database.module.js';
import type { Shard } from '../database/shard.js';
import { tablesOf } from '../database/tables.js';
import { BalanceCache, Ledger } from '../domain/ports.js';
import { Metrics } from '../observability/metrics.js';
import { BatchSlots } from './batch-slots.js';
import { AccountOpener } from './account-opener.js';
import { AccountOwners } from './account-owners.js';
import { GroupCommit } from './group-commit.js';
import { GroupCommitLedger, type ShardWriter } from './group-commit-ledger.js';
import { LedgerReader } from './ledger-reader.js';
import { OwnBatches } from './own-batches.js';
import { PostBatch } from './post-batch.js';
import { ShardReader } from './shard-reader.js';
import { ShardRouter } from './shard-router.js';
import { Turnstile } from './turnstile.js';
import { TransactionRunner } from './transaction-runner.js';

/** The injection token of the shards' {@link ShardReader}s. */
export const READERS = Symbol('READERS');

/** Puts the ledger together, shard by shard. */
@Module({
  imports: [CacheModule],
  providers: [
    OwnBatches,
    {
      provide: GroupCommitLedger,
      inject: [CONFIG, SHARDS, BalanceCache, OwnBatches, Metrics],
      useFactory: (config: Config, shards: Shard[], ...parts: WriterParts) =>
        new GroupCommitLedger(new ShardRouter(createWriters(config, shards, parts))),
    },
    { provide: Ledger, useExisting: GroupCommitLedger },
    { provide: READERS, inject: [CONFIG, SHARDS, BalanceCache, Metrics], useFactory: createReaders },
    {
      provide: LedgerReader,
      inject: [READERS, BalanceCache],
      useFactory: (...parts: ConstructorParameters<typeof LedgerReader>) => new LedgerReader(...parts),
    },
    {
      provide: AccountOwners,
      inject: [READERS],
      useFactory: (readers: ShardRouter<ShardReader>) => new AccountOwners(readers),
    },
  ],
  exports: [Ledger, LedgerReader, AccountOwners, OwnBatches, READERS],
})
export class LedgerModule implements OnApplicationShutdown {
  constructor(private readonly ledger: GroupCommitLedger) {}

  /** By now the HTTP server has answered its last request. */
  async onApplicationShutdown(): Promise<void> {
    await this.ledger.close();
  }
}

function createReaders(
  config: Config,
  shards: readonly Shard[],
  balances: BalanceCache,
  metrics: Metrics,
): ShardRouter<ShardReader> {
  const readers = shards.map(({ general, address, index }) => {
    const runner = new TransactionRunner(general, config.ledger);
    const reader = new ShardReader(general, runner, tablesOf(address.schema), balances, config.readTimeoutMs);
    metrics.forShard(index).watchUp(async () => (await reader.problem()) === undefined);
    return reader;
  });
  return new ShardRouter(readers);
}

type WriterParts = [balances: BalanceCache, ownBatches: OwnBatches, metrics: Metrics];

function createWriters(config: Config, shards: readonly Shard[], parts: WriterParts): ShardWriter[] {
  const slots = new Map<string, BatchSlots>();
  return shards.map((shard) => {
    const server = new URL(shard.address.url).host;
    const shared = slots.get(server) ?? new BatchSlots(config.ledger.flushers);
    slots.set(server, shared);
    return createWriter(config, shard, shared, ...parts);
  });
}

function createWriter(
  config: Config,
  shard: Shard,
  slots: BatchSlots,
  ...[balances, ownBatches, metrics]: WriterParts
): ShardWriter {
  const logger = new Logger('Ledger');
  const tables = tablesOf(shard.address.schema);
  const postBatch = new PostBatch(tables);
  const shardMetrics = metrics.forShard(shard.index);
  shardMetrics.watchPool('ledger', () => shard.ledger.connections);
  shardMetrics.watchPool('general', () => shard.general.connections);
  const groupCommit = new GroupCommit(
    new TransactionRunner(shard.ledger, config.ledger),
    postBatch,
    balances,
    ownBatches,
    config.ledger,
    shardMetrics,
    (error) => logger.error({ msg: 'a command failed by itself', err: error }),
    slots,
  );
  const { atWork, queue, commandTimeoutMs } = config.ledger;
  const turnstile = new Turnstile(
    // Half of its time is left for its work.
    { atWork, queue, holdMs: commandTimeoutMs / 2 },
    () => groupCommit.parked,
    () => shardMetrics.refused('OVERLOADED'),
  );
  shardMetrics.watchHeld(() => turnstile.heldNow);
  return {
    groupCommit,
    turnstile,
    opener: new AccountOpener(
      new TransactionRunner(shard.general, config.ledger),
      postBatch,
      balances,
      tables,
    ),
  };
}
