import { Logger, Module, type OnApplicationShutdown } from '@nestjs/common';
import { CacheModule } from '../cache/cache.module.js';
import { CONFIG } from '../config/config.module.js';
import type { Config } from '../config/config.js';
import { SHARDS } from '../sharding/sharding.module.js';
import type { Shard } from '../sharding/shard.js';
import { tablesOf } from '../storage/tables.js';
import { BalanceCache, Ledger } from '../domain/ports.js';
import { Metrics } from '../observability/metrics.js';
import { TRACING, type Tracing } from '../observability/tracing.js';
import { BatchSlots } from './write/batch-slots.js';
import { AccountOpener } from './write/account-opener.js';
import { AccountEventReader } from './read/account-event-reader.js';
import { AccountOwners } from './read/account-owners.js';
import { BatchScheduler } from './write/batch-scheduler.js';
import { BatchWriter } from './write/batch-writer.js';
import { ShardedLedger, type ShardWriter } from './sharded-ledger.js';
import { HistoryReader } from './read/history-reader.js';
import { HoldReader } from './read/hold-reader.js';
import { KeyReader } from './read/key-reader.js';
import { LedgerReader } from './read/ledger-reader.js';
import { RecentLocalBatches } from '../messaging/recent-local-batches.js';
import { BatchStatements } from './write/batch-statements.js';
import { READERS, ShardReader } from './read/shard-reader.js';
import { StatementReader } from './read/statement-reader.js';
import { SummaryReader } from './read/summary-reader.js';
import { TransferReader } from './read/transfer-reader.js';
import { TRANSFER_RECORDS, TransferRecords } from './read/transfer-records.js';
import { TransferCoordinator } from './transfer-coordinator.js';
import { ShardRouter } from '../sharding/shard-router.js';
import { AdaptiveConcurrencyLimiter } from '../concurrency/adaptive-concurrency-limiter.js';
import { TransactionRunner } from '../storage/transaction-runner.js';
import { RecentLocalBatchesModule } from '../messaging/recent-local-batches.module.js';

/** The write side of each shard. */
const WRITERS = Symbol('WRITERS');

/** Assembles the ledger, shard by shard. */
@Module({
  imports: [CacheModule, RecentLocalBatchesModule],
  providers: [
    {
      provide: WRITERS,
      inject: [
        ...[CONFIG, SHARDS, BalanceCache, RecentLocalBatches, Metrics],
        { token: TRACING, optional: true },
      ],
      useFactory: (config: Config, shards: Shard[], ...parts: WriterParts) =>
        new ShardRouter(createWriters(config, shards, parts)),
    },
    {
      provide: TRANSFER_RECORDS,
      inject: [READERS],
      useFactory: ({ shards }: ShardRouter<ShardReader>) =>
        new ShardRouter(shards.map((reader) => new TransferRecords(reader))),
    },
    {
      provide: TransferCoordinator,
      inject: [WRITERS, TRANSFER_RECORDS, CONFIG],
      useFactory: (
        writers: ShardRouter<ShardWriter>,
        records: ShardRouter<TransferRecords>,
        { ledger }: Config,
      ) => new TransferCoordinator(writers, records, ledger.commandTimeoutMs),
    },
    {
      provide: ShardedLedger,
      inject: [WRITERS, TransferCoordinator],
      useFactory: (writers: ShardRouter<ShardWriter>, coordinator: TransferCoordinator) =>
        new ShardedLedger(writers, coordinator),
    },
    { provide: Ledger, useExisting: ShardedLedger },
    { provide: READERS, inject: [CONFIG, SHARDS, BalanceCache, Metrics], useFactory: createReaders },
    LedgerReader,
    TransferReader,
    AccountOwners,
    AccountEventReader,
    HoldReader,
    HistoryReader,
    StatementReader,
    SummaryReader,
    KeyReader,
  ],
  exports: [
    ...[Ledger, LedgerReader, TransferReader, AccountOwners, HoldReader, HistoryReader, StatementReader],
    ...[AccountEventReader, SummaryReader, READERS, KeyReader, TransferCoordinator],
  ],
})
export class LedgerModule implements OnApplicationShutdown {
  constructor(private readonly ledger: ShardedLedger) {}

  /** Runs after the HTTP server has answered its last request. */
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
    const reader = new ShardReader(
      general,
      runner,
      tablesOf(address.schema),
      balances,
      config.database.readTimeoutMs,
    );
    metrics.forShard(index).watchUp(async () => (await reader.problem()) === undefined);
    return reader;
  });
  return new ShardRouter(readers);
}

type WriterParts = [
  balances: BalanceCache,
  recentLocalBatches: RecentLocalBatches,
  metrics: Metrics,
  tracing: Tracing | undefined,
];

function createWriters(config: Config, shards: readonly Shard[], parts: WriterParts): ShardWriter[] {
  const slots = new Map<string, BatchSlots>();
  return shards.map((shard) => {
    const server = new URL(shard.address.url).host;
    const shared = slots.get(server) ?? new BatchSlots(config.ledger.batchWriters);
    slots.set(server, shared);
    return createWriter(config, shard, shared, ...parts);
  });
}

function createWriter(
  config: Config,
  shard: Shard,
  slots: BatchSlots,
  ...[balances, recentLocalBatches, metrics, tracing]: WriterParts
): ShardWriter {
  const logger = new Logger('Ledger');
  const statements = new BatchStatements(tablesOf(shard.address.schema));
  const shardMetrics = metrics.forShard(shard.index);
  shardMetrics.watchPool('ledger', () => shard.ledger.connections);
  shardMetrics.watchPool('general', () => shard.general.connections);
  const batchWriter = new BatchWriter(
    new TransactionRunner(shard.ledger, config.ledger),
    statements,
    balances,
    recentLocalBatches,
    shardMetrics,
    (error) => logger.error({ msg: 'a command failed unexpectedly', err: error }),
    tracing?.forShard(shard.index),
  );
  const scheduler = new BatchScheduler(batchWriter, config.ledger, shardMetrics, slots);
  const { maxInFlight, queue, commandTimeoutMs } = config.ledger;
  // Half of a command's time is left for the work itself.
  const limits = { maxInFlight, queue, maxWaitMs: commandTimeoutMs / 2 };
  const createLimiter = () =>
    new AdaptiveConcurrencyLimiter(
      limits,
      () => scheduler.parked,
      () => shardMetrics.failed('OVERLOADED'),
    );
  const [limiter, toOthers] = [createLimiter(), new Map<ShardWriter, AdaptiveConcurrencyLimiter>()];
  const waitingForOthers = () => [...toOthers.values()].reduce((sum, { waiting }) => sum + waiting, 0);
  shardMetrics.watchWaiting(() => limiter.waiting + waitingForOthers());
  return {
    ...{ scheduler, limiter },
    limiterTo: (target) => {
      const known = toOthers.get(target) ?? createLimiter();
      toOthers.set(target, known);
      return known;
    },
    opener: new AccountOpener(
      new TransactionRunner(shard.general, config.ledger),
      statements,
      balances,
      config.currency,
    ),
  };
}
