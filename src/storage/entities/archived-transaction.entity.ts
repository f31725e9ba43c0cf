import { Check, Entity, Index, PrimaryColumn, Unique } from 'typeorm';
import { bigintColumn, isAmount, isBalance } from './columns.js';
import { TransactionColumns } from './transaction.entity.js';

/** An old transaction, moved here with its id. The migration says why there is no foreign key. */
@Entity('archived_transactions')
@Check('archived_transactions_type_check', `"type" IN ('credit', 'debit', 'hold', 'release')`)
@Check('archived_transactions_hold_check', `"type" IN ('credit', 'debit') OR "hold_id" IS NOT NULL`)
@Check('archived_transactions_amount_check', isAmount('amount'))
@Check('archived_transactions_balance_after_check', isBalance('balance_after'))
@Check('archived_transactions_held_after_check', isAmount('held_after'))
@Check('archived_transactions_version_after_check', '"version_after" > 1')
@Check('archived_transactions_hash_check', 'octet_length("hash") = 32')
@Index('archived_transactions_transfer_id', ['transferId'], { where: '"transfer_id" IS NOT NULL' })
@Index('archived_transactions_hold_id', ['holdId'], { where: '"hold_id" IS NOT NULL' })
@Index('archived_transactions_reverses_id', ['reversesId'], { where: '"reverses_id" IS NOT NULL' })
@Unique('unique_archived_idempotency_per_account', ['accountId', 'idempotencyKey'])
@Unique('unique_archived_version_per_account', ['accountId', 'versionAfter'])
export class ArchivedTransactionEntity extends TransactionColumns {
  @PrimaryColumn({
    name: 'transaction_id',
    type: 'bigint',
    primaryKeyConstraintName: 'archived_transactions_pkey',
    transformer: bigintColumn,
  })
  transactionId!: number;
}
