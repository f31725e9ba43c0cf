import {
  Check,
  Column,
  Entity,
  JoinColumn,
  ManyToOne,
  PrimaryGeneratedColumn,
  Unique,
  type Relation,
} from 'typeorm';
import type { Money } from '../../domain/money.js';
import { AccountEntity } from './account.entity.js';
import { bigintColumn, identityColumn, moneyColumn } from './columns.js';

/** The columns that current and archived transactions have in common. */
export abstract class TransactionColumns {
  @Column({ name: 'account_id', type: 'bigint', transformer: bigintColumn })
  accountId!: number;

  @Column({ type: 'varchar', length: 10 })
  type!: 'debit' | 'credit';

  @Column({ type: 'numeric', precision: 18, scale: 2, transformer: moneyColumn })
  amount!: Money;

  @Column({ type: 'timestamptz', precision: 3, default: () => 'now()' })
  timestamp!: Date;

  @Column({ name: 'idempotency_key', type: 'varchar', length: 255, nullable: true })
  idempotencyKey!: string | null;

  /** The account's balance after this transaction. */
  @Column({ name: 'balance_after', type: 'numeric', precision: 18, scale: 2, transformer: moneyColumn })
  balanceAfter!: Money;

  /** The account's version after this transaction. Its unique index also serves listings, newest first. */
  @Column({ name: 'version_after', type: 'bigint', transformer: bigintColumn })
  versionAfter!: number;

  /** The hash of the previous hash and this row; see `domain/hash-chain.ts`. */
  @Column({ type: 'bytea' })
  hash!: Buffer;
}

@Entity('transactions')
@Check('transactions_type_check', `"type" IN ('debit', 'credit')`)
@Check('transactions_amount_check', `"amount" > 0 AND "amount" <> 'NaN'`)
@Check('transactions_balance_after_check', `"balance_after" >= 0 AND "balance_after" <> 'NaN'`)
@Check('transactions_version_after_check', '"version_after" > 1')
@Check('transactions_hash_check', 'octet_length("hash") = 32')
@Unique('unique_idempotency_per_account', ['accountId', 'idempotencyKey'])
@Unique('unique_version_per_account', ['accountId', 'versionAfter'])
export class TransactionEntity extends TransactionColumns {
  @PrimaryGeneratedColumn('identity', identityColumn('transaction_id', 'transactions_pkey'))
  transactionId!: number;

  @ManyToOne(() => AccountEntity, { nullable: false, onDelete: 'CASCADE' })
  @JoinColumn({ name: 'account_id', foreignKeyConstraintName: 'transactions_account_id_fkey' })
  account!: Relation<AccountEntity>;
}
