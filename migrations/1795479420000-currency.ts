import type { MigrationInterface, QueryRunner } from 'typeorm';
import { schemaOf } from './schema-of.js';

/**
 * The currency of the bank, which is that of every account whose own is NULL. It is recorded when a bank is made and
 * never changes. Until now it was USD.
 */
export class Currency1795479420000 implements MigrationInterface {
  readonly name = 'Currency1795479420000';

  async up(queryRunner: QueryRunner): Promise<void> {
    await queryRunner.query(
      `ALTER TABLE ${schemaOf(queryRunner)}.shard_identity ADD COLUMN currency VARCHAR(3) NOT NULL DEFAULT 'USD'`,
    );
  }

  async down(queryRunner: QueryRunner): Promise<void> {
    await queryRunner.query(`ALTER TABLE ${schemaOf(queryRunner)}.shard_identity DROP COLUMN currency`);
  }
}
