import { setTimeout as sleep } from 'node:timers/promises';
import type { EntityManager } from 'typeorm';
import { send, type Work } from '../../storage/connection.js';
import { classifyFailure } from '../../storage/database-errors.js';
import { ShardIdentityEntity } from '../../storage/entities/shard-identity.entity.js';
import type { ShardPool } from '../../storage/shard-pool.js';
import type { SchemaTables } from '../../storage/tables.js';
import { LedgerError } from '../../domain/errors.js';
import type { BalanceCache } from '../../domain/ports.js';
import { CommitOutcomeUnknownError, type TransactionRunner } from '../../storage/transaction-runner.js';
import { AdaptiveConcurrencyLimiter } from '../../concurrency/adaptive-concurrency-limiter.js';

/** The injection token of the shards' {@link ShardReader}s. */
export const READERS = Symbol('READERS');

/** Reads that wait for a connection. When the queue is full, the user with the most reads in it loses the newest. */
const MAX_WAITING = 1_000;

/** Short, because a health check needs its answer soon; a shard that hangs counts as down. */
const PROBE_MS = 1_000;

/** The read side of one shard: its limit, its deadline, and what a failure means. It affects no other shard. */
export class ShardReader {
  /** One permit per connection, so that turns are decided here by user and not by the pool's own queue. */
  private readonly places: AdaptiveConcurrencyLimiter;
  private probing: Promise<boolean> | undefined;
  /** When a read last succeeded. */
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
   * Reads through TypeORM's entities.
   *
   * @param user whose permit it takes
   * @param accountId the account whose last known version a failure reports
   * @throws LedgerError DATABASE_FAILED, OVERLOADED
   */
  read<T>(work: (manager: EntityManager) => Promise<T>, user: string, accountId?: number): Promise<T> {
    return this.within(user, accountId, () =>
      this.pool.run(this.readTimeoutMs, ({ manager }) => work(manager)),
    );
  }

  /**
   * Reads by SQL, for hot reads, where a repository costs several times as much, and for reads of both tables of
   * transactions. User, account and errors as for {@link read}.
   */
  query<Row extends object>(
    sql: string,
    parameters: unknown[],
    user: string,
    accountId?: number,
  ): Promise<Row[]> {
    return this.within(user, accountId, () =>
      this.pool.run(this.readTimeoutMs, rowsOf<Row>(sql, parameters)),
    );
  }

  /**
   * {@link query} in a transaction, for its statement_timeout: a filter may make the query slow, and after a mere cut
   * of the connection the server would go on running it.
   */
  queryLong<Row extends object>(
    sql: string,
    parameters: unknown[],
    user: string,
    accountId?: number,
  ): Promise<Row[]> {
    return this.within(user, accountId, () => this.runner.run(rowsOf<Row>(sql, parameters)));
  }

  /** Runs work in a transaction. Its statements are sent together with BEGIN, so it must write nothing but locks. */
  transact<T>(work: Work<T>, user: string, accountId?: number): Promise<T> {
    return this.within(user, accountId, () => this.runner.run(work, () => undefined));
  }

  /**
   * Why the shard's database can't be used; undefined: it answers. Returns within {@link PROBE_MS}, whatever the
   * database does. Needs no permit.
   */
  async problem(): Promise<string | undefined> {
    const answers = await Promise.race([this.probe(), sleep(PROBE_MS, false, { ref: false })]);
    return answers || this.isBusy() ? undefined : 'the database does not answer';
  }

  /** One at a time, so that probes of a database that hangs do not use up the pool. */
  private probe(): Promise<boolean> {
    this.probing ??= this.pool
      .run(PROBE_MS, ({ manager }) => manager.exists(ShardIdentityEntity))
      .then(
        () => true,
        () => false,
      )
      .finally(() => (this.probing = undefined));
    return this.probing;
  }

  /**
   * True while all connections are in use and reads succeed: then a late probe does not mean that the database is down.
   */
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
      if (failure === 'busy' || failure === 'locked') throw new LedgerError({ code: 'OVERLOADED' });
      const currentVersion =
        accountId === undefined ? null : (this.balances.lastKnownVersion(accountId) ?? null);
      throw new LedgerError({ code: 'DATABASE_FAILED', currentVersion });
    }
  }
}

function rowsOf<Row extends object>(sql: string, parameters: unknown[]): Work<Row[]> {
  return async (_, client) => (await send<Row>(client, sql, parameters)).rows;
}
