import { Check, Entity, PrimaryColumn, Unique } from 'typeorm';
import { bigintColumn } from './columns.js';
import { TransactionColumns } from './transaction.entity.js';

/** An old transaction, moved here with its id. The migration says why there is no foreign key. */
@Entity('archived_transactions')
@Check('archived_transactions_type_check', `"type" IN ('debit', 'credit')`)
@Check('archived_transactions_amount_check', `"amount" > 0 AND "amount" <> 'NaN'`)
@Check('archived_transactions_balance_after_check', `"balance_after" >= 0 AND "balance_after" <> 'NaN'`)
@Check('archived_transactions_version_after_check', '"version_after" > 1')
@Check('archived_transactions_hash_check', 'octet_length("hash") = 32')
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
