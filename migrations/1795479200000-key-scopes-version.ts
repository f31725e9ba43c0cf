import type { MigrationInterface, QueryRunner } from 'typeorm';
import { schemaOf } from './schema-of.js';

/**
 * Distinguishes keys that are older than the scopes of deposits and withdrawals from newer ones. What the older keys
 * allow has changed, so the service warns of them when it starts. The default is "older", because that is also right
 * for the keys of a restored backup and for keys that an older release creates.
 */
export class KeyScopesVersion1795479200000 implements MigrationInterface {
  readonly name = 'KeyScopesVersion1795479200000';

  async up(queryRunner: QueryRunner): Promise<void> {
    const schema = schemaOf(queryRunner);
    await queryRunner.query(
      `ALTER TABLE ${schema}.api_keys ADD COLUMN scopes_version SMALLINT NOT NULL DEFAULT 1`,
    );
  }

  async down(queryRunner: QueryRunner): Promise<void> {
    await queryRunner.query(`ALTER TABLE ${schemaOf(queryRunner)}.api_keys DROP COLUMN scopes_version`);
  }
}
