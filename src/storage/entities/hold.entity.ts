import { Check, Column, Entity, Index, PrimaryColumn } from 'typeorm';
import type { HoldStatus } from '../../domain/hold.js';
import { bigintColumn, isAmount } from './columns.js';

/** Money reserved for later. */
@Entity('holds')
@Check('holds_amount_check', isAmount('amount'))
@Check('holds_parts_check', '"remaining" >= 0 AND "captured" >= 0 AND "remaining" + "captured" <= "amount"')
@Check('holds_status_check', `"status" IN ('active', 'captured', 'voided', 'expired')`)
@Check('holds_active_check', `("status" = 'active') = ("remaining" > 0)`)
@Index('holds_of_account_by_status', ['accountId', 'status', 'holdId'])
@Index('holds_due', ['expiresAt'], { where: `"status" = 'active' AND "expires_at" IS NOT NULL` })
@Index('holds_due_of_account', ['accountId', 'expiresAt', 'holdId'], {
  where: `"status" = 'active' AND "expires_at" IS NOT NULL`,
})
@Check('holds_capturing_check', '"capturing" >= 0 AND "capturing" <= "remaining"')
export class HoldEntity {
  /** The id of the transaction that placed it. */
  @PrimaryColumn({
    name: 'hold_id',
    type: 'bigint',
    primaryKeyConstraintName: 'holds_pkey',
    transformer: bigintColumn,
  })
  holdId!: number;

  @Column({ name: 'account_id', type: 'bigint', transformer: bigintColumn })
  accountId!: number;

  @Column({ type: 'numeric' })
  amount!: string;

  @Column({ type: 'numeric' })
  remaining!: string;

  @Column({ type: 'numeric' })
  captured!: string;

  @Column({ type: 'varchar', length: 8 })
  status!: HoldStatus;

  /** NULL: never. */
  @Column({ name: 'expires_at', type: 'timestamptz', precision: 3, nullable: true })
  expiresAt!: Date | null;

  @Column({ name: 'created_at', type: 'timestamptz', precision: 3 })
  createdAt!: Date;

  /** What of it is on its way to another shard. Without a default, so that an older release can't end it. */
  @Column({ type: 'numeric' })
  capturing!: string;
}
