import {
  Check,
  Column,
  Entity,
  Index,
  JoinColumn,
  ManyToOne,
  PrimaryGeneratedColumn,
  Unique,
  type Relation,
} from 'typeorm';
import type { TransactionType } from '../../domain/transaction.js';
import { AccountEntity } from './account.entity.js';
import { bigintColumn, identityColumn, isAmount, isBalance } from './columns.js';

/** The columns that current and archived transactions have in common. */
export abstract class TransactionColumns {
  @Column({ name: 'account_id', type: 'bigint', transformer: bigintColumn })
  accountId!: number;

  @Column({ type: 'varchar', length: 10 })
  type!: TransactionType;

  @Column({ type: 'numeric' })
  amount!: string;

  @Column({ type: 'timestamptz', precision: 3, default: () => 'now()' })
  timestamp!: Date;

  @Column({ name: 'idempotency_key', type: 'varchar', length: 255, nullable: true })
  idempotencyKey!: string | null;

  /** The account's balance after this transaction. */
  @Column({ name: 'balance_after', type: 'numeric' })
  balanceAfter!: string;

  /** The account's version after this transaction. Its unique index also serves listings, newest first. */
  @Column({ name: 'version_after', type: 'bigint', transformer: bigintColumn })
  versionAfter!: number;

  /** The hash of the previous hash and this row; see `domain/hash-chain.ts`. */
  @Column({ type: 'bytea' })
  hash!: Buffer;

  /** What the account has on hold after this transaction; NULL: nothing. */
  @Column({ name: 'held_after', type: 'numeric', nullable: true })
  heldAfter!: string | null;

  /** The first transaction of the transfer that this is a leg of. */
  @Column({ name: 'transfer_id', type: 'bigint', nullable: true, transformer: bigintColumn })
  transferId!: number | null;

  /** The hold that this places, releases or captures. */
  @Column({ name: 'hold_id', type: 'bigint', nullable: true, transformer: bigintColumn })
  holdId!: number | null;

  /** The transaction that this reverses, wholly or in part. */
  @Column({ name: 'reverses_id', type: 'bigint', nullable: true, transformer: bigintColumn })
  reversesId!: number | null;

  /** Part of a hash of the request, to recognise its retry; NULL: type and amount are all of it. */
  @Column({ type: 'bigint', nullable: true })
  fingerprint!: string | null;
}

@Entity('transactions')
@Check('transactions_type_check', `"type" IN ('credit', 'debit', 'hold', 'release')`)
@Check('transactions_hold_check', `"type" IN ('credit', 'debit') OR "hold_id" IS NOT NULL`)
@Check('transactions_amount_check', isAmount('amount'))
@Check('transactions_balance_after_check', isBalance('balance_after'))
@Check('transactions_held_after_check', isAmount('held_after'))
@Check('transactions_version_after_check', '"version_after" > 1')
@Check('transactions_hash_check', 'octet_length("hash") = 32')
@Index('transactions_transfer_id', ['transferId'], { where: '"transfer_id" IS NOT NULL' })
@Index('transactions_hold_id', ['holdId'], { where: '"hold_id" IS NOT NULL' })
@Index('transactions_reverses_id', ['reversesId'], { where: '"reverses_id" IS NOT NULL' })
@Unique('unique_idempotency_per_account', ['accountId', 'idempotencyKey'])
@Unique('unique_version_per_account', ['accountId', 'versionAfter'])
export class TransactionEntity extends TransactionColumns {
  @PrimaryGeneratedColumn('identity', identityColumn('transaction_id', 'transactions_pkey'))
  transactionId!: number;

  @ManyToOne(() => AccountEntity, { nullable: false, onDelete: 'CASCADE' })
  @JoinColumn({ name: 'account_id', foreignKeyConstraintName: 'transactions_account_id_fkey' })
  account!: Relation<AccountEntity>;
}
