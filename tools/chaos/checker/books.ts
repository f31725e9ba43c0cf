import { Client, escapeIdentifier } from 'pg';
import { keyOf } from './history.js';

/** A row of `transactions` or of the archive, with its details. Amounts are in minor units. */
export interface Posting {
  readonly id: string;
  readonly accountId: number;
  readonly type: string;
  readonly amount: number;
  readonly balance: number;
  readonly held: number;
  readonly version: number;
  readonly key: string | undefined;
  readonly transferId: string | undefined;
  readonly holdId: string | undefined;
  readonly reverses: string | undefined;
  /** The operation that it came from; undefined: nobody's, like the end of a hold that has expired. */
  readonly op: number | undefined;
  /** Milliseconds since 1970. */
  readonly time: number;
}

/** A change of an account that is no transaction. */
export interface AccountEvent {
  /** Milliseconds since 1970. */
  readonly time: number;
  readonly revision: number;
  readonly status: string | undefined;
  readonly overdraftLimit: number | undefined;
}

/** A row of `refused_submissions`: a command that was accepted, and then refused. */
export interface RecordedRefusal {
  readonly accountId: number;
  readonly key: string;
  /** Milliseconds since 1970. */
  readonly time: number;
}

/** A row of `holds`. */
export interface HoldBook {
  readonly id: string;
  readonly accountId: number;
  readonly amount: number;
  readonly remaining: number;
  readonly captured: number;
  readonly status: string;
  /** Milliseconds since 1970. */
  readonly expiresAt: number | undefined;
  /** Its transactions in the order of their versions, and the debits of its captures. */
  readonly postings: Posting[];
}

export interface AccountBook {
  readonly owner: string | undefined;
  readonly balance: number;
  readonly held: number;
  readonly overdraftLimit: number;
  readonly status: string;
  readonly version: number;
  readonly revision: number;
  /** In the order of their versions; the first posting of sound books has version 2. */
  readonly postings: Posting[];
  /** In the order of their revisions. */
  readonly events: AccountEvent[];
  readonly holds: HoldBook[];
}

/** The contents of the databases after the run, read by the checker's own statements. */
export interface Books {
  readonly accounts: ReadonlyMap<number, AccountBook>;
  readonly byId: ReadonlyMap<string, Posting>;
  readonly holds: ReadonlyMap<string, HoldBook>;
  /** Operation → its postings, in the order of their ids. */
  readonly byOperation: ReadonlyMap<number, readonly Posting[]>;
  /** Transaction → its reversals. */
  readonly reversals: ReadonlyMap<string, readonly Posting[]>;
  /** By {@link keyOf}. */
  readonly refusals: ReadonlyMap<string, RecordedRefusal>;
  /** Outbox rows that were never published. */
  readonly unpublished: number;
  /** When they were read, in milliseconds since 1970. */
  readonly readAt: number;
}

/** What is read of a shard. */
export interface Rows {
  readonly accounts: readonly (Omit<AccountBook, 'postings' | 'events' | 'holds'> & {
    readonly accountId: number;
  })[];
  readonly postings: readonly Posting[];
  readonly events: readonly (AccountEvent & { readonly accountId: number })[];
  readonly holds: readonly Omit<HoldBook, 'postings'>[];
  readonly refusals: readonly RecordedRefusal[];
  readonly unpublished: number;
}

/**
 * @param shards direct connections
 * @param except accounts that existed before the run
 */
export async function readBooks(
  shards: readonly { readonly url: string; readonly schema: string }[],
  except: readonly number[],
): Promise<Books> {
  const rows: Rows[] = [];
  const readAt = Date.now();
  for (const { url, schema } of shards) {
    const client = new Client({ connectionString: url });
    await client.connect();
    try {
      rows.push(await readRows(client, escapeIdentifier(schema), except));
    } finally {
      await client.end();
    }
  }
  return booksOf(rows, readAt);
}

/** Puts rows, each list in the order of its versions, together. */
export function booksOf(shards: readonly Rows[], readAt: number): Books {
  const accounts = new Map<number, AccountBook>();
  const byId = new Map<string, Posting>();
  const holds = new Map<string, HoldBook>();
  const byOperation = new Map<number, Posting[]>();
  const reversals = new Map<string, Posting[]>();
  const refusals = new Map<string, RecordedRefusal>();
  for (const rows of shards) {
    for (const { accountId, ...account } of rows.accounts)
      accounts.set(accountId, { ...account, postings: [], events: [], holds: [] });
    for (const row of rows.holds) {
      const hold: HoldBook = { ...row, postings: [] };
      holds.set(hold.id, hold);
      accounts.get(hold.accountId)?.holds.push(hold);
    }
    for (const { accountId, ...event } of rows.events) accounts.get(accountId)?.events.push(event);
    for (const refusal of rows.refusals) refusals.set(keyOf(refusal.accountId, refusal.key), refusal);
    for (const posting of rows.postings) {
      accounts.get(posting.accountId)?.postings.push(posting);
      byId.set(posting.id, posting);
      if (posting.op !== undefined) add(byOperation, posting.op, posting);
      if (posting.reverses !== undefined) add(reversals, posting.reverses, posting);
      if (posting.holdId !== undefined) holds.get(posting.holdId)?.postings.push(posting);
    }
  }
  for (const postings of byOperation.values()) postings.sort((a, b) => numberOf(a.id) - numberOf(b.id));
  const unpublished = shards.reduce((sum, rows) => sum + rows.unpublished, 0);
  return { accounts, byId, holds, byOperation, reversals, refusals, unpublished, readAt };
}

function add<K>(lists: Map<K, Posting[]>, key: K, posting: Posting): void {
  const list = lists.get(key);
  if (list) list.push(posting);
  else lists.set(key, [posting]);
}

/** The number in an id like `txn17`. */
const numberOf = (id: string) => Number(id.replace(/^\D+/, ''));

async function readRows(client: Client, schema: string, except: readonly number[]): Promise<Rows> {
  const all = async (sql: string): Promise<Columns[]> => (await client.query<Columns>(sql, [except])).rows;
  const ofRun = 'WHERE NOT t.account_id = ANY($1)';
  const columns = `transaction_id, account_id, type, amount, balance_after, held_after, version_after, idempotency_key,
                   transfer_id, hold_id, reverses_id, timestamp`;
  const posted = await all(
    `SELECT t.*, ${EPOCH_MS('t.timestamp')} AS time, d.reference
     FROM (SELECT ${columns} FROM ${schema}.transactions
           UNION ALL SELECT ${columns} FROM ${schema}.archived_transactions) t
     LEFT JOIN ${schema}.transaction_details d ON d.transaction_id = t.transaction_id
     ${ofRun} ORDER BY t.account_id, t.version_after, t.transaction_id`,
  );
  const events = await all(
    `SELECT t.*, ${EPOCH_MS('t.timestamp')} AS time FROM ${schema}.account_events t
     ${ofRun} ORDER BY t.account_id, t.revision`,
  );
  const holds = await all(
    `SELECT t.*, ${EPOCH_MS('t.expires_at')} AS time FROM ${schema}.holds t ${ofRun} ORDER BY t.hold_id`,
  );
  const refusals = await all(
    `SELECT t.*, ${EPOCH_MS('t.refused_at')} AS time FROM ${schema}.refused_submissions t ${ofRun}`,
  );
  const accounts = await all(`SELECT t.* FROM ${schema}.accounts t ${ofRun}`);
  const outbox = await client.query(`SELECT FROM ${schema}.outbox`);
  return {
    accounts: accounts.map(accountOf),
    postings: posted.map(postingOf),
    events: events.map(eventOf),
    refusals: refusals.map(refusalOf),
    holds: holds.map(holdOf),
    unpublished: outbox.rowCount ?? 0,
  };
}

const EPOCH_MS = (column: string) => `(extract(epoch FROM ${column}) * 1000)::bigint`;

/** Columns as text, or NULL. */
type Columns = Readonly<Record<string, string | null>>;

const text = (row: Columns, column: string) => row[column] ?? '';
const number = (row: Columns, column: string) => Number(row[column]);
/** The minor units of a column with money; NULL is 0. A run's sums stay far below 2^53. */
const money = (row: Columns, column: string) => Math.round(Number(row[column] ?? 0) * 100);
const idIn = (row: Columns, column: string, prefix: string) =>
  row[column] === null ? undefined : `${prefix}${row[column]}`;

function accountOf(row: Columns): Rows['accounts'][number] {
  return {
    accountId: number(row, 'account_id'),
    owner: row['owner'] ?? undefined,
    balance: money(row, 'balance'),
    held: money(row, 'held'),
    overdraftLimit: money(row, 'overdraft_limit'),
    status: text(row, 'status'),
    version: number(row, 'version'),
    revision: number(row, 'revision'),
  };
}

function postingOf(row: Columns): Posting {
  const posting = {
    id: `txn${row['transaction_id']}`,
    accountId: number(row, 'account_id'),
    type: text(row, 'type'),
    amount: money(row, 'amount'),
    balance: money(row, 'balance_after'),
    held: money(row, 'held_after'),
    version: number(row, 'version_after'),
    key: row['idempotency_key'] ?? undefined,
    transferId: idIn(row, 'transfer_id', 'tr'),
    holdId: idIn(row, 'hold_id', 'hold'),
    reverses: idIn(row, 'reverses_id', 'txn'),
    time: number(row, 'time'),
  };
  return { ...posting, op: operationOf(posting, row['reference'] ?? undefined) };
}

/** The number of the operation that a row came from. */
export function operationOf(
  { type, amount, transferId, holdId, reverses }: Omit<Posting, 'op'>,
  reference: string | undefined,
): number | undefined {
  const named = /^op-(\d+)$/.exec(reference ?? '')?.[1];
  if (named !== undefined) return Number(named);
  const isPlain = (type === 'credit' || type === 'debit') && !transferId && !holdId && !reverses;
  return isPlain ? amount : undefined;
}

function eventOf(row: Columns): Rows['events'][number] {
  const { status, overdraftLimit } = JSON.parse(text(row, 'changes')) as Record<string, string | undefined>;
  return {
    accountId: number(row, 'account_id'),
    time: number(row, 'time'),
    revision: number(row, 'revision'),
    status,
    overdraftLimit: overdraftLimit === undefined ? undefined : money({ overdraftLimit }, 'overdraftLimit'),
  };
}

function refusalOf(row: Columns): RecordedRefusal {
  return {
    accountId: number(row, 'account_id'),
    key: text(row, 'idempotency_key'),
    time: number(row, 'time'),
  };
}

function holdOf(row: Columns): Rows['holds'][number] {
  return {
    id: `hold${row['hold_id']}`,
    accountId: number(row, 'account_id'),
    amount: money(row, 'amount'),
    remaining: money(row, 'remaining'),
    captured: money(row, 'captured'),
    status: text(row, 'status'),
    expiresAt: row['time'] === null ? undefined : number(row, 'time'),
  };
}

/** An account's balance at a version; undefined when it never had that version. */
export function balanceAt(book: AccountBook, version: number): number | undefined {
  return version === 1 ? 0 : book.postings[version - 2]?.balance;
}

/** The end of a hold that has expired, which no operation asks for. */
export const isExpiry = ({ type, op }: Posting): boolean => type === 'release' && op === undefined;
