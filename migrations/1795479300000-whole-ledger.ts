import type { MigrationInterface, QueryRunner } from 'typeorm';
import { runEach } from './run-each.js';
import { schemaOf } from './schema-of.js';

/** Amounts have at most 16 digits before the point and 4 after it. NaN and Infinity are greater than any number. */
const LIMIT = '10000000000000000';
const isAmount = (column: string, from = `> 0`) =>
  `${column} ${from} AND ${column} < ${LIMIT} AND scale(${column}) <= 4`;
const isBalance = (column: string) => isAmount(column, `> -${LIMIT}`);

/**
 * Holds, transfers, reversals, overdrafts and the status of an account.
 *
 * Nothing here rewrites a table: the new columns are NULL or have a constant default, and a numeric column that loses
 * its type modifier keeps its rows. (What is hashed stays `1000.00`, because a numeric keeps the scale it was written
 * with.) A plain deposit has NULL in every new column, which costs 8 bytes for a wider bitmap of NULLs. Its seldom-used
 * parts lie in `transaction_details`.
 *
 * An older release must not write to this schema: it would ignore holds and statuses. It may run for a while beside the
 * new one, so its writes fail: columns without a default make its postings (`outbox.account_event_ids`) and its recorded
 * acts, which begin an archive or a backup (`audit_events.epoch`), fail, and a renamed one its relay, which would publish
 * a hold as a withdrawal. Only an empty account, which means the same in both, can still be opened by it.
 */
export class WholeLedger1795479300000 implements MigrationInterface {
  readonly name = 'WholeLedger1795479300000';

  async up(queryRunner: QueryRunner): Promise<void> {
    const schema = schemaOf(queryRunner);
    await widenAccounts(queryRunner, schema);
    for (const table of ['transactions', 'archived_transactions'])
      await widenTransactions(queryRunner, schema, table);
    await createTables(queryRunner, schema);
    await runEach(queryRunner, [
      `ALTER TABLE ${schema}.account_openings
         ALTER COLUMN opening_deposit TYPE NUMERIC,
         ADD COLUMN near BIGINT,
         ADD COLUMN fingerprint BIGINT`,
      `ALTER TABLE ${schema}.outbox ADD COLUMN account_event_ids BIGINT[] NOT NULL DEFAULT '{}'`,
      `ALTER TABLE ${schema}.outbox ALTER COLUMN account_event_ids DROP DEFAULT`,
      `ALTER TABLE ${schema}.audit_events ADD COLUMN epoch SMALLINT NOT NULL DEFAULT 1`,
      `ALTER TABLE ${schema}.audit_events ALTER COLUMN epoch DROP DEFAULT`,
      `ALTER TABLE ${schema}.shard_identity RENAME COLUMN relay_until TO relay_leased_until`,
      `ALTER TABLE ${schema}.shard_identity ADD COLUMN sweeper_id UUID, ADD COLUMN sweeper_leased_until TIMESTAMPTZ(3)`,
    ]);
  }

  async down(): Promise<void> {
    await Promise.reject(new Error('the release before knows neither holds nor transfers'));
  }
}

async function widenAccounts(queryRunner: QueryRunner, schema: string): Promise<void> {
  await runEach(queryRunner, [
    `ALTER TABLE ${schema}.accounts DROP CONSTRAINT accounts_balance_check`,
    `ALTER TABLE ${schema}.accounts
       ALTER COLUMN balance TYPE NUMERIC,
       ADD COLUMN held NUMERIC NOT NULL DEFAULT 0,
       ADD COLUMN active_holds INTEGER NOT NULL DEFAULT 0,
       ADD COLUMN overdraft_limit NUMERIC NOT NULL DEFAULT 0,
       ADD COLUMN status VARCHAR(14) NOT NULL DEFAULT 'open',
       ADD COLUMN currency VARCHAR(3),
       ADD COLUMN created_at TIMESTAMPTZ(3),
       ADD COLUMN posted_at TIMESTAMPTZ(3)`,
    // Accounts of before get NULL.
    `ALTER TABLE ${schema}.accounts ALTER COLUMN created_at SET DEFAULT now()`,
    `ALTER TABLE ${schema}.accounts ADD CONSTRAINT accounts_balance_check CHECK (${isBalance('balance')})`,
    `ALTER TABLE ${schema}.accounts
       ADD CONSTRAINT accounts_available_check CHECK (held >= 0 AND balance - held + overdraft_limit >= 0)`,
    `ALTER TABLE ${schema}.accounts
       ADD CONSTRAINT accounts_held_check CHECK (${isAmount('held', '>= 0')} AND active_holds >= 0 AND (held = 0) = (active_holds = 0))`,
    `ALTER TABLE ${schema}.accounts
       ADD CONSTRAINT accounts_overdraft_limit_check CHECK (${isAmount('overdraft_limit', '>= 0')})`,
    `ALTER TABLE ${schema}.accounts
       ADD CONSTRAINT accounts_status_check CHECK (status IN ('open', 'debits_blocked', 'frozen', 'closed'))`,
    `ALTER TABLE ${schema}.accounts
       ADD CONSTRAINT accounts_closed_check CHECK (status <> 'closed' OR (balance = 0 AND held = 0))`,
  ]);
}

async function widenTransactions(queryRunner: QueryRunner, schema: string, table: string): Promise<void> {
  const index = (column: string) =>
    `CREATE INDEX ${table}_${column} ON ${schema}.${table} (${column}) WHERE ${column} IS NOT NULL`;
  await runEach(queryRunner, [
    ...['type', 'amount', 'balance_after'].map(
      (column) => `ALTER TABLE ${schema}.${table} DROP CONSTRAINT ${table}_${column}_check`,
    ),
    `ALTER TABLE ${schema}.${table}
       ALTER COLUMN amount TYPE NUMERIC,
       ALTER COLUMN balance_after TYPE NUMERIC,
       ADD COLUMN held_after NUMERIC,
       ADD COLUMN transfer_id BIGINT,
       ADD COLUMN hold_id BIGINT,
       ADD COLUMN reverses_id BIGINT,
       ADD COLUMN fingerprint BIGINT`,
    `ALTER TABLE ${schema}.${table}
       ADD CONSTRAINT ${table}_type_check CHECK (type IN ('debit', 'credit', 'hold', 'release'))`,
    `ALTER TABLE ${schema}.${table} ADD CONSTRAINT ${table}_amount_check CHECK (${isAmount('amount')})`,
    `ALTER TABLE ${schema}.${table}
       ADD CONSTRAINT ${table}_balance_after_check CHECK (${isBalance('balance_after')})`,
    `ALTER TABLE ${schema}.${table} ADD CONSTRAINT ${table}_held_after_check CHECK (${isAmount('held_after')})`,
    `ALTER TABLE ${schema}.${table}
       ADD CONSTRAINT ${table}_hold_check CHECK (type IN ('debit', 'credit') OR hold_id IS NOT NULL)`,
    index('transfer_id'),
    index('hold_id'),
    index('reverses_id'),
  ]);
}

/** Like the archive, they have no foreign keys: rows are added with those that they belong to, and `verify` compares. */
async function createTables(queryRunner: QueryRunner, schema: string): Promise<void> {
  await runEach(queryRunner, [
    `CREATE TABLE ${schema}.transaction_details (
       transaction_id BIGINT CONSTRAINT transaction_details_pkey PRIMARY KEY,
       account_id BIGINT NOT NULL,
       reference VARCHAR(255),
       effective_date DATE,
       actor VARCHAR(260),
       description VARCHAR(500),
       metadata TEXT,
       salt BYTEA,
       digest BYTEA,
       CONSTRAINT transaction_details_digest_check CHECK (octet_length(digest) = 32)
     )`,
    `CREATE TABLE ${schema}.holds (
       hold_id BIGINT CONSTRAINT holds_pkey PRIMARY KEY,
       account_id BIGINT NOT NULL,
       amount NUMERIC NOT NULL,
       remaining NUMERIC NOT NULL,
       captured NUMERIC NOT NULL,
       status VARCHAR(8) NOT NULL,
       expires_at TIMESTAMPTZ(3),
       created_at TIMESTAMPTZ(3) NOT NULL,
       CONSTRAINT holds_amount_check CHECK (${isAmount('amount')}),
       CONSTRAINT holds_parts_check CHECK (remaining >= 0 AND captured >= 0 AND remaining + captured <= amount),
       CONSTRAINT holds_status_check CHECK (status IN ('active', 'captured', 'voided', 'expired')),
       CONSTRAINT holds_active_check CHECK ((status = 'active') = (remaining > 0))
     )`,
    `CREATE INDEX holds_of_account ON ${schema}.holds (account_id, hold_id)`,
    `CREATE INDEX holds_due ON ${schema}.holds (expires_at) WHERE status = 'active' AND expires_at IS NOT NULL`,
    `CREATE TABLE ${schema}.account_details (
       account_id BIGINT CONSTRAINT account_details_pkey PRIMARY KEY,
       reference VARCHAR(255),
       metadata TEXT,
       metadata_salt BYTEA
     )`,
    `CREATE TABLE ${schema}.account_events (
       event_id BIGINT GENERATED BY DEFAULT AS IDENTITY (MAXVALUE 9007199254740990)
         CONSTRAINT account_events_pkey PRIMARY KEY,
       account_id BIGINT NOT NULL,
       revision INTEGER NOT NULL,
       timestamp TIMESTAMPTZ(3) NOT NULL,
       actor VARCHAR(260),
       changes TEXT NOT NULL,
       hash BYTEA NOT NULL,
       CONSTRAINT account_events_revision_check CHECK (revision > 0),
       CONSTRAINT account_events_hash_check CHECK (octet_length(hash) = 32),
       CONSTRAINT unique_revision_per_account UNIQUE (account_id, revision)
     )`,
  ]);
}
