import { Check, Column, Entity, Index, PrimaryGeneratedColumn, VersionColumn } from 'typeorm';
import { GENESIS_HASH } from '../../domain/hash-chain.js';
import type { AccountStatus } from '../../domain/account.js';
import { bigintColumn, identityColumn, isAmount, isBelowLimit } from './columns.js';

@Entity('accounts')
@Check('accounts_balance_check', isBelowLimit('balance'))
@Check('accounts_available_check', '"balance" >= "held" OR "balance" - "held" + "overdraft_limit" >= 0')
@Check(
  'accounts_held_check',
  `"held" = 0 AND "active_holds" = 0 OR ${isAmount('held')} AND "active_holds" > 0`,
)
@Check('accounts_overdraft_limit_check', `"overdraft_limit" = 0 OR ${isAmount('overdraft_limit')}`)
@Check(
  'accounts_status_check',
  `"status" IN ('open', 'debits_blocked', 'frozen') OR "status" = 'closed' AND "balance" = 0 AND "held" = 0`,
)
@Check('accounts_version_check', '"version" > 0')
@Check('accounts_head_hash_check', 'octet_length("head_hash") = 32')
@Index('accounts_owner', ['owner', 'accountId'], { where: '"owner" IS NOT NULL' })
export class AccountEntity {
  @PrimaryGeneratedColumn('identity', identityColumn('account_id', 'accounts_pkey'))
  accountId!: number;

  /** With all decimals of its currency. */
  @Column({ type: 'numeric' })
  balance!: string;

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

  /** The sum of what remains of the active holds. */
  @Column({ type: 'numeric', default: 0 })
  held!: string;

  @Column({ name: 'active_holds', type: 'int', default: 0 })
  activeHolds!: number;

  /** How far the balance less what is held may be below zero. */
  @Column({ name: 'overdraft_limit', type: 'numeric', default: 0 })
  overdraftLimit!: string;

  @Column({ type: 'varchar', length: 14, default: 'open' })
  status!: AccountStatus;

  /** NULL: the bank's currency, with two decimals. */
  @Column({ type: 'varchar', length: 3, nullable: true })
  currency!: string | null;

  /** NULL: opened before this was recorded. */
  @Column({
    ...{ name: 'created_at', type: 'timestamptz', precision: 3, nullable: true },
    default: () => "date_trunc('milliseconds', now())",
  })
  createdAt!: Date | null;

  /** The time of the last transaction; NULL: none since this is recorded. */
  @Column({ name: 'posted_at', type: 'timestamptz', precision: 3, nullable: true })
  postedAt!: Date | null;
}
