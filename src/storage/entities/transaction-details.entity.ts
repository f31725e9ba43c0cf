import { Check, Column, Entity, Index, PrimaryColumn } from 'typeorm';
import { bigintColumn } from './columns.js';

/** The seldom-used parts of a transaction, which has no row here if it has none of them. Not archived. */
@Entity('transaction_details')
@Check('transaction_details_digest_check', 'octet_length("digest") = 32')
@Index('transaction_details_reference', ['accountId', 'reference', 'transactionId'], {
  where: '"reference" IS NOT NULL',
})
export class TransactionDetailsEntity {
  @PrimaryColumn({
    name: 'transaction_id',
    type: 'bigint',
    primaryKeyConstraintName: 'transaction_details_pkey',
    transformer: bigintColumn,
  })
  transactionId!: number;

  @Column({ name: 'account_id', type: 'bigint', transformer: bigintColumn })
  accountId!: number;

  /** The client's own name for it. */
  @Column({ type: 'varchar', length: 255, nullable: true })
  reference!: string | null;

  @Column({ name: 'effective_date', type: 'date', nullable: true })
  effectiveDate!: string | null;

  /** The principal who posted it. */
  @Column({ type: 'varchar', length: 260, nullable: true })
  actor!: string | null;

  @Column({ type: 'varchar', length: 500, nullable: true })
  description!: string | null;

  /** A JSON object, stored as text because the digest covers exactly these characters. */
  @Column({ type: 'text', nullable: true })
  metadata!: string | null;

  /** Of the digest; NULL: there are neither description nor metadata, or they were erased. */
  @Column({ type: 'bytea', nullable: true })
  salt!: Buffer | null;

  /** Stands for description and metadata in the hash chain, so that they can be erased. */
  @Column({ type: 'bytea', nullable: true })
  digest!: Buffer | null;
}
