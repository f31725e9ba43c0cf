import { quoted } from './identifiers.js';
import { STORED_COLUMNS } from './rows.js';

/** What the catalogue does not tell of a table, for whatever migrates, copies, locks or protects the bank's tables. */
export interface BankTable {
  readonly name: string;
  /** The column of its primary key, in whose order rows are read. */
  readonly id: string;
  /** Its ids come from a sequence of its own. */
  readonly drawn: boolean;
  /**
   * True: only openings and postings add its rows, all with ids that are drawn while an account is locked; so a copy of an
   * open bank follows them by their ids, and shards hand out ids by which they know their own. False: its rows are few,
   * and a copy takes them all at once.
   */
  readonly ledger: boolean;
  /**
   * All that the service may do where it has a role of its own: nothing that rewrites history, hands out a key, or gives
   * an account to somebody. A column is named where only that one may change.
   */
  readonly service: readonly string[];
}

/** A shard's row about itself; a copy has one of its own. */
export const SHARD_IDENTITY = 'shard_identity';

/** Of that row, the columns that belong to the relay at work rather than to the shard. */
export const LEASE_COLUMNS: readonly string[] = ['relay_id', 'relay_until'];

/**
 * The bank's tables, in the order in which a batch, and then the relay, locks them: any other order ends in deadlocks. A
 * new table is backed up, restored, moved and granted by its line here.
 */
export const BANK_TABLES: readonly BankTable[] = [
  {
    ...{ name: 'accounts', id: 'account_id', drawn: true, ledger: true },
    service: ['SELECT', 'INSERT', 'UPDATE (balance)', 'UPDATE (version)', 'UPDATE (head_hash)'],
  },
  {
    ...{ name: 'account_openings', id: 'account_id', drawn: false, ledger: true },
    service: ['SELECT', 'INSERT'],
  },
  {
    ...{ name: 'outbox', id: 'outbox_id', drawn: true, ledger: false },
    service: ['SELECT', 'INSERT', 'DELETE'],
  },
  {
    ...{ name: SHARD_IDENTITY, id: 'only_row', drawn: false, ledger: false },
    service: ['SELECT', 'UPDATE (relay_id)', 'UPDATE (relay_until)', 'UPDATE (relay_to_broker)'],
  },
  {
    ...{ name: 'transactions', id: 'transaction_id', drawn: true, ledger: true },
    service: ['SELECT', 'INSERT'],
  },
  {
    ...{ name: 'archived_transactions', id: 'transaction_id', drawn: false, ledger: true },
    service: ['SELECT'],
  },
  {
    ...{ name: 'api_keys', id: 'key_id', drawn: true, ledger: false },
    service: ['SELECT', 'UPDATE (last_used_at)'],
  },
  {
    ...{ name: 'audit_events', id: 'event_id', drawn: true, ledger: false },
    service: ['SELECT'],
  },
];

/** Those whose rows a copy of the bank holds, the ledger's first: all but the shard's identity. */
export function copiedTables<T extends BankTable>(tables: readonly T[]): T[] {
  const others = tables.filter(({ name, ledger }) => !ledger && name !== SHARD_IDENTITY);
  return [...tables.filter(({ ledger }) => ledger), ...others];
}

const NAMES = {
  accounts: 'accounts',
  /** The idempotency keys with which accounts were opened. */
  accountOpenings: 'account_openings',
  transactions: 'transactions',
  /** Old transactions, moved out of `transactions`. */
  archivedTransactions: 'archived_transactions',
  outbox: 'outbox',
  shardIdentity: SHARD_IDENTITY,
  apiKeys: 'api_keys',
  auditEvents: 'audit_events',
  /** TypeORM's list of the migrations that were applied. */
  migrations: 'migrations',
  /** Only where the shard no longer is: the address to which it was moved. */
  shardMoved: 'shard_moved',
  /** Only while a move fills the schema: no shard of a bank yet. */
  shardArriving: 'shard_arriving',
} as const;

type Names = Readonly<Record<keyof typeof NAMES, string>>;

/** A shard's tables, each qualified with the shard's schema and quoted: behind PgBouncer there is no search_path. */
export interface SchemaTables extends Names {
  /**
   * The rows of both tables of transactions, for a FROM, with an alias. `archive` moves rows while the bank is open: one
   * statement sees each of them once, two statements need not. No view: one would go on showing the tables of a shard
   * that was moved, which are renamed so that whoever looks for them fails.
   */
  readonly allTransactions: string;
}

export function tablesOf(schema: string): SchemaTables {
  const tables = Object.fromEntries(
    Object.entries(NAMES).map(([key, name]) => [key, `${quoted(schema)}.${name}`]),
  ) as unknown as Names;
  const parts = [tables.transactions, tables.archivedTransactions];
  const allTransactions = parts.map((part) => `SELECT ${STORED_COLUMNS} FROM ${part}`).join(' UNION ALL ');
  return { ...tables, allTransactions: `(${allTransactions})` };
}
