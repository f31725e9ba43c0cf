import type { MigrationInterface, QueryRunner } from 'typeorm';
import { schemaOf } from './schema-of.js';

/** The two tables of the specification, with its names in snake_case. */
export class SpecTables1795478400000 implements MigrationInterface {
  readonly name = 'SpecTables1795478400000';

  async up(queryRunner: QueryRunner): Promise<void> {
    const schema = schemaOf(queryRunner);
    await queryRunner.query(`
      CREATE TABLE ${schema}.accounts (
        account_id SERIAL PRIMARY KEY,
        balance DECIMAL(18,2) NOT NULL CHECK (balance >= 0),
        version INT NOT NULL CHECK (version > 0)
      )`);
    await queryRunner.query(`
      CREATE TABLE ${schema}.transactions (
        transaction_id SERIAL PRIMARY KEY,
        account_id INT NOT NULL REFERENCES ${schema}.accounts (account_id) ON DELETE CASCADE,
        type VARCHAR(10) NOT NULL CHECK (type IN ('debit', 'credit')),
        amount DECIMAL(18,2) NOT NULL CHECK (amount > 0),
        timestamp TIMESTAMP DEFAULT CURRENT_TIMESTAMP,
        idempotency_key VARCHAR(255) NULL,
        CONSTRAINT unique_idempotency_per_account UNIQUE (account_id, idempotency_key)
      )`);
  }

  async down(queryRunner: QueryRunner): Promise<void> {
    const schema = schemaOf(queryRunner);
    await queryRunner.query(`DROP TABLE ${schema}.transactions`);
    await queryRunner.query(`DROP TABLE ${schema}.accounts`);
  }
}
