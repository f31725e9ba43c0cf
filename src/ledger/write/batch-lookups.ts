import type { PoolClient } from 'pg';
import { plainArray, textArray } from '../../storage/array-literal.js';
import {
  MAX_PENDING_OF_ACCOUNT,
  MAX_PENDING_TRANSFERS,
  transferKey,
  type OutgoingTransfer,
} from '../../domain/between-shards.js';
import { keyOf, type Knowledge, type Original, type PendingTransfers } from '../../domain/books.js';
import type { Command } from '../../domain/command.js';
import { GENESIS_HASH } from '../../domain/hash-chain.js';
import { MAX_CAPTURES, MAX_EXPIRED_AT_ONCE, type Hold } from '../../domain/hold.js';
import { allInOrder, send } from '../../storage/connection.js';
import {
  HOLD_COLUMNS,
  holdFromRow,
  incomingFromRow,
  keyUseFromRow,
  moneyFromColumn,
  outgoingFromRow,
  selectIncoming,
  selectOutgoing,
  TRANSACTION_COLUMNS,
  transactionFromRow,
  type HoldRow,
  type IncomingRow,
  type KeyUseRow,
  type OutgoingRow,
  type TransactionRow,
} from '../../storage/rows.js';
import type { SchemaTables } from '../../storage/tables.js';

/** What the next change of an account builds on. */
export interface AccountHead {
  /** The hash of the account's last change. */
  readonly hash: string;
  readonly reference: string | null;
  readonly metadata: string | null;
  readonly metadataSalt: string | null;
}

type KeyRow = KeyUseRow & { account_id: string; idempotency_key: string };

/** The steps of transfers between shards. */
const STEPS: ReadonlySet<Command['type']> = new Set(['outgoing', 'incoming', 'settlement']);

const NOTHING_BETWEEN = {
  outgoing: new Map<number, never>(),
  incoming: new Map<string, never>(),
  pending: { inShard: 0, ofAccount: new Map<number, never>() },
};

/**
 * What a batch has to know besides its accounts. Each is a statement of its own behind the locks: an earlier snapshot
 * could miss what was committed while a lock was waited for. Nothing is sent for what no command needs.
 */
export class BatchLookups {
  constructor(private readonly tables: SchemaTables) {}

  /**
   * Looks in both tables of transactions, current and archive, among refused submissions, and among captures for other
   * shards. No constraint spans them. A key stays unique because whoever would use it again holds the account's lock and
   * looks here first.
   */
  async keys(client: PoolClient, commands: readonly Command[]): Promise<Knowledge['keyed']> {
    const keyed = commands.filter((command) => command.idempotencyKey !== undefined);
    if (keyed.length === 0) return new Map();
    const { rows } = await send<KeyRow>(
      client,
      // LIMIT makes the planner look up each key in the index, also while the table is new.
      `SELECT t.account_id, t.idempotency_key, t.transaction_id, t.type, t.amount, t.fingerprint, t.transfer_id,
              t.hold_id, NULL AS rejection
       FROM unnest($1::bigint[], $2::text[]) AS k (account_id, idempotency_key)
       JOIN ${this.tables.allTransactions} t
         ON t.account_id = k.account_id AND t.idempotency_key = k.idempotency_key
       UNION ALL
       SELECT k.account_id, k.idempotency_key, NULL, NULL, NULL, r.fingerprint, NULL, NULL, r.rejection
       FROM unnest($1::bigint[], $2::text[]) AS k (account_id, idempotency_key), LATERAL (
         SELECT fingerprint, rejection FROM ${this.tables.refusedSubmissions}
         WHERE account_id = k.account_id AND idempotency_key = k.idempotency_key LIMIT 1) r
       UNION ALL
       SELECT k.account_id, k.idempotency_key, o.transfer_id, 'debit', o.amount, o.fingerprint, o.transfer_id, NULL, NULL
       FROM unnest($1::bigint[], $2::text[]) AS k (account_id, idempotency_key), LATERAL (
         SELECT transfer_id, amount, fingerprint FROM ${this.tables.transfers}
         WHERE account_id = k.account_id AND idempotency_key = k.idempotency_key LIMIT 1) o`,
      [
        plainArray(keyed.map((command) => command.accountId)),
        textArray(keyed.map((command) => command.idempotencyKey)),
      ],
    );
    return new Map(
      rows.map((row) => [keyOf(Number(row.account_id), row.idempotency_key), keyUseFromRow(row)]),
    );
  }

  /** The holds that the commands name. */
  async holds(client: PoolClient, commands: readonly Command[]): Promise<Knowledge['holds']> {
    const ids = commands.flatMap(holdOf);
    if (ids.length === 0) return new Map();
    const { rows } = await send<HoldRow>(
      client,
      `SELECT h.* FROM unnest($1::bigint[]) AS n (id), LATERAL (
         SELECT ${HOLD_COLUMNS} FROM ${this.tables.holds} WHERE hold_id = n.id LIMIT 1) h`,
      [plainArray([...new Set(ids)])],
    );
    return new Map(rows.map((row) => [Number(row.hold_id), holdFromRow(row)]));
  }

  /** How often the holds were captured that the commands capture without ending them. */
  async captures(client: PoolClient, commands: readonly Command[]): Promise<Knowledge['captures']> {
    const ids = commands.flatMap((command) => {
      const capture = command.type === 'outgoing' ? command.capture : command;
      return capture && 'final' in capture && !capture.final ? [capture.holdId] : [];
    });
    if (ids.length === 0) return new Map();
    const { rows } = await send<{ hold_id: string; captures: number }>(
      client,
      `SELECT h.id AS hold_id, count(*)::int AS captures
       FROM unnest($1::bigint[]) AS h (id), LATERAL (
         SELECT FROM ${this.tables.allTransactions} t
         WHERE t.hold_id = h.id AND t.type = 'debit' LIMIT ${MAX_CAPTURES}) captured
       GROUP BY h.id`,
      [plainArray([...new Set(ids)])],
    );
    return new Map(rows.map((row) => [Number(row.hold_id), row.captures]));
  }

  /** The transactions that the commands reverse, and how much of each has been reversed. */
  async originals(client: PoolClient, commands: readonly Command[]): Promise<Knowledge['originals']> {
    const [ids, transferIds]: [number[], number[]] = [[], []];
    for (const command of commands) {
      if (command.type === 'reversal') ids.push(command.transactionId);
      if (command.type === 'outgoing' && command.reversal) ids.push(command.reversal.creditId);
      if (command.type === 'transfer-reversal') transferIds.push(command.transferId);
    }
    if (ids.length + transferIds.length === 0) return new Map();
    const { allTransactions } = this.tables;
    const { rows } = await send<TransactionRow & { reversed: string }>(
      client,
      // A release gives back what a reversal between shards has claimed with a hold.
      `SELECT o.*, coalesce((SELECT sum(CASE r.type WHEN 'release' THEN -r.amount ELSE r.amount END)
                             FROM ${allTransactions} r WHERE r.reverses_id = o.transaction_id), 0) AS reversed
       FROM (SELECT ${TRANSACTION_COLUMNS} FROM ${allTransactions} t WHERE transaction_id = ANY($1::bigint[])
             UNION
             SELECT ${TRANSACTION_COLUMNS} FROM ${allTransactions} t WHERE transfer_id = ANY($2::bigint[])) o
       ORDER BY transaction_id`,
      [plainArray(ids), plainArray(transferIds)],
    );
    const originals = rows.map((row): Original => {
      const transaction = transactionFromRow(row);
      return { transaction, reversed: moneyFromColumn(row.reversed, transaction.decimals) };
    });
    return new Map(originals.map((original) => [original.transaction.transactionId, original]));
  }

  /** What is known of transfers between shards. */
  async betweenShards(
    client: PoolClient,
    commands: readonly Command[],
  ): Promise<Pick<Knowledge, 'outgoing' | 'incoming' | 'pending'>> {
    if (!commands.some(({ type }) => STEPS.has(type))) return NOTHING_BETWEEN;
    const [outgoing, incoming, pending] = await allInOrder([
      this.outgoing(client, commands),
      this.incoming(client, commands),
      this.pending(client, commands),
    ]);
    return { outgoing, incoming, pending };
  }

  /**
   * The transfers to other shards that the commands carry out. A pending one is as its command has it: it changes only
   * when it is settled. LIMIT, here and below, is for the planner: see {@link keys}.
   */
  private async outgoing(client: PoolClient, commands: readonly Command[]): Promise<Knowledge['outgoing']> {
    const transfers = commands.flatMap((command) =>
      command.type === 'settlement' ? [command.transfer] : [],
    );
    if (transfers.length === 0) return new Map();
    const { rows } = await send<{ transfer_id: string; nonce: string; is_pending: boolean }>(
      client,
      `SELECT o.* FROM unnest($1::bigint[]) AS n (id), LATERAL (
         SELECT transfer_id, nonce, status = 'pending' AS is_pending FROM ${this.tables.transfers}
         WHERE transfer_id = n.id LIMIT 1) o`,
      [plainArray(transfers.map(({ transferId }) => transferId))],
    );
    const [pending, others] = [rows.filter((row) => row.is_pending), rows.filter((row) => !row.is_pending)];
    const keys = new Set(
      pending.map((row) => transferKey({ transferId: Number(row.transfer_id), nonce: row.nonce })),
    );
    const known = transfers.filter((transfer) => keys.has(transferKey(transfer)));
    return new Map([
      ...known.map((transfer) => [transfer.transferId, transfer] as const),
      ...(others.length === 0 ? [] : await this.settled(client, others)),
    ]);
  }

  private async settled(
    client: PoolClient,
    transfers: readonly { readonly transfer_id: string }[],
  ): Promise<[number, OutgoingTransfer][]> {
    const { rows } = await send<OutgoingRow>(
      client,
      `${selectOutgoing(this.tables)} WHERE o.transfer_id = ANY($1::bigint[])`,
      [plainArray(transfers.map((row) => row.transfer_id))],
    );
    return rows.map((row) => [Number(row.transfer_id), outgoingFromRow(row)]);
  }

  /** What has been decided of the transfers from other shards that the commands decide. */
  private async incoming(client: PoolClient, commands: readonly Command[]): Promise<Knowledge['incoming']> {
    const transfers = commands.flatMap((command) => (command.type === 'incoming' ? [command.transfer] : []));
    if (transfers.length === 0) return new Map();
    const { rows } = await send<IncomingRow>(
      client,
      `SELECT found.* FROM unnest($1::bigint[], $2::uuid[]) AS n (id, mark), LATERAL (
         ${selectIncoming(this.tables)} WHERE i.transfer_id = n.id AND i.nonce = n.mark LIMIT 1) found`,
      [
        plainArray(transfers.map(({ transferId }) => transferId)),
        plainArray(transfers.map(({ nonce }) => nonce)),
      ],
    );
    return new Map(rows.map(incomingFromRow).map((transfer) => [transferKey(transfer), transfer]));
  }

  /** How many transfers to other shards are under way, where the commands begin one. */
  private async pending(client: PoolClient, commands: readonly Command[]): Promise<PendingTransfers> {
    const accountIds = commands.flatMap(({ type, accountId }) => (type === 'outgoing' ? [accountId] : []));
    if (accountIds.length === 0) return { inShard: 0, ofAccount: new Map() };
    const { transfers } = this.tables;
    const { rows } = await send<{ account_id: string | null; pending: number }>(
      client,
      `SELECT NULL AS account_id, count(*)::int AS pending
       FROM (SELECT FROM ${transfers} WHERE status = 'pending' LIMIT ${MAX_PENDING_TRANSFERS}) p
       UNION ALL
       SELECT a.id, count(*)::int FROM unnest($1::bigint[]) AS a (id), LATERAL (
         SELECT FROM ${transfers} WHERE account_id = a.id AND status = 'pending' LIMIT ${MAX_PENDING_OF_ACCOUNT}) p
       GROUP BY a.id`,
      [plainArray([...new Set(accountIds)])],
    );
    return {
      inShard: rows.find((row) => row.account_id === null)?.pending ?? 0,
      ofAccount: new Map(rows.map(({ account_id, pending }) => [Number(account_id), pending])),
    };
  }

  /** The heads of the accounts that the commands may change otherwise than by a transaction. */
  async heads(client: PoolClient, commands: readonly Command[]): Promise<ReadonlyMap<number, AccountHead>> {
    const accountIds = commands.flatMap((command) => {
      if (command.type === 'change') return [command.accountId];
      if (command.type === 'reversal' && command.force === true) return [command.accountId];
      if (command.type === 'outgoing' && command.reversal?.force === true) return [command.accountId];
      if (command.type === 'settlement' && command.transfer.raised !== undefined) return [command.accountId];
      return command.type === 'transfer-reversal' && command.force === true ? command.accountIds : [];
    });
    if (accountIds.length === 0) return new Map();
    const { rows } = await send<{
      account_id: string;
      hash: string | null;
      reference: string | null;
      metadata: string | null;
      salt: string | null;
    }>(
      client,
      `SELECT a.account_id, d.reference, d.metadata, encode(d.metadata_salt, 'hex') AS salt,
              (SELECT encode(hash, 'hex') FROM ${this.tables.accountEvents} e
               WHERE e.account_id = a.account_id ORDER BY revision DESC LIMIT 1) AS hash
       FROM ${this.tables.accounts} a LEFT JOIN ${this.tables.accountDetails} d ON d.account_id = a.account_id
       WHERE a.account_id = ANY($1::bigint[])`,
      [plainArray(accountIds)],
    );
    return new Map(
      rows.map(({ account_id, hash, reference, metadata, salt }) => [
        Number(account_id),
        { hash: hash ?? GENESIS_HASH, reference, metadata, metadataSalt: salt },
      ]),
    );
  }

  /** Some holds of each account that have expired by a time, the earliest first. */
  async due(client: PoolClient, accountIds: ReadonlySet<number>, now: Date): Promise<Map<number, Hold[]>> {
    const { rows } = await send<HoldRow>(
      client,
      `SELECT due.* FROM unnest($1::bigint[]) AS a (id), LATERAL (
         SELECT ${HOLD_COLUMNS} FROM ${this.tables.holds}
         WHERE account_id = a.id AND status = 'active' AND expires_at IS NOT NULL AND expires_at <= $2
           AND capturing = 0
         ORDER BY expires_at, hold_id LIMIT ${MAX_EXPIRED_AT_ONCE}) due`,
      [plainArray([...accountIds]), now],
    );
    const due = new Map<number, Hold[]>([...accountIds].map((accountId) => [accountId, []]));
    for (const row of rows) due.get(Number(row.account_id))?.push(holdFromRow(row));
    return due;
  }

  /** The time of the last transaction of accounts, in milliseconds since 1970, whichever is the latest. */
  async lastPostedMs(client: PoolClient, accountIds: readonly number[]): Promise<number> {
    const { rows } = await send<{ last: string | null }>(
      client,
      `SELECT max(extract(epoch FROM last.timestamp) * 1000)::bigint AS last
       FROM unnest($1::bigint[]) AS a (id), LATERAL (
         SELECT timestamp FROM ${this.tables.allTransactions} t
         WHERE account_id = a.id ORDER BY version_after DESC LIMIT 1) last`,
      [plainArray(accountIds)],
    );
    return Number(rows[0]?.last ?? 0);
  }
}

/** The hold that a command names. */
function holdOf(command: Command): number[] {
  if (command.type === 'settlement') return [command.transfer.holdId];
  if (command.type === 'outgoing') return command.capture ? [command.capture.holdId] : [];
  return command.type === 'capture' || command.type === 'void' ? [command.holdId] : [];
}
