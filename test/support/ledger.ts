import 'reflect-metadata';
import type { DataSource } from 'typeorm';
import { LocalBalanceCache } from '../../src/cache/local-balance-cache.js';
import { loadConfig } from '../../src/config.js';
import { createDataSource } from '../../src/database/data-source.js';
import { ShardPool } from '../../src/database/shard-pool.js';
import { LedgerError, type Refusal } from '../../src/domain/errors.js';
import { AccountOpener } from '../../src/ledger/account-opener.js';
import { GroupCommit } from '../../src/ledger/group-commit.js';
import { OwnBatches } from '../../src/ledger/own-batches.js';
import { PostBatch } from '../../src/ledger/post-batch.js';
import { tablesOf } from '../../src/database/tables.js';
import { TransactionRunner } from '../../src/ledger/transaction-runner.js';
import { Metrics } from '../../src/observability/metrics.js';

export interface TestLedger {
  readonly groupCommit: GroupCommit;
  readonly opener: AccountOpener;
  readonly runner: TransactionRunner;
  readonly dataSource: DataSource;
  readonly balances: LocalBalanceCache;
  readonly defects: unknown[];
  close(): Promise<void>;
}

/** One shard's write path as the service puts it together, without the service. */
export async function openLedger(url: string, overrides: Record<string, string> = {}): Promise<TestLedger> {
  const config = loadConfig({ DATABASE_URL: url, DATABASE_CONNECT_TIMEOUT_MS: '1000', ...overrides });
  const { ledger } = config;
  const size = ledger.flushers + ledger.lanes + ledger.atomicBatches;
  const dataSource = createDataSource(
    { url, schema: 'bank' },
    {
      name: 'test-ledger',
      size,
      connectTimeoutMs: config.databaseConnectTimeoutMs,
      preparedStatements: config.preparedStatements !== false,
    },
  );
  await dataSource.initialize();
  const tables = tablesOf('bank');
  const balances = new LocalBalanceCache({ entries: 10_000, ttlMs: 60_000, servesReads: true });
  const runner = new TransactionRunner(new ShardPool(dataSource), ledger);
  const postBatch = new PostBatch(tables);
  const defects: unknown[] = [];
  const metrics = new Metrics().forShard(0);
  const groupCommit = new GroupCommit(
    runner,
    postBatch,
    balances,
    new OwnBatches(),
    ledger,
    metrics,
    (error) => defects.push(error),
  );
  return {
    groupCommit,
    opener: new AccountOpener(runner, postBatch, balances, tables),
    runner,
    dataSource,
    balances,
    defects,
    close: async () => {
      await groupCommit.close();
      await dataSource.destroy();
    },
  };
}

/** The refusal that a promise fails with; fails itself when it is fulfilled, or fails with something else. */
export async function refusalOf(promise: Promise<unknown>): Promise<Refusal> {
  try {
    await promise;
  } catch (error) {
    if (error instanceof LedgerError) return error.refusal;
    throw error;
  }
  throw new Error('expected a refusal');
}
