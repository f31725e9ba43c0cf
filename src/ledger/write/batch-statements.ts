import type { PoolClient } from 'pg';
import type { EntityManager, QueryRunner } from 'typeorm';
import { plainArray, textArray } from '../../storage/array-literal.js';
import { allInOrder, send } from '../../storage/connection.js';
import { AccountEntity } from '../../storage/entities/account.entity.js';
import { decideBatch, keyOf, type BatchDecision, type KeyedTransactions } from '../../domain/decide-batch.js';
import type { Account } from '../../domain/account.js';
import { formatMoney } from '../../domain/money.js';
import type { KeyedTransaction, PostingCommand, TransactionType } from '../../domain/transaction.js';
import { drawIds } from '../../storage/ids.js';
import { chain } from '../../domain/hash-chain.js';
import { outboxRows, outboxRowsFor } from '../../messaging/outbox-rows.js';
import {
  accountFromRow,
  moneyFromColumn,
  type LockedAccount,
  type LockedAccountRow,
} from '../../storage/rows.js';
import type { SchemaTables } from '../../storage/tables.js';

/** Skip an account whose row another session has locked, or wait for it. */
export type LockPolicy = 'skip' | 'wait';

export interface PostedBatch extends BatchDecision {
  /** Accounts that exist but were skipped: their commands are undecided, whatever `decisions` says. */
  readonly skipped: ReadonlySet<number>;
  /** The locked accounts before the batch. */
  readonly opening: ReadonlyMap<number, LockedAccount>;
  /** The hashes of `transactions`, in the same order. */
  readonly hashes: readonly string[];
  /** The ids of the outbox rows that announce `transactions`; there may be more ids than rows. */
  readonly outboxIds: readonly number[];
}

export type Statement = readonly [sql: string, parameters: unknown[]];

interface KeyRow {
  account_id: string;
  idempotency_key: string;
  transaction_id: string;
  type: TransactionType;
  amount: string;
}

/**
 * The statements of a batch: lock, look up, decide, write. They run in the caller's transaction and take two round
 * trips, because a statement that does not need an earlier answer is sent without waiting for it. (Accounts that a
 * `skip` did not lock take one more.)
 */
export class BatchStatements {
  private readonly lockSql = new Map<LockPolicy, string>();

  constructor(private readonly tables: SchemaTables) {}

  /**
   * Locks the accounts and decides the commands. Writes nothing.
   *
   * @param decideAll decides the commands on the locked accounts
   * @throws any failure of a statement; the transaction must then be rolled back. A retry runs everything again,
   *   decisions included.
   */
  async lockAndDecide(
    queryRunner: QueryRunner,
    client: PoolClient,
    commands: readonly PostingCommand[],
    lockPolicy: LockPolicy,
    decideAll = decideBatch,
  ): Promise<PostedBatch> {
    const accountIds = ascending(new Set(commands.map((command) => command.accountId)));
    // Keys are looked up by a statement of its own after the locks: an earlier snapshot could miss a key that was
    // committed while the lock was waited for. Ids and time are drawn after the locks too, so that both ascend with an
    // account's versions. Ids drawn for rejected commands are lost.
    const [opening, earlier, drawn] = await allInOrder([
      this.lockAccounts(queryRunner, client, accountIds, lockPolicy),
      this.findKeys(client, commands),
      drawIds(client, [
        { table: this.tables.transactions, column: 'transaction_id', count: commands.length },
        { table: this.tables.outbox, column: 'outbox_id', count: outboxRowsFor(commands.length) },
      ]),
    ]);
    // After waiting, an account that is not locked does not exist.
    const skipped =
      lockPolicy === 'skip' ? await this.findSkipped(client, accountIds, opening) : new Set<number>();
    const decision = decideAll(commands, opening, earlier);
    const [ids = [], outboxIds = []] = drawn.ids;
    decision.transactions.forEach((transaction, index) => {
      transaction.transactionId = ids[index] as number;
      transaction.timestamp = drawn.timestamp;
    });
    const hashes = chain(decision.transactions, (accountId) => opening.get(accountId)?.headHash);
    return { ...decision, skipped, opening, outboxIds, hashes };
  }

  /**
   * Sends the statements that write a decision; undefined: there is nothing to write. Each fails unless it writes
   * exactly what was decided, because COMMIT is sent before their answers have arrived.
   */
  write(client: PoolClient, batch: PostedBatch): Promise<unknown> | undefined {
    if (batch.transactions.length === 0) return undefined;
    // All are built before the first is sent, so that an error in building one sends none.
    const statements = [
      insertTransactions(this.tables, batch),
      ...announceTransactions(this.tables, batch),
      this.updateOf(batch),
    ];
    return allInOrder(statements.map((statement) => send(client, ...statement)));
  }

  /**
   * Tells whether a batch whose COMMIT was not answered took effect. It locks the same rows, which succeeds only once
   * the old backend is gone: by then its transactions are committed, or never will be.
   */
  async wasApplied(
    queryRunner: QueryRunner,
    client: PoolClient,
    batch: PostedBatch,
  ): Promise<{ applied: boolean; accounts: ReadonlyMap<number, Account> }> {
    const accounts = await this.lockAccounts(queryRunner, client, ascending(batch.accounts.keys()), 'wait');
    const last = batch.transactions.at(-1);
    if (!last) return { applied: true, accounts };
    // The id alone proves nothing: a promoted standby may draw a lost id again. The hash covers all that was decided.
    const { rows } = await send(
      client,
      `SELECT 1 FROM ${this.tables.allTransactions} t WHERE transaction_id = $1 AND hash = decode($2, 'hex')`,
      [last.transactionId, batch.hashes.at(-1)],
    );
    return { applied: rows.length === 1, accounts };
  }

  /** The current versions of accounts, for the answer to a failed command. */
  async versions(client: PoolClient, accountIds: readonly number[]): Promise<ReadonlyMap<number, number>> {
    const { rows } = await send<{ account_id: string; version: string }>(
      client,
      `SELECT account_id, version FROM ${this.tables.accounts} WHERE account_id = ANY($1)`,
      [accountIds],
    );
    return new Map(rows.map((row) => [Number(row.account_id), Number(row.version)]));
  }

  private async lockAccounts(
    queryRunner: QueryRunner,
    client: PoolClient,
    ascendingIds: readonly number[],
    lockPolicy: LockPolicy,
  ): Promise<Map<number, LockedAccount>> {
    const { rows } = await send<LockedAccountRow>(
      client,
      this.lockStatement(queryRunner.manager, lockPolicy),
      [plainArray(ascendingIds)],
    );
    return new Map(
      rows.map((row) => [Number(row.account_id), { ...accountFromRow(row), headHash: row.head_hash }]),
    );
  }

  /** Built once: its text does not depend on the batch. */
  private lockStatement(manager: EntityManager, lockPolicy: LockPolicy): string {
    const built = this.lockSql.get(lockPolicy) ?? lockStatement(manager, lockPolicy);
    this.lockSql.set(lockPolicy, built);
    return built;
  }

  /** Accounts that exist but were not locked, because another session has locked their rows. */
  private async findSkipped(
    client: PoolClient,
    accountIds: readonly number[],
    locked: ReadonlyMap<number, Account>,
  ): Promise<ReadonlySet<number>> {
    if (locked.size === accountIds.length) return new Set();
    const missing = accountIds.filter((accountId) => !locked.has(accountId));
    const { rows } = await send<{ account_id: string }>(
      client,
      `SELECT account_id FROM ${this.tables.accounts} WHERE account_id = ANY($1)`,
      [missing],
    );
    return new Set(rows.map((row) => Number(row.account_id)));
  }

  /**
   * Looks in both tables, current and archive. No constraint spans the two: a key stays unique over both because
   * whoever would use it again holds the account's lock and looks here first.
   */
  private async findKeys(
    client: PoolClient,
    commands: readonly PostingCommand[],
  ): Promise<KeyedTransactions> {
    const keyed = commands.filter((command) => command.idempotencyKey !== undefined);
    if (keyed.length === 0) return new Map();
    const { rows } = await send<KeyRow>(
      client,
      `SELECT t.account_id, t.idempotency_key, t.transaction_id, t.type, t.amount
       FROM unnest($1::bigint[], $2::text[]) AS k (account_id, idempotency_key)
       JOIN ${this.tables.allTransactions} t
         ON t.account_id = k.account_id AND t.idempotency_key = k.idempotency_key`,
      [
        plainArray(keyed.map((command) => command.accountId)),
        textArray(keyed.map((command) => command.idempotencyKey)),
      ],
    );
    return new Map(
      rows.map((row) => [keyOf(Number(row.account_id), row.idempotency_key), keyedFromRow(row)]),
    );
  }

  /**
   * Also matches the version that was read: the lock should guarantee it, the row count proves it. The statement counts
   * the inserted transactions as well, because Citus would run an INSERT that counts its rows in a CTE on the
   * coordinator. LIMIT 1 makes the planner look up each one by the primary key, even while the table is small.
   */
  private updateOf({ opening, accounts, transactions, hashes }: PostedBatch): Statement {
    const heads = new Map(transactions.map(({ accountId }, index) => [accountId, hashes[index] as string]));
    const changed = [...accounts.values()].filter(
      (account) => account.version !== opening.get(account.accountId)?.version,
    );
    return [
      `WITH changed AS (
         UPDATE ${this.tables.accounts} AS a
         SET balance = c.balance, version = c.version, head_hash = decode(c.head_hash, 'hex')
         FROM unnest($1::bigint[], $2::numeric[], $3::bigint[], $4::bigint[], $5::text[])
           AS c (account_id, balance, version, version_read, head_hash)
         WHERE a.account_id = c.account_id AND a.version = c.version_read
         RETURNING 1
       ), posted AS (
         SELECT FROM unnest($6::bigint[]) AS listed (listed_id),
           LATERAL (SELECT FROM ${this.tables.transactions} WHERE transaction_id = listed_id LIMIT 1) found
       ), counted AS (
         SELECT (SELECT count(*) FROM changed) AS changed, (SELECT count(*) FROM posted) AS posted
       )
       SELECT CASE WHEN changed <> $7::bigint
                   THEN ('a row changed under its lock: updated ' || changed || ' of ' || $7::bigint || ' accounts')::bigint
                   WHEN posted <> $8::bigint
                   THEN ('inserted ' || posted || ' of ' || $8::bigint || ' transactions')::bigint
              END
       FROM counted`,
      [
        plainArray(changed.map((account) => account.accountId)),
        plainArray(changed.map((account) => formatMoney(account.balance))),
        plainArray(changed.map((account) => account.version)),
        plainArray(changed.map((account) => opening.get(account.accountId)?.version ?? 0)),
        plainArray(changed.map((account) => heads.get(account.accountId) as string)),
        plainArray(transactions.map((transaction) => transaction.transactionId)),
        changed.length,
        transactions.length,
      ],
    ];
  }
}

/**
 * The LEFT JOIN with an empty table changes nothing. It is for Citus, which runs an INSERT … SELECT that reads no table
 * on the coordinator and commits it in two phases; one that reads a table of the shard runs on the shard's node.
 */
export function insertTransactions(
  tables: SchemaTables,
  { transactions, hashes }: Pick<PostedBatch, 'transactions' | 'hashes'>,
): Statement {
  return [
    `INSERT INTO ${tables.transactions}
       (transaction_id, account_id, type, amount, balance_after, version_after, idempotency_key, hash, timestamp)
     SELECT transaction_id, account_id, type, amount, balance_after, version_after, idempotency_key,
            decode(hash, 'hex'), $9::timestamptz
     FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::numeric[], $5::numeric[], $6::bigint[], $7::text[],
                 $8::text[])
       AS p (transaction_id, account_id, type, amount, balance_after, version_after, idempotency_key, hash)
     LEFT JOIN (SELECT FROM ${tables.accounts} LIMIT 0) nothing ON true`,
    [
      plainArray(transactions.map((transaction) => transaction.transactionId)),
      plainArray(transactions.map((transaction) => transaction.accountId)),
      plainArray(transactions.map((transaction) => transaction.type)),
      plainArray(transactions.map((transaction) => formatMoney(transaction.amount))),
      plainArray(transactions.map((transaction) => formatMoney(transaction.balanceAfter))),
      plainArray(transactions.map((transaction) => transaction.versionAfter)),
      textArray(transactions.map((transaction) => transaction.idempotencyKey)),
      plainArray(hashes),
      transactions[0]?.timestamp,
    ],
  ];
}

/** Inserts the outbox rows for transactions that the same database transaction inserts. */
export function announceTransactions(
  tables: SchemaTables,
  { transactions, outboxIds }: Pick<PostedBatch, 'transactions' | 'outboxIds'>,
): Statement[] {
  return outboxRows(transactions).map((announced, row) => [
    `INSERT INTO ${tables.outbox} (outbox_id, transaction_ids) VALUES ($1, $2::bigint[])`,
    [outboxIds[row], plainArray(announced.map((transaction) => transaction.transactionId))],
  ]);
}

/** In ascending order, so that two batches that need the same rows can't deadlock. */
function ascending(ids: Iterable<number>): number[] {
  return [...ids].sort((a, b) => a - b);
}

/** TypeORM's pessimistic write lock. */
function lockStatement(manager: EntityManager, lockPolicy: LockPolicy): string {
  const query = manager
    .createQueryBuilder(AccountEntity, 'account')
    .select('account.accountId', 'account_id')
    .addSelect('account.balance', 'balance')
    .addSelect('account.version', 'version')
    .addSelect("encode(account.headHash, 'hex')", 'head_hash')
    .where('account.accountId = ANY(:accountIds)', { accountIds: [] })
    .orderBy('account.accountId', 'ASC')
    .setLock('pessimistic_write');
  const [sql] = (lockPolicy === 'skip' ? query.setOnLocked('skip_locked') : query).getQueryAndParameters();
  return sql;
}

function keyedFromRow(row: KeyRow): KeyedTransaction {
  return { transactionId: Number(row.transaction_id), type: row.type, amount: moneyFromColumn(row.amount) };
}
