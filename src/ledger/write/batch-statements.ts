import type { PoolClient } from 'pg';
import type { EntityManager, QueryRunner } from 'typeorm';
import { plainArray } from '../../storage/array-literal.js';
import { allInOrder, send } from '../../storage/connection.js';
import { AccountEntity } from '../../storage/entities/account.entity.js';
import type { Account } from '../../domain/account.js';
import { USUAL_DECIMALS } from '../../domain/currency.js';
import type { Knowledge } from '../../domain/books.js';
import { accountsOf, mostTransactions, type Command } from '../../domain/command.js';
import { decideBatch, type BatchDecision } from '../../domain/decide-batch.js';
import { chain } from '../../domain/hash-chain.js';
import { outboxRowsFor } from '../../messaging/outbox-rows.js';
import { drawIds, type Drawn } from '../../storage/ids.js';
import { ledgerAccountFromRow, moneyFromColumn, type LedgerAccountRow } from '../../storage/rows.js';
import type { SchemaTables } from '../../storage/tables.js';
import { chainChanges } from './account-events.js';
import { BatchLookups } from './batch-lookups.js';
import { writesOf, type LockedAccount, type PostedBatch } from './batch-writes.js';

/** Skip an account whose row another session has locked, or wait for it. */
export type LockPolicy = 'skip' | 'wait' | WaitForOne;

/** Wait for one account alone and skip the others: who waits for one row must not keep the others locked meanwhile. */
export interface WaitForOne {
  readonly waitFor: number;
}

interface LockedAccountRow {
  account_id: string;
  balance: string;
  version: string;
  head_hash: string;
  /** The time of its last transaction, in milliseconds since 1970. */
  posted_ms: string | null;
  /** Null: what {@link ORDINARY} says. */
  special: Pick<LedgerAccountRow, keyof typeof SPECIAL_COLUMNS> | null;
}

/** Accounts that were locked. */
interface Locked {
  readonly accounts: ReadonlyMap<number, LockedAccount>;
  /** The latest time of their last transactions, in milliseconds since 1970. */
  readonly postedMs: number;
  /** Those whose last transaction is older than the column for its time. */
  readonly undated: readonly number[];
}

/**
 * The statements of a batch: lock, look up, decide, write. They run in the caller's transaction and take two round
 * trips, because a statement that does not need an earlier answer is sent without waiting for it. (Accounts that a
 * `skip` did not lock take one more, and so do holds that have expired, where something else lacks their money.)
 */
export class BatchStatements {
  private readonly lockSql = new Map<'skip' | 'wait', string>();
  private readonly lookups: BatchLookups;

  /** @param clock turns the time of the server's clock into that of the batch */
  constructor(
    private readonly tables: SchemaTables,
    private readonly clock: (drawn: Date) => Date = (drawn) => drawn,
  ) {
    this.lookups = new BatchLookups(tables);
  }

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
    commands: readonly Command[],
    lockPolicy: LockPolicy,
    decideAll = decideBatch,
  ): Promise<PostedBatch> {
    const accountIds = ascending(new Set(commands.flatMap(accountsOf)));
    // Ids and time are drawn after the locks, as all is looked up after them, so that both ascend with an account's
    // versions. Ids drawn for rejected commands are lost.
    const [locked, keyed, holds, captures, originals, heads, between, drawn] = await allInOrder([
      this.lockAccounts(queryRunner, client, accountIds, lockPolicy),
      this.lookups.keys(client, commands),
      this.lookups.holds(client, commands),
      this.lookups.captures(client, commands),
      this.lookups.originals(client, commands),
      this.lookups.heads(client, commands),
      this.lookups.betweenShards(client, commands),
      this.draw(client, commands),
    ]);
    // After waiting, an account that is not locked does not exist.
    const skipped =
      lockPolicy === 'wait' ? NOTHING_SKIPPED : await this.findSkipped(client, accountIds, locked.accounts);
    const now = await this.timeOf(client, locked, this.clock(drawn.timestamp));
    const [ids = [], outboxIds = [], eventIds = [], refusalIds = [], incomingIds = []] = drawn.ids;
    const { accounts } = locked;
    const looked = { accounts, keyed, holds, captures, originals, ...between };
    const known = { ...looked, due: new Map(), now, ids, outboxIds };
    const { decision, announcedBy } = await this.decideWithDue(client, known, (more) =>
      decideAll(commands, more, skipped),
    );
    const hashes = chain(decision.transactions, (accountId) => locked.accounts.get(accountId)?.headHash);
    return {
      ...decision,
      ...chainChanges(decision.changes, heads, eventIds, now),
      ...{ skipped, opening: locked.accounts, hashes, outboxIds: announcedBy, timestamp: now },
      ...{ refusalIds, incomingIds },
    };
  }

  /**
   * Sends the statements that write a decision; undefined: there is nothing to write.
   *
   * @param traceparent the trace context of the batch, for its events; undefined: it is not traced
   */
  write(client: PoolClient, batch: PostedBatch, traceparent?: string): Promise<unknown> | undefined {
    const { transactions, events, refusals, outgoing, incoming } = batch;
    const effects = [transactions, events, refusals, outgoing, incoming];
    if (effects.every(({ length }) => length === 0)) return undefined;
    // All are built before the first is sent, so that an error in building one sends none.
    const statements = writesOf(this.tables, batch, traceparent);
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
    const { accounts } = await this.lockAccounts(
      queryRunner,
      client,
      ascending(batch.accounts.keys()),
      'wait',
    );
    // One of its rows stands for all: they commit together.
    const [sql, parameters] = evidenceOf(this.tables, batch) ?? [];
    if (sql === undefined) return { applied: true, accounts };
    const { rows } = await send(client, sql, parameters);
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

  private draw(client: PoolClient, commands: readonly Command[]): Promise<Drawn> {
    const { transactions, outbox, accountEvents, refusedSubmissions, incomingTransfers } = this.tables;
    const most = commands.reduce((sum, command) => sum + mostTransactions(command), 0);
    const changes = commands.reduce((sum, command) => sum + mostChanges(command), 0);
    const count = (isCounted: (command: Command) => boolean) => commands.filter(isCounted).length;
    const refusals = count(({ submitted }) => submitted === true);
    const announced = [most, changes, refusals, count(({ type }) => type === 'settlement')];
    const rows = announced.reduce((sum, kind) => sum + outboxRowsFor(kind), 0);
    const draws = [
      { table: transactions, column: 'transaction_id', count: most },
      { table: outbox, column: 'outbox_id', count: rows },
    ];
    const more = [
      { table: accountEvents, column: 'event_id', count: changes },
      { table: refusedSubmissions, column: 'refusal_id', count: refusals },
      { table: incomingTransfers, column: 'incoming_id', count: count(({ type }) => type === 'incoming') },
    ];
    const last = more.findLastIndex((draw) => draw.count > 0);
    return drawIds(client, [...draws, ...more.slice(0, last + 1)]);
  }

  /** The time of the batch: that of the server's clock, unless an account has a later transaction already. */
  private async timeOf(client: PoolClient, { postedMs, undated }: Locked, drawn: Date): Promise<Date> {
    const earliestMs =
      undated.length === 0 ? postedMs : Math.max(postedMs, await this.lookups.lastPostedMs(client, undated));
    return earliestMs > drawn.getTime() ? new Date(earliestMs) : drawn;
  }

  /** Decides, and again with the expired holds that turn out to matter. */
  private async decideWithDue(
    client: PoolClient,
    known: Knowledge & { readonly outboxIds: readonly number[] },
    decideAll: (known: Knowledge) => BatchDecision,
  ): Promise<{ decision: BatchDecision; announcedBy: readonly number[] }> {
    let { due, ids, outboxIds } = known;
    let decision = decideAll(known);
    while (decision.lacking.size > 0) {
      const found = await this.lookups.due(client, decision.lacking, known.now);
      due = new Map([...due, ...found]);
      const count = [...found.values()].reduce((sum, holds) => sum + holds.length, 0);
      if (count > 0) {
        const { transactions, outbox } = this.tables;
        const drawn = await drawIds(client, [
          { table: transactions, column: 'transaction_id', count },
          { table: outbox, column: 'outbox_id', count: outboxRowsFor(count) },
        ]);
        ids = [...ids, ...(drawn.ids[0] ?? [])];
        outboxIds = [...outboxIds, ...(drawn.ids[1] ?? [])];
      }
      decision = decideAll({ ...known, due, ids });
    }
    return { decision, announcedBy: outboxIds };
  }

  private async lockAccounts(
    queryRunner: QueryRunner,
    client: PoolClient,
    ascendingIds: readonly number[],
    lockPolicy: LockPolicy,
  ): Promise<Locked> {
    const lockRows = (policy: 'skip' | 'wait', accountIds: readonly number[]) =>
      send<LockedAccountRow>(client, this.lockStatement(queryRunner.manager, policy), [
        plainArray(accountIds),
      ]);
    const results =
      typeof lockPolicy === 'string'
        ? [await lockRows(lockPolicy, ascendingIds)]
        : await allInOrder([
            lockRows('wait', [lockPolicy.waitFor]),
            ...(ascendingIds.length > 1
              ? [lockRows('skip', ascendingIds.filter(isNot(lockPolicy.waitFor)))]
              : []),
          ]);
    const rows = results.flatMap((result) => result.rows);
    const accounts = new Map<number, LockedAccount>();
    const undated: number[] = [];
    let postedMs = 0;
    for (const row of rows) {
      const account = lockedAccountFromRow(row);
      accounts.set(account.accountId, account);
      if (row.posted_ms !== null) postedMs = Math.max(postedMs, Number(row.posted_ms));
      else if (account.version > 1) undated.push(account.accountId);
    }
    return { accounts, postedMs, undated };
  }

  /** Built once: its text does not depend on the batch. */
  private lockStatement(manager: EntityManager, lockPolicy: 'skip' | 'wait'): string {
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
    if (locked.size === accountIds.length) return NOTHING_SKIPPED;
    const missing = accountIds.filter((accountId) => !locked.has(accountId));
    const { rows } = await send<{ account_id: string }>(
      client,
      `SELECT account_id FROM ${this.tables.accounts} WHERE account_id = ANY($1)`,
      [missing],
    );
    return new Set(rows.map((row) => Number(row.account_id)));
  }
}

const NOTHING_SKIPPED: ReadonlySet<number> = new Set();

/** The most changes of accounts that a command makes: a forced reversal may raise the limit of each account. */
function mostChanges(command: Command): number {
  if (command.type === 'change') return 1;
  if (command.type === 'settlement') return command.transfer.raised === undefined ? 0 : 1;
  const reversal = command.type === 'outgoing' ? command.reversal : command;
  const isForced = reversal && 'force' in reversal && reversal.force === true;
  return isForced ? accountsOf(command).length : 0;
}

/**
 * A query that finds a row if the batch took effect; undefined: it wrote nothing. An id alone proves nothing, because a
 * promoted standby may draw a lost one again: the hash of a transaction or a change covers all that was decided. A
 * batch without either has only decided or begun transfers between shards.
 */
function evidenceOf(
  tables: SchemaTables,
  batch: PostedBatch,
): [sql: string, parameters: unknown[]] | undefined {
  const { transactions, hashes, events, incoming, outgoing } = batch;
  const transaction = transactions.at(-1);
  if (transaction)
    return [
      `SELECT 1 FROM ${tables.allTransactions} t WHERE transaction_id = $1 AND hash = decode($2, 'hex')`,
      [transaction.transactionId, hashes.at(-1)],
    ];
  const event = events.at(-1);
  if (event)
    return [
      `SELECT 1 FROM ${tables.accountEvents} WHERE event_id = $1 AND hash = decode($2, 'hex')`,
      [event.eventId, event.hash],
    ];
  const decided = incoming.at(-1);
  if (decided)
    return [
      `SELECT 1 FROM ${tables.incomingTransfers} WHERE transfer_id = $1 AND nonce = $2 AND credit_id IS NULL`,
      [decided.transferId, decided.nonce],
    ];
  const begun = outgoing.at(-1);
  return (
    begun && [
      `SELECT 1 FROM ${tables.transfers} WHERE transfer_id = $1 AND nonce = $2 AND (status <> 'pending' OR $3)`,
      [begun.transferId, begun.nonce, begun.status === 'pending'],
    ]
  );
}

function isNot(accountId: number): (other: number) => boolean {
  return (other) => other !== accountId;
}

/** In ascending order, so that two batches that need the same rows can't deadlock. */
function ascending(ids: Iterable<number>): number[] {
  return [...ids].sort((a, b) => a - b);
}

/** What most accounts have. */
const ORDINARY = {
  decimals: USUAL_DECIMALS,
  held: 0n,
  activeHolds: 0,
  overdraftLimit: 0n,
  status: 'open',
  revision: 0,
  currency: undefined,
} as const;

/** The columns in which an account may differ from {@link ORDINARY}. */
const SPECIAL_COLUMNS = {
  held: 'CAST(account.held AS text)',
  active_holds: 'account.activeHolds',
  overdraft_limit: 'CAST(account.overdraftLimit AS text)',
  status: 'account.status',
  revision: 'account.revision',
  currency: 'account.currency',
};

/** All of them as one value that most accounts don't have: a column of its own for each would cost a posting 2 µs. */
const SPECIAL = `CASE WHEN (account.held, account.activeHolds, account.overdraftLimit, account.status, account.revision)
                           <> (0, 0, 0, 'open', 0) OR account.currency IS NOT NULL
                      THEN json_build_object(${Object.entries(SPECIAL_COLUMNS)
                        .flatMap(([name, column]) => [`'${name}'`, column])
                        .join(', ')}) END`;

function lockedAccountFromRow(row: LockedAccountRow): LockedAccount {
  const { account_id, balance, version, head_hash: headHash, special } = row;
  if (special) return { ...ledgerAccountFromRow({ account_id, balance, version, ...special }), headHash };
  const accountId = Number(account_id);
  const money = moneyFromColumn(balance, USUAL_DECIMALS);
  return { accountId, balance: money, version: Number(version), ...ORDINARY, headHash };
}

/** TypeORM's pessimistic write lock. */
function lockStatement(manager: EntityManager, lockPolicy: 'skip' | 'wait'): string {
  const query = manager
    .createQueryBuilder(AccountEntity, 'account')
    .select('account.accountId', 'account_id')
    .addSelect('account.balance', 'balance')
    .addSelect('account.version', 'version')
    .addSelect(SPECIAL, 'special')
    .addSelect("encode(account.headHash, 'hex')", 'head_hash')
    .addSelect('(extract(epoch FROM account.postedAt) * 1000)::bigint', 'posted_ms')
    .where('account.accountId = ANY(:accountIds)', { accountIds: [] })
    .orderBy('account.accountId', 'ASC')
    .setLock('pessimistic_write');
  const [sql] = (lockPolicy === 'skip' ? query.setOnLocked('skip_locked') : query).getQueryAndParameters();
  return sql;
}
