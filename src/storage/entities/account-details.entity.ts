import { Column, Entity, Index, PrimaryColumn } from 'typeorm';
import { bigintColumn } from './columns.js';

/** The seldom-used parts of an account. */
@Entity('account_details')
@Index('account_details_reference', ['reference', 'accountId'], { where: '"reference" IS NOT NULL' })
export class AccountDetailsEntity {
  @PrimaryColumn({
    name: 'account_id',
    type: 'bigint',
    primaryKeyConstraintName: 'account_details_pkey',
    transformer: bigintColumn,
  })
  accountId!: number;

  /** The client's own name for it. */
  @Column({ type: 'varchar', length: 255, nullable: true })
  reference!: string | null;

  /** A JSON object, stored as text. */
  @Column({ type: 'text', nullable: true })
  metadata!: string | null;

  /** Of the digest that stands for the metadata in the account's events. */
  @Column({ name: 'metadata_salt', type: 'bytea', nullable: true })
  metadataSalt!: Buffer | null;
}
