import { Check, Column, Entity, Index, PrimaryGeneratedColumn } from 'typeorm';
import { bigintColumn, identityColumn } from './columns.js';

/** An endpoint that gets events by HTTP; those of the bank are in its first shard. */
@Entity('webhooks')
@Index('webhooks_owner', ['owner', 'webhookId'])
@Check('webhooks_disabled_check', '("disabled_at" IS NULL) = ("disabled_because" IS NULL)')
@Check('webhooks_former_secret_check', '("former_secret" IS NULL) = ("former_secret_ends" IS NULL)')
export class WebhookEntity {
  @PrimaryGeneratedColumn('identity', identityColumn('webhook_id', 'webhooks_pkey'))
  webhookId!: number;

  @Column({ type: 'text' })
  url!: string;

  /** Types of events without their version, like `transaction.posted`; `*`: all. */
  @Column({ name: 'event_types', type: 'text', array: true })
  eventTypes!: string[];

  @Column({ type: 'text', nullable: true })
  description!: string | null;

  /** Whose accounts' events it gets; null: those of all accounts. */
  @Column({ type: 'varchar', length: 255, nullable: true })
  owner!: string | null;

  /** The API key that made it, if that is bound to an owner: the endpoint ends with it. */
  @Column({ name: 'key_id', type: 'bigint', nullable: true, transformer: bigintColumn })
  keyId!: number | null;

  /** Encrypted. */
  @Column({ type: 'bytea' })
  secret!: Buffer;

  /** The secret before the last rotation, encrypted: both sign until it ends. */
  @Column({ name: 'former_secret', type: 'bytea', nullable: true })
  formerSecret!: Buffer | null;

  @Column({ name: 'former_secret_ends', type: 'timestamptz', precision: 3, nullable: true })
  formerSecretEnds!: Date | null;

  /** Since when it gets nothing. */
  @Column({ name: 'disabled_at', type: 'timestamptz', precision: 3, nullable: true })
  disabledAt!: Date | null;

  /** `request`, `gone` (it answered 410), `failing` (for days). */
  @Column({ name: 'disabled_because', type: 'text', nullable: true })
  disabledBecause!: string | null;

  @Column({ name: 'created_at', type: 'timestamptz', precision: 3, default: () => 'now()' })
  createdAt!: Date;
}
