import type { QueryRunner } from 'typeorm';

/**
 * One statement per query: Citus accepts only one that changes a table. It also needs each ADD CONSTRAINT by itself.
 */
export async function runEach(queryRunner: QueryRunner, statements: readonly string[]): Promise<void> {
  for (const statement of statements) await queryRunner.query(statement);
}
