import type { MigrationInterface, QueryRunner } from 'typeorm';
import { schemaOf } from './schema-of.js';

/** Which relay is publishing the shard's outbox just now, and until when nobody else does. */
export class RelayLease1795478800000 implements MigrationInterface {
  readonly name = 'RelayLease1795478800000';

  async up(queryRunner: QueryRunner): Promise<void> {
    await queryRunner.query(`
      ALTER TABLE ${schemaOf(queryRunner)}.shard_identity
        ADD COLUMN relay_id UUID,
        ADD COLUMN relay_until TIMESTAMPTZ(3)`);
  }

  async down(queryRunner: QueryRunner): Promise<void> {
    await queryRunner.query(`
      ALTER TABLE ${schemaOf(queryRunner)}.shard_identity DROP COLUMN relay_id, DROP COLUMN relay_until`);
  }
}
