import { Check, Column, Entity, PrimaryGeneratedColumn, VersionColumn } from 'typeorm';

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
   * A bigint: TypeORM makes every version column an int, whatever it is told (see `drift.ts`). It guards nothing by
   * itself; the row lock, and the UPDATE's match on the version that was read, do.
   */
  @VersionColumn({ type: 'bigint' })
  version!: string;
}
