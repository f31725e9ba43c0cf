import type { MigrationInterface, QueryRunner } from 'typeorm';
import { schemaOf } from './schema-of.js';

/**
 * Accounts are found by their reference. Only what writes an account's details pays for the index, and no posting does.
 * Building it keeps openings with a reference waiting, like any change of a table in a migration.
 */
export class AccountReferences1795479410000 implements MigrationInterface {
  readonly name = 'AccountReferences1795479410000';

  async up(queryRunner: QueryRunner): Promise<void> {
    await queryRunner.query(
      `CREATE INDEX account_details_reference ON ${schemaOf(queryRunner)}.account_details (reference, account_id)
       WHERE reference IS NOT NULL`,
    );
  }

  async down(queryRunner: QueryRunner): Promise<void> {
    await queryRunner.query(`DROP INDEX ${schemaOf(queryRunner)}.account_details_reference`);
  }
}
