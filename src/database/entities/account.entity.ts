import { Check, Column, Entity, PrimaryGeneratedColumn } from 'typeorm';

/** bigint and numeric arrive as text: they are turned into numbers and cents where rows are read, never here. */
@Entity('accounts')
@Check('accounts_balance_check', `"balance" >= 0 AND "balance" <> 'NaN'`)
@Check('accounts_version_check', '"version" > 0')
export class AccountEntity {
  @PrimaryGeneratedColumn('identity', {
    name: 'account_id',
    type: 'bigint',
    generatedIdentity: 'BY DEFAULT',
    primaryKeyConstraintName: 'accounts_pkey',
  })
  accountId!: string;

  @Column({ type: 'numeric', precision: 18, scale: 2 })
  balance!: string;

  /**
   * Not a @VersionColumn: that one is an int, whatever its type says, and guards nothing. The row lock and the UPDATE's
   * match on the version that was read do.
   */
  @Column({ type: 'bigint' })
  version!: string;
}
