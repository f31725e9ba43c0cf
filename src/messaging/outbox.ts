import { randomUUID } from 'node:crypto';
import type { QueryRunner } from 'typeorm';
import { TRANSACTION_COLUMNS, transactionFromRow, type TransactionRow } from '../storage/rows.js';
import type { SchemaTables } from '../storage/tables.js';
import type { Transaction } from '../domain/transaction.js';
import type { TransactionRunner } from '../storage/transaction-runner.js';

/** Rows at the head of the outbox, each of one committed batch, in the order in which they are to be published. */
export interface Chunk {
  readonly outboxIds: readonly string[];
  /** Whether more was waiting than the chunk had room for. */
  readonly more: boolean;
  /** The transactions of those batches that had to be read, batch by batch. */
  readonly batches: readonly (readonly Transaction[])[];
}

/** What waits in the outbox; of a long one no more than its head is counted. */
export interface Backlog {
  readonly rows: number;
  readonly events: number;
  /** How long the oldest row has been waiting. */
  readonly ageMs: number;
}

/** Rows of one chunk at most. The relay bounds the events too, but one row alone is always taken. */
const CHUNK_ROWS = 200;
/** Rows that are counted at most. */
const COUNTED_ROWS = 1_000;

interface HeadRow {
  outbox_id: string;
  first_id: string;
  /** Rows at the head, at most as many as a chunk may have. */
  waiting: number;
}

/**
 * The outbox of one shard, and the lease on it: one relay, over all instances, has a chunk in hand at a time. The lease
 * is taken under the lock of the shard's identity row and ends with its chunk, or by itself when its holder has died.
 * It is a time, not a lock that is held while the broker is waited for: an open transaction would occupy a connection
 * of a pooler, hold up VACUUM and whoever moves the shard. (No session advisory lock and no LISTEN: PgBouncer.)
 * Should a lease run out under a slow holder, its events are published twice; their order for one account stays.
 */
export class Outbox {
  private readonly relayId = randomUUID();

  /**
   * @param leaseMs for reading, publishing and removing one chunk
   * @param toBroker whether this relay publishes to a broker. Once one does, those that don't leave the outbox alone:
   *   while settings are rolled out, an event that only they had seen would be lost to consumers.
   */
  constructor(
    private readonly runner: TransactionRunner,
    private readonly tables: SchemaTables,
    private readonly leaseMs: number,
    private readonly toBroker = false,
  ) {}

  async isEmpty(): Promise<boolean> {
    return this.runner.run((queryRunner) => this.holdsNothing(queryRunner));
  }

  async backlog(): Promise<Backlog> {
    return this.runner.run(async (queryRunner) => {
      const [row] = (await queryRunner.query(
        `SELECT count(*)::int AS rows, coalesce(sum(cardinality(transaction_ids)), 0)::int AS events,
                coalesce(extract(epoch FROM clock_timestamp() - min(created_at)) * 1000, 0)::float8 AS age_ms
         FROM (SELECT * FROM ${this.tables.outbox} ORDER BY outbox_id LIMIT ${COUNTED_ROWS}) head`,
      )) as [{ rows: number; events: number; age_ms: number }];
      return { rows: row.rows, events: row.events, ageMs: Math.max(0, row.age_ms) };
    });
  }

  /**
   * Takes the lease and reads the head of the outbox.
   *
   * @param maxEvents of one chunk, unless its first row alone has more
   * @param isKnown tells, by a batch's first transaction, that its transactions need not be read
   * @returns undefined when there is nothing to publish, or another relay is at it
   */
  async claim(
    maxEvents: number,
    isKnown: (firstTransactionId: number) => boolean,
  ): Promise<Chunk | undefined> {
    return this.runner.run(async (queryRunner) => {
      // First the outbox, then the identity row: the order in which a move of the shard locks them.
      if ((await this.holdsNothing(queryRunner)) || !(await this.takeLease(queryRunner))) return undefined;
      const head = (await queryRunner.query(
        `SELECT outbox_id, first_id, waiting FROM (
           SELECT outbox_id, transaction_ids[1] AS first_id, row_number() OVER up_to_here AS place,
                  (count(*) OVER ())::int AS waiting,
                  sum(cardinality(transaction_ids)) OVER up_to_here AS events
           FROM (SELECT * FROM ${this.tables.outbox} ORDER BY outbox_id LIMIT ${CHUNK_ROWS}) head
           WINDOW up_to_here AS (ORDER BY outbox_id)
         ) counted
         WHERE events <= $1 OR place = 1 ORDER BY outbox_id`,
        [maxEvents],
      )) as HeadRow[];
      const unknown = head.filter((row) => !isKnown(Number(row.first_id)));
      return {
        outboxIds: head.map((row) => row.outbox_id),
        more: (head[0]?.waiting ?? 0) === CHUNK_ROWS || head.length < (head[0]?.waiting ?? 0),
        batches: await this.read(
          queryRunner,
          unknown.map((row) => row.outbox_id),
        ),
      };
    });
  }

  /** Removes a chunk whose events have all arrived, and gives the lease back. */
  async remove({ outboxIds }: Chunk): Promise<void> {
    await this.runner.run(async (queryRunner) => {
      await queryRunner.query(`DELETE FROM ${this.tables.outbox} WHERE outbox_id = ANY($1)`, [outboxIds]);
      await this.endLease(queryRunner);
    });
  }

  /** Gives the lease back: the chunk is to be published again, by whoever comes first. */
  async release(): Promise<void> {
    await this.runner.run((queryRunner) => this.endLease(queryRunner));
  }

  /** In the order of the index: what was removed and not yet vacuumed is not walked through from the table's start. */
  private async holdsNothing(queryRunner: QueryRunner): Promise<boolean> {
    const found = (await queryRunner.query(
      `SELECT FROM ${this.tables.outbox} ORDER BY outbox_id LIMIT 1`,
    )) as unknown[];
    return found.length === 0;
  }

  /**
   * The clock of the server that holds the row both begins and ends a lease. It is read by the SELECT, because Citus allows
   * no volatile function in an UPDATE, and because its coordinator has another clock.
   */
  private async takeLease(queryRunner: QueryRunner): Promise<boolean> {
    const [free] = (await queryRunner.query(
      `SELECT clock_timestamp() + $3 * interval '1 millisecond' AS until FROM ${this.tables.shardIdentity}
       WHERE (relay_until IS NULL OR relay_until < clock_timestamp() OR relay_id = $1)
         AND ($2::boolean OR NOT relay_to_broker)
       FOR UPDATE SKIP LOCKED`,
      [this.relayId, this.toBroker, this.leaseMs],
    )) as { until: Date }[];
    if (!free) return false;
    await queryRunner.query(
      `UPDATE ${this.tables.shardIdentity}
       SET relay_id = $1, relay_until = $2, relay_to_broker = relay_to_broker OR $3`,
      [this.relayId, free.until, this.toBroker],
    );
    return true;
  }

  private async endLease(queryRunner: QueryRunner): Promise<void> {
    await queryRunner.query(
      `UPDATE ${this.tables.shardIdentity} SET relay_id = NULL, relay_until = NULL WHERE relay_id = $1`,
      [this.relayId],
    );
  }

  /**
   * LIMIT keeps the planner to one look-up by the primary key for each transaction. Left to choose, once the outbox has
   * been analyzed it merges with the index of all transactions, read from its start. A transaction that was archived
   * before its event was published is looked for in the archive.
   */
  private async read(queryRunner: QueryRunner, outboxIds: readonly string[]): Promise<Transaction[][]> {
    if (outboxIds.length === 0) return [];
    const rows = (await queryRunner.query(
      `SELECT outbox_id, ${TRANSACTION_COLUMNS}
       FROM ${this.tables.outbox}, unnest(transaction_ids) WITH ORDINALITY AS listed (listed_id, place),
         LATERAL (SELECT * FROM ${this.tables.allTransactions} t WHERE transaction_id = listed_id LIMIT 1) posted
       WHERE outbox_id = ANY($1) ORDER BY outbox_id, place`,
      [outboxIds],
    )) as (TransactionRow & { outbox_id: string })[];
    const batches = new Map<string, Transaction[]>(outboxIds.map((outboxId) => [outboxId, []]));
    for (const row of rows) batches.get(row.outbox_id)?.push(transactionFromRow(row));
    return [...batches.values()];
  }
}
