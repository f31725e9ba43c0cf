import type { QueryRunner } from 'typeorm';

/** One statement a query: Citus refuses several in one, where they change a table. It wants each ADD CONSTRAINT alone, too. */
export async function runEach(queryRunner: QueryRunner, statements: readonly string[]): Promise<void> {
  for (const statement of statements) await queryRunner.query(statement);
}
