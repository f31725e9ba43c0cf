import type { Client } from 'pg';
import { plainArray } from '../../storage/array-literal.js';
import { tablesOf } from '../../storage/tables.js';
import { hasTable } from '../catalogue.js';

/** A shard whose transfers are paired with those of the others, in the order of the bank. */
export interface PairedShard {
  readonly client: Pick<Client, 'query'>;
  readonly schema: string;
}

/** The check of both sides of each transfer between shards, in the name of the account that it is reported for. */
export const PAIRS = {
  name: 'transfers_pair_up',
  says: 'each transfer between shards is the same to both: completed and credited, failed and refused, or pending',
} as const;

/** Transfers that are compared at a time. */
const RANGE = 10_000;

const AFTER_ALL_IDS = '9223372036854775807';

/** What one side of a transfer holds of it; pg returns bigint and numeric as text. */
export interface SideRow {
  readonly transfer_id: string;
  readonly nonce: string;
  readonly from_account_id: string;
  readonly to_account_id: string;
  readonly amount: string;
  readonly status: 'pending' | 'completed' | 'failed';
  /** Its credit, if it is completed, in a form that both sides share. */
  readonly credit: string | null;
}

type Rows = ReadonlyMap<string, SideRow>;

/** Which rows are read: those of a range of ids, or those with given names. */
type Which = { readonly after: string; readonly upTo: string } | { readonly pairs: readonly SideRow[] };

/** The transfers from one shard to another. */
interface Pairing {
  readonly source: PairedShard;
  readonly target: PairedShard;
  readonly sourceIndex: number;
  readonly targetIndex: number;
  readonly count: number;
}

/** A transfer that is not the same to both sides: at least one of them knows it. */
export interface Unpaired {
  readonly sourceIndex: number;
  readonly targetIndex: number;
  readonly sent: SideRow | undefined;
  readonly arrived: SideRow | undefined;
}

/**
 * @param limit how many accounts to name for each shard at most
 * @returns for each shard the accounts with a transfer that does not fit: its source, or the target where it has none
 */
export async function unpairedAccounts(
  shards: readonly PairedShard[],
  limit: number,
  signal?: AbortSignal,
): Promise<ReadonlySet<string>[]> {
  const found = shards.map(() => new Set<string>());
  for await (const { sent, arrived, sourceIndex, targetIndex } of unpairedTransfers(shards, signal)) {
    const accounts = found[sent ? sourceIndex : targetIndex];
    const accountId = sent?.from_account_id ?? arrived?.to_account_id;
    if (accounts && accountId !== undefined && accounts.size < limit) accounts.add(accountId);
  }
  return found;
}

/**
 * Pairs each transfer from one shard to another with what its target has decided, while transfers go on. Shards are read
 * one after the other. The target may by then have decided what began after its source was read, so a pair that does not
 * fit is read again.
 */
export async function* unpairedTransfers(
  shards: readonly PairedShard[],
  signal?: AbortSignal,
): AsyncGenerator<Unpaired> {
  const there = await Promise.all(
    shards.map(({ client, schema }) => hasTable(client, tablesOf(schema).transfers)),
  );
  // A shard of an older schema has sent nothing, nor got anything.
  const known = [...shards.entries()].filter(([index]) => there[index]);
  for (const [sourceIndex, source] of known) {
    for (const [targetIndex, target] of known) {
      if (sourceIndex === targetIndex) continue;
      yield* unpairedOf({ source, target, sourceIndex, targetIndex, count: shards.length }, signal);
    }
  }
}

async function* unpairedOf(pairing: Pairing, signal: AbortSignal | undefined): AsyncGenerator<Unpaired> {
  const { sourceIndex, targetIndex } = pairing;
  for (let after = '0'; after !== AFTER_ALL_IDS;) {
    signal?.throwIfAborted();
    const upTo = await endOfRange(pairing, after);
    const candidates = (await readBoth(pairing, { after, upTo })).unfit;
    const again = candidates.length > 0 ? await readBoth(pairing, { pairs: candidates }) : NOTHING_UNFIT;
    for (const name of again.unfit.map(nameOf))
      yield { sourceIndex, targetIndex, sent: again.sent.get(name), arrived: again.arrived.get(name) };
    after = upTo;
  }
}

interface Both {
  readonly sent: Rows;
  readonly arrived: Rows;
  readonly unfit: readonly SideRow[];
}

const NOTHING_UNFIT: Both = { sent: new Map(), arrived: new Map(), unfit: [] };

/** Reads the source, then the target: what the source has settled, the target must have decided. */
async function readBoth(pairing: Pairing, which: Which): Promise<Both> {
  const sent = await read(pairing.source, outgoingOf(pairing), which);
  const arrived = await read(pairing.target, incomingOf(pairing), which);
  return { sent, arrived, unfit: unfit(sent, arrived) };
}

const nameOf = ({ transfer_id: id, nonce }: SideRow) => `${id}:${nonce}`;

/** The transfers that are not the same to both sides. */
function unfit(sent: Rows, arrived: Rows): SideRow[] {
  const differing = [...sent].filter(([name, row]) => !fits(row, arrived.get(name)));
  // The refusal of a transfer that its source does not know moves no money.
  const strays = [...arrived].filter(([name, { status }]) => status === 'completed' && !sent.has(name));
  return [...differing, ...strays].map(([, row]) => row);
}

function fits(sent: SideRow, arrived: SideRow | undefined): boolean {
  if (!arrived) return sent.status === 'pending';
  const same =
    sent.from_account_id === arrived.from_account_id &&
    sent.to_account_id === arrived.to_account_id &&
    sent.amount === arrived.amount;
  if (sent.status === 'pending') return same;
  return same && sent.status === arrived.status && sent.credit === arrived.credit;
}

interface Side {
  readonly table: string;
  /** Its {@link SideRow}s, for a FROM. */
  readonly rows: string;
  /** Whether a row is of the pairing. */
  readonly where: string;
}

function outgoingOf({ source, targetIndex, count }: Pairing): Side {
  const { transfers } = tablesOf(source.schema);
  const credit = [
    ...['credit_id', 'credit_balance_after', 'credit_version_after', 'credited_at'],
    'reverses_debit_id',
  ];
  return {
    table: transfers,
    rows: `(
      SELECT transfer_id, nonce, account_id AS from_account_id, to_account_id, amount, status,
             CASE status WHEN 'completed' THEN ${creditFrom(credit)} END AS credit
      FROM ${transfers})`,
    where: `(to_account_id - 1) % ${count} = ${targetIndex}`,
  };
}

function incomingOf({ target, sourceIndex, count }: Pairing): Side {
  const credit = ['credit_id', 'c.balance_after', 'c.version_after', 'c.timestamp', 'c.reverses_id'];
  const { incomingTransfers, allTransactions } = tablesOf(target.schema);
  return {
    table: incomingTransfers,
    rows: `(
      SELECT i.transfer_id, nonce, from_account_id, i.account_id AS to_account_id, i.amount,
             CASE WHEN rejection IS NULL THEN 'completed' ELSE 'failed' END AS status,
             CASE WHEN rejection IS NULL THEN ${creditFrom(credit)} END AS credit
      FROM ${incomingTransfers} i LEFT JOIN LATERAL (
        SELECT * FROM ${allTransactions} t WHERE t.transaction_id = i.credit_id LIMIT 1) c ON true)`,
    where: `(transfer_id - 1) % ${count} = ${sourceIndex}`,
  };
}

/** A text that is the same whatever the session's time zone and the scales of amounts. */
function creditFrom([id, balance, version, timestamp, reverses]: readonly string[]): string {
  return `ROW(${id}, trim_scale(${balance}), ${version}, trim_scale(extract(epoch FROM ${timestamp})), ${reverses})::text`;
}

async function read({ client }: PairedShard, { rows: from, where }: Side, which: Which): Promise<Rows> {
  const isRange = 'after' in which;
  const range = 'transfer_id > $1 AND transfer_id <= $2';
  const named = '(transfer_id, nonce) IN (SELECT * FROM unnest($1::bigint[], $2::uuid[]))';
  const { rows } = await client.query<SideRow>(
    `SELECT * FROM ${from} s WHERE ${where} AND ${isRange ? range : named}`,
    isRange
      ? [which.after, which.upTo]
      : [
          plainArray(which.pairs.map((pair) => pair.transfer_id)),
          plainArray(which.pairs.map((pair) => pair.nonce)),
        ],
  );
  return new Map(rows.map((row) => [nameOf(row), row]));
}

/**
 * The id up to which neither side has more rows than fit into a range; those of other pairings count, too: the planner
 * does not know how few they are, and would read the table each time.
 */
async function endOfRange(pairing: Pairing, after: string): Promise<string> {
  const ends = await Promise.all([
    lastOf(pairing.source, outgoingOf(pairing), after),
    lastOf(pairing.target, incomingOf(pairing), after),
  ]);
  return ends.reduce((least, end) => (BigInt(end) < BigInt(least) ? end : least));
}

async function lastOf({ client }: PairedShard, { table }: Side, after: string): Promise<string> {
  const { rows } = await client.query<{ last: string }>(
    `SELECT transfer_id AS last FROM ${table}
     WHERE transfer_id > $1 ORDER BY transfer_id OFFSET ${RANGE - 1} LIMIT 1`,
    [after],
  );
  return rows[0]?.last ?? AFTER_ALL_IDS;
}
