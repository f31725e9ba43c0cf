import type { DataSource } from 'typeorm';
import { createDataSource } from '../storage/data-source.js';
import type { ShardAddress } from '../config/shard-address.js';
import { ShardPool } from '../storage/shard-pool.js';
import { tablesOf, type SchemaTables } from '../storage/tables.js';
import { TransactionRunner, type RunnerLimits } from '../storage/transaction-runner.js';

/** For commands that work on a shard in many transactions, one after the other. */
export interface ShardRunner {
  readonly dataSource: DataSource;
  readonly runner: TransactionRunner;
  readonly tables: SchemaTables;
}

/** Generous: nobody waits for an answer, and a slow disk is no failure. */
const LIMITS: RunnerLimits = {
  transactionTimeoutMs: 120_000,
  lockTimeoutMs: 60_000,
  attempts: 5,
  resolveTimeoutMs: 10_000,
};

/** Connects to every shard, by one connection each, until the work ends. */
export async function withShardRunners<T>(
  addresses: readonly ShardAddress[],
  name: string,
  work: (shards: readonly ShardRunner[]) => Promise<T>,
): Promise<T> {
  const shards = addresses.map((address, index): ShardRunner => {
    // Of the tables' owner: what these commands do, the service's own role may not do.
    const owned = { ...address, url: address.migrationUrl ?? address.url };
    const dataSource = createDataSource(owned, {
      name: `${name}-${index}`,
      size: 1,
      connectTimeoutMs: 10_000,
    });
    return {
      dataSource,
      runner: new TransactionRunner(new ShardPool(dataSource), LIMITS),
      tables: tablesOf(address.schema),
    };
  });
  try {
    const connected = await Promise.allSettled(shards.map((shard) => shard.dataSource.initialize()));
    const failed = connected.find((result) => result.status === 'rejected');
    if (failed) throw failed.reason;
    return await work(shards);
  } finally {
    const up = shards.filter(({ dataSource }) => dataSource.isInitialized);
    await Promise.all(up.map(({ dataSource }) => dataSource.destroy()));
  }
}
