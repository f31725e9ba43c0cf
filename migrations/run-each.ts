import type { QueryRunner } from 'typeorm';

/** One statement per query: Citus refuses several where they change a table. It also wants each ADD CONSTRAINT by itself. */
export async function runEach(queryRunner: QueryRunner, statements: readonly string[]): Promise<void> {
  for (const statement of statements) await queryRunner.query(statement);
}
