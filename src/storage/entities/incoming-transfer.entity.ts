import { Check, Column, Entity, PrimaryGeneratedColumn, Unique } from 'typeorm';
import { bigintColumn, identityColumn, isAmount } from './columns.js';

/** What was decided about a transfer from another shard: the first decision stands. Never changed, never archived. */
@Entity('incoming_transfers')
@Check('incoming_transfers_amount_check', isAmount('amount'))
@Check('incoming_transfers_outcome_check', '("credit_id" IS NULL) = ("rejection" IS NOT NULL)')
@Unique('unique_incoming_transfer', ['transferId', 'nonce'])
export class IncomingTransferEntity {
  @PrimaryGeneratedColumn('identity', identityColumn('incoming_id', 'incoming_transfers_pkey'))
  incomingId!: number;

  /** It names the source's shard. */
  @Column({ name: 'transfer_id', type: 'bigint', transformer: bigintColumn })
  transferId!: number;

  @Column({ type: 'uuid' })
  nonce!: string;

  @Column({ name: 'account_id', type: 'bigint', transformer: bigintColumn })
  accountId!: number;

  @Column({ name: 'from_account_id', type: 'bigint', transformer: bigintColumn })
  fromAccountId!: number;

  @Column({ type: 'numeric' })
  amount!: string;

  @Column({ name: 'decided_at', type: 'timestamptz', precision: 3 })
  decidedAt!: Date;

  /** The transaction that credited it. */
  @Column({ name: 'credit_id', type: 'bigint', nullable: true, transformer: bigintColumn })
  creditId!: number | null;

  /** Why it was refused, as JSON. */
  @Column({ type: 'text', nullable: true })
  rejection!: string | null;
}
