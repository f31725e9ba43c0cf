import type { MigrationInterface, QueryRunner } from 'typeorm';
import { runEach } from './run-each.js';
import { schemaOf } from './schema-of.js';

/** The totals of a shard, which a worker makes anew from time to time, and the lease of that worker. */
export class LedgerSummary1795479440000 implements MigrationInterface {
  readonly name = 'LedgerSummary1795479440000';

  async up(queryRunner: QueryRunner): Promise<void> {
    const schema = schemaOf(queryRunner);
    await runEach(queryRunner, [
      `CREATE TABLE ${schema}.ledger_summary (
         only_row BOOLEAN NOT NULL DEFAULT true CONSTRAINT ledger_summary_pkey PRIMARY KEY,
         summed_to BIGINT NOT NULL,
         sums JSONB NOT NULL,
         as_of TIMESTAMPTZ(3),
         summary JSONB,
         CONSTRAINT ledger_summary_only_row_check CHECK (only_row)
       )`,
      `ALTER TABLE ${schema}.shard_identity ADD COLUMN summary_id UUID, ADD COLUMN summary_leased_until TIMESTAMPTZ(3)`,
    ]);
  }

  async down(queryRunner: QueryRunner): Promise<void> {
    const schema = schemaOf(queryRunner);
    await runEach(queryRunner, [
      `ALTER TABLE ${schema}.shard_identity DROP COLUMN summary_id, DROP COLUMN summary_leased_until`,
      `DROP TABLE ${schema}.ledger_summary`,
    ]);
  }
}
