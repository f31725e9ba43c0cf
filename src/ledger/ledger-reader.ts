import type { DataSource, QueryRunner } from 'typeorm';
import { connect, cutWhenLate } from '../database/connection.js';
import { classifyFailure } from '../database/database-errors.js';
import type { Account } from '../domain/account.js';
import { LedgerError } from '../domain/errors.js';
import type { BalanceCache } from '../domain/ports.js';
import type { Transaction, TransactionType } from '../domain/transaction.js';
import {
  accountFromRow,
  TRANSACTION_COLUMNS,
  transactionFromRow,
  type AccountRow,
  type TransactionRow,
} from '../database/rows.js';
import type { ShardRouter } from './shard-router.js';
import { CommitOutcomeUnknownError, type TransactionRunner } from './transaction-runner.js';
import type { SchemaTables } from '../database/tables.js';

/** The read side of one shard. */
export interface ShardReader {
  readonly dataSource: DataSource;
  readonly runner: TransactionRunner;
  readonly tables: SchemaTables;
}

export interface BalanceRequest {
  /** Answer from a copy of at least this version. */
  readonly minVersion?: number;
  /** Answer from the database, not from a cache. */
  readonly noCache?: boolean;
}

export interface TransactionFilter {
  readonly type?: TransactionType;
  /** Not before. */
  readonly from?: Date;
  /** Before. */
  readonly to?: Date;
}

/** Reads that run or wait for a connection at the same time, over all shards; one more is refused. */
const MAX_READS = 1_000;

/** Reads accounts and transactions. Balances come from the cache where it may answer, all else from the database. */
export class LedgerReader {
  private reads = 0;

  constructor(
    private readonly router: ShardRouter<ShardReader>,
    private readonly balances: BalanceCache,
    private readonly readTimeoutMs: number,
  ) {}

  /**
   * @throws LedgerError ACCOUNT_NOT_FOUND; VERSION_MISMATCH when the account has not come to `minVersion` yet;
   *   DATABASE_FAILED; OVERLOADED
   */
  async balance(accountId: number, request: BalanceRequest = {}): Promise<Account> {
    const { minVersion = 0, noCache = false } = request;
    const cached = noCache ? undefined : this.balances.get(accountId);
    if (cached && cached.version >= minVersion) return cached;
    const account = await this.account(accountId);
    if (account.version < minVersion) {
      throw new LedgerError({ code: 'VERSION_MISMATCH', currentVersion: account.version });
    }
    return account;
  }

  /** Always from the database. @throws LedgerError ACCOUNT_NOT_FOUND, DATABASE_FAILED, OVERLOADED */
  async account(accountId: number): Promise<Account> {
    const shard = this.router.of(accountId);
    const [row] = await this.query<AccountRow>(
      shard,
      `SELECT account_id, balance, version FROM ${shard.tables.accounts} WHERE account_id = $1`,
      [accountId],
      accountId,
    );
    if (!row) throw new LedgerError({ code: 'ACCOUNT_NOT_FOUND' });
    const account = accountFromRow(row);
    this.balances.record(account);
    return account;
  }

  /** Accounts of all shards in ascending order of their ids. @throws LedgerError DATABASE_FAILED, OVERLOADED */
  async accountsAfter(accountId: number, limit: number): Promise<Account[]> {
    const pages = await Promise.all(
      this.router.shards.map((shard) =>
        this.query<AccountRow>(
          shard,
          `SELECT account_id, balance, version FROM ${shard.tables.accounts}
           WHERE account_id > $1 ORDER BY account_id LIMIT $2`,
          [accountId, limit],
        ),
      ),
    );
    const accounts = pages.flat().map(accountFromRow);
    return accounts.sort((a, b) => a.accountId - b.accountId).slice(0, limit);
  }

  /**
   * An account's transactions, newest first, below a version: new ones don't shift the pages.
   *
   * @throws LedgerError ACCOUNT_NOT_FOUND, DATABASE_FAILED, OVERLOADED
   */
  async transactionsBelow(
    accountId: number,
    version: number,
    limit: number,
    filter: TransactionFilter = {},
  ): Promise<Transaction[]> {
    const shard = this.router.of(accountId);
    const read = async (queryRunner: QueryRunner) =>
      (await queryRunner.query(
        `SELECT ${TRANSACTION_COLUMNS} FROM ${shard.tables.transactions}
         WHERE account_id = $1 AND version_after < $2
           AND ($4::text IS NULL OR type = $4)
           AND ($5::timestamptz IS NULL OR timestamp >= $5) AND ($6::timestamptz IS NULL OR timestamp < $6)
         ORDER BY version_after DESC LIMIT $3`,
        [accountId, version, limit, filter.type ?? null, filter.from ?? null, filter.to ?? null],
      )) as TransactionRow[];
    // A transaction, for its statement_timeout: a filter may make this long, and cutting the connection alone would
    // leave the server at work.
    const rows = await this.within(accountId, () => shard.runner.run(read));
    if (rows.length === 0) await this.account(accountId);
    return rows.map(transactionFromRow);
  }

  /** @throws LedgerError TRANSACTION_NOT_FOUND, DATABASE_FAILED, OVERLOADED */
  async transaction(transactionId: number): Promise<Transaction> {
    const shard = this.router.of(transactionId);
    const [row] = await this.query<TransactionRow>(
      shard,
      `SELECT ${TRANSACTION_COLUMNS} FROM ${shard.tables.transactions} WHERE transaction_id = $1`,
      [transactionId],
    );
    if (!row) throw new LedgerError({ code: 'TRANSACTION_NOT_FOUND' });
    return transactionFromRow(row);
  }

  get shardIndexes(): number[] {
    return [...this.router.shards.keys()];
  }

  /** Whether a shard's database answers a query in time. */
  async answers(shardIndex: number): Promise<boolean> {
    const shard = this.router.shards[shardIndex];
    if (!shard) return false;
    try {
      await this.query(shard, `SELECT FROM ${shard.tables.shardIdentity}`, []);
      return true;
    } catch (error) {
      // Too many readers say nothing of the database.
      return error instanceof LedgerError && error.refusal.code === 'OVERLOADED';
    }
  }

  /** @param accountId whose last known version a failure reports */
  private async query<Row>(
    shard: ShardReader,
    sql: string,
    parameters: readonly unknown[],
    accountId?: number,
  ): Promise<Row[]> {
    return this.within(accountId, async () => {
      const queryRunner = shard.dataSource.createQueryRunner();
      let deadline: NodeJS.Timeout | undefined;
      try {
        deadline = cutWhenLate(await connect(queryRunner), this.readTimeoutMs);
        return (await queryRunner.query(sql, [...parameters])) as Row[];
      } finally {
        clearTimeout(deadline);
        await queryRunner.release();
      }
    });
  }

  /** Counts a read against the bound, and says in the ledger's terms why it failed. */
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
