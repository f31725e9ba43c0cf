import type { EntityManager, QueryRunner } from 'typeorm';
import { AccountEntity } from '../database/entities/account.entity.js';
import { decideBatch, keyOf, type BatchDecision, type KeyedTransactions } from '../domain/batch.js';
import type { Account } from '../domain/account.js';
import { formatMoney } from '../domain/money.js';
import type {
  KeyedTransaction,
  PostingCommand,
  Transaction,
  TransactionType,
} from '../domain/transaction.js';
import { drawIds } from '../database/ids.js';
import { accountFromRow, moneyFromColumn, type AccountRow } from '../database/rows.js';
import type { SchemaTables } from '../database/tables.js';

/** What to do about an account whose row another session holds: go on without it, or wait for it. */
export type WhenLocked = 'skip' | 'wait';

export interface PostedBatch extends BatchDecision {
  /** Accounts that exist but were skipped: the commands for them are not decided, whatever `decisions` says. */
  readonly skipped: ReadonlySet<number>;
}

interface KeyRow {
  account_id: string;
  idempotency_key: string;
  transaction_id: string;
  type: TransactionType;
  amount: string;
}

/** The statements of a batch: locks, looks up, decides, writes. All inside the transaction that it is handed. */
export class PostBatch {
  private readonly lockSql = new Map<WhenLocked, string>();

  constructor(private readonly tables: SchemaTables) {}

  /**
   * @throws whatever a statement fails with; the transaction must then be rolled back. Retrying it runs everything
   *   anew, decisions included.
   */
  async run(
    queryRunner: QueryRunner,
    commands: readonly PostingCommand[],
    whenLocked: WhenLocked,
  ): Promise<PostedBatch> {
    const accountIds = ascending(new Set(commands.map((command) => command.accountId)));
    const accounts = await this.lockAccounts(queryRunner, accountIds, whenLocked);
    const skipped = await this.findSkipped(queryRunner, accountIds, accounts);
    // Keys are looked up after the locks, by a statement of its own: an earlier snapshot could miss a key that was
    // committed while the lock was waited for.
    const earlier = await this.findKeys(queryRunner, commands, accounts);
    const decision = decideBatch(commands, accounts, earlier);
    if (decision.transactions.length > 0) {
      await this.insertTransactions(queryRunner, decision.transactions);
      await this.updateAccounts(queryRunner, accounts, decision);
    }
    return { ...decision, skipped };
  }

  /**
   * Tells whether a batch whose COMMIT was not answered took effect. Waits for the rows to be locked, which is not
   * before the old backend is gone; then its transactions are there, or they will never be.
   */
  async wasApplied(
    queryRunner: QueryRunner,
    batch: PostedBatch,
  ): Promise<{ applied: boolean; accounts: ReadonlyMap<number, Account> }> {
    const accounts = await this.lockAccounts(queryRunner, ascending(batch.accounts.keys()), 'wait');
    const [last] = batch.transactions.slice(-1);
    if (!last) return { applied: true, accounts };
    // The account and the version are compared too: a promoted standby may hand out a lost id again.
    const found = (await queryRunner.query(
      `SELECT FROM ${this.tables.allTransactions} t
       WHERE transaction_id = $1 AND account_id = $2 AND version_after = $3 AND type = $4 AND amount = $5
         AND idempotency_key IS NOT DISTINCT FROM $6`,
      [
        last.transactionId,
        last.accountId,
        last.versionAfter,
        last.type,
        formatMoney(last.amount),
        last.idempotencyKey ?? null,
      ],
    )) as unknown[];
    return { applied: found.length === 1, accounts };
  }

  /** The versions of accounts as they are now; for the answer to a command that failed. */
  async versions(
    queryRunner: QueryRunner,
    accountIds: readonly number[],
  ): Promise<ReadonlyMap<number, number>> {
    const rows = (await queryRunner.query(
      `SELECT account_id, version FROM ${this.tables.accounts} WHERE account_id = ANY($1)`,
      [accountIds],
    )) as { account_id: string; version: string }[];
    return new Map(rows.map((row) => [Number(row.account_id), Number(row.version)]));
  }

  private async lockAccounts(
    queryRunner: QueryRunner,
    ascendingIds: readonly number[],
    whenLocked: WhenLocked,
  ): Promise<Map<number, Account>> {
    const rows = (await queryRunner.query(this.lockStatement(queryRunner.manager, whenLocked), [
      ascendingIds,
    ])) as AccountRow[];
    return new Map(rows.map(accountFromRow).map((account) => [account.accountId, account]));
  }

  /** Built once: its text does not depend on the batch. */
  private lockStatement(manager: EntityManager, whenLocked: WhenLocked): string {
    const built = this.lockSql.get(whenLocked) ?? lockStatement(manager, whenLocked);
    this.lockSql.set(whenLocked, built);
    return built;
  }

  /** Accounts that were not locked though they exist: somebody else holds their rows. */
  private async findSkipped(
    queryRunner: QueryRunner,
    accountIds: readonly number[],
    locked: ReadonlyMap<number, Account>,
  ): Promise<ReadonlySet<number>> {
    if (locked.size === accountIds.length) return new Set();
    const missing = accountIds.filter((accountId) => !locked.has(accountId));
    const rows = (await queryRunner.query(
      `SELECT account_id FROM ${this.tables.accounts} WHERE account_id = ANY($1)`,
      [missing],
    )) as { account_id: string }[];
    return new Set(rows.map((row) => Number(row.account_id)));
  }

  /**
   * Of both tables, hot and archive, whose own constraints know nothing of each other: a key is used once over the two
   * because whoever would use it again holds the account's lock and looks here first.
   */
  private async findKeys(
    queryRunner: QueryRunner,
    commands: readonly PostingCommand[],
    accounts: ReadonlyMap<number, Account>,
  ): Promise<KeyedTransactions> {
    const keyed = commands.filter(
      (command) => command.idempotencyKey !== undefined && accounts.has(command.accountId),
    );
    if (keyed.length === 0) return new Map();
    const rows = (await queryRunner.query(
      `SELECT t.account_id, t.idempotency_key, t.transaction_id, t.type, t.amount
       FROM unnest($1::bigint[], $2::text[]) AS k (account_id, idempotency_key)
       JOIN ${this.tables.allTransactions} t
         ON t.account_id = k.account_id AND t.idempotency_key = k.idempotency_key`,
      [keyed.map((command) => command.accountId), keyed.map((command) => command.idempotencyKey)],
    )) as KeyRow[];
    return new Map(
      rows.map((row) => [keyOf(Number(row.account_id), row.idempotency_key), keyedFromRow(row)]),
    );
  }

  /**
   * Writes the transactions and the one outbox row of the batch, and fills in their ids and time. Both are taken after
   * the locks are held, so that neither runs backwards along an account's versions.
   */
  private async insertTransactions(
    queryRunner: QueryRunner,
    transactions: readonly Transaction[],
  ): Promise<void> {
    const [ids = [], [outboxId] = []] = await drawIds(queryRunner, [
      { table: this.tables.transactions, column: 'transaction_id', count: transactions.length },
      { table: this.tables.outbox, column: 'outbox_id', count: 1 },
    ]);
    const [row] = (await queryRunner.query(
      `WITH posted AS (
         INSERT INTO ${this.tables.transactions}
           (transaction_id, account_id, type, amount, balance_after, version_after, idempotency_key, timestamp)
         SELECT p.*, statement_timestamp()
         FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::numeric[], $5::numeric[], $6::bigint[], $7::text[])
           AS p
         RETURNING timestamp
       ), announced AS (
         INSERT INTO ${this.tables.outbox} (outbox_id, transaction_ids) VALUES ($8, $1::bigint[])
       )
       SELECT count(*) AS inserted, min(timestamp) AS timestamp FROM posted`,
      [
        ids,
        transactions.map((transaction) => transaction.accountId),
        transactions.map((transaction) => transaction.type),
        transactions.map((transaction) => formatMoney(transaction.amount)),
        transactions.map((transaction) => formatMoney(transaction.balanceAfter)),
        transactions.map((transaction) => transaction.versionAfter),
        transactions.map((transaction) => transaction.idempotencyKey ?? null),
        outboxId,
      ],
    )) as [{ inserted: string; timestamp: Date }];
    if (Number(row.inserted) !== transactions.length) {
      throw new Error(`inserted ${row.inserted} of ${transactions.length} transactions`);
    }
    transactions.forEach((transaction, index) => {
      transaction.transactionId = ids[index] as number;
      transaction.timestamp = row.timestamp;
    });
  }

  /** Matches the version that was read, too: the lock should make that certain, the row count proves it. */
  private async updateAccounts(
    queryRunner: QueryRunner,
    opening: ReadonlyMap<number, Account>,
    decision: BatchDecision,
  ): Promise<void> {
    const changed = [...decision.accounts.values()].filter(
      (account) => account.version !== opening.get(account.accountId)?.version,
    );
    const [, affected] = (await queryRunner.query(
      `UPDATE ${this.tables.accounts} AS a SET balance = c.balance, version = c.version
       FROM unnest($1::bigint[], $2::numeric[], $3::bigint[], $4::bigint[])
         AS c (account_id, balance, version, version_read)
       WHERE a.account_id = c.account_id AND a.version = c.version_read`,
      [
        changed.map((account) => account.accountId),
        changed.map((account) => formatMoney(account.balance)),
        changed.map((account) => account.version),
        changed.map((account) => opening.get(account.accountId)?.version),
      ],
    )) as [unknown, number];
    if (affected !== changed.length) {
      throw new Error(
        `updated ${affected} of ${changed.length} locked accounts: a row changed under its lock`,
      );
    }
  }
}

/** Sorted, so that two batches that wait for each other's rows can't deadlock. */
function ascending(ids: Iterable<number>): number[] {
  return [...ids].sort((a, b) => a - b);
}

/** TypeORM's pessimistic write lock. */
function lockStatement(manager: EntityManager, whenLocked: WhenLocked): string {
  const query = manager
    .createQueryBuilder(AccountEntity, 'account')
    .select('account.accountId', 'account_id')
    .addSelect('account.balance', 'balance')
    .addSelect('account.version', 'version')
    .where('account.accountId = ANY(:accountIds)', { accountIds: [] })
    .orderBy('account.accountId', 'ASC')
    .setLock('pessimistic_write');
  const [sql] = (whenLocked === 'skip' ? query.setOnLocked('skip_locked') : query).getQueryAndParameters();
  return sql;
}

function keyedFromRow(row: KeyRow): KeyedTransaction {
  return { transactionId: Number(row.transaction_id), type: row.type, amount: moneyFromColumn(row.amount) };
}
