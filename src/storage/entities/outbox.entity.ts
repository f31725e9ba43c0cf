import { Column, Entity, PrimaryGeneratedColumn } from 'typeorm';
import { identityColumn } from './columns.js';

/** One row for each committed batch: what is still to be published. */
@Entity('outbox')
export class OutboxEntity {
  @PrimaryGeneratedColumn('identity', identityColumn('outbox_id', 'outbox_pkey'))
  outboxId!: number;

  @Column({ name: 'transaction_ids', type: 'bigint', array: true })
  transactionIds!: string[];

  /** Without a default, so that the batches of an older release fail. */
  @Column({ name: 'account_event_ids', type: 'bigint', array: true })
  accountEventIds!: string[];

  @Column({ name: 'created_at', type: 'timestamptz', precision: 3, default: () => 'now()' })
  createdAt!: Date;
}
