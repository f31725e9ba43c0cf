import { Column, Entity, PrimaryGeneratedColumn, Unique } from 'typeorm';
import { bigintColumn, identityColumn } from './columns.js';

/** A submission that was refused. Its key is spent: no transaction of the account has it. */
@Entity('refused_submissions')
@Unique('unique_refused_key_per_account', ['accountId', 'idempotencyKey'])
export class RefusedSubmissionEntity {
  @PrimaryGeneratedColumn('identity', identityColumn('refusal_id', 'refused_submissions_pkey'))
  refusalId!: number;

  @Column({ name: 'account_id', type: 'bigint', transformer: bigintColumn })
  accountId!: number;

  @Column({ name: 'idempotency_key', type: 'varchar', length: 255 })
  idempotencyKey!: string;

  /** Part of a hash of the request; NULL: it could not be read. */
  @Column({ type: 'bigint', nullable: true })
  fingerprint!: string | null;

  /** Why, as JSON. */
  @Column({ type: 'text' })
  rejection!: string;

  @Column({ name: 'refused_at', type: 'timestamptz', precision: 3 })
  refusedAt!: Date;
}
