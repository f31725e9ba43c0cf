import type { MigrationInterface, QueryRunner } from 'typeorm';
import { runEach } from './run-each.js';
import { schemaOf } from './schema-of.js';

/**
 * A second table for transactions that are seldom read, so that the table in constant use stays small. It is not a
 * partition of `transactions`: a unique (account_id, idempotency_key) would have to contain the partition key, and an
 * idempotency key must be unique for ever. It has no foreign key: checking one locks the account's row FOR KEY SHARE,
 * so archiving would wait for postings and postings for archiving.
 *
 * `accounts` also gets free space on its pages. Every posting updates a row; when the new version fits on the same
 * page, no index has to change (HOT), and the old version is removed without VACUUM. Pages that are full already get
 * free space only when the table is rewritten.
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
