import { escapeIdentifier } from 'pg';
import type { QueryRunner } from 'typeorm';

/**
 * The schema of the shard that is being migrated, quoted. Every name in a migration is qualified with it: behind
 * PgBouncer there is no search_path to lean on, and a shard's objects must all lie in its own schema.
 */
export function schemaOf(queryRunner: QueryRunner): string {
  const options = queryRunner.dataSource.options;
  if (options.type !== 'postgres' || !options.schema) throw new Error('a shard needs a PostgreSQL schema');
  return escapeIdentifier(options.schema);
}
