import type { MigrationInterface, QueryRunner } from 'typeorm';
import { runEach } from './run-each.js';
import { schemaOf } from './schema-of.js';

/**
 * An account's transactions are found by their reference, and its holds by their status. Only a posting with a
 * reference pays for the first index. The second one takes the place of another: a hold whose status changes gets new
 * entries in all indexes anyway. Building them keeps such postings waiting, like any change of a table in a migration.
 */
export class ListingIndexes1795479450000 implements MigrationInterface {
  readonly name = 'ListingIndexes1795479450000';

  async up(queryRunner: QueryRunner): Promise<void> {
    const schema = schemaOf(queryRunner);
    await runEach(queryRunner, [
      `CREATE INDEX transaction_details_reference
         ON ${schema}.transaction_details (account_id, reference, transaction_id) WHERE reference IS NOT NULL`,
      `CREATE INDEX holds_of_account_by_status ON ${schema}.holds (account_id, status, hold_id)`,
      `DROP INDEX ${schema}.holds_of_account`,
    ]);
  }

  async down(queryRunner: QueryRunner): Promise<void> {
    const schema = schemaOf(queryRunner);
    await runEach(queryRunner, [
      `CREATE INDEX holds_of_account ON ${schema}.holds (account_id, hold_id)`,
      `DROP INDEX ${schema}.holds_of_account_by_status`,
      `DROP INDEX ${schema}.transaction_details_reference`,
    ]);
  }
}
