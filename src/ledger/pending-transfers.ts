import { BackgroundLoop } from '../concurrency/background-loop.js';
import type { OutgoingTransfer } from '../domain/between-shards.js';
import type { PendingTransferMetrics } from '../observability/metrics.js';
import { plainArray } from '../storage/array-literal.js';
import { send } from '../storage/connection.js';
import { outgoingFromRow, selectOutgoing, type OutgoingRow } from '../storage/rows.js';
import type { ShardLease } from '../storage/shard-lease.js';
import type { SchemaTables } from '../storage/tables.js';
import type { TransactionRunner } from '../storage/transaction-runner.js';

/** Transfers to one shard that are finished at a time. */
const AT_ONCE = 100;

export interface PendingTransferLog {
  /** Transfers to a shard have begun to fail. */
  failing(target: number, error: unknown): void;
  /** They succeed again. */
  recovered(target: number): void;
}

export interface PendingTransferLimits {
  readonly pollMs: number;
  /** Younger ones are left to the process that began them. */
  readonly dueAfterMs: number;
}

/** Finishes a transfer. @throws when it stays pending */
type Finish = (transfer: OutgoingTransfer) => Promise<unknown>;

/**
 * Finishes the transfers that one shard has sent to others and that nobody has finished: their process has died, or the
 * target did not answer. Each target has its own turns, so one that hangs does not hold up the others. Over all instances
 * one process is at work on a shard at a time; as every step can be repeated, a second one would do no harm.
 */
export class PendingTransfers {
  private readonly loop = new BackgroundLoop();
  /** The work on each target that is in progress. */
  private readonly working = new Map<number, Promise<void>>();
  /** Targets whose last attempt failed; -1: the transfers could not even be read. */
  private readonly failing = new Set<number>();

  /**
   * @param shardCount of the bank
   * @param lease must last longer than the time between two turns
   */
  constructor(
    private readonly shardCount: number,
    private readonly runner: TransactionRunner,
    private readonly tables: SchemaTables,
    private readonly finish: Finish,
    private readonly lease: ShardLease,
    private readonly limits: PendingTransferLimits,
    private readonly metrics: PendingTransferMetrics,
    private readonly log: PendingTransferLog,
  ) {}

  start(): void {
    this.loop.start(() => this.turn(), this.limits.pollMs);
  }

  /** Waits for the steps in progress; what is left stays for the next start, or for another instance. */
  async stop(): Promise<void> {
    await this.loop.stop();
    await Promise.all(this.working.values());
    await this.runner.run(({ manager }) => this.lease.end(manager)).catch(() => undefined);
  }

  private async turn(): Promise<number> {
    await this.attempt(READING, async () => {
      for (const target of await this.dueTargets()) {
        if (this.working.has(target)) continue;
        const work = this.attempt(target, () => this.finishAll(target));
        this.working.set(target, work);
        void work.finally(() => this.working.delete(target));
      }
    });
    return this.limits.pollMs;
  }

  /** Tells once that it has begun to fail, and once that it works again. */
  private async attempt(target: number, work: () => Promise<void>): Promise<void> {
    try {
      await work();
      if (this.failing.delete(target)) this.log.recovered(target);
    } catch (error) {
      this.metrics.failed();
      if (!this.failing.has(target)) this.log.failing(target, error);
      this.failing.add(target);
    }
  }

  /** Counts what is pending, by target. @returns the targets of those that are due */
  private async dueTargets(): Promise<number[]> {
    const { rows } = await this.runner.run((_, client) =>
      send<{ target: number; pending: number; age_ms: number }>(
        client,
        `SELECT ((to_account_id - 1) % $1)::int AS target, count(*)::int AS pending,
                (extract(epoch FROM clock_timestamp() - min(created_at)) * 1000)::float8 AS age_ms
         FROM ${this.tables.transfers} WHERE status = 'pending' GROUP BY target`,
        [this.shardCount],
      ),
    );
    this.metrics.counted(
      new Map(rows.map(({ target, pending, age_ms: ageMs }) => [target, { pending, ageMs }])),
    );
    return rows.filter((row) => row.age_ms >= this.limits.dueAfterMs).map((row) => row.target);
  }

  /**
   * Finishes all that are due, page by page; those that fail are left out of the next pages.
   *
   * @throws the first failure of a transfer
   */
  private async finishAll(target: number): Promise<void> {
    const failed = new Map<number, unknown>();
    let found = AT_ONCE;
    while (found === AT_ONCE && !this.loop.stopped) {
      const transfers = await this.claim(target, [...failed.keys()]);
      found = transfers.length;
      const results = await Promise.allSettled(transfers.map((transfer) => this.finish(transfer)));
      this.metrics.finished(results.filter(({ status }) => status === 'fulfilled').length);
      for (const [index, result] of results.entries())
        if (result.status === 'rejected') failed.set(transfers[index]?.transferId ?? 0, result.reason);
    }
    for (const reason of failed.values()) throw reason;
  }

  /**
   * Transfers to a target that are due. Its accounts take turns, each with its oldest transfer first, so that one whose
   * row is locked does not hold up the others. None while another process has the lease.
   */
  private claim(target: number, without: readonly number[]): Promise<OutgoingTransfer[]> {
    return this.runner.run(async ({ manager }, client) => {
      if (!(await this.lease.take(manager))) return [];
      const { rows } = await send<OutgoingRow>(
        client,
        `${selectOutgoing(this.tables)} WHERE o.transfer_id IN (
           SELECT transfer_id FROM ${this.tables.transfers}
           WHERE status = 'pending' AND (to_account_id - 1) % $1 = $2 AND transfer_id <> ALL ($4::bigint[])
             AND created_at <= clock_timestamp() - $3 * interval '1 millisecond'
           ORDER BY row_number() OVER (PARTITION BY to_account_id ORDER BY transfer_id), transfer_id
           LIMIT ${AT_ONCE})`,
        [this.shardCount, target, this.limits.dueAfterMs, plainArray(without)],
      );
      return rows.map(outgoingFromRow);
    });
  }
}

/** Stands for the source itself among its targets. */
export const READING = -1;
