import { Column, Entity, PrimaryGeneratedColumn } from 'typeorm';

/** One row for each committed batch: the transactions whose events are still to be published. */
@Entity('outbox')
export class OutboxEntity {
  @PrimaryGeneratedColumn('identity', {
    name: 'outbox_id',
    type: 'bigint',
    generatedIdentity: 'BY DEFAULT',
    primaryKeyConstraintName: 'outbox_pkey',
  })
  outboxId!: string;

  @Column({ name: 'transaction_ids', type: 'bigint', array: true })
  transactionIds!: string[];

  @Column({ name: 'created_at', type: 'timestamptz', precision: 3, default: () => 'now()' })
  createdAt!: Date;
}
