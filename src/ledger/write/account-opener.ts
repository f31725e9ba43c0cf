import type { PoolClient } from 'pg';
import type { QueryRunner } from 'typeorm';
import { classifyFailure } from '../../storage/database-errors.js';
import { FIRST_VERSION, type OwnedAccount } from '../../domain/account.js';
import { LedgerError } from '../../domain/errors.js';
import { formatMoney, type Money } from '../../domain/money.js';
import type { BalanceCache } from '../../domain/ports.js';
import { moneyFromColumn } from '../../storage/rows.js';
import type { BatchStatements } from './batch-statements.js';
import type { SchemaTables } from '../../storage/tables.js';
import { CommitOutcomeUnknownError, type TransactionRunner } from '../../storage/transaction-runner.js';
import { AdaptiveConcurrencyLimiter } from '../../concurrency/adaptive-concurrency-limiter.js';

/** Openings that run at the same time. They share the connections of reads. */
const MAX_OPENINGS = 4;
/** Openings that wait, and for how long. When the queue is full, the user with the most in it loses the newest. */
const MAX_WAITING = 100;
const WAIT_MS = 2_000;

/** Stands for "no owner": the name of an owner is never empty. */
const NOBODY = '';

/** What an account is opened with. */
interface Opening {
  readonly openingDeposit: Money | undefined;
  /** Undefined: nobody's. */
  readonly owner: string | undefined;
  /** Unique per owner; undefined: a repeat opens another account. */
  readonly idempotencyKey: string | undefined;
}

/** An account that was opened with an idempotency key. */
interface KeyedOpening {
  readonly accountId: number;
  readonly openingDeposit: Money | undefined;
}

/** Opens accounts in one shard. Each opening is a transaction of its own: nobody else can know the new row. */
export class AccountOpener {
  private readonly places = new AdaptiveConcurrencyLimiter({
    maxInFlight: MAX_OPENINGS,
    queue: MAX_WAITING,
    maxWaitMs: WAIT_MS,
  });

  constructor(
    private readonly runner: TransactionRunner,
    private readonly statements: BatchStatements,
    private readonly balances: BalanceCache,
    private readonly tables: SchemaTables,
  ) {}

  /**
   * @param user whom it is counted for
   * @throws LedgerError DUPLICATE_ACCOUNT, OPENING_KEY_REUSED; OVERLOADED, DATABASE_FAILED (nothing was applied) or
   *   OUTCOME_UNKNOWN
   */
  open(
    user: string,
    openingDeposit: Money | undefined,
    owner?: string,
    idempotencyKey?: string,
  ): Promise<OwnedAccount> {
    const opening = { openingDeposit, owner, idempotencyKey };
    return this.places.run(user, async () => {
      const startedMs = performance.now();
      const account = await this.runner
        .run((queryRunner, client) => this.insert(queryRunner, client, opening))
        .catch((error: unknown) => this.recover(error, opening));
      await this.balances.record([account], startedMs);
      return account;
    });
  }

  private async insert(
    queryRunner: QueryRunner,
    client: PoolClient,
    opening: Opening,
  ): Promise<OwnedAccount> {
    const { openingDeposit, owner } = opening;
    const [row] = (await queryRunner.query(
      `INSERT INTO ${this.tables.accounts} (balance, version, owner) VALUES (0, $1, $2) RETURNING account_id`,
      [FIRST_VERSION, owner ?? null],
    )) as [{ account_id: string }];
    const accountId = Number(row.account_id);
    await this.useKey(queryRunner, accountId, opening);
    const empty: OwnedAccount = { accountId, balance: 0n, version: FIRST_VERSION, owner, revision: 0 };
    if (openingDeposit === undefined) return empty;
    const deposit = { accountId, type: 'credit', amount: openingDeposit } as const;
    const posted = await this.statements.lockAndDecide(queryRunner, client, [deposit], 'wait');
    await this.statements.write(client, posted);
    return { ...empty, ...posted.accounts.get(accountId) };
  }

  /**
   * Records the key with the account. If another opening is using it at the moment, waits for that one.
   *
   * @throws LedgerError DUPLICATE_ACCOUNT, OPENING_KEY_REUSED
   */
  private async useKey(queryRunner: QueryRunner, accountId: number, opening: Opening): Promise<void> {
    const { openingDeposit, owner = NOBODY, idempotencyKey } = opening;
    if (idempotencyKey === undefined) return;
    const recorded = (await queryRunner.query(
      `INSERT INTO ${this.tables.accountOpenings} (account_id, owner, idempotency_key, opening_deposit)
       VALUES ($1, $2, $3, $4) ON CONFLICT (owner, idempotency_key) DO NOTHING RETURNING account_id`,
      [accountId, owner, idempotencyKey, openingDeposit === undefined ? null : formatMoney(openingDeposit)],
    )) as unknown[];
    if (recorded.length === 1) return;
    const earlier = await this.findKeyed(queryRunner, opening);
    if (!earlier) throw new Error('an idempotency key is taken, but no opening has it');
    const same = earlier.openingDeposit === openingDeposit;
    throw new LedgerError({
      code: same ? 'DUPLICATE_ACCOUNT' : 'OPENING_KEY_REUSED',
      accountId: earlier.accountId,
    });
  }

  private async findKeyed(
    queryRunner: QueryRunner,
    { owner = NOBODY, idempotencyKey }: Opening,
  ): Promise<KeyedOpening | undefined> {
    const [row] = (await queryRunner.query(
      `SELECT account_id, opening_deposit FROM ${this.tables.accountOpenings}
       WHERE owner = $1 AND idempotency_key = $2`,
      [owner, idempotencyKey],
    )) as { account_id: string; opening_deposit: string | null }[];
    if (!row) return undefined;
    const openingDeposit = row.opening_deposit === null ? undefined : moneyFromColumn(row.opening_deposit);
    return { accountId: Number(row.account_id), openingDeposit };
  }

  private async recover(error: unknown, opening: Opening): Promise<OwnedAccount> {
    if (error instanceof CommitOutcomeUnknownError) {
      const account = (error as CommitOutcomeUnknownError<OwnedAccount>).value;
      const opened = await this.runner.resolve((queryRunner) =>
        this.wasOpened(queryRunner, account.accountId, opening),
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
    const isSlow = failure === 'busy' || failure === 'locked';
    throw new LedgerError(
      isSlow ? { code: 'OVERLOADED' } : { code: 'DATABASE_FAILED', currentVersion: null },
    );
  }

  /**
   * A row that is not committed yet can't be locked, but its id can be claimed: the claim waits for the old backend,
   * and succeeds only if the row never came to be. The claim is taken back at once; not by a DELETE, which the service's
   * role may not do.
   */
  private async wasOpened(queryRunner: QueryRunner, accountId: number, opening: Opening): Promise<boolean> {
    await queryRunner.query('SAVEPOINT before_claim');
    const claimed = (await queryRunner.query(
      `INSERT INTO ${this.tables.accounts} (account_id, balance, version) VALUES ($1, 0, $2)
       ON CONFLICT DO NOTHING RETURNING account_id`,
      [accountId, FIRST_VERSION],
    )) as unknown[];
    if (claimed.length === 0) {
      if (opening.idempotencyKey === undefined) return true;
      // The id alone proves nothing: a promoted standby may hand out a lost id again.
      return (await this.findKeyed(queryRunner, opening))?.accountId === accountId;
    }
    await queryRunner.query('ROLLBACK TO SAVEPOINT before_claim');
    return false;
  }
}
