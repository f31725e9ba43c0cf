import type { PoolClient } from 'pg';
import type { EntityManager, EntityTarget, ObjectLiteral, QueryRunner } from 'typeorm';
import type { QueryDeepPartialEntity } from 'typeorm/query-builder/QueryPartialEntity.js';
import { randomBytes } from 'node:crypto';
import { FIRST_VERSION, type AccountOpening, type OwnedAccount } from '../../domain/account.js';
import { openingFingerprint, type Command } from '../../domain/command.js';
import { USD } from '../../config/currencies.js';
import { recordedCode, type Currency } from '../../domain/currency.js';
import { LedgerError } from '../../domain/errors.js';
import { formatMoney, inMinorUnits, type Money } from '../../domain/money.js';
import type { BalanceCache } from '../../domain/ports.js';
import { classifyFailure } from '../../storage/database-errors.js';
import { AccountDetailsEntity } from '../../storage/entities/account-details.entity.js';
import { AccountOpeningEntity } from '../../storage/entities/account-opening.entity.js';
import { AccountEntity } from '../../storage/entities/account.entity.js';
import type { BatchStatements } from './batch-statements.js';
import { CommitOutcomeUnknownError, type TransactionRunner } from '../../storage/transaction-runner.js';
import { AdaptiveConcurrencyLimiter } from '../../concurrency/adaptive-concurrency-limiter.js';

/** Openings in flight. They share the connections of the reads. */
const MAX_OPENINGS = 4;
/** Openings that wait, and for how long. When the queue is full, the user with the most openings loses the newest. */
const MAX_WAITING = 100;
const WAIT_MS = 2_000;

/** Stands for "no owner": an owner's name is never empty. */
const NOBODY = '';

/** An opening whose deposit is in minor units of the account's currency. */
interface ExactOpening extends AccountOpening {
  readonly openingDeposit: Money | undefined;
  /** How the account's row names that currency, and how many decimals it has. */
  readonly code: string | undefined;
  readonly decimals: number;
}

/** Opens accounts in one shard, each in a transaction of its own. Nobody else can know the new row yet. */
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
    /** The bank's. */
    private readonly currency: Currency = USD,
  ) {}

  /**
   * @param user whose permit it takes
   * @throws LedgerError DUPLICATE_ACCOUNT, OPENING_KEY_REUSED; OVERLOADED, DATABASE_FAILED (nothing was applied) or
   *   OUTCOME_UNKNOWN
   */
  async open(asked: AccountOpening, user: string): Promise<OwnedAccount> {
    const opening = this.exact(asked);
    return this.places.run(user, async () => {
      const startedMs = performance.now();
      const account = await this.runner
        .run((queryRunner, client) => this.insert(queryRunner, client, opening))
        .catch((error: unknown) => this.recover(error, opening));
      await this.balances.record([account], startedMs);
      return account;
    });
  }

  /** The opening with its deposit in minor units. The bank's own currency is none of the account's. */
  private exact({ currency: asked, openingDeposit: deposit, ...others }: AccountOpening): ExactOpening {
    const ofAccount = asked ?? this.currency;
    const { decimals } = ofAccount;
    const openingDeposit = deposit === undefined ? undefined : inMinorUnits(deposit, decimals);
    if (deposit !== undefined && openingDeposit === undefined)
      throw new LedgerError({ code: 'TOO_MANY_DECIMALS', field: 'openingDeposit', decimals });
    const currency = asked?.code === this.currency.code ? undefined : asked;
    const code = recordedCode(ofAccount, this.currency);
    return { ...others, openingDeposit, currency, code, decimals };
  }

  private async insert(
    queryRunner: QueryRunner,
    client: PoolClient,
    opening: ExactOpening,
  ): Promise<OwnedAccount> {
    const { owner, reference, metadata, decimals, code: currency } = opening;
    const { manager } = queryRunner;
    const status = 'open';
    const balance = formatMoney(0n, decimals);
    const inserted = await manager.insert(AccountEntity, { balance, owner: owner ?? null, status, currency });
    // As text: TypeORM does not apply its transformers to RETURNING.
    const [row] = inserted.raw as [{ account_id: string; created_at: Date }];
    const accountId = Number(row.account_id);
    await useKey(manager, accountId, opening);
    if (reference !== undefined || metadata !== undefined)
      await manager.insert(AccountDetailsEntity, {
        accountId,
        reference,
        metadata,
        metadataSalt: metadata === undefined ? null : randomBytes(16),
      });
    const empty: OwnedAccount = {
      ...{
        accountId,
        balance: 0n,
        version: FIRST_VERSION,
        decimals,
        held: 0n,
        activeHolds: 0,
        overdraftLimit: 0n,
        status,
      },
      ...{ revision: 0, currency, owner, reference, metadata, createdAt: row.created_at },
    };
    const commands = commandsOf(opening, accountId);
    if (commands.length === 0) return empty;
    const posted = await this.statements.lockAndDecide(queryRunner, client, commands, 'wait');
    await this.statements.write(client, posted);
    return { ...empty, ...posted.accounts.get(accountId) };
  }

  private async recover(error: unknown, opening: ExactOpening): Promise<OwnedAccount> {
    if (error instanceof CommitOutcomeUnknownError) {
      const account = (error as CommitOutcomeUnknownError<OwnedAccount>).value;
      const opened = await this.runner.resolve((queryRunner) =>
        wasOpened(queryRunner, account.accountId, opening),
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
}

/** Turns the empty account into the one that was asked for. A currency goes into the hash chain, so a later change shows. */
function commandsOf({ openingDeposit, currency }: ExactOpening, accountId: number): Command[] {
  return [
    ...(currency ? [{ accountId, type: 'change', changes: { currency: currency.code } } as const] : []),
    ...(openingDeposit === undefined ? [] : [{ accountId, type: 'credit', amount: openingDeposit } as const]),
  ];
}

/**
 * Records the key with the account. Waits for another opening that is using the same key.
 *
 * @throws LedgerError DUPLICATE_ACCOUNT, OPENING_KEY_REUSED
 */
async function useKey(manager: EntityManager, accountId: number, opening: ExactOpening): Promise<void> {
  const { owner = NOBODY, idempotencyKey, near = null, decimals } = opening;
  if (idempotencyKey === undefined) return;
  const deposit = opening.openingDeposit;
  const openingDeposit = deposit === undefined ? null : formatMoney(deposit, decimals);
  const fingerprint = openingFingerprint(opening) ?? null;
  const row = { accountId, owner, idempotencyKey, openingDeposit, near, fingerprint };
  if (await insertUnlessTaken(manager, AccountOpeningEntity, row)) return;
  const earlier = await manager.findOneBy(AccountOpeningEntity, { owner, idempotencyKey });
  if (!earlier) throw new Error('an idempotency key is taken, but no opening has it');
  const same = earlier.openingDeposit === openingDeposit && earlier.fingerprint === fingerprint;
  throw new LedgerError({
    code: same ? 'DUPLICATE_ACCOUNT' : 'OPENING_KEY_REUSED',
    accountId: earlier.accountId,
  });
}

/**
 * Tells whether an opening whose COMMIT was not answered took effect. A row that is not committed yet can't be locked,
 * but its id can be claimed by an INSERT, which waits for the old backend and succeeds only if the row was never
 * committed. The claim is undone at once, by a savepoint: the service's role may not DELETE.
 */
async function wasOpened(
  queryRunner: QueryRunner,
  accountId: number,
  opening: ExactOpening,
): Promise<boolean> {
  const { manager } = queryRunner;
  const { owner = NOBODY, idempotencyKey } = opening;
  await queryRunner.query('SAVEPOINT before_claim');
  if (await insertUnlessTaken(manager, AccountEntity, { accountId, balance: '0', status: 'open' })) {
    await queryRunner.query('ROLLBACK TO SAVEPOINT before_claim');
    return false;
  }
  if (idempotencyKey === undefined) return true;
  // The id alone proves nothing: a promoted standby may hand out a lost id again.
  return manager.existsBy(AccountOpeningEntity, { accountId, owner, idempotencyKey });
}

/**
 * @returns false when a row has one of its unique values. Waits for an open transaction that has inserted such a row.
 */
async function insertUnlessTaken<T extends ObjectLiteral>(
  manager: EntityManager,
  entity: EntityTarget<T>,
  row: QueryDeepPartialEntity<T>,
): Promise<boolean> {
  const inserting = manager.createQueryBuilder().insert().into(entity).values(row).orIgnore();
  const inserted = await inserting.updateEntity(false).returning('*').execute();
  return (inserted.raw as unknown[]).length === 1;
}
