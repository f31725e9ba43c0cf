import { Inject, Logger, Module, type OnApplicationShutdown, type OnModuleDestroy, type OnModuleInit } from '@nestjs/common';
import type { DataSource } from 'typeorm';
import { LocalBalanceCache } from '../cache/local-balance-cache.js';
import { CONFIG } from '../config.module.js';
import type { Config } from '../config.js';
import { SHARD_CONNECTIONS, type ShardConnections } from '../database/database.module.js';
import { BalanceCache, Ledger } from '../domain/ports.js';
import { InProcessPublisher } from '../events/in-process-publisher.js';
import { OutboxRelay } from '../events/outbox-relay.js';
import { Metrics, type PoolLike } from '../observability/metrics.js';
import { AccountOpener } from './account-opener.js';
import { GroupCommit } from './group-commit.js';
import { GroupCommitLedger, type ShardWriter } from './group-commit-ledger.js';
import { LedgerReader } from './ledger-reader.js';
import { PostBatch } from './post-batch.js';
import { ShardRouter } from './shard-router.js';
import { tablesOf } from './tables.js';
import { TransactionRunner } from './transaction-runner.js';

const RELAYS = Symbol('RELAYS');
const logger = new Logger('Ledger');

/** Puts the ledger together, shard by shard. */
@Module({
  providers: [
    {
      provide: BalanceCache,
      inject: [CONFIG],
      useFactory: (config: Config) => new LocalBalanceCache(config.balanceCache),
    },
    {
      provide: GroupCommitLedger,
      inject: [CONFIG, SHARD_CONNECTIONS, BalanceCache, Metrics],
      useFactory: (config: Config, shards: ShardConnections[], balances: BalanceCache, metrics: Metrics) =>
        new GroupCommitLedger(new ShardRouter(shards.map((shard) => shardWriter(config, shard, balances, metrics)))),
    },
    { provide: Ledger, useExisting: GroupCommitLedger },
    {
      provide: LedgerReader,
      inject: [CONFIG, SHARD_CONNECTIONS, BalanceCache],
      useFactory: (config: Config, shards: ShardConnections[], balances: BalanceCache) => {
        const readers = shards.map(({ general, address }) => ({
          dataSource: general,
          tables: tablesOf(address.schema),
        }));
        return new LedgerReader(new ShardRouter(readers), balances, config.readTimeoutMs);
      },
    },
    {
      provide: RELAYS,
      inject: [CONFIG, SHARD_CONNECTIONS, BalanceCache, Metrics],
      useFactory: (config: Config, shards: ShardConnections[], balances: BalanceCache, metrics: Metrics) =>
        shards.map((shard) => outboxRelay(config, shard, balances, metrics)),
    },
  ],
  exports: [Ledger, LedgerReader],
})
export class LedgerModule implements OnModuleInit, OnModuleDestroy, OnApplicationShutdown {
  constructor(
    private readonly ledger: GroupCommitLedger,
    @Inject(RELAYS) private readonly relays: OutboxRelay[],
  ) {}

  onModuleInit(): void {
    for (const relay of this.relays) relay.start();
  }

  async onModuleDestroy(): Promise<void> {
    await Promise.all(this.relays.map((relay) => relay.stop()));
  }

  /** By now the HTTP server has answered its last request. */
  async onApplicationShutdown(): Promise<void> {
    await this.ledger.close();
  }
}

function shardWriter(
  config: Config,
  shard: ShardConnections,
  balances: BalanceCache,
  metrics: Metrics,
): ShardWriter {
  const tables = tablesOf(shard.address.schema);
  metrics.watchPool(`ledger-${shard.index}`, poolOf(shard.ledger));
  metrics.watchPool(`general-${shard.index}`, poolOf(shard.general));
  const postBatch = new PostBatch(shard.ledger, tables);
  return {
    groupCommit: new GroupCommit(
      new TransactionRunner(shard.ledger, config.ledger),
      postBatch,
      balances,
      config.ledger,
      metrics.forShard(shard.index),
      (error) => logger.error({ msg: 'a command failed by itself', err: error }),
    ),
    opener: new AccountOpener(new TransactionRunner(shard.general, config.ledger), postBatch, balances, tables),
  };
}

/** Without a broker the events feed the balance cache, which so learns of what the CLI posts to a running bank. */
function outboxRelay(config: Config, shard: ShardConnections, balances: BalanceCache, metrics: Metrics): OutboxRelay {
  const publisher = new InProcessPublisher();
  publisher.subscribe(({ accountId, balanceAfter, versionAfter }) =>
    balances.record({ accountId, balance: balanceAfter, version: versionAfter }),
  );
  return new OutboxRelay(
    new TransactionRunner(shard.general, config.ledger),
    tablesOf(shard.address.schema),
    publisher,
    config.outboxPollMs,
    (rows) => metrics.outboxPublished(shard.index, rows),
    (error) => logger.warn({ msg: 'the outbox could not be published; it is tried again', err: error }),
  );
}

/** TypeORM keeps pg's pool on its driver. */
function poolOf(dataSource: DataSource): PoolLike {
  return (dataSource.driver as unknown as { master: PoolLike }).master;
}
