import { Check, Column, Entity, Index, PrimaryColumn } from 'typeorm';
import type { TransferStatus } from '../../domain/between-shards.js';
import { bigintColumn, isAmount } from './columns.js';

/** A transfer to an account of another shard. One within a shard has no row: it is its transactions. */
@Entity('transfers')
@Check('transfers_amount_check', isAmount('amount'))
@Check('transfers_status_check', `"status" IN ('pending', 'completed', 'failed')`)
@Check(
  'transfers_outcome_check',
  `("status" = 'completed') = ("credit_id" IS NOT NULL) AND ("status" = 'failed') = ("rejection" IS NOT NULL)`,
)
@Index('unique_capture_key_per_account', ['accountId', 'idempotencyKey'], {
  unique: true,
  where: '"idempotency_key" IS NOT NULL',
})
@Index('transfers_pending', ['accountId', 'transferId'], { where: `"status" = 'pending'` })
@Index('transfers_of_hold', ['holdId'], { where: '"hold_id" <> "transfer_id"' })
export class TransferEntity {
  /** Drawn like the id of a transaction: that of the one that put the money on hold, unless it captures a hold. */
  @PrimaryColumn({
    name: 'transfer_id',
    type: 'bigint',
    primaryKeyConstraintName: 'transfers_pkey',
    transformer: bigintColumn,
  })
  transferId!: number;

  /** Tells it from another one that got the same id after a restore. */
  @Column({ type: 'uuid' })
  nonce!: string;

  @Column({ name: 'account_id', type: 'bigint', transformer: bigintColumn })
  accountId!: number;

  @Column({ name: 'to_account_id', type: 'bigint', transformer: bigintColumn })
  toAccountId!: number;

  /** The version that the target must have. */
  @Column({ name: 'to_version', type: 'bigint', nullable: true, transformer: bigintColumn })
  toVersion!: number | null;

  @Column({ type: 'numeric' })
  amount!: string;

  /** Its own hold, with its id, or the one that it captures. */
  @Column({ name: 'hold_id', type: 'bigint', transformer: bigintColumn })
  holdId!: number;

  /** Whether the rest of the hold ends with it. */
  @Column({ type: 'boolean' })
  final!: boolean;

  /** The transfer that it reverses. */
  @Column({ name: 'reverses_transfer_id', type: 'bigint', nullable: true, transformer: bigintColumn })
  reversesTransferId!: number | null;

  /** That transfer's credit, in this shard. */
  @Column({ name: 'reverses_credit_id', type: 'bigint', nullable: true, transformer: bigintColumn })
  reversesCreditId!: number | null;

  /** That transfer's debit, in the other shard. */
  @Column({ name: 'reverses_debit_id', type: 'bigint', nullable: true, transformer: bigintColumn })
  reversesDebitId!: number | null;

  /** How far a forced reversal has raised the overdraft limit. */
  @Column({ type: 'numeric', nullable: true })
  raised!: string | null;

  /** Of a capture, which has no transaction at first that could carry it. */
  @Column({ name: 'idempotency_key', type: 'varchar', length: 255, nullable: true })
  idempotencyKey!: string | null;

  @Column({ type: 'bigint', nullable: true })
  fingerprint!: string | null;

  @Column({ name: 'created_at', type: 'timestamptz', precision: 3 })
  createdAt!: Date;

  @Column({ type: 'varchar', length: 9 })
  status!: TransferStatus;

  /** The credit in the other shard, of one that is completed. */
  @Column({ name: 'credit_id', type: 'bigint', nullable: true, transformer: bigintColumn })
  creditId!: number | null;

  @Column({ name: 'credit_balance_after', type: 'numeric', nullable: true })
  creditBalanceAfter!: string | null;

  @Column({ name: 'credit_version_after', type: 'bigint', nullable: true, transformer: bigintColumn })
  creditVersionAfter!: number | null;

  @Column({ name: 'credited_at', type: 'timestamptz', precision: 3, nullable: true })
  creditedAt!: Date | null;

  /** Why it has failed, as JSON. */
  @Column({ type: 'text', nullable: true })
  rejection!: string | null;
}
