import { escapeIdentifier } from 'pg';
import { STORED_COLUMNS } from './rows.js';

/** A shard's tables, each qualified with the shard's schema and quoted: behind PgBouncer there is no search_path. */
export interface SchemaTables {
  readonly accounts: string;
  /** The idempotency keys with which accounts were opened. */
  readonly accountOpenings: string;
  readonly transactions: string;
  /** Old transactions, moved out of `transactions`. */
  readonly archivedTransactions: string;
  /**
   * The rows of both tables, for a FROM, with an alias. `archive` moves rows while the bank is open: one statement sees
   * each row once, two statements might not. It is not a view: when a shard is moved, its old tables are renamed so
   * that queries fail, and a view would still find them.
   */
  readonly allTransactions: string;
  readonly outbox: string;
  readonly shardIdentity: string;
  readonly apiKeys: string;
  readonly auditEvents: string;
  /** TypeORM's list of the migrations that were applied. */
  readonly migrations: string;
  /** Exists only at the old place of a shard that was moved: its new address. */
  readonly shardMoved: string;
  /** Exists only while a move fills the schema, which is not a shard of a bank yet. */
  readonly shardArriving: string;
}

export function tablesOf(schema: string): SchemaTables {
  const quoted = escapeIdentifier(schema);
  const transactions = `${quoted}.transactions`;
  const archivedTransactions = `${quoted}.archived_transactions`;
  return {
    accounts: `${quoted}.accounts`,
    accountOpenings: `${quoted}.account_openings`,
    transactions,
    archivedTransactions,
    allTransactions: `(SELECT ${STORED_COLUMNS} FROM ${transactions}
      UNION ALL SELECT ${STORED_COLUMNS} FROM ${archivedTransactions})`,
    outbox: `${quoted}.outbox`,
    shardIdentity: `${quoted}.shard_identity`,
    apiKeys: `${quoted}.api_keys`,
    auditEvents: `${quoted}.audit_events`,
    migrations: `${quoted}.migrations`,
    shardMoved: `${quoted}.shard_moved`,
    shardArriving: `${quoted}.shard_arriving`,
  };
}
