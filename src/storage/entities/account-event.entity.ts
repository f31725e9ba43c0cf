import { Check, Column, Entity, PrimaryGeneratedColumn, Unique } from 'typeorm';
import { bigintColumn, identityColumn } from './columns.js';

/** A change of an account that is not a transaction. Rows are only ever added, each chained by hash to the one before. */
@Entity('account_events')
@Check('account_events_revision_check', '"revision" > 0')
@Check('account_events_hash_check', 'octet_length("hash") = 32')
@Unique('unique_revision_per_account', ['accountId', 'revision'])
export class AccountEventEntity {
  @PrimaryGeneratedColumn('identity', identityColumn('event_id', 'account_events_pkey'))
  eventId!: number;

  @Column({ name: 'account_id', type: 'bigint', transformer: bigintColumn })
  accountId!: number;

  /** The account's revision after the change. */
  @Column({ type: 'int' })
  revision!: number;

  @Column({ type: 'timestamptz', precision: 3 })
  timestamp!: Date;

  /** The principal or the operating system's user who made the change. */
  @Column({ type: 'varchar', length: 260, nullable: true })
  actor!: string | null;

  /** A JSON object of the new values, stored as text because the hash covers exactly these characters. */
  @Column({ type: 'text' })
  changes!: string;

  @Column({ type: 'bytea' })
  hash!: Buffer;
}
