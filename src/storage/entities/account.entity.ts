import { Check, Column, Entity, Index, PrimaryGeneratedColumn, VersionColumn } from 'typeorm';
import { GENESIS_HASH } from '../../domain/hash-chain.js';
import type { Money } from '../../domain/money.js';
import { bigintColumn, identityColumn, moneyColumn } from './columns.js';

@Entity('accounts')
@Check('accounts_balance_check', `"balance" >= 0 AND "balance" <> 'NaN'`)
@Check('accounts_version_check', '"version" > 0')
@Check('accounts_head_hash_check', 'octet_length("head_hash") = 32')
@Index('accounts_owner', ['owner', 'accountId'], { where: '"owner" IS NOT NULL' })
export class AccountEntity {
  @PrimaryGeneratedColumn('identity', identityColumn('account_id', 'accounts_pkey'))
  accountId!: number;

  @Column({ type: 'numeric', precision: 18, scale: 2, transformer: moneyColumn })
  balance!: Money;

  /**
   * A bigint, although TypeORM makes every version column an int (see `drift.ts`). The column alone guards nothing: the
   * row lock does, and the UPDATE, which must match the version that was read.
   */
  @VersionColumn({ type: 'bigint', transformer: bigintColumn })
  version!: number;

  /** NULL: the account has no owner, and only those who may see all accounts see it. */
  @Column({ type: 'varchar', length: 255, nullable: true })
  owner!: string | null;

  /** Counts changes that are not transactions, like a new owner. Version and revision together identify a state. */
  @Column({ type: 'int', default: 0 })
  revision!: number;

  /** The hash of the last transaction. */
  @Column({ name: 'head_hash', type: 'bytea', default: () => `'\\x${GENESIS_HASH}'` })
  headHash!: Buffer;
}
