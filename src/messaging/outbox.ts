import type { PoolClient } from 'pg';
import { Any, type EntityManager } from 'typeorm';
import { send } from '../storage/connection.js';
import { OutboxEntity } from '../storage/entities/outbox.entity.js';
import { TRANSACTION_COLUMNS, transactionFromRow, type TransactionRow } from '../storage/rows.js';
import { ShardLease } from '../storage/shard-lease.js';
import type { SchemaTables } from '../storage/tables.js';
import type { Transaction } from '../domain/transaction.js';
import type { TransactionRunner } from '../storage/transaction-runner.js';

/** Rows at the head of the outbox, one per committed batch, in the order in which they are to be published. */
export interface Chunk {
  readonly outboxIds: readonly number[];
  /** Whether more rows were waiting than the chunk had room for. */
  readonly more: boolean;
  /** The transactions of the batches that had to be read, batch by batch. */
  readonly batches: readonly (readonly Transaction[])[];
}

/** The rows and events that wait in the outbox. Only the head of a long outbox is counted. */
export interface Backlog {
  readonly rows: number;
  readonly events: number;
  /** How long the oldest row has been waiting. */
  readonly ageMs: number;
}

/** The most rows in one chunk. The relay bounds the events too, but at least one row is always taken. */
const CHUNK_ROWS = 200;
/** The most rows that are counted. */
const COUNTED_ROWS = 1_000;

interface HeadRow {
  outbox_id: string;
  first_id: string;
  /** How many rows wait, counted up to the size of a chunk. */
  waiting: number;
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
        `SELECT count(*)::int AS rows, coalesce(sum(cardinality(transaction_ids)), 0)::int AS events,
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
   * @param maxEvents the most events in the chunk, unless its first row alone has more
   * @param isKnown tells from the first transaction of a batch that its transactions need not be read
   * @returns undefined when there is nothing to publish, or another relay holds the lease
   */
  async claim(
    maxEvents: number,
    isKnown: (firstTransactionId: number) => boolean,
  ): Promise<Chunk | undefined> {
    return this.runner.run(async ({ manager }, client) => {
      // First the outbox, then the identity row: a move of the shard locks them in this order too.
      if ((await holdsNothing(manager)) || !(await this.takeLease(manager))) return undefined;
      const { rows: head } = await send<HeadRow>(
        client,
        `SELECT outbox_id, first_id, waiting FROM (
           SELECT outbox_id, transaction_ids[1] AS first_id, row_number() OVER up_to_here AS place,
                  (count(*) OVER ())::int AS waiting,
                  sum(cardinality(transaction_ids)) OVER up_to_here AS events
           FROM (SELECT * FROM ${this.tables.outbox} ORDER BY outbox_id LIMIT ${CHUNK_ROWS}) head
           WINDOW up_to_here AS (ORDER BY outbox_id)
         ) counted
         WHERE events <= $1 OR place = 1 ORDER BY outbox_id`,
        [maxEvents],
      );
      const unknown = head.filter((row) => !isKnown(Number(row.first_id)));
      return {
        outboxIds: head.map((row) => Number(row.outbox_id)),
        more: (head[0]?.waiting ?? 0) === CHUNK_ROWS || head.length < (head[0]?.waiting ?? 0),
        batches: await this.read(
          client,
          unknown.map((row) => Number(row.outbox_id)),
        ),
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

  /**
   * LIMIT makes the planner look up each transaction by the primary key. Otherwise, once the outbox has been analyzed,
   * it does a merge join that reads the index of all transactions from its start. A transaction that was archived
   * before its event was published is found in the archive.
   */
  private async read(client: PoolClient, outboxIds: readonly number[]): Promise<Transaction[][]> {
    if (outboxIds.length === 0) return [];
    const { rows } = await send<TransactionRow & { outbox_id: string }>(
      client,
      `SELECT outbox_id, ${TRANSACTION_COLUMNS}
       FROM ${this.tables.outbox}, unnest(transaction_ids) WITH ORDINALITY AS listed (listed_id, place),
         LATERAL (SELECT * FROM ${this.tables.allTransactions} t WHERE transaction_id = listed_id LIMIT 1) posted
       WHERE outbox_id = ANY($1) ORDER BY outbox_id, place`,
      [outboxIds],
    );
    const batches = new Map<number, Transaction[]>(outboxIds.map((outboxId) => [outboxId, []]));
    for (const row of rows) batches.get(Number(row.outbox_id))?.push(transactionFromRow(row));
    return [...batches.values()];
  }
}

/**
 * Ordered, so that it reads the index: from the table's start it would scan rows that were removed but not vacuumed.
 */
async function holdsNothing(manager: EntityManager): Promise<boolean> {
  const head = { select: { outboxId: true }, order: { outboxId: 'ASC' }, take: 1 } as const;
  return (await manager.find(OutboxEntity, head)).length === 0;
}
