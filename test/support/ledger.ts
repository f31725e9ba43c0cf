import 'reflect-metadata';
import type { DataSource } from 'typeorm';
import { LocalBalanceCache } from '../../src/cache/local-balance-cache.js';
import { ledgerConnections } from '../../src/config/config.js';
import { createDataSource } from '../../src/storage/data-source.js';
import { ShardPool } from '../../src/storage/shard-pool.js';
import type { PostingCommand } from '../../src/domain/command.js';
import type { Transaction } from '../../src/domain/transaction.js';
import { LedgerError, type LedgerFailure } from '../../src/domain/errors.js';
import { AccountOpener } from '../../src/ledger/write/account-opener.js';
import { BatchScheduler } from '../../src/ledger/write/batch-scheduler.js';
import { BatchWriter } from '../../src/ledger/write/batch-writer.js';
import { RecentLocalBatches } from '../../src/messaging/recent-local-batches.js';
import { BatchStatements } from '../../src/ledger/write/batch-statements.js';
import { tablesOf } from '../../src/storage/tables.js';
import { TransactionRunner } from '../../src/storage/transaction-runner.js';
import { Metrics } from '../../src/observability/metrics.js';
import { configWith, type Overrides } from './config.js';

export interface TestLedger {
  readonly scheduler: BatchScheduler;
  readonly opener: AccountOpener;
  /** Carries out a posting through the scheduler. */
  post(command: PostingCommand): Promise<Transaction>;
  readonly runner: TransactionRunner;
  readonly dataSource: DataSource;
  readonly balances: LocalBalanceCache;
  readonly defects: unknown[];
  close(): Promise<void>;
}

/** For tests of what is done, not of how soon: those of a busy machine. */
export const PATIENT = [{ commandTimeoutMs: 20_000 }, { DATABASE_CONNECT_TIMEOUT_MS: '20000' }] as const;

/** One shard's write path, assembled as in the service, without the service. */
export async function openLedger(
  url: string,
  limits: Overrides['ledger'] = {},
  environment: Record<string, string> = {},
  schema = 'bank',
): Promise<TestLedger> {
  const variables = { DATABASE_URL: url, DATABASE_CONNECT_TIMEOUT_MS: '1000', ...environment };
  const config = configWith(variables, { ledger: limits });
  const { ledger, database } = config;
  const size = ledgerConnections(ledger);
  const dataSource = createDataSource(
    { url, schema },
    {
      name: 'test-ledger',
      size,
      connectTimeoutMs: database.connectTimeoutMs,
      preparedStatements: database.preparedStatements !== false,
    },
  );
  await dataSource.initialize();
  const balances = new LocalBalanceCache({ entries: 10_000, ttlMs: 60_000, servesReads: true });
  const runner = new TransactionRunner(new ShardPool(dataSource), ledger);
  const statements = new BatchStatements(tablesOf(schema));
  const defects: unknown[] = [];
  const metrics = new Metrics().forShard(0);
  const batchWriter = new BatchWriter(
    runner,
    statements,
    balances,
    new RecentLocalBatches(),
    metrics,
    (error) => defects.push(error),
  );
  const scheduler = new BatchScheduler(batchWriter, ledger, metrics);
  return {
    scheduler,
    opener: new AccountOpener(runner, statements, balances),
    post: async (command) => (await scheduler.submit(command)).transactions.at(-1) as Transaction,
    runner,
    dataSource,
    balances,
    defects,
    close: async () => {
      await scheduler.close();
      await dataSource.destroy();
    },
  };
}

/** The failure with which a promise is rejected. @throws when it is fulfilled, or rejected with another error */
export async function failureOf(promise: Promise<unknown>): Promise<LedgerFailure> {
  try {
    await promise;
  } catch (error) {
    if (error instanceof LedgerError) return error.failure;
    throw error;
  }
  throw new Error('expected a failure of the ledger');
}
