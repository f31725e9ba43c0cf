import type { QueryRunner } from 'typeorm';
import { connect, cutWhenLate } from '../database/connection.js';
import { classifyFailure } from '../database/database-errors.js';
import type { ShardPool } from '../database/shard-pool.js';
import type { SchemaTables } from '../database/tables.js';
import { LedgerError } from '../domain/errors.js';
import type { BalanceCache } from '../domain/ports.js';
import { CommitOutcomeUnknownError, type TransactionRunner } from './transaction-runner.js';

/** Reads that run or wait for a connection at the same time; one more is refused. */
const MAX_READS = 1_000;

/** The read side of one shard: its bound, its deadline, and what a failure means. One shard's trouble stays its own. */
export class ShardReader {
  private reads = 0;

  constructor(
    private readonly pool: ShardPool,
    private readonly runner: TransactionRunner,
    readonly tables: SchemaTables,
    private readonly balances: BalanceCache,
    private readonly readTimeoutMs: number,
  ) {}

  /**
   * @param accountId whose last known version a failure reports
   * @throws LedgerError DATABASE_FAILED, OVERLOADED
   */
  query<Row>(sql: string, parameters: readonly unknown[], accountId?: number): Promise<Row[]> {
    return this.within(accountId, () =>
      this.pool.following(() => this.queryOnce(sql, parameters, this.readTimeoutMs)),
    );
  }

  /**
   * In a transaction, for its statement_timeout: for what a filter may make long, where cutting the connection alone
   * would leave the server at work. Errors as with {@link query}.
   */
  queryLong<Row>(sql: string, parameters: readonly unknown[], accountId?: number): Promise<Row[]> {
    const read = async (queryRunner: QueryRunner) => (await queryRunner.query(sql, [...parameters])) as Row[];
    return this.within(accountId, () => this.runner.run(read));
  }

  /** Why the shard's database can't be used; undefined: it answers. Not counted against the bound of reads. */
  async problem(timeoutMs: number): Promise<string | undefined> {
    try {
      await this.pool.following(() =>
        this.queryOnce(`SELECT FROM ${this.tables.shardIdentity}`, [], timeoutMs),
      );
      return undefined;
    } catch (error) {
      // Too many readers say nothing of the database.
      return classifyFailure(error) === 'busy' ? undefined : 'the database does not answer';
    }
  }

  private async queryOnce<Row>(
    sql: string,
    parameters: readonly unknown[],
    timeoutMs: number,
  ): Promise<Row[]> {
    const queryRunner = this.pool.createQueryRunner();
    let deadline: NodeJS.Timeout | undefined;
    try {
      deadline = cutWhenLate(await connect(queryRunner), timeoutMs);
      return (await queryRunner.query(sql, [...parameters])) as Row[];
    } finally {
      clearTimeout(deadline);
      await queryRunner.release();
    }
  }

  private async within<T>(accountId: number | undefined, read: () => Promise<T>): Promise<T> {
    if (this.reads >= MAX_READS) throw new LedgerError({ code: 'OVERLOADED' });
    this.reads += 1;
    try {
      return await read();
    } catch (error) {
      const failure = error instanceof CommitOutcomeUnknownError ? 'unavailable' : classifyFailure(error);
      if (failure === 'statement') throw error;
      if (failure === 'busy') throw new LedgerError({ code: 'OVERLOADED' });
      const currentVersion =
        accountId === undefined ? null : (this.balances.lastKnownVersion(accountId) ?? null);
      throw new LedgerError({ code: 'DATABASE_FAILED', currentVersion });
    } finally {
      this.reads -= 1;
    }
  }
}
