import { Column, Entity, PrimaryGeneratedColumn } from 'typeorm';
import { identityColumn } from './columns.js';

/** One row for each committed batch: what is still to be moved to the log. */
@Entity('outbox')
export class OutboxEntity {
  @PrimaryGeneratedColumn('identity', identityColumn('outbox_id', 'outbox_pkey'))
  outboxId!: number;

  @Column({ name: 'transaction_ids', type: 'bigint', array: true })
  transactionIds!: string[];

  /** Without a default, so that the batches of an older release fail. */
  @Column({ name: 'account_event_ids', type: 'bigint', array: true })
  accountEventIds!: string[];

  /** Submissions that were refused. */
  @Column({ name: 'refusal_ids', type: 'bigint', array: true, default: () => "'{}'" })
  refusalIds!: string[];

  /** Transfers to other shards that have failed. */
  @Column({ name: 'failed_transfer_ids', type: 'bigint', array: true, default: () => "'{}'" })
  failedTransferIds!: string[];

  /** The trace context (W3C) of the batch; null: it was not traced. */
  @Column({ type: 'varchar', length: 55, nullable: true })
  traceparent!: string | null;

  @Column({ name: 'created_at', type: 'timestamptz', precision: 3, default: () => 'now()' })
  createdAt!: Date;
}
