import { Check, Column, Entity, PrimaryColumn, Unique } from 'typeorm';

/** The idempotency key with which an account was opened, and what else a repeat of that request says. */
@Entity('account_openings')
@Check('account_openings_deposit_check', `"opening_deposit" > 0 AND "opening_deposit" <> 'NaN'`)
@Unique('unique_opening_idempotency_per_owner', ['owner', 'idempotencyKey'])
export class AccountOpeningEntity {
  @PrimaryColumn({
    name: 'account_id',
    type: 'bigint',
    primaryKeyConstraintName: 'account_openings_pkey',
  })
  accountId!: string;

  /** The account's at the opening, whoever has it now; empty: nobody's. */
  @Column({ type: 'varchar', length: 255 })
  owner!: string;

  @Column({ name: 'idempotency_key', type: 'varchar', length: 255 })
  idempotencyKey!: string;

  /** NULL: there was none. */
  @Column({ name: 'opening_deposit', type: 'numeric', precision: 18, scale: 2, nullable: true })
  openingDeposit!: string | null;
}
