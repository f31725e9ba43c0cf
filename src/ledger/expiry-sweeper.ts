import { BackgroundLoop } from '../concurrency/background-loop.js';
import type { Ledger } from '../domain/ports.js';
import type { SweeperMetrics } from '../observability/metrics.js';
import { send } from '../storage/connection.js';
import type { ShardLease } from '../storage/shard-lease.js';
import type { SchemaTables } from '../storage/tables.js';
import type { TransactionRunner } from '../storage/transaction-runner.js';

/** Expired holds that are looked up at a time. An account may have more: each of its commands ends so many. */
const MAX_DUE = 100;

export interface SweeperLog {
  /** It has begun to fail. */
  failing(error: unknown): void;
  /** It works again. */
  recovered(): void;
}

/**
 * Ends the expired holds of one shard, for accounts on which nothing else happens: any debit that needs their money
 * does so by itself. Over all instances one sweeper is at work at a time. It only finds the accounts; what has expired
 * is decided by the time behind each account's lock, so two sweepers at once, or one that is late, do no harm.
 */
export class ExpirySweeper {
  private readonly loop = new BackgroundLoop();
  private isFailing = false;

  /** @param lease must last as long as a command takes at most, with its wait */
  constructor(
    private readonly ledger: Ledger,
    private readonly runner: TransactionRunner,
    private readonly tables: SchemaTables,
    private readonly lease: ShardLease,
    private readonly pollMs: number,
    private readonly metrics: SweeperMetrics,
    private readonly log: SweeperLog,
  ) {}

  start(): void {
    this.loop.start(() => this.sweep(), this.pollMs);
  }

  /** Waits for the commands in progress; what is left stays for the next start, or for another instance. */
  stop(): Promise<void> {
    return this.loop.stop();
  }

  /** Goes on without a pause as long as it gets anywhere. */
  private async sweep(): Promise<number> {
    try {
      while (!this.loop.stopped && (await this.sweepSome()) > 0);
      if (this.isFailing) this.log.recovered();
      this.isFailing = false;
    } catch (error) {
      this.metrics.failed();
      if (!this.isFailing) this.log.failing(error);
      this.isFailing = true;
    }
    return this.pollMs;
  }

  /**
   * @returns how many holds have ended
   * @throws any error of the database; a LedgerError when one of the accounts failed. The others are done
   */
  private async sweepSome(): Promise<number> {
    const accountIds = await this.claim();
    if (accountIds.length === 0) return 0;
    try {
      const results = await Promise.allSettled(
        accountIds.map((accountId) => this.ledger.execute({ type: 'expiry', accountId })),
      );
      let expired = 0;
      for (const result of results) if (result.status === 'fulfilled') expired += result.value.holds.length;
      this.metrics.expired(expired);
      const failed = results.find((result) => result.status === 'rejected');
      if (failed) throw failed.reason;
      return expired;
    } finally {
      // If this fails, too, the lease runs out by itself.
      await this.runner.run(({ manager }) => this.lease.end(manager)).catch(() => undefined);
    }
  }

  /** The accounts with the holds that expired first. None while another sweeper has the lease. */
  private claim(): Promise<number[]> {
    return this.runner.run(async ({ manager }, client) => {
      const { rows } = await send<{ account_id: string }>(
        client,
        `SELECT DISTINCT account_id FROM (
           SELECT account_id FROM ${this.tables.holds}
           WHERE status = 'active' AND expires_at IS NOT NULL AND expires_at <= now() AND capturing = 0
           ORDER BY expires_at LIMIT ${MAX_DUE}) due`,
      );
      if (rows.length === 0 || !(await this.lease.take(manager))) return [];
      return rows.map((row) => Number(row.account_id));
    });
  }
}
