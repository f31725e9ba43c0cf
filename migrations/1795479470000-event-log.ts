import type { MigrationInterface, QueryRunner } from 'typeorm';
import { runEach } from './run-each.js';
import { schemaOf } from './schema-of.js';

/**
 * The retained log of events, and the receivers' places in it. What waits in the outbox is moved to the log instead of
 * being deleted once it was published. A bank with a broker goes on where it was: its receiver begins before the first
 * row of the log.
 *
 * An older release must not publish and delete what belongs in the log, nor copy the bank without it. So its relay and
 * its start fail (`shard_identity.relay_to_broker` is gone), and its recorded acts do (`audit_events.schema_epoch` is
 * renamed). What it posts is moved to the log like everything else.
 */
export class EventLog1795479470000 implements MigrationInterface {
  readonly name = 'EventLog1795479470000';

  async up(queryRunner: QueryRunner): Promise<void> {
    const schema = schemaOf(queryRunner);
    await runEach(queryRunner, [
      `ALTER TABLE ${schema}.outbox
         ADD COLUMN refusal_ids BIGINT[] NOT NULL DEFAULT '{}',
         ADD COLUMN failed_transfer_ids BIGINT[] NOT NULL DEFAULT '{}',
         ADD COLUMN traceparent VARCHAR(55)`,
      `CREATE TABLE ${schema}.event_log (
         position BIGINT CONSTRAINT event_log_pkey PRIMARY KEY,
         transaction_ids BIGINT[] NOT NULL,
         account_event_ids BIGINT[] NOT NULL,
         refusal_ids BIGINT[] NOT NULL,
         failed_transfer_ids BIGINT[] NOT NULL,
         traceparent VARCHAR(55),
         created_at TIMESTAMPTZ(3) NOT NULL
       )`,
      `CREATE INDEX event_log_created_at ON ${schema}.event_log (created_at)`,
      `CREATE TABLE ${schema}.event_cursors (
         receiver VARCHAR(32) CONSTRAINT event_cursors_pkey PRIMARY KEY,
         position BIGINT NOT NULL,
         state TEXT,
         requested TEXT[] NOT NULL DEFAULT '{}'
       )`,
      `INSERT INTO ${schema}.event_cursors (receiver, position)
         SELECT 'rabbitmq', 0 FROM ${schema}.shard_identity WHERE relay_to_broker`,
      `ALTER TABLE ${schema}.audit_events RENAME COLUMN schema_epoch TO tables_epoch`,
      `ALTER TABLE ${schema}.shard_identity
         DROP COLUMN relay_to_broker,
         ADD COLUMN broker_id UUID, ADD COLUMN broker_leased_until TIMESTAMPTZ(3),
         ADD COLUMN webhooks_id UUID, ADD COLUMN webhooks_leased_until TIMESTAMPTZ(3)`,
    ]);
  }

  async down(): Promise<void> {
    await Promise.reject(new Error('the release before does not know the log of events'));
  }
}
