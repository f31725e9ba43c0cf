import { Check, Column, Entity, Index, PrimaryGeneratedColumn, VersionColumn } from 'typeorm';
import { GENESIS_HASH } from '../../domain/hash-chain.js';

/** bigint and numeric arrive as text: they are turned into numbers and cents where rows are read, never here. */
@Entity('accounts')
@Check('accounts_balance_check', `"balance" >= 0 AND "balance" <> 'NaN'`)
@Check('accounts_version_check', '"version" > 0')
@Check('accounts_head_hash_check', 'octet_length("head_hash") = 32')
@Index('accounts_owner', ['owner', 'accountId'], { where: '"owner" IS NOT NULL' })
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

  /** Whose account it is; NULL: nobody's, and only those who may see all accounts see it. */
  @Column({ type: 'varchar', length: 255, nullable: true })
  owner!: string | null;

  /** Counts changes that are no transactions, like a new owner. Together with the version it identifies a state. */
  @Column({ type: 'int', default: 0 })
  revision!: number;

  /** The hash of the last transaction. */
  @Column({ name: 'head_hash', type: 'bytea', default: () => `'\\x${GENESIS_HASH}'` })
  headHash!: Buffer;
}
