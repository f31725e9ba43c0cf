import type { MigrationInterface, QueryRunner } from 'typeorm';
import { runEach } from './run-each.js';
import { schemaOf } from './schema-of.js';

/** Amounts have at most 16 digits before the point and 4 after it. NaN and Infinity are greater than any number. */
const LIMIT = '10000000000000000';
const isBelowLimit = (column: string) => `${column} < ${LIMIT} AND scale(${column}) <= 4`;
const isAmount = (column: string, from = `> 0`) => `${column} ${from} AND ${isBelowLimit(column)}`;
const isBalance = (column: string) => isAmount(column, `> -${LIMIT}`);

/**
 * Holds, transfers, reversals, overdrafts and the status of an account.
 *
 * Nothing here rewrites a table: the new columns are NULL or have a constant default, and a numeric column that loses
 * its type modifier keeps its rows. (What is hashed stays `1000.00`, because a numeric keeps the scale it was written
 * with.) A plain deposit has NULL in every new column, which costs nothing, or 8 bytes for a bitmap of NULLs if it has
 * a key. Its seldom-used parts lie in `transaction_details`.
 *
 * An older release must not write to this schema: it would ignore holds and statuses. It may run for a while beside the
 * new one, so its writes fail. Columns without a default make its postings (`outbox.account_event_ids`) and its recorded
 * acts, which begin an archive or a backup (`audit_events.epoch`), fail. A renamed one (`relay_leased_until`) makes its
 * relay fail, which would publish a hold as a withdrawal, and its starts and commands, which read that row. Only an
 * empty account, which means the same in both, can still be opened by it.
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
    // The time first: an UPDATE writes all between the first and the last column that changes into the WAL.
    `ALTER TABLE ${schema}.accounts
       ALTER COLUMN balance TYPE NUMERIC,
       ADD COLUMN posted_at TIMESTAMPTZ(3),
       ADD COLUMN created_at TIMESTAMPTZ(3),
       ADD COLUMN active_holds INTEGER NOT NULL DEFAULT 0,
       ADD COLUMN held NUMERIC NOT NULL DEFAULT 0,
       ADD COLUMN overdraft_limit NUMERIC NOT NULL DEFAULT 0,
       ADD COLUMN status VARCHAR(14) NOT NULL DEFAULT 'open',
       ADD COLUMN currency VARCHAR(3)`,
    // Accounts of before get NULL.
    // Cut off, as the times of transactions are: rounded up it could be later than the opening deposit.
    `ALTER TABLE ${schema}.accounts ALTER COLUMN created_at SET DEFAULT date_trunc('milliseconds', now())`,
    // Each posting pays for these checks, so what is true of most accounts comes first. A balance is above -LIMIT
    // because the overdraft limit is below LIMIT.
    `ALTER TABLE ${schema}.accounts
       ADD CONSTRAINT accounts_balance_check CHECK (${isBelowLimit('balance')})`,
    `ALTER TABLE ${schema}.accounts
       ADD CONSTRAINT accounts_available_check CHECK (balance >= held OR balance - held + overdraft_limit >= 0)`,
    `ALTER TABLE ${schema}.accounts
       ADD CONSTRAINT accounts_held_check
       CHECK (held = 0 AND active_holds = 0 OR ${isAmount('held')} AND active_holds > 0)`,
    `ALTER TABLE ${schema}.accounts
       ADD CONSTRAINT accounts_overdraft_limit_check CHECK (overdraft_limit = 0 OR ${isAmount('overdraft_limit')})`,
    `ALTER TABLE ${schema}.accounts
       ADD CONSTRAINT accounts_status_check
       CHECK (status IN ('open', 'debits_blocked', 'frozen') OR status = 'closed' AND balance = 0 AND held = 0)`,
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
       ADD CONSTRAINT ${table}_type_check CHECK (type IN ('credit', 'debit', 'hold', 'release'))`,
    `ALTER TABLE ${schema}.${table}
       ADD CONSTRAINT ${table}_hold_check CHECK (type IN ('credit', 'debit') OR hold_id IS NOT NULL)`,
    `ALTER TABLE ${schema}.${table} ADD CONSTRAINT ${table}_amount_check CHECK (${isAmount('amount')})`,
    `ALTER TABLE ${schema}.${table}
       ADD CONSTRAINT ${table}_balance_after_check CHECK (${isBalance('balance_after')})`,
    `ALTER TABLE ${schema}.${table} ADD CONSTRAINT ${table}_held_after_check CHECK (${isAmount('held_after')})`,
    index('transfer_id'),
    index('hold_id'),
    index('reverses_id'),
  ]);
}

/** Like the archive, they have no foreign keys: rows are added with those that they belong to, and `verify` compares. */
async function createTables(queryRunner: QueryRunner, schema: string): Promise<void> {
  const ownIds = await idsOfPlace(queryRunner, schema);
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
    // For the sweeper, and for a posting that lacks money: neither may read a history of holds that have ended.
    `CREATE INDEX holds_due ON ${schema}.holds (expires_at) WHERE status = 'active' AND expires_at IS NOT NULL`,
    `CREATE INDEX holds_due_of_account ON ${schema}.holds (account_id, expires_at, hold_id)
       WHERE status = 'active' AND expires_at IS NOT NULL`,
    `CREATE TABLE ${schema}.account_details (
       account_id BIGINT CONSTRAINT account_details_pkey PRIMARY KEY,
       reference VARCHAR(255),
       metadata TEXT,
       metadata_salt BYTEA
     )`,
    `CREATE TABLE ${schema}.account_events (
       event_id BIGINT GENERATED BY DEFAULT AS IDENTITY (MAXVALUE 9007199254740990${ownIds})
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

/** Ids tell the shard: those of shard k of N are k+1, k+1+N … A new bank records its place after the migrations. */
async function idsOfPlace(queryRunner: QueryRunner, schema: string): Promise<string> {
  const [place] = (await queryRunner.query(
    `SELECT shard_index + 1 AS first, shard_count AS step FROM ${schema}.shard_identity`,
  )) as { first: number; step: number }[];
  return place ? ` START WITH ${place.first} INCREMENT BY ${place.step}` : '';
}
