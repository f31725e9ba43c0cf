import type { MigrationInterface, QueryRunner } from 'typeorm';
import { runEach } from './run-each.js';
import { schemaOf } from './schema-of.js';

/**
 * A second table for transactions that are seldom asked for, so that those that are written and read all the time stay
 * few. A table of its own and not a partition of `transactions`: a unique (account_id, idempotency_key) would have to
 * contain what it is partitioned by, and a key must be unique over all time. It has no foreign key: checking one takes
 * the account's row FOR KEY SHARE, for which the archive would wait behind postings, and they would wait for it.
 *
 * And `accounts` gets room on its pages: every posting updates a row, and where the new one fits the same page, no index
 * has to learn of it (HOT) and the old one is cleared away without VACUUM. Pages that are full already are made with
 * room only when the table is rewritten.
 */
export class Archive1795478900000 implements MigrationInterface {
  readonly name = 'Archive1795478900000';

  async up(queryRunner: QueryRunner): Promise<void> {
    const schema = schemaOf(queryRunner);
    await runEach(queryRunner, [
      `CREATE TABLE ${schema}.archived_transactions (
        transaction_id BIGINT CONSTRAINT archived_transactions_pkey PRIMARY KEY,
        account_id BIGINT NOT NULL,
        type VARCHAR(10) NOT NULL,
        amount NUMERIC(18,2) NOT NULL,
        timestamp TIMESTAMPTZ(3) NOT NULL DEFAULT now(),
        idempotency_key VARCHAR(255),
        balance_after NUMERIC(18,2) NOT NULL,
        version_after BIGINT NOT NULL,
        CONSTRAINT archived_transactions_type_check CHECK (type IN ('debit', 'credit')),
        CONSTRAINT archived_transactions_amount_check CHECK (amount > 0 AND amount <> 'NaN'),
        CONSTRAINT archived_transactions_balance_after_check CHECK (balance_after >= 0 AND balance_after <> 'NaN'),
        CONSTRAINT archived_transactions_version_after_check CHECK (version_after > 1),
        CONSTRAINT unique_archived_idempotency_per_account UNIQUE (account_id, idempotency_key),
        CONSTRAINT unique_archived_version_per_account UNIQUE (account_id, version_after)
      )`,
      `ALTER TABLE ${schema}.accounts SET (fillfactor = 80)`,
    ]);
  }

  async down(queryRunner: QueryRunner): Promise<void> {
    const schema = schemaOf(queryRunner);
    const columns =
      'transaction_id, account_id, type, amount, timestamp, idempotency_key, balance_after, version_after';
    await runEach(queryRunner, [
      `INSERT INTO ${schema}.transactions (${columns}) SELECT ${columns} FROM ${schema}.archived_transactions`,
      `DROP TABLE ${schema}.archived_transactions`,
      `ALTER TABLE ${schema}.accounts RESET (fillfactor)`,
    ]);
  }
}
