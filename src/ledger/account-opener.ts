import type { PoolClient } from 'pg';
import type { QueryRunner } from 'typeorm';
import { classifyFailure } from '../database/database-errors.js';
import { FIRST_VERSION, type Account } from '../domain/account.js';
import { LedgerError } from '../domain/errors.js';
import type { Money } from '../domain/money.js';
import type { BalanceCache } from '../domain/ports.js';
import type { PostBatch } from './post-batch.js';
import type { SchemaTables } from '../database/tables.js';
import { CommitOutcomeUnknownError, type TransactionRunner } from './transaction-runner.js';

/** Openings that run or wait for a connection at the same time; one more is refused. */
const MAX_OPENINGS = 100;

/** Opens accounts in one shard. Each opening is a transaction of its own: nobody else can know the new row. */
export class AccountOpener {
  private openings = 0;

  constructor(
    private readonly runner: TransactionRunner,
    private readonly postBatch: PostBatch,
    private readonly balances: BalanceCache,
    private readonly tables: SchemaTables,
  ) {}

  /** @throws LedgerError OVERLOADED, DATABASE_FAILED (nothing was applied) or OUTCOME_UNKNOWN */
  async open(openingDeposit: Money | undefined, owner?: string): Promise<Account> {
    if (this.openings >= MAX_OPENINGS) throw new LedgerError({ code: 'OVERLOADED' });
    this.openings += 1;
    const startedMs = performance.now();
    try {
      const account = await this.runner
        .run((queryRunner, client) => this.insert(queryRunner, client, openingDeposit, owner))
        .catch((error: unknown) => this.recover(error));
      await this.balances.record([account], startedMs);
      return account;
    } finally {
      this.openings -= 1;
    }
  }

  private async insert(
    queryRunner: QueryRunner,
    client: PoolClient,
    openingDeposit: Money | undefined,
    owner: string | undefined,
  ): Promise<Account> {
    const [row] = (await queryRunner.query(
      `INSERT INTO ${this.tables.accounts} (balance, version, owner) VALUES (0, $1, $2) RETURNING account_id`,
      [FIRST_VERSION, owner ?? null],
    )) as [{ account_id: string }];
    const accountId = Number(row.account_id);
    const empty: Account = { accountId, balance: 0n, version: FIRST_VERSION, owner };
    if (openingDeposit === undefined) return empty;
    const deposit = { accountId, type: 'credit', amount: openingDeposit } as const;
    const posted = await this.postBatch.decide(queryRunner, client, [deposit], 'wait');
    await this.postBatch.write(client, posted);
    return { ...empty, ...posted.accounts.get(accountId) };
  }

  private async recover(error: unknown): Promise<Account> {
    if (error instanceof CommitOutcomeUnknownError) {
      const account = (error as CommitOutcomeUnknownError<Account>).value;
      const opened = await this.runner.resolve((queryRunner) =>
        this.wasOpened(queryRunner, account.accountId),
      );
      if (opened) return account;
      throw new LedgerError(
        opened === undefined
          ? { code: 'OUTCOME_UNKNOWN' }
          : { code: 'DATABASE_FAILED', currentVersion: null },
      );
    }
    const failure = classifyFailure(error);
    if (failure === 'statement') throw error;
    throw new LedgerError(
      failure === 'busy' ? { code: 'OVERLOADED' } : { code: 'DATABASE_FAILED', currentVersion: null },
    );
  }

  /**
   * A row that is not committed yet can't be locked, but its id can be claimed: the claim waits for the old backend,
   * and succeeds only if the row never came to be. The claim is taken back at once; not by a DELETE, which the service's
   * role may not do.
   */
  private async wasOpened(queryRunner: QueryRunner, accountId: number): Promise<boolean> {
    await queryRunner.query('SAVEPOINT before_claim');
    const claimed = (await queryRunner.query(
      `INSERT INTO ${this.tables.accounts} (account_id, balance, version) VALUES ($1, 0, $2)
       ON CONFLICT DO NOTHING RETURNING account_id`,
      [accountId, FIRST_VERSION],
    )) as unknown[];
    if (claimed.length === 0) return true;
    await queryRunner.query('ROLLBACK TO SAVEPOINT before_claim');
    return false;
  }
}
