import { Column, Entity, Index, PrimaryColumn } from 'typeorm';
import { bigintColumn } from './columns.js';

/** The retained log of a shard's events: the rows of the outbox, in the order in which they were moved here. */
@Entity('event_log')
export class EventLogEntity {
  /** Rows become visible in the order of their positions. Some positions may be missing. */
  @PrimaryColumn({ type: 'bigint', primaryKeyConstraintName: 'event_log_pkey', transformer: bigintColumn })
  position!: number;

  @Column({ name: 'transaction_ids', type: 'bigint', array: true })
  transactionIds!: string[];

  @Column({ name: 'account_event_ids', type: 'bigint', array: true })
  accountEventIds!: string[];

  @Column({ name: 'refusal_ids', type: 'bigint', array: true })
  refusalIds!: string[];

  @Column({ name: 'failed_transfer_ids', type: 'bigint', array: true })
  failedTransferIds!: string[];

  @Column({ type: 'varchar', length: 55, nullable: true })
  traceparent!: string | null;

  /** That of the outbox: when the transaction that wrote all this began. */
  @Index('event_log_created_at')
  @Column({ name: 'created_at', type: 'timestamptz', precision: 3 })
  createdAt!: Date;
}
