import type { MigrationInterface, QueryRunner } from 'typeorm';
import { schemaOf } from './schema-of.js';

/**
 * Tells keys of before from keys of after deposits and withdrawals had scopes of their own. What the older ones allow has
 * changed, so their operator is told of them. The default is theirs: for a restored backup, and an older release's `keys create`.
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
