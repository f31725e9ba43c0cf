import { Client, escapeIdentifier } from 'pg';
import { keyOf } from './history.js';
import type { Span } from './span.js';

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
  readonly id: string;
  readonly accountId: number;
  readonly key: string;
  /** The code of the error. */
  readonly code: string;
  /** Milliseconds since 1970. */
  readonly time: number;
}

/** A row of `transfers`: a transfer to another shard, as the shard of its source tells it. */
export interface SentTransfer {
  readonly id: string;
  readonly nonce: string;
  readonly accountId: number;
  readonly to: number;
  readonly amount: number;
  /** The hold that has the money: its own, with its number, or the one that it captures. */
  readonly holdId: string;
  /** The hold ends with it, so all of that waits for it. */
  readonly final: boolean;
  /** Of a capture, which has no transaction at first that could carry it. */
  readonly key: string | undefined;
  /** `pending`, `completed` or `failed`. */
  readonly status: string;
  readonly creditId: string | undefined;
  /** The code of the target's refusal. */
  readonly failure: string | undefined;
  /** Milliseconds since 1970. */
  readonly createdAt: number;
  /** The operation that it came from. */
  readonly op: number | undefined;
}

/** A row of `incoming_transfers`: what the shard of its target has decided about a transfer. */
export interface ArrivedTransfer {
  readonly id: string;
  readonly nonce: string;
  readonly accountId: number;
  readonly from: number;
  readonly amount: number;
  readonly creditId: string | undefined;
  readonly failure: string | undefined;
  /** Milliseconds since 1970. */
  readonly decidedAt: number;
}

/** Names a transfer in both of its shards: one of them alone might draw an id again after it was restored. */
export const transferKeyOf = ({ id, nonce }: Pick<SentTransfer, 'id' | 'nonce'>): string => `${id} ${nonce}`;

/** A row of `holds`. */
export interface HoldBook {
  readonly id: string;
  readonly accountId: number;
  readonly amount: number;
  readonly remaining: number;
  readonly captured: number;
  /** The part of what remains that is on its way to another shard. */
  readonly capturing: number;
  readonly status: string;
  /** Milliseconds since 1970. */
  readonly expiresAt: number | undefined;
  /** Captures to other shards, and while each was on its way: the hold can't end before. */
  readonly underWay: { readonly amount: number; readonly span: Span }[];
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
  /** Transfer → its debits and credits, in the order of their ids; a debit comes before a credit in another shard. */
  readonly legs: ReadonlyMap<string, readonly Posting[]>;
  /** Transfers to other shards. */
  readonly sent: ReadonlyMap<string, SentTransfer>;
  /** The same by their operation, which has at most one in sound books. */
  readonly sentBy: ReadonlyMap<number, readonly SentTransfer[]>;
  /** By {@link transferKeyOf}. */
  readonly arrived: ReadonlyMap<string, ArrivedTransfer>;
  /** The number of shards. */
  readonly shards: number;
  /** Rows of the outbox or of the log that were never published. */
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
  readonly holds: readonly Omit<HoldBook, 'postings' | 'underWay'>[];
  readonly refusals: readonly RecordedRefusal[];
  readonly sent: readonly SentTransfer[];
  readonly arrived: readonly ArrivedTransfer[];
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

/**
 * Puts rows, each list in the order of its versions, together.
 *
 * @param shards the number of shards, if the rows are not given by shard
 */
export function booksOf(rowsOf: readonly Rows[], readAt: number, shards = rowsOf.length): Books {
  const rows = <K extends keyof Lists>(list: K) =>
    rowsOf.flatMap((one): readonly Lists[K][number][] => one[list]);
  const accounts = new Map<number, AccountBook>();
  for (const { accountId, ...account } of rows('accounts'))
    accounts.set(accountId, { ...account, postings: [], events: [], holds: [] });
  const holds = new Map<string, HoldBook>();
  for (const row of rows('holds')) {
    const hold: HoldBook = { ...row, postings: [], underWay: [] };
    holds.set(hold.id, hold);
    accounts.get(hold.accountId)?.holds.push(hold);
  }
  for (const { accountId, ...event } of rows('events')) accounts.get(accountId)?.events.push(event);
  const sent = new Map(rows('sent').map((one) => [one.id, one]));
  const postings = rowsOf.flatMap((one) => withOrigins(one.postings, sent));
  for (const posting of postings) {
    accounts.get(posting.accountId)?.postings.push(posting);
    if (posting.holdId !== undefined) holds.get(posting.holdId)?.postings.push(posting);
  }
  const legs = legsIn(postings, sent);
  for (const one of sent.values()) {
    const debit = legs.get(one.id)?.find(({ type }) => type === 'debit');
    const span = { from: one.createdAt, to: debit?.time ?? Infinity };
    const hold = isCapture(one) ? holds.get(one.holdId) : undefined;
    hold?.underWay.push({ amount: one.final ? hold.amount : one.amount, span });
  }
  const byOperation = grouped(postings, ({ op }) => op);
  for (const ofOne of byOperation.values()) ofOne.sort(byNumber);
  return {
    ...{ accounts, holds, byOperation, legs, sent, shards, readAt },
    byId: new Map(postings.map((posting) => [posting.id, posting])),
    reversals: grouped(postings, ({ reverses }) => reverses),
    refusals: new Map(rows('refusals').map((one) => [keyOf(one.accountId, one.key), one])),
    sentBy: grouped([...sent.values()], ({ op }) => op),
    arrived: new Map(rows('arrived').map((one) => [transferKeyOf(one), one])),
    unpublished: rowsOf.reduce((sum, one) => sum + one.unpublished, 0),
  };
}

type Lists = Omit<Rows, 'unpublished'>;

/** Whether a transfer to another shard captures a hold, instead of having one of its own. */
export const isCapture = ({ id, holdId }: Pick<SentTransfer, 'id' | 'holdId'>): boolean =>
  numberOf(id) !== numberOf(holdId);

/**
 * The release at the end of a transfer to another shard says nothing of its request. It is the only one of the transfer's
 * own hold or, of a capture, comes just before the debit.
 */
function withOrigins(postings: readonly Posting[], sent: ReadonlyMap<string, SentTransfer>): Posting[] {
  return postings.map((posting, place) => {
    const { type, op, holdId, accountId, version } = posting;
    if (type !== 'release' || op !== undefined || holdId === undefined) return posting;
    const own = sent.get(holdId.replace('hold', 'tr'));
    if (own) return { ...posting, op: own.op };
    const next = postings[place + 1];
    const isOfNext =
      next?.type === 'debit' &&
      next.holdId === holdId &&
      next.accountId === accountId &&
      next.version === version + 1;
    return isOfNext && sent.has(next.transferId ?? '') ? { ...posting, op: next.op } : posting;
  });
}

function legsIn(
  postings: readonly Posting[],
  sent: ReadonlyMap<string, SentTransfer>,
): Map<string, Posting[]> {
  const isLeg = ({ type }: Posting) => type === 'debit' || type === 'credit';
  const legs = grouped(postings.filter(isLeg), ({ transferId }) => transferId);
  const debitFirst = (a: Posting, b: Posting) => Number(a.type === 'credit') - Number(b.type === 'credit');
  for (const [transferId, ofOne] of legs) ofOne.sort(sent.has(transferId) ? debitFirst : byNumber);
  return legs;
}

/** The items by what they belong to, if anything. */
function grouped<K, T>(items: readonly T[], keyIn: (item: T) => K | undefined): Map<K, T[]> {
  const groups = new Map<K, T[]>();
  for (const item of items) {
    const key = keyIn(item);
    if (key === undefined) continue;
    const group = groups.get(key);
    if (group) group.push(item);
    else groups.set(key, [item]);
  }
  return groups;
}

const byNumber = (a: Posting, b: Posting): number => numberOf(a.id) - numberOf(b.id);

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
  const sent = await all(
    `SELECT t.*, ${EPOCH_MS('t.created_at')} AS time, d.reference FROM ${schema}.transfers t
     LEFT JOIN ${schema}.transaction_details d ON d.transaction_id = t.transfer_id ${ofRun}`,
  );
  const arrived = await all(
    `SELECT t.*, ${EPOCH_MS('t.decided_at')} AS time FROM ${schema}.incoming_transfers t ${ofRun}`,
  );
  const accounts = await all(`SELECT t.* FROM ${schema}.accounts t ${ofRun}`);
  const unpublished = await client.query(
    `SELECT FROM ${schema}.outbox UNION ALL
     SELECT FROM ${schema}.event_log l, ${schema}.event_cursors c
     WHERE c.receiver = 'rabbitmq' AND l.position > c.position`,
  );
  return {
    accounts: accounts.map(accountOf),
    postings: posted.map(postingOf),
    events: events.map(eventOf),
    refusals: refusals.map(refusalOf),
    holds: holds.map(holdOf),
    sent: sent.map(sentOf),
    arrived: arrived.map(arrivedOf),
    unpublished: unpublished.rowCount ?? 0,
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
  const named = operationNamed(reference);
  if (named !== undefined) return named;
  const isPlain = (type === 'credit' || type === 'debit') && !transferId && !holdId && !reverses;
  return isPlain ? amount : undefined;
}

function operationNamed(reference: string | null | undefined): number | undefined {
  const named = /^op-(\d+)$/.exec(reference ?? '')?.[1];
  return named === undefined ? undefined : Number(named);
}

function sentOf(row: Columns): SentTransfer {
  return {
    id: `tr${row['transfer_id']}`,
    nonce: text(row, 'nonce'),
    accountId: number(row, 'account_id'),
    to: number(row, 'to_account_id'),
    amount: money(row, 'amount'),
    holdId: `hold${row['hold_id']}`,
    final: ['t', 'true'].includes(text(row, 'final')),
    key: row['idempotency_key'] ?? undefined,
    status: text(row, 'status'),
    creditId: idIn(row, 'credit_id', 'txn'),
    failure: codeIn(row),
    createdAt: number(row, 'time'),
    op: operationNamed(row['reference']),
  };
}

function arrivedOf(row: Columns): ArrivedTransfer {
  return {
    id: `tr${row['transfer_id']}`,
    nonce: text(row, 'nonce'),
    accountId: number(row, 'account_id'),
    from: number(row, 'from_account_id'),
    amount: money(row, 'amount'),
    creditId: idIn(row, 'credit_id', 'txn'),
    failure: codeIn(row),
    decidedAt: number(row, 'time'),
  };
}

const codeIn = ({ rejection = null }: Columns) =>
  rejection === null ? undefined : (JSON.parse(rejection) as { readonly code: string }).code;

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
    id: `refusal${row['refusal_id']}`,
    accountId: number(row, 'account_id'),
    key: text(row, 'idempotency_key'),
    code: (JSON.parse(text(row, 'rejection')) as { code: string }).code,
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
    capturing: money(row, 'capturing'),
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
