import { Check, Column, Entity, PrimaryGeneratedColumn } from 'typeorm';
import { identityColumn } from './columns.js';

/**
 * An administrative act. Rows are only ever added, each chained by hash to the one before. Only the bank's first shard
 * has any.
 */
@Entity('audit_events')
@Check('audit_events_hash_check', `octet_length("hash") = 32`)
export class AuditEventEntity {
  @PrimaryGeneratedColumn('identity', identityColumn('event_id', 'audit_events_pkey'))
  eventId!: number;

  @Column({ name: 'happened_at', type: 'timestamptz', precision: 3 })
  happenedAt!: Date;

  @Column({ type: 'varchar', length: 50 })
  action!: string;

  /** Who did it: the user of the operating system that ran the command. */
  @Column({ type: 'varchar', length: 255 })
  actor!: string;

  /** A JSON object, stored as text because the hash covers exactly these characters. */
  @Column({ type: 'text' })
  details!: string;

  @Column({ type: 'bytea' })
  hash!: Buffer;

  /** The epoch of the schema that wrote the row. Without a default, so that the commands of an older release fail. */
  @Column({ name: 'tables_epoch', type: 'smallint' })
  tablesEpoch!: number;
}
