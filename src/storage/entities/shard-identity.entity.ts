import { Check, Column, Entity, PrimaryColumn } from 'typeorm';

/** The one row that says which shard of which bank this schema holds. */
@Entity('shard_identity')
@Check('shard_identity_only_row_check', '"only_row"')
@Check('shard_identity_index_check', '"shard_index" >= 0 AND "shard_index" < "shard_count"')
export class ShardIdentityEntity {
  @PrimaryColumn({
    name: 'only_row',
    type: 'boolean',
    default: true,
    primaryKeyConstraintName: 'shard_identity_pkey',
  })
  onlyRow!: boolean;

  @Column({ name: 'bank_id', type: 'uuid' })
  bankId!: string;

  @Column({ name: 'shard_index', type: 'int' })
  shardIndex!: number;

  @Column({ name: 'shard_count', type: 'int' })
  shardCount!: number;

  /** The code of the bank's currency. */
  @Column({ type: 'varchar', length: 3, default: 'USD' })
  currency!: string;

  @Column({ name: 'created_at', type: 'timestamptz', precision: 3, default: () => 'now()' })
  createdAt!: Date;

  /** The relay that holds the lease on the outbox. */
  @Column({ name: 'relay_id', type: 'uuid', nullable: true })
  relayId!: string | null;

  /** When that lease runs out. */
  @Column({ name: 'relay_lease_ends', type: 'timestamptz', precision: 3, nullable: true })
  relayUntil!: Date | null;

  /** The process that holds the lease on expired holds. */
  @Column({ name: 'sweeper_id', type: 'uuid', nullable: true })
  sweeperId!: string | null;

  /** When that lease runs out. */
  @Column({ name: 'sweeper_leased_until', type: 'timestamptz', precision: 3, nullable: true })
  sweeperUntil!: Date | null;

  /** The process that holds the lease on the summary of the ledger. */
  @Column({ name: 'summary_id', type: 'uuid', nullable: true })
  summaryId!: string | null;

  /** When that lease runs out. */
  @Column({ name: 'summary_leased_until', type: 'timestamptz', precision: 3, nullable: true })
  summaryUntil!: Date | null;

  /** The process that holds the lease on transfers to other shards. */
  @Column({ name: 'transfers_id', type: 'uuid', nullable: true })
  transfersId!: string | null;

  /** When that lease runs out. */
  @Column({ name: 'transfers_leased_until', type: 'timestamptz', precision: 3, nullable: true })
  transfersUntil!: Date | null;

  /** The process that holds the lease on publishing to the broker. */
  @Column({ name: 'broker_id', type: 'uuid', nullable: true })
  brokerId!: string | null;

  /** When that lease runs out. */
  @Column({ name: 'broker_leased_until', type: 'timestamptz', precision: 3, nullable: true })
  brokerUntil!: Date | null;

  /** The process that holds the lease on webhooks. */
  @Column({ name: 'webhooks_id', type: 'uuid', nullable: true })
  webhooksId!: string | null;

  /** When that lease runs out. */
  @Column({ name: 'webhooks_leased_until', type: 'timestamptz', precision: 3, nullable: true })
  webhooksUntil!: Date | null;

  /** Signs the ids of submissions, and the messages in which the service queues them. */
  @Column({ name: 'submission_secret', type: 'uuid' })
  submissionSecret!: string;
}
