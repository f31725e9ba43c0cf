import type { LedgerAccount } from '../../domain/account.js';
import { isCapture, type OutgoingTransfer } from '../../domain/between-shards.js';
import type { BatchDecision } from '../../domain/decide-batch.js';
import { isPlain } from '../../domain/hash-chain.js';
import type { Hold } from '../../domain/hold.js';
import { formatMoney } from '../../domain/money.js';
import type { Transaction } from '../../domain/transaction.js';
import { outboxRows, plainRows } from '../../messaging/outbox-rows.js';
import { plainArray, textArray } from '../../storage/array-literal.js';
import { HOLD_COLUMNS } from '../../storage/rows.js';
import type { SchemaTables } from '../../storage/tables.js';
import type { AccountEvent, ChangedAccounts } from './account-events.js';
import { writeTransfers } from './between-shards-writes.js';
import { onItsNode, type Statement } from './statement.js';

/** An account whose row is locked. */
export interface LockedAccount extends LedgerAccount {
  /** The hash of its last transaction. */
  readonly headHash: string;
}

export interface PostedBatch extends BatchDecision, ChangedAccounts {
  /** Accounts that exist but were skipped: the commands on them are undecided. */
  readonly skipped: ReadonlySet<number>;
  /** The locked accounts before the batch. */
  readonly opening: ReadonlyMap<number, LockedAccount>;
  /** The hashes of `transactions`, in the same order. */
  readonly hashes: readonly string[];
  /** The ids of the outbox rows that announce the batch; there may be more ids than rows. */
  readonly outboxIds: readonly number[];
  /** The ids of the refusals; there may be more ids. */
  readonly refusalIds: readonly number[];
  /** The ids of the decisions about transfers from other shards; there may be more ids. */
  readonly incomingIds: readonly number[];
  /** The time of all that the batch writes. */
  readonly timestamp: Date;
}

/**
 * The statements that write a batch. Each fails unless it writes exactly what was decided, because COMMIT is sent
 * before their answers have arrived.
 */
export function writesOf(tables: SchemaTables, batch: PostedBatch, traceparent?: string): Statement[] {
  const { transactions, holds, events, details, refusals, outgoing } = batch;
  const captures = outgoing.filter((transfer) => transfer.status === 'pending' && isCapture(transfer));
  const described = captures.filter((transfer) => transfer.details);
  return [
    ...(transactions.length > 0 ? insertTransactions(tables, batch) : []),
    ...(holds.length > 0 ? [writeHolds(tables, holds)] : []),
    ...(events.length > 0 ? [insertEvents(tables, events)] : []),
    ...(details.size > 0 ? [writeAccountDetails(tables, details)] : []),
    ...(refusals.length > 0 ? [insertRefusals(tables, batch)] : []),
    ...writeTransfers(tables, batch),
    ...(described.length > 0 ? [insertDetails(tables, described.map(asTransaction))] : []),
    ...announce(tables, batch, traceparent),
    updateAccounts(tables, batch),
  ];
}

/** Inserts transactions and their details. What only a few have is left out where none has it. */
export function insertTransactions(
  tables: SchemaTables,
  { transactions, hashes }: Pick<PostedBatch, 'transactions' | 'hashes'>,
): Statement[] {
  const links = transactions.every(isPlain) ? undefined : LINKS;
  const linkColumns = links ? `, ${links.map(({ column }) => column).join(', ')}` : '';
  const linkTypes = links ? links.map(({ type }, index) => `, $${index + 10}::${type}[]`).join('') : '';
  const columns = 'transaction_id, account_id, type, amount, balance_after, version_after, idempotency_key';
  const insert: Statement = [
    `INSERT INTO ${tables.transactions} (${columns}, hash, timestamp${linkColumns})
     SELECT ${columns}, decode(hash, 'hex'), $9::timestamptz${linkColumns}
     FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::numeric[], $5::numeric[], $6::bigint[], $7::text[],
                 $8::text[]${linkTypes})
       AS p (${columns}, hash${linkColumns})
     ${onItsNode(tables)}`,
    [
      plainArray(transactions.map((transaction) => transaction.transactionId)),
      plainArray(transactions.map((transaction) => transaction.accountId)),
      plainArray(transactions.map((transaction) => transaction.type)),
      plainArray(transactions.map(({ amount, decimals }) => formatMoney(amount, decimals))),
      plainArray(transactions.map(({ balanceAfter, decimals }) => formatMoney(balanceAfter, decimals))),
      plainArray(transactions.map((transaction) => transaction.versionAfter)),
      textArray(transactions.map((transaction) => transaction.idempotencyKey)),
      plainArray(hashes),
      transactions[0]?.timestamp,
      ...(links ?? []).map(({ of }) =>
        plainArray(transactions.map((transaction) => of(transaction) ?? 'NULL')),
      ),
    ],
  ];
  const detailed = links ? transactions.filter(({ details }) => details) : [];
  return detailed.length === 0 ? [insert] : [insert, insertDetails(tables, detailed)];
}

interface LinkColumn {
  readonly column: string;
  readonly type: string;
  readonly of: (transaction: Transaction) => number | string | undefined;
}

/** The columns that are NULL in a plain transaction. */
const LINKS: readonly LinkColumn[] = [
  {
    ...{ column: 'held_after', type: 'numeric' },
    of: ({ heldAfter, decimals }) => (heldAfter === 0n ? undefined : formatMoney(heldAfter, decimals)),
  },
  { column: 'transfer_id', type: 'bigint', of: ({ transferId }) => transferId },
  { column: 'hold_id', type: 'bigint', of: ({ holdId }) => holdId },
  { column: 'reverses_id', type: 'bigint', of: ({ reversesId }) => reversesId },
  { column: 'fingerprint', type: 'bigint', of: ({ fingerprint }) => fingerprint },
];

type Described = Pick<Transaction, 'transactionId' | 'accountId' | 'details'>;

/** A capture for another shard has no transaction yet that could have its details. */
const asTransaction = ({ transferId, accountId, details }: OutgoingTransfer): Described => ({
  ...{ transactionId: transferId, accountId, details },
});

function insertDetails(tables: SchemaTables, transactions: readonly Described[]): Statement {
  const column = (of: (described: Described) => string | undefined) => textArray(transactions.map(of));
  const texts = 'reference, effective_date, actor, description, metadata';
  return [
    `INSERT INTO ${tables.transactionDetails} (transaction_id, account_id, ${texts}, salt, digest)
     SELECT transaction_id, account_id, ${texts.replace('effective_date', 'effective_date::date')},
            decode(salt, 'hex'), decode(digest, 'hex')
     FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[],
                 $9::text[])
       AS p (transaction_id, account_id, ${texts}, salt, digest)
     ${onItsNode(tables)}`,
    [
      plainArray(transactions.map(({ transactionId }) => transactionId)),
      plainArray(transactions.map(({ accountId }) => accountId)),
      column(({ details }) => details?.reference),
      column(({ details }) => details?.effectiveDate),
      column(({ details }) => details?.actor),
      column(({ details }) => details?.description),
      column(({ details }) => details?.metadata),
      column(({ details }) => details?.salt),
      column(({ details }) => details?.digest),
    ],
  ];
}

function writeHolds(tables: SchemaTables, holds: readonly Hold[]): Statement {
  return [
    `INSERT INTO ${tables.holds} AS h (${HOLD_COLUMNS})
     SELECT ${HOLD_COLUMNS.replace('expires_at, created_at', 'expires_at::timestamptz, created_at::timestamptz')}
     FROM unnest($1::bigint[], $2::bigint[], $3::numeric[], $4::numeric[], $5::numeric[], $6::text[], $7::text[],
                 $8::text[], $9::numeric[]) AS p (${HOLD_COLUMNS})
     ${onItsNode(tables)}
     ON CONFLICT (hold_id) DO UPDATE
       SET remaining = excluded.remaining, captured = excluded.captured, capturing = excluded.capturing,
           status = excluded.status`,
    [
      plainArray(holds.map(({ holdId }) => holdId)),
      plainArray(holds.map(({ accountId }) => accountId)),
      plainArray(holds.map(({ amount, decimals }) => formatMoney(amount, decimals))),
      plainArray(holds.map(({ remaining, decimals }) => formatMoney(remaining, decimals))),
      plainArray(holds.map(({ captured, decimals }) => formatMoney(captured, decimals))),
      plainArray(holds.map(({ status }) => status)),
      textArray(holds.map(({ expiresAt }) => expiresAt?.toISOString())),
      textArray(holds.map(({ createdAt }) => createdAt.toISOString())),
      plainArray(holds.map(({ capturing, decimals }) => formatMoney(capturing, decimals))),
    ],
  ];
}

/** Inserts changes of accounts, all of one time. */
export function insertEvents(tables: SchemaTables, events: readonly AccountEvent[]): Statement {
  return [
    `INSERT INTO ${tables.accountEvents} (event_id, account_id, revision, timestamp, actor, changes, hash)
     SELECT event_id, account_id, revision, $7::timestamptz, actor, changes, decode(hash, 'hex')
     FROM unnest($1::bigint[], $2::bigint[], $3::int[], $4::text[], $5::text[], $6::text[])
       AS p (event_id, account_id, revision, actor, changes, hash)
     ${onItsNode(tables)}`,
    [
      plainArray(events.map(({ eventId }) => eventId)),
      plainArray(events.map(({ accountId }) => accountId)),
      plainArray(events.map(({ revision }) => revision)),
      textArray(events.map(({ actor }) => actor)),
      textArray(events.map(({ changes }) => changes)),
      plainArray(events.map(({ hash }) => hash)),
      events[0]?.timestamp,
    ],
  ];
}

/** A key that is spent already violates a constraint. */
function insertRefusals(tables: SchemaTables, { refusals, refusalIds, timestamp }: PostedBatch): Statement {
  return [
    `INSERT INTO ${tables.refusedSubmissions} (refusal_id, account_id, idempotency_key, fingerprint, rejection, refused_at)
     SELECT refusal_id, account_id, idempotency_key, fingerprint, rejection, $6::timestamptz
     FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::bigint[], $5::text[])
       AS p (refusal_id, account_id, idempotency_key, fingerprint, rejection)
     ${onItsNode(tables)}`,
    [
      plainArray(refusals.map((_, index) => refusalIds[index] ?? 'NULL')),
      plainArray(refusals.map(({ accountId }) => accountId)),
      textArray(refusals.map(({ idempotencyKey }) => idempotencyKey)),
      plainArray(refusals.map(({ fingerprint }) => fingerprint ?? 'NULL')),
      textArray(refusals.map(({ rejection }) => JSON.stringify(rejection))),
      timestamp,
    ],
  ];
}

function writeAccountDetails(tables: SchemaTables, details: PostedBatch['details']): Statement {
  const rows = [...details];
  const column = (of: (row: (typeof rows)[number][1]) => string | null) =>
    textArray(rows.map(([, row]) => of(row) ?? undefined));
  return [
    `INSERT INTO ${tables.accountDetails} AS d (account_id, reference, metadata, metadata_salt)
     SELECT account_id, reference, metadata, decode(salt, 'hex')
     FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[]) AS p (account_id, reference, metadata, salt)
     ${onItsNode(tables)}
     ON CONFLICT (account_id) DO UPDATE
       SET reference = excluded.reference, metadata = excluded.metadata, metadata_salt = excluded.metadata_salt`,
    [
      plainArray(rows.map(([accountId]) => accountId)),
      column(({ reference }) => reference),
      column(({ metadata }) => metadata),
      column(({ metadataSalt }) => metadataSalt),
    ],
  ];
}

/** What is told of a batch. */
export type Announced = Pick<PostedBatch, 'transactions' | 'events' | 'outboxIds'> &
  Partial<Pick<PostedBatch, 'refusals' | 'refusalIds' | 'outgoing'>>;

/** Inserts the outbox rows for what the same database transaction writes. */
export function announce(
  tables: SchemaTables,
  { transactions, events, refusals = [], refusalIds = [], outgoing = [], outboxIds }: Announced,
  traceparent?: string,
): Statement[] {
  const failed = outgoing.filter(({ status }) => status === 'failed').map(({ transferId }) => transferId);
  const rows: (readonly [column: OutboxColumn, ids: readonly number[]])[] = [
    ...outboxRows(transactions).map(
      (some) => ['transaction_ids', some.map(({ transactionId }) => transactionId)] as const,
    ),
    ...plainRows(events).map((some) => ['account_event_ids', some.map(({ eventId }) => eventId)] as const),
    ...plainRows(refusalIds.slice(0, refusals.length)).map((some) => ['refusal_ids', some] as const),
    ...plainRows(failed).map((some) => ['failed_transfer_ids', some] as const),
  ];
  return rows.map(([column, ids], row) => announceIn(tables, column, outboxIds[row], ids, traceparent));
}

type OutboxColumn = 'transaction_ids' | 'account_event_ids' | 'refusal_ids' | 'failed_transfer_ids';

function announceIn(
  { outbox }: SchemaTables,
  column: OutboxColumn,
  outboxId: number | undefined,
  ids: readonly number[],
  traceparent: string | undefined,
): Statement {
  // Most rows by far: their statement has no column of what is rare.
  const isPlain = column === 'transaction_ids' || column === 'account_event_ids';
  if (isPlain && traceparent === undefined) {
    const [transactions, events] = column === 'transaction_ids' ? [ids, []] : [[], ids];
    return [
      `INSERT INTO ${outbox} (outbox_id, transaction_ids, account_event_ids)
       VALUES ($1, $2::bigint[], $3::bigint[])`,
      [outboxId, plainArray(transactions), plainArray(events)],
    ];
  }
  const columns: readonly OutboxColumn[] = [
    ...(['transaction_ids', 'account_event_ids', 'refusal_ids', 'failed_transfer_ids'] as const),
  ];
  return [
    `INSERT INTO ${outbox} (outbox_id, ${columns.join(', ')}, traceparent)
     VALUES ($1, $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6)`,
    [outboxId, ...columns.map((each) => plainArray(each === column ? ids : [])), traceparent ?? null],
  ];
}

/**
 * Also matches the version that was read: the lock should guarantee it, the row count proves it. The statement counts
 * the inserted transactions as well, because Citus would run an INSERT that counts its rows in a CTE on the
 * coordinator. LIMIT 1 makes the planner look up each one by the primary key, even while the table is small.
 */
function updateAccounts(
  tables: SchemaTables,
  { opening, accounts, transactions, hashes, timestamp }: PostedBatch,
): Statement {
  const heads = new Map(transactions.map(({ accountId }, index) => [accountId, hashes[index] as string]));
  const before = ({ accountId }: LedgerAccount) => opening.get(accountId) as LockedAccount;
  const changed = [...accounts.values()].filter((account) => account !== before(account));
  const more = changed.every((account) => movesTheBalanceOnly(before(account), account)) ? [] : MORE_COLUMNS;
  return [
    `WITH changed AS (
       UPDATE ${tables.accounts} AS a
       SET balance = c.balance, version = c.version, head_hash = decode(c.head_hash, 'hex'),
           posted_at = CASE WHEN c.version > c.version_read THEN $9::timestamptz ELSE a.posted_at END
           ${more.map(({ column }) => `, ${column} = c.${column}`).join('')}
       FROM unnest($1::bigint[], $2::numeric[], $3::bigint[], $4::bigint[], $5::text[]
                   ${more.map(({ type }, index) => `, $${index + 10}::${type}[]`).join('')})
         AS c (account_id, balance, version, version_read, head_hash${more.map(({ column }) => `, ${column}`).join('')})
       WHERE a.account_id = c.account_id AND a.version = c.version_read
       RETURNING 1
     ), posted AS (
       SELECT FROM unnest($6::bigint[]) AS listed (listed_id),
         LATERAL (SELECT FROM ${tables.transactions} WHERE transaction_id = listed_id LIMIT 1) found
     ), counted AS (
       SELECT (SELECT count(*) FROM changed) AS changed, (SELECT count(*) FROM posted) AS posted
     )
     SELECT CASE WHEN changed <> $7::bigint
                 THEN ('a row changed under its lock: updated ' || changed || ' of ' || $7::bigint || ' accounts')::bigint
                 WHEN posted <> $8::bigint
                 THEN ('inserted ' || posted || ' of ' || $8::bigint || ' transactions')::bigint
            END
     FROM counted`,
    [
      plainArray(changed.map((account) => account.accountId)),
      plainArray(changed.map(({ balance, decimals }) => formatMoney(balance, decimals))),
      plainArray(changed.map((account) => account.version)),
      plainArray(changed.map((account) => before(account).version)),
      plainArray(changed.map((account) => heads.get(account.accountId) ?? before(account).headHash)),
      plainArray(transactions.map((transaction) => transaction.transactionId)),
      changed.length,
      transactions.length,
      timestamp,
      ...more.map(({ of }) => plainArray(changed.map(of))),
    ],
  ];
}

function movesTheBalanceOnly(before: LedgerAccount, after: LedgerAccount): boolean {
  return (
    before.held === after.held &&
    before.activeHolds === after.activeHolds &&
    before.revision === after.revision
  );
}

/** The columns of an account that a plain deposit or withdrawal does not change. */
const MORE_COLUMNS: readonly {
  readonly column: string;
  readonly type: string;
  readonly of: (account: LedgerAccount) => string | number;
}[] = [
  { column: 'held', type: 'numeric', of: ({ held, decimals }) => formatMoney(held, decimals) },
  { column: 'active_holds', type: 'int', of: ({ activeHolds }) => activeHolds },
  {
    column: 'overdraft_limit',
    type: 'numeric',
    of: ({ overdraftLimit, decimals }) => formatMoney(overdraftLimit, decimals),
  },
  { column: 'status', type: 'text', of: ({ status }) => status },
  { column: 'revision', type: 'int', of: ({ revision }) => revision },
];
