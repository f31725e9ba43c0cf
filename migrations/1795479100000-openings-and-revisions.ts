import type { MigrationInterface, QueryRunner } from 'typeorm';
import { schemaOf } from './schema-of.js';

/**
 * The idempotency keys with which accounts were opened, and the revision of each account: the number of its changes
 * that are not transactions. Version and revision together make the account's entity tag.
 *
 * The keys have a table of their own, because a key belongs to the owner at the time of opening. A later change of
 * owner must neither free the key nor use up another one. Like the archive, the table has no foreign key: the two rows
 * are inserted in one transaction, nothing deletes them, and `verify` compares them.
 */
export class OpeningsAndRevisions1795479100000 implements MigrationInterface {
  readonly name = 'OpeningsAndRevisions1795479100000';

  async up(queryRunner: QueryRunner): Promise<void> {
    const schema = schemaOf(queryRunner);
    await queryRunner.query(`ALTER TABLE ${schema}.accounts ADD COLUMN revision INTEGER NOT NULL DEFAULT 0`);
    await queryRunner.query(`
      CREATE TABLE ${schema}.account_openings (
        account_id BIGINT CONSTRAINT account_openings_pkey PRIMARY KEY,
        owner VARCHAR(255) NOT NULL,
        idempotency_key VARCHAR(255) NOT NULL,
        opening_deposit NUMERIC(18,2),
        CONSTRAINT account_openings_deposit_check CHECK (opening_deposit > 0 AND opening_deposit <> 'NaN'),
        CONSTRAINT unique_opening_idempotency_per_owner UNIQUE (owner, idempotency_key)
      )`);
  }

  async down(queryRunner: QueryRunner): Promise<void> {
    const schema = schemaOf(queryRunner);
    await queryRunner.query(`DROP TABLE ${schema}.account_openings`);
    await queryRunner.query(`ALTER TABLE ${schema}.accounts DROP COLUMN revision`);
  }
}
