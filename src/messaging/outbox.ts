import type { PoolClient } from 'pg';
import { Any, type EntityManager } from 'typeorm';
import { send } from '../storage/connection.js';
import { OutboxEntity } from '../storage/entities/outbox.entity.js';
import {
  idFromColumn,
  moneyFromColumn,
  outgoingFromRow,
  selectOutgoing,
  TRANSACTION_COLUMNS,
  transactionFromRow,
  type HoldRow,
  type OutgoingRow,
  type TransactionRow,
} from '../storage/rows.js';
import { ShardLease } from '../storage/shard-lease.js';
import type { SchemaTables } from '../storage/tables.js';
import type { AccountChanged, AnnouncedTransaction, LedgerEvent } from '../domain/ledger-event.js';
import type { Transaction } from '../domain/transaction.js';
import { creditOf } from '../domain/transfer.js';
import type { TransactionRunner } from '../storage/transaction-runner.js';
import { announcementsOf, legsOfTransfers, type HoldThen } from './announcements.js';

/** Rows at the head of the outbox, in the order in which they are to be published. */
export interface Chunk {
  readonly outboxIds: readonly number[];
  /** Whether more rows were waiting than the chunk had room for. */
  readonly more: boolean;
  /** The rows that had to be read. */
  readonly rows: readonly OutboxRow[];
}

export interface OutboxRow {
  /** Undefined: it announces changes of accounts; no row has both. */
  readonly firstTransactionId: number | undefined;
  readonly events: readonly LedgerEvent[];
}

/** What waits in the outbox. Only the head of a long outbox is counted. */
export interface Backlog {
  readonly rows: number;
  /** Transactions and changes of accounts. */
  readonly events: number;
  /** How long the oldest row has been waiting. */
  readonly ageMs: number;
}

/** The most rows in one chunk. The relay bounds the events too, but at least one row is always taken. */
const CHUNK_ROWS = 200;
/** The most rows that are counted. */
const COUNTED_ROWS = 1_000;
/** What one row announces. */
const SIZE = 'cardinality(transaction_ids) + cardinality(account_event_ids)';

interface HeadRow {
  outbox_id: string;
  /** Null: no transactions, only changes of accounts. */
  first_id: string | null;
  /** How many rows wait, counted up to the size of a chunk. */
  waiting: number;
}

interface AnnouncedRow extends TransactionRow {
  outbox_id: string;
  reference: string | null;
  effective_date: string | null;
  currency: string | null;
}

interface ChangeRow {
  outbox_id: string;
  account_id: string;
  revision: number;
  timestamp: Date;
  changes: string;
  currency: string | null;
}

interface HoldThenRow extends Pick<HoldRow, 'remaining' | 'status' | 'expires_at'> {
  transaction_id: string;
}

/**
 * The outbox of one shard and the lease on it, which lets one relay over all instances publish a chunk at a time. The
 * lease is taken under the lock of the shard's identity row and ends with its chunk. If it runs out under a slow holder,
 * its events are published twice; the order of an account's events is kept.
 */
export class Outbox {
  private readonly lease: ShardLease;

  /**
   * @param leaseMs the time to read, publish and remove one chunk
   * @param toBroker whether this relay publishes to a broker. Once one does, relays without a broker leave the outbox
   *   alone: while a new setting is rolled out, consumers would lose the events that only such a relay had published
   */
  constructor(
    private readonly runner: TransactionRunner,
    private readonly tables: SchemaTables,
    leaseMs: number,
    private readonly toBroker = false,
  ) {
    this.lease = new ShardLease('relay', leaseMs);
  }

  async isEmpty(): Promise<boolean> {
    return this.runner.run(({ manager }) => holdsNothing(manager));
  }

  async backlog(): Promise<Backlog> {
    return this.runner.run(async (_, client) => {
      const { rows } = await send<{ rows: number; events: number; age_ms: number }>(
        client,
        `SELECT count(*)::int AS rows, coalesce(sum(${SIZE}), 0)::int AS events,
                coalesce(extract(epoch FROM clock_timestamp() - min(created_at)) * 1000, 0)::float8 AS age_ms
         FROM (SELECT * FROM ${this.tables.outbox} ORDER BY outbox_id LIMIT ${COUNTED_ROWS}) head`,
      );
      const [row] = rows as [{ rows: number; events: number; age_ms: number }];
      return { rows: row.rows, events: row.events, ageMs: Math.max(0, row.age_ms) };
    });
  }

  /**
   * Takes the lease and reads the head of the outbox.
   *
   * @param maxEvents the most transactions and changes in the chunk, unless its first row alone has more
   * @param isKnown tells from the first transaction of a row that it need not be read
   * @returns undefined when there is nothing to publish, or another relay holds the lease
   */
  async claim(
    maxEvents: number,
    isKnown: (firstTransactionId: number | undefined) => boolean,
  ): Promise<Chunk | undefined> {
    return this.runner.run(async ({ manager }, client) => {
      // First the outbox, then the identity row: a move of the shard locks them in this order too.
      if ((await holdsNothing(manager)) || !(await this.takeLease(manager))) return undefined;
      const { rows: head } = await send<HeadRow>(
        client,
        `SELECT outbox_id, first_id, waiting FROM (
           SELECT outbox_id, transaction_ids[1] AS first_id, row_number() OVER up_to_here AS place,
                  (count(*) OVER ())::int AS waiting,
                  sum(${SIZE}) OVER up_to_here AS events
           FROM (SELECT * FROM ${this.tables.outbox} ORDER BY outbox_id LIMIT ${CHUNK_ROWS}) head
           WINDOW up_to_here AS (ORDER BY outbox_id)
         ) counted
         WHERE events <= $1 OR place = 1 ORDER BY outbox_id`,
        [maxEvents],
      );
      const unknown = head.filter((row) => !isKnown(idFromColumn(row.first_id)));
      return {
        outboxIds: head.map((row) => Number(row.outbox_id)),
        more: (head[0]?.waiting ?? 0) === CHUNK_ROWS || head.length < (head[0]?.waiting ?? 0),
        rows: await this.read(client, unknown),
      };
    });
  }

  /** Removes a chunk whose events have all arrived, and gives the lease back. */
  async remove({ outboxIds }: Chunk): Promise<void> {
    await this.runner.run(async ({ manager }) => {
      await manager.delete(OutboxEntity, { outboxId: Any(outboxIds) });
      await this.lease.end(manager);
    });
  }

  /** Gives the lease back; the next relay publishes the chunk again. */
  async release(): Promise<void> {
    await this.runner.run(({ manager }) => this.lease.end(manager));
  }

  private takeLease(manager: EntityManager): Promise<boolean> {
    // Stays set once a relay to a broker has set it.
    const also = this.toBroker ? { set: { relayToBroker: true } } : { where: 'NOT shard.relayToBroker' };
    return this.lease.take(manager, also);
  }

  private async read(client: PoolClient, head: readonly HeadRow[]): Promise<OutboxRow[]> {
    const idsOf = (rows: readonly HeadRow[]) => rows.map((row) => Number(row.outbox_id));
    const withTransactions = head.filter((row) => row.first_id !== null);
    const changes = await this.changes(client, idsOf(head.filter((row) => row.first_id === null)));
    const transactions = await this.transactions(client, idsOf(withTransactions));
    const byRow = [...transactions.values()];
    const holdsThen = await this.holdsThen(client, byRow.flat());
    const credits = await this.creditsElsewhere(client, byRow);
    return head.map(({ outbox_id, first_id }) => ({
      firstTransactionId: idFromColumn(first_id),
      events:
        changes.get(outbox_id) ?? announcementsOf(transactions.get(outbox_id) ?? [], holdsThen, credits),
    }));
  }

  /**
   * The transactions of rows, by the row's id. LIMIT makes the planner look up each transaction by the primary key.
   * Otherwise, once the outbox has been analyzed, it does a merge join that reads the index of all transactions from its
   * start. A transaction that was archived before its event was published is found in the archive.
   */
  private async transactions(
    client: PoolClient,
    outboxIds: readonly number[],
  ): Promise<Map<string, AnnouncedTransaction[]>> {
    if (outboxIds.length === 0) return new Map();
    const { allTransactions, outbox, transactionDetails, accounts } = this.tables;
    const { rows } = await send<AnnouncedRow>(
      client,
      `SELECT outbox_id, ${TRANSACTION_COLUMNS}, reference, effective_date::text AS effective_date,
              (SELECT currency FROM ${accounts} a WHERE a.account_id = posted.account_id) AS currency
       FROM ${outbox}, unnest(transaction_ids) WITH ORDINALITY AS listed (listed_id, place),
         LATERAL (SELECT * FROM ${allTransactions} t WHERE transaction_id = listed_id LIMIT 1) posted
         LEFT JOIN LATERAL (SELECT reference, effective_date FROM ${transactionDetails} d
                            WHERE d.transaction_id = listed_id LIMIT 1) details ON true
       WHERE outbox_id = ANY($1) ORDER BY outbox_id, place`,
      [outboxIds],
    );
    return groupedByRow(rows, announcedFromRow);
  }

  /** The changes of accounts of rows, by the row's id. */
  private async changes(
    client: PoolClient,
    outboxIds: readonly number[],
  ): Promise<Map<string, AccountChanged[]>> {
    if (outboxIds.length === 0) return new Map();
    const { rows } = await send<ChangeRow>(
      client,
      `SELECT outbox_id, account_id, revision, timestamp, changes,
              (SELECT currency FROM ${this.tables.accounts} a WHERE a.account_id = changed.account_id) AS currency
       FROM ${this.tables.outbox}, unnest(account_event_ids) WITH ORDINALITY AS listed (listed_id, place),
         LATERAL (SELECT * FROM ${this.tables.accountEvents} WHERE event_id = listed_id LIMIT 1) changed
       WHERE outbox_id = ANY($1) ORDER BY outbox_id, place`,
      [outboxIds],
    );
    return groupedByRow(rows, changeFromRow);
  }

  /** The credits in other shards of transfers that debits complete, by transfer; nothing is read where there is none. */
  private async creditsElsewhere(
    client: PoolClient,
    byRow: readonly (readonly AnnouncedTransaction[])[],
  ): Promise<Map<number, AnnouncedTransaction>> {
    // All legs in one shard share a row.
    const transfers = byRow.flatMap((transactions) => [...legsOfTransfers(transactions).values()]);
    const debits = transfers.flatMap((legs) => (legs.length === 1 && legs[0]?.type === 'debit' ? legs : []));
    if (debits.length === 0) return new Map();
    const { rows } = await send<OutgoingRow>(
      client,
      `${selectOutgoing(this.tables)} WHERE o.transfer_id = ANY($1::bigint[])`,
      [debits.map(({ transferId }) => transferId)],
    );
    return new Map(
      rows.map(outgoingFromRow).flatMap((transfer) => {
        const { transferId, credit, currency } = transfer;
        return credit ? [[transferId, { ...creditOf(transfer, credit), currency }]] : [];
      }),
    );
  }

  /** The holds of transactions, as they were after each; nothing is read where no transaction has one. */
  private async holdsThen(
    client: PoolClient,
    transactions: readonly Transaction[],
  ): Promise<Map<number, HoldThen>> {
    const held = transactions.filter(({ holdId }) => holdId !== undefined);
    if (held.length === 0) return new Map();
    const { rows } = await send<HoldThenRow>(
      client,
      `SELECT transaction_id, remaining, status, expires_at
       FROM (SELECT transaction_id, status, expires_at,
                    amount - coalesce(sum(posted_amount) FILTER (WHERE type = 'release') OVER up_to_here, 0) AS remaining
             FROM unnest($1::bigint[]) AS listed (listed_id),
               LATERAL (SELECT * FROM ${this.tables.holds} WHERE hold_id = listed_id LIMIT 1) h,
               LATERAL (SELECT transaction_id, type, amount AS posted_amount, version_after
                        FROM ${this.tables.allTransactions} t WHERE t.hold_id = listed_id) posted
             WINDOW up_to_here AS (PARTITION BY listed_id ORDER BY version_after)) counted
       WHERE transaction_id = ANY($2::bigint[])`,
      [[...new Set(held.map(({ holdId }) => holdId))], held.map(({ transactionId }) => transactionId)],
    );
    return new Map(rows.map((row) => [Number(row.transaction_id), holdThenFromRow(row)]));
  }
}

function groupedByRow<R extends { outbox_id: string }, T>(
  rows: readonly R[],
  fromRow: (row: R) => T,
): Map<string, T[]> {
  const grouped = new Map<string, T[]>();
  for (const row of rows) {
    const group = grouped.get(row.outbox_id);
    if (group) group.push(fromRow(row));
    else grouped.set(row.outbox_id, [fromRow(row)]);
  }
  return grouped;
}

function announcedFromRow(row: AnnouncedRow): AnnouncedTransaction {
  const { reference, effective_date: effectiveDate, currency } = row;
  const posted = transactionFromRow(row);
  const transaction = currency === null ? posted : { ...posted, currency };
  if (reference === null && effectiveDate === null) return transaction;
  const details = { reference: reference ?? undefined, effectiveDate: effectiveDate ?? undefined };
  return { ...transaction, details };
}

function changeFromRow({ account_id, revision, timestamp, changes, currency }: ChangeRow): AccountChanged {
  const about = { accountId: Number(account_id), currency: currency ?? undefined };
  return { kind: 'account.changed', ...about, revision, timestamp, changes };
}

function holdThenFromRow({ remaining, status, expires_at }: HoldThenRow): HoldThen {
  return { remaining: moneyFromColumn(remaining), status, expiresAt: expires_at ?? undefined };
}

/**
 * Ordered, so that it reads the index: from the table's start it would scan rows that were removed but not vacuumed.
 */
async function holdsNothing(manager: EntityManager): Promise<boolean> {
  const head = { select: { outboxId: true }, order: { outboxId: 'ASC' }, take: 1 } as const;
  return (await manager.find(OutboxEntity, head)).length === 0;
}
