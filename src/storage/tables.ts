import { quoted } from './identifiers.js';
import { STORED_COLUMNS } from './rows.js';

/** What the catalogue does not say about a table. Used by code that migrates, copies, locks or protects the tables. */
export interface BankTable {
  readonly name: string;
  /** Its primary key column, in whose order rows are read. */
  readonly id: string;
  /** True: its ids are names. */
  readonly named?: true;
  /** Whether its ids come from a sequence of its own. */
  readonly drawn: boolean;
  /** The table whose ids it has, where they are not drawn for it. */
  readonly idsOf?: 'accounts' | 'transactions';
  /**
   * True: only openings and postings add rows, with ids that are drawn while an account is locked. So a copy of an open
   * bank can follow them by their ids, and the ids tell the shard. False: the rows are few, and a copy takes them all
   * at once.
   */
  readonly ledger: boolean;
  /**
   * True: rows are added in the order of their ids, by one transaction at a time, and only the oldest are removed. So a
   * copy of an open bank can follow it, too.
   */
  readonly log?: true;
  /** True: its rows are made again from those of other tables, so a copy of the bank does without them. */
  readonly derived?: true;
  /**
   * All privileges of the service, where it has a role of its own. None lets it rewrite history, create a key or change
   * the owner of an account. A column is named where only that column may change.
   */
  readonly service: readonly string[];
}

/** The table with a shard's row about itself; a copy has its own row. */
export const SHARD_IDENTITY = 'shard_identity';

const LEASES = [
  ...['relay_id', 'relay_lease_ends'],
  ...['broker', 'webhooks', 'sweeper', 'summary', 'transfers'].flatMap((task) => [
    `${task}_id`,
    `${task}_leased_until`,
  ]),
];

/** The columns of that row that belong to the holders of leases, not to the shard; also those of older schemas. */
export const LEASE_COLUMNS: readonly string[] = [...LEASES, 'relay_until', 'relay_leased_until'];

/**
 * The bank's tables, in the order in which a batch and then the relay locks them: any other order would lead to
 * deadlocks. An entry here is all that a new table needs to be backed up, restored, moved and granted.
 */
export const BANK_TABLES: readonly BankTable[] = [
  {
    ...{ name: 'accounts', id: 'account_id', drawn: true, ledger: true },
    service: [
      'SELECT',
      'INSERT',
      ...[
        ...['balance', 'version', 'head_hash', 'held', 'active_holds', 'overdraft_limit', 'status'],
        ...['revision', 'posted_at'],
      ].map((column) => `UPDATE (${column})`),
    ],
  },
  {
    ...{ name: 'account_details', id: 'account_id' },
    ...{ drawn: false, idsOf: 'accounts', ledger: true },
    service: ['SELECT', 'INSERT', 'UPDATE (reference)', 'UPDATE (metadata)', 'UPDATE (metadata_salt)'],
  },
  {
    ...{ name: 'account_openings', id: 'account_id' },
    ...{ drawn: false, idsOf: 'accounts', ledger: true },
    service: ['SELECT', 'INSERT'],
  },
  {
    ...{ name: 'account_events', id: 'event_id', drawn: true, ledger: true },
    service: ['SELECT', 'INSERT'],
  },
  {
    ...{ name: 'refused_submissions', id: 'refusal_id', drawn: true, ledger: true },
    service: ['SELECT', 'INSERT'],
  },
  {
    ...{ name: 'holds', id: 'hold_id' },
    ...{ drawn: false, idsOf: 'transactions', ledger: true },
    service: [
      ...['SELECT', 'INSERT'],
      ...['remaining', 'captured', 'capturing', 'status'].map((column) => `UPDATE (${column})`),
    ],
  },
  {
    ...{ name: 'transfers', id: 'transfer_id' },
    ...{ drawn: false, idsOf: 'transactions', ledger: true },
    service: [
      ...['SELECT', 'INSERT', 'UPDATE (status)', 'UPDATE (rejection)', 'UPDATE (credit_id)'],
      ...['balance_after', 'version_after'].map((column) => `UPDATE (credit_${column})`),
      'UPDATE (credited_at)',
    ],
  },
  {
    ...{ name: 'incoming_transfers', id: 'incoming_id', drawn: true, ledger: true },
    service: ['SELECT', 'INSERT'],
  },
  {
    ...{ name: 'event_cursors', id: 'receiver', named: true as const, drawn: false, ledger: false },
    service: ['SELECT', 'INSERT', 'UPDATE (position)', 'UPDATE (state)', 'UPDATE (requested)', 'DELETE'],
  },
  {
    ...{ name: 'event_log', id: 'position', drawn: false, ledger: false, log: true as const },
    service: ['SELECT', 'INSERT', 'DELETE'],
  },
  {
    ...{ name: 'outbox', id: 'outbox_id', drawn: true, ledger: false },
    service: ['SELECT', 'INSERT', 'DELETE'],
  },
  {
    ...{ name: 'ledger_summary', id: 'only_row', drawn: false, ledger: false, derived: true as const },
    service: [
      ...['SELECT', 'INSERT'],
      ...['summed_to', 'sums', 'as_of', 'summary'].map((column) => `UPDATE (${column})`),
    ],
  },
  {
    ...{ name: SHARD_IDENTITY, id: 'only_row', drawn: false, ledger: false },
    service: ['SELECT', ...LEASES.map((column) => `UPDATE (${column})`)],
  },
  {
    ...{ name: 'transactions', id: 'transaction_id', drawn: true, ledger: true },
    service: ['SELECT', 'INSERT'],
  },
  {
    ...{ name: 'archived_transactions', id: 'transaction_id' },
    ...{ drawn: false, idsOf: 'transactions', ledger: true },
    service: ['SELECT'],
  },
  {
    ...{ name: 'transaction_details', id: 'transaction_id' },
    ...{ drawn: false, idsOf: 'transactions', ledger: true },
    service: ['SELECT', 'INSERT'],
  },
  {
    ...{ name: 'api_keys', id: 'key_id', drawn: true, ledger: false },
    service: ['SELECT', 'UPDATE (last_used_at)'],
  },
  {
    ...{ name: 'webhooks', id: 'webhook_id', drawn: true, ledger: false },
    service: [
      ...['SELECT', 'INSERT', 'DELETE'],
      ...['url', 'event_types', 'description', 'key_id', 'secret', 'former_secret', 'former_secret_ends'].map(
        (column) => `UPDATE (${column})`,
      ),
      ...['UPDATE (disabled_at)', 'UPDATE (disabled_because)'],
    ],
  },
  {
    ...{ name: 'audit_events', id: 'event_id', drawn: true, ledger: false },
    service: ['SELECT'],
  },
];

/** The tables that a copy of the bank contains, the ledger's first: all but the shard's identity and what is derived. */
export function copiedTables<T extends BankTable>(tables: readonly T[]): T[] {
  const others = tables.filter(({ name, ledger, derived }) => !ledger && !derived && name !== SHARD_IDENTITY);
  return [...tables.filter(({ ledger }) => ledger), ...others];
}

const NAMES = {
  accounts: 'accounts',
  /** The idempotency keys with which accounts were opened. */
  accountOpenings: 'account_openings',
  transactions: 'transactions',
  /** Old transactions, moved out of `transactions`. */
  archivedTransactions: 'archived_transactions',
  accountDetails: 'account_details',
  /** Changes of accounts that are not transactions. */
  accountEvents: 'account_events',
  /** Submissions that were refused, with the idempotency keys that they spent. */
  refusedSubmissions: 'refused_submissions',
  holds: 'holds',
  /** Transfers to accounts of other shards. */
  transfers: 'transfers',
  /** Decisions about transfers from other shards. */
  incomingTransfers: 'incoming_transfers',
  ledgerSummary: 'ledger_summary',
  transactionDetails: 'transaction_details',
  outbox: 'outbox',
  /** The events of the shard, retained. */
  eventLog: 'event_log',
  /** How far the receivers of events have come in it. */
  eventCursors: 'event_cursors',
  shardIdentity: SHARD_IDENTITY,
  apiKeys: 'api_keys',
  /** The endpoints that get events by HTTP. */
  webhooks: 'webhooks',
  auditEvents: 'audit_events',
  /** TypeORM's list of the migrations that were applied. */
  migrations: 'migrations',
  /** Exists only at the old place of a shard that was moved: its new address. */
  shardMoved: 'shard_moved',
  /** Exists only while a move fills the schema, which is not a shard of a bank yet. */
  shardArriving: 'shard_arriving',
} as const;

type Names = Readonly<Record<keyof typeof NAMES, string>>;

/** A shard's tables, each qualified with the shard's schema and quoted: behind PgBouncer there is no search_path. */
export interface SchemaTables extends Names {
  /**
   * The rows of both tables of transactions, for a FROM, with an alias. `archive` moves rows while the bank is open:
   * one statement sees each row once, two statements might not. It is not a view: when a shard is moved, its old tables
   * are renamed so that queries fail, and a view would still find them.
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
