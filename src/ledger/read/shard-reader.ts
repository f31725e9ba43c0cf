import { setTimeout as sleep } from 'node:timers/promises';
import type { QueryRunner } from 'typeorm';
import { classifyFailure } from '../../storage/database-errors.js';
import { queryOnce } from '../../storage/query-once.js';
import type { ShardPool } from '../../storage/shard-pool.js';
import type { SchemaTables } from '../../storage/tables.js';
import { LedgerError } from '../../domain/errors.js';
import type { BalanceCache } from '../../domain/ports.js';
import { CommitOutcomeUnknownError, type TransactionRunner } from '../../storage/transaction-runner.js';
import { AdaptiveConcurrencyLimiter } from '../../concurrency/adaptive-concurrency-limiter.js';

/** Reads that wait for a connection. When the queue is full, the user with the most in it loses the newest. */
const MAX_WAITING = 1_000;

/** Short: whoever asks for a shard's health wants to know it now, and one that hangs counts as down. */
const PROBE_MS = 1_000;

/** The read side of one shard: its bound, its deadline, and what a failure means. One shard's trouble stays its own. */
export class ShardReader {
  /** As many as there are connections, so that turns are decided here, by user, and not by the pool's own queue. */
  private readonly places: AdaptiveConcurrencyLimiter;
  private probing: Promise<boolean> | undefined;
  /** When a read was last answered. */
  private answeredMs = -Infinity;

  constructor(
    private readonly pool: ShardPool,
    private readonly runner: TransactionRunner,
    readonly tables: SchemaTables,
    private readonly balances: BalanceCache,
    private readonly readTimeoutMs: number,
  ) {
    const { size, waitMs } = pool.limits;
    this.places = new AdaptiveConcurrencyLimiter({
      maxInFlight: size,
      queue: MAX_WAITING,
      maxWaitMs: waitMs,
    });
  }

  /**
   * @param user who takes a place for it
   * @param accountId whose last known version a failure reports
   * @throws LedgerError DATABASE_FAILED, OVERLOADED
   */
  query<Row>(sql: string, parameters: readonly unknown[], user: string, accountId?: number): Promise<Row[]> {
    return this.within(user, accountId, () =>
      this.pool.retryIfRelocated(() => queryOnce<Row>(this.pool, sql, parameters, this.readTimeoutMs)),
    );
  }

  /**
   * In a transaction, for its statement_timeout: for what a filter may make long, where cutting the connection alone
   * would leave the server at work. Errors as with {@link query}.
   */
  queryLong<Row>(
    sql: string,
    parameters: readonly unknown[],
    user: string,
    accountId?: number,
  ): Promise<Row[]> {
    const read = async (queryRunner: QueryRunner) => (await queryRunner.query(sql, [...parameters])) as Row[];
    return this.within(user, accountId, () => this.runner.run(read));
  }

  /**
   * Why the shard's database can't be used; undefined: it answers. Known within {@link PROBE_MS}, whatever the database
   * does. Not counted against the bound of reads.
   */
  async problem(): Promise<string | undefined> {
    const answers = await Promise.race([this.probe(), sleep(PROBE_MS, false, { ref: false })]);
    return answers || this.isBusy() ? undefined : 'the database does not answer';
  }

  /** One at a time, however often it is asked for: those that meet a database that hangs must not take its pool. */
  private probe(): Promise<boolean> {
    this.probing ??= this.pool
      .retryIfRelocated(() => queryOnce(this.pool, `SELECT FROM ${this.tables.shardIdentity}`, [], PROBE_MS))
      .then(
        () => true,
        () => false,
      )
      .finally(() => (this.probing = undefined));
    return this.probing;
  }

  /** All connections are in use, and reads do get their answers: many readers say nothing against the database. */
  private isBusy(): boolean {
    const { totalCount, idleCount, waitingCount } = this.pool.connections;
    const allInUse = totalCount > 0 && idleCount === 0 && waitingCount > 0;
    return allInUse && performance.now() - this.answeredMs < this.readTimeoutMs;
  }

  private within<T>(user: string, accountId: number | undefined, read: () => Promise<T>): Promise<T> {
    return this.places.run(user, () => this.answered(accountId, read));
  }

  private async answered<T>(accountId: number | undefined, read: () => Promise<T>): Promise<T> {
    try {
      const rows = await read();
      this.answeredMs = performance.now();
      return rows;
    } catch (error) {
      const failure = error instanceof CommitOutcomeUnknownError ? 'unavailable' : classifyFailure(error);
      if (failure === 'statement') throw error;
      if (failure === 'busy') throw new LedgerError({ code: 'OVERLOADED' });
      const currentVersion =
        accountId === undefined ? null : (this.balances.lastKnownVersion(accountId) ?? null);
      throw new LedgerError({ code: 'DATABASE_FAILED', currentVersion });
    }
  }
}
