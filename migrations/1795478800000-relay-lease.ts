import type { MigrationInterface, QueryRunner } from 'typeorm';
import { schemaOf } from './schema-of.js';

/**
 * The lease on the shard's outbox: which relay is publishing it, and until when no other may. Also whether the bank has
 * a broker, so that a relay without one leaves the events alone.
 */
export class RelayLease1795478800000 implements MigrationInterface {
  readonly name = 'RelayLease1795478800000';

  async up(queryRunner: QueryRunner): Promise<void> {
    await queryRunner.query(`
      ALTER TABLE ${schemaOf(queryRunner)}.shard_identity
        ADD COLUMN relay_id UUID,
        ADD COLUMN relay_until TIMESTAMPTZ(3),
        ADD COLUMN relay_to_broker BOOLEAN NOT NULL DEFAULT false`);
  }

  async down(queryRunner: QueryRunner): Promise<void> {
    await queryRunner.query(`
      ALTER TABLE ${schemaOf(queryRunner)}.shard_identity DROP COLUMN relay_id, DROP COLUMN relay_until,
        DROP COLUMN relay_to_broker`);
  }
}
