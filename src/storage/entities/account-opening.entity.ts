import { Check, Column, Entity, PrimaryColumn, Unique } from 'typeorm';
import { bigintColumn } from './columns.js';

/** The idempotency key with which an account was opened, and the rest of that request. */
@Entity('account_openings')
@Check('account_openings_deposit_check', `"opening_deposit" > 0 AND "opening_deposit" <> 'NaN'`)
@Unique('unique_opening_idempotency_per_owner', ['owner', 'idempotencyKey'])
export class AccountOpeningEntity {
  @PrimaryColumn({
    name: 'account_id',
    type: 'bigint',
    primaryKeyConstraintName: 'account_openings_pkey',
    transformer: bigintColumn,
  })
  accountId!: number;

  /** The owner when the account was opened, even if it has another one now; empty: none. */
  @Column({ type: 'varchar', length: 255 })
  owner!: string;

  @Column({ name: 'idempotency_key', type: 'varchar', length: 255 })
  idempotencyKey!: string;

  /** NULL: none. */
  @Column({
    name: 'opening_deposit',
    type: 'numeric',
    nullable: true,
  })
  openingDeposit!: string | null;

  /** The account whose shard the opening asked for; NULL: owner and key chose the shard. */
  @Column({ type: 'bigint', nullable: true, transformer: bigintColumn })
  near!: number | null;

  /** Part of a hash of the request; NULL: the deposit is all of it. */
  @Column({ type: 'bigint', nullable: true })
  fingerprint!: string | null;
}
