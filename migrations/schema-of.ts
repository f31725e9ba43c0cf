import { escapeIdentifier } from 'pg';
import type { QueryRunner } from 'typeorm';

/**
 * The schema of the shard that is being migrated, quoted. Every name in a migration is qualified with it, because there
 * is no reliable search_path behind PgBouncer, and all objects of a shard must be in its own schema.
 */
export function schemaOf(queryRunner: QueryRunner): string {
  const options = queryRunner.dataSource.options;
  if (options.type !== 'postgres' || !options.schema) throw new Error('a shard needs a PostgreSQL schema');
  return escapeIdentifier(options.schema);
}
