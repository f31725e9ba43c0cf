import { Inject, Logger, Module, type OnModuleDestroy, type OnModuleInit } from '@nestjs/common';
import { CONFIG } from '../config/config.module.js';
import type { Config } from '../config/config.js';
import { LedgerError } from '../domain/errors.js';
import { Metrics } from '../observability/metrics.js';
import type { Shard } from '../sharding/shard.js';
import { SHARDS } from '../sharding/sharding.module.js';
import { ShardLease } from '../storage/shard-lease.js';
import { tablesOf } from '../storage/tables.js';
import { TransactionRunner } from '../storage/transaction-runner.js';
import { LedgerModule } from './ledger.module.js';
import { PendingTransfers, READING } from './pending-transfers.js';
import { TransferCoordinator } from './transfer-coordinator.js';

const WORKERS = Symbol('WORKERS');

/** One worker per shard, if the bank has several. A module of its own, because commands use the ledger without it. */
@Module({
  imports: [LedgerModule],
  providers: [
    {
      provide: WORKERS,
      inject: [CONFIG, SHARDS, TransferCoordinator, Metrics],
      useFactory: createWorkers,
    },
  ],
})
export class PendingTransfersModule implements OnModuleInit, OnModuleDestroy {
  constructor(@Inject(WORKERS) private readonly workers: PendingTransfers[]) {}

  onModuleInit(): void {
    for (const worker of this.workers) worker.start();
  }

  async onModuleDestroy(): Promise<void> {
    await Promise.all(this.workers.map((worker) => worker.stop()));
  }
}

function createWorkers(
  config: Config,
  shards: readonly Shard[],
  coordinator: TransferCoordinator,
  metrics: Metrics,
): PendingTransfers[] {
  if (shards.length === 1) return [];
  const logger = new Logger('Transfers');
  return shards.map(
    ({ index, address, general }) =>
      new PendingTransfers(
        shards.length,
        new TransactionRunner(general, config.ledger),
        tablesOf(address.schema),
        (transfer) => coordinator.finish(transfer),
        new ShardLease('transfers', config.transfers.leaseMs),
        config.transfers,
        metrics.forPendingTransfers(index),
        {
          failing: (target, error) =>
            logger.warn({
              msg: `shard ${index}: ${workOn(target)} yet`,
              ...(error instanceof LedgerError ? { code: error.failure.code } : { err: error }),
            }),
          recovered: (target) => logger.log(`shard ${index}: ${workOn(target)}: it is over`),
        },
      ),
  );
}

const workOn = (target: number): string =>
  target === READING
    ? "its transfers to other shards can't be read"
    : `transfers to shard ${target} can't be finished`;
