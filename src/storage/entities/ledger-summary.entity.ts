import { Check, Column, Entity, PrimaryColumn } from 'typeorm';
import type { AccountStatus } from '../../domain/account.js';
import type { TransactionType } from '../../domain/transaction.js';
import { bigintColumn } from './columns.js';

/** What transactions of one type come to: their number, and their amounts in ten-thousandths, in digits. */
export interface StoredSum {
  readonly count: number;
  readonly amount: string;
}

/** By the currency of the account; the empty one is that of the bank. */
export type StoredSums = Readonly<Record<string, Partial<Readonly<Record<TransactionType, StoredSum>>>>>;

/** A currency in a shard at one moment; amounts as in {@link StoredSum}. */
export interface StoredTotals {
  readonly accounts: Partial<Readonly<Record<AccountStatus, number>>>;
  readonly balance: string;
  readonly held: string;
  /** Pending transfers to other shards; undefined: it is of a release that knew none. */
  readonly inFlight?: string;
  readonly credits: string;
  readonly debits: string;
}

/** The one row with the totals of the shard. Everything in it can be made again from the other tables. */
@Entity('ledger_summary')
@Check('ledger_summary_only_row_check', '"only_row"')
export class LedgerSummaryEntity {
  @PrimaryColumn({
    name: 'only_row',
    type: 'boolean',
    default: true,
    primaryKeyConstraintName: 'ledger_summary_pkey',
  })
  onlyRow!: boolean;

  /** The transactions up to this id are in the sums. */
  @Column({ name: 'summed_to', type: 'bigint', transformer: bigintColumn })
  summedTo!: number;

  @Column({ type: 'jsonb' })
  sums!: StoredSums;

  /** The moment of the summary. */
  @Column({ name: 'as_of', type: 'timestamptz', precision: 3, nullable: true })
  asOf!: Date | null;

  /** By currency, as in the sums; NULL: none was made yet. */
  @Column({ type: 'jsonb', nullable: true })
  summary!: Readonly<Record<string, StoredTotals>> | null;
}
