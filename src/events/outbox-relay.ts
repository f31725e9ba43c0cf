import type { QueryRunner } from 'typeorm';
import type { EventPublisher } from '../domain/ports.js';
import type { Transaction } from '../domain/transaction.js';
import { TRANSACTION_COLUMNS, transactionFromRow, type TransactionRow } from '../database/rows.js';
import type { SchemaTables } from '../database/tables.js';
import type { TransactionRunner } from '../ledger/transaction-runner.js';

/** Outbox rows, each of one batch, that are published and deleted in one go. */
const ROWS_AT_ONCE = 20;

/**
 * Publishes what one shard's outbox holds, in order, and deletes what was published: at least once for each event.
 * One relay per shard works at a time, over all instances: the lock of the shard's identity row is the lease, which
 * ends with the transaction and so with the process. (No session advisory lock and no LISTEN: PgBouncer.)
 */
export class OutboxRelay {
  private stopped = false;
  private failing = false;
  private running: Promise<void> = Promise.resolve();
  private timer: NodeJS.Timeout | undefined;

  constructor(
    private readonly runner: TransactionRunner,
    private readonly tables: SchemaTables,
    private readonly publisher: EventPublisher,
    private readonly pollMs: number,
    private readonly onPublished: (rows: number) => void,
    private readonly onFailure: (error: unknown) => void,
  ) {}

  start(): void {
    this.timer = setTimeout(() => {
      this.running = this.drain().finally(() => {
        if (!this.stopped) this.start();
      });
    }, this.pollMs);
  }

  /** Waits for the rows in hand; the rest stay in the outbox for the next start. */
  async stop(): Promise<void> {
    this.stopped = true;
    clearTimeout(this.timer);
    await this.running;
  }

  private async drain(): Promise<void> {
    try {
      while (!this.stopped) {
        const rows = await this.runner.run((queryRunner) => this.publishSome(queryRunner));
        this.failing = false;
        if (rows > 0) this.onPublished(rows);
        if (rows < ROWS_AT_ONCE) return;
      }
    } catch (error) {
      // Nothing is lost: what was not deleted is published again at the next poll. Said once, not at every poll.
      if (!this.failing) this.onFailure(error);
      this.failing = true;
    }
  }

  private async publishSome(queryRunner: QueryRunner): Promise<number> {
    // Looked at before the lease is taken: a row lock writes, and most of the time there is nothing to do.
    const waiting = (await queryRunner.query(`SELECT FROM ${this.tables.outbox} LIMIT 1`)) as unknown[];
    if (waiting.length === 0) return 0;
    const lease = (await queryRunner.query(
      `SELECT FROM ${this.tables.shardIdentity} FOR UPDATE SKIP LOCKED`,
    )) as unknown[];
    if (lease.length === 0) return 0;
    const rows = (await queryRunner.query(
      `SELECT outbox_id, transaction_ids[1] AS first_id
       FROM ${this.tables.outbox} ORDER BY outbox_id LIMIT ${ROWS_AT_ONCE}`,
    )) as { outbox_id: string; first_id: string }[];
    if (rows.length === 0) return 0;
    const foreign = rows.filter((row) => !this.publisher.alreadyKnows(Number(row.first_id)));
    if (foreign.length > 0) {
      await this.publisher.publish(
        await this.read(
          queryRunner,
          foreign.map((row) => row.outbox_id),
        ),
      );
    }
    await queryRunner.query(`DELETE FROM ${this.tables.outbox} WHERE outbox_id = ANY($1)`, [
      rows.map((row) => row.outbox_id),
    ]);
    return rows.length;
  }

  private async read(queryRunner: QueryRunner, outboxIds: readonly string[]): Promise<Transaction[]> {
    const rows = (await queryRunner.query(
      `SELECT ${TRANSACTION_COLUMNS}
       FROM ${this.tables.outbox}, unnest(transaction_ids) WITH ORDINALITY AS posted (transaction_id, place)
       JOIN ${this.tables.transactions} USING (transaction_id)
       WHERE outbox_id = ANY($1) ORDER BY outbox_id, place`,
      [outboxIds],
    )) as TransactionRow[];
    return rows.map(transactionFromRow);
  }
}
