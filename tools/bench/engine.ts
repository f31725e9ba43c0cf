import { LocalBalanceCache } from '../../src/cache/local-balance-cache.js';
import { ledgerConnections, type Config } from '../../src/config/config.js';
import { createDataSource } from '../../src/storage/data-source.js';
import { ShardPool } from '../../src/storage/shard-pool.js';
import type { ShardAddress } from '../../src/config/shard-address.js';
import { tablesOf } from '../../src/storage/tables.js';
import { BatchScheduler } from '../../src/ledger/write/batch-scheduler.js';
import { BatchWriter } from '../../src/ledger/write/batch-writer.js';
import { RecentLocalBatches } from '../../src/messaging/recent-local-batches.js';
import { BatchStatements } from '../../src/ledger/write/batch-statements.js';
import { TransactionRunner } from '../../src/storage/transaction-runner.js';
import { Metrics } from '../../src/observability/metrics.js';
import type { Accounts, Load } from './tools.js';

/** The group commit alone, without HTTP: each caller posts one transaction after the other. */
export async function engine(
  config: Config,
  shard: ShardAddress,
  callers: number,
  seconds: number,
  accounts: Accounts,
): Promise<Load> {
  const { ledger, balanceCache } = config;
  const size = ledgerConnections(ledger);
  const dataSource = createDataSource(shard, {
    name: 'bench-engine',
    size,
    connectTimeoutMs: 5_000,
    preparedStatements: config.database.preparedStatements !== false,
  });
  await dataSource.initialize();
  const metrics = new Metrics().forShard(0);
  const writer = new BatchWriter(
    new TransactionRunner(new ShardPool(dataSource), ledger),
    new BatchStatements(tablesOf(shard.schema)),
    new LocalBalanceCache(balanceCache),
    new RecentLocalBatches(),
    metrics,
    (error) => console.error(error),
  );
  const scheduler = new BatchScheduler(writer, ledger, metrics);
  const run = `${process.pid}-${performance.now()}`;
  const startedMs = performance.now();
  let posted = 0;
  const call = async () => {
    while (performance.now() - startedMs < seconds * 1000) {
      const accountId = accounts.first + Math.floor(Math.random() * (accounts.last - accounts.first + 1));
      const idempotencyKey = `${run}-${posted++}`;
      await scheduler.submit({ accountId, type: 'credit', amount: 100n, idempotencyKey });
    }
  };
  await Promise.all(Array.from({ length: callers }, call));
  const perSecond = posted / ((performance.now() - startedMs) / 1000);
  await scheduler.close();
  // No relay runs here; the service that is measured next must not start with this backlog.
  await dataSource.query(`DELETE FROM ${tablesOf(shard.schema).outbox}`);
  await dataSource.destroy();
  return { perSecond, requests: posted };
}
