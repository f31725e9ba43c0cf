import type { MigrationInterface, QueryRunner } from 'typeorm';
import { runEach } from './run-each.js';
import { schemaOf } from './schema-of.js';

/**
 * Stores on each transaction the balance and the version after it. From here on a balance is the sum of the credits
 * less the debits, and versions run from 2 without a gap. The rows of an older bank are adapted to this rule:
 * - A balance that was set without a transaction (an opening balance, a reset) gets the missing transactions: a credit
 *   before the others, or a debit after them, or both.
 * - Versions are renumbered in the order of the transactions.
 */
export class BalanceHistory1795478600000 implements MigrationInterface {
  readonly name = 'BalanceHistory1795478600000';

  async up(queryRunner: QueryRunner): Promise<void> {
    const schema = schemaOf(queryRunner);
    await queryRunner.query(`
      ALTER TABLE ${schema}.transactions
        ADD COLUMN balance_after NUMERIC(18,2),
        ADD COLUMN version_after BIGINT`);
    await postMissingTransactions(queryRunner, schema);
    await numberTransactions(queryRunner, schema);
    await runEach(queryRunner, [
      `ALTER TABLE ${schema}.transactions
         ALTER COLUMN balance_after SET NOT NULL,
         ALTER COLUMN version_after SET NOT NULL`,
      `ALTER TABLE ${schema}.transactions
         ADD CONSTRAINT transactions_balance_after_check CHECK (balance_after >= 0 AND balance_after <> 'NaN')`,
      `ALTER TABLE ${schema}.transactions ADD CONSTRAINT transactions_version_after_check CHECK (version_after > 1)`,
      `ALTER TABLE ${schema}.transactions
         ADD CONSTRAINT unique_version_per_account UNIQUE (account_id, version_after)`,
    ]);
  }

  async down(queryRunner: QueryRunner): Promise<void> {
    await queryRunner.query(
      `ALTER TABLE ${schemaOf(queryRunner)}.transactions DROP COLUMN balance_after, DROP COLUMN version_after`,
    );
  }
}

/**
 * The opening credit is just large enough that no later balance falls below zero. If that leaves too much at the end,
 * because a reset had taken it away, the debit removes the rest. Until all are numbered, version_after is -1 for a
 * credit that comes first and 1 for a debit that comes last.
 */
async function postMissingTransactions(queryRunner: QueryRunner, schema: string): Promise<void> {
  await queryRunner.query(`
    WITH running AS (
      SELECT account_id, timestamp,
             sum(CASE type WHEN 'credit' THEN amount ELSE -amount END) OVER history AS total,
             sum(CASE type WHEN 'credit' THEN amount ELSE -amount END) OVER (PARTITION BY account_id) AS net
      FROM ${schema}.transactions
      WINDOW history AS (PARTITION BY account_id ORDER BY transaction_id ROWS UNBOUNDED PRECEDING)
    ), books AS (
      SELECT a.account_id,
             a.balance - coalesce(min(r.net), 0) AS missing,
             greatest(0, a.balance - coalesce(min(r.net), 0), -min(r.total)) AS opening,
             min(r.timestamp) AS first_at
      FROM ${schema}.accounts a LEFT JOIN running r USING (account_id)
      GROUP BY a.account_id, a.balance
    )
    INSERT INTO ${schema}.transactions (account_id, type, amount, timestamp, version_after)
    SELECT account_id, 'credit', opening, coalesce(first_at, CURRENT_TIMESTAMP), -1 FROM books WHERE opening > 0
    UNION ALL
    SELECT account_id, 'debit', opening - missing, CURRENT_TIMESTAMP, 1 FROM books WHERE opening > missing
    ORDER BY account_id`);
}

async function numberTransactions(queryRunner: QueryRunner, schema: string): Promise<void> {
  await queryRunner.query(`
    UPDATE ${schema}.transactions t
    SET balance_after = numbered.balance_after, version_after = numbered.version_after
    FROM (
      SELECT transaction_id,
             sum(CASE type WHEN 'credit' THEN amount ELSE -amount END) OVER history AS balance_after,
             1 + row_number() OVER history AS version_after
      FROM ${schema}.transactions
      WINDOW history AS (
        PARTITION BY account_id ORDER BY coalesce(version_after, 0), transaction_id ROWS UNBOUNDED PRECEDING
      )
    ) numbered
    WHERE t.transaction_id = numbered.transaction_id`);
  await queryRunner.query(`
    UPDATE ${schema}.accounts a
    SET version = 1 + (SELECT count(*) FROM ${schema}.transactions t WHERE t.account_id = a.account_id)`);
}
