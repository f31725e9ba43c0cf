import type { PoolClient } from 'pg';
import { isCapture, type OutgoingTransfer } from '../domain/between-shards.js';
import type { Rejection } from '../domain/errors.js';
import type {
  AccountChanged,
  AnnouncedTransaction,
  LedgerEvent,
  SubmissionRefused,
  TransferFailed,
} from '../domain/ledger-event.js';
import type { Transaction } from '../domain/transaction.js';
import { creditOf } from '../domain/transfer.js';
import { send } from '../storage/connection.js';
import {
  moneyFromColumn,
  outgoingFromRow,
  selectOutgoing,
  TRANSACTION_COLUMNS,
  transactionFromRow,
  type HoldRow,
  type OutgoingRow,
  type TransactionRow,
} from '../storage/rows.js';
import type { SchemaTables } from '../storage/tables.js';
import { announcementsOf, legsOfTransfers, type HoldThen } from './announcements.js';

/** What one row of the outbox or of the log announces. */
export interface AnnouncedIds {
  readonly transactionIds: readonly string[];
  readonly accountEventIds: readonly string[];
  readonly refusalIds: readonly string[];
  readonly failedTransferIds: readonly string[];
  readonly createdAt: Date;
}

/** The columns of {@link AnnouncedIds}. */
export const ANNOUNCED_COLUMNS =
  'transaction_ids, account_event_ids, refusal_ids, failed_transfer_ids, created_at';

export interface AnnouncedIdsRow {
  transaction_ids: string[];
  account_event_ids: string[];
  refusal_ids: string[];
  failed_transfer_ids: string[];
  created_at: Date;
}

export function announcedIdsFromRow(row: AnnouncedIdsRow): AnnouncedIds {
  return {
    transactionIds: row.transaction_ids,
    accountEventIds: row.account_event_ids,
    refusalIds: row.refusal_ids,
    failedTransferIds: row.failed_transfer_ids,
    createdAt: row.created_at,
  };
}

/** The account of an event, read with it: LIMIT makes the planner look up each by the primary key. */
const ofAccount = (tables: SchemaTables, accountId: string) =>
  `LEFT JOIN LATERAL (SELECT currency, owner FROM ${tables.accounts} a WHERE a.account_id = ${accountId} LIMIT 1) account
     ON true`;

interface AboutAccountRow {
  currency: string | null;
  owner: string | null;
}

interface AnnouncedRow extends TransactionRow, AboutAccountRow {
  reference: string | null;
  effective_date: string | null;
}

interface ChangeRow extends AboutAccountRow {
  event_id: string;
  account_id: string;
  revision: number;
  timestamp: Date;
  changes: string;
}

interface RefusalRow extends AboutAccountRow {
  refusal_id: string;
  account_id: string;
  idempotency_key: string;
  rejection: string;
  refused_at: Date;
}

interface HoldThenRow extends Pick<HoldRow, 'remaining' | 'status' | 'expires_at'> {
  transaction_id: string;
}

/**
 * Makes events of ids. What a row announces never changes, so it reads the same whenever it is read: at once for the
 * relay, or a month later for a receiver that begins again.
 */
export class EventReader {
  constructor(private readonly tables: SchemaTables) {}

  /** @returns the events of each row, in order */
  async read(client: PoolClient, rows: readonly AnnouncedIds[]): Promise<LedgerEvent[][]> {
    const ids = (of: Exclude<keyof AnnouncedIds, 'createdAt'>) => rows.flatMap((row) => row[of]);
    const transactions = await this.transactions(client, ids('transactionIds'));
    const byRow = rows.map(({ transactionIds }) => found(transactions, transactionIds));
    const holdsThen = await this.holdsThen(client, [...transactions.values()]);
    const credits = await this.creditsElsewhere(client, byRow);
    const changes = await this.changes(client, ids('accountEventIds'));
    const refusals = await this.refusals(client, ids('refusalIds'));
    const failures = await this.outgoing(client, ids('failedTransferIds'));
    return rows.map((row, index) => [
      ...announcementsOf(byRow[index] ?? [], holdsThen, credits),
      ...found(changes, row.accountEventIds),
      ...found(refusals, row.refusalIds),
      ...found(failures, row.failedTransferIds).map((transfer) => failedTransfer(transfer, row.createdAt)),
    ]);
  }

  /**
   * LIMIT makes the planner look up each transaction by the primary key. Otherwise, once the tables have been analyzed,
   * it does a merge join that reads the index of all transactions from its start. A transaction that was archived is
   * found in the archive.
   */
  private transactions(
    client: PoolClient,
    ids: readonly string[],
  ): Promise<Map<string, AnnouncedTransaction>> {
    const { allTransactions, transactionDetails } = this.tables;
    return byId(
      client,
      `SELECT ${TRANSACTION_COLUMNS}, reference, effective_date::text AS effective_date, currency, owner
       FROM unnest($1::bigint[]) AS listed (listed_id),
         LATERAL (SELECT * FROM ${allTransactions} t WHERE transaction_id = listed_id LIMIT 1) posted
         LEFT JOIN LATERAL (SELECT reference, effective_date FROM ${transactionDetails} d
                            WHERE d.transaction_id = listed_id LIMIT 1) details ON true
         ${ofAccount(this.tables, 'posted.account_id')}`,
      ids,
      (row: AnnouncedRow) => [row.transaction_id, announcedFromRow(row)],
    );
  }

  private changes(client: PoolClient, ids: readonly string[]): Promise<Map<string, AccountChanged>> {
    return byId(
      client,
      `SELECT event_id, account_id, revision, timestamp, changes, currency, owner
       FROM unnest($1::bigint[]) AS listed (listed_id),
         LATERAL (SELECT * FROM ${this.tables.accountEvents} WHERE event_id = listed_id LIMIT 1) changed
         ${ofAccount(this.tables, 'changed.account_id')}`,
      ids,
      (row: ChangeRow) => [row.event_id, changeFromRow(row)],
    );
  }

  private refusals(client: PoolClient, ids: readonly string[]): Promise<Map<string, SubmissionRefused>> {
    return byId(
      client,
      `SELECT refusal_id, account_id, idempotency_key, rejection, refused_at, currency, owner
       FROM unnest($1::bigint[]) AS listed (listed_id),
         LATERAL (SELECT * FROM ${this.tables.refusedSubmissions} WHERE refusal_id = listed_id LIMIT 1) refused
         ${ofAccount(this.tables, 'refused.account_id')}`,
      ids,
      (row: RefusalRow) => [row.refusal_id, refusalFromRow(row)],
    );
  }

  /** The credits in other shards of transfers that debits complete, by transfer; nothing is read where there is none. */
  private async creditsElsewhere(
    client: PoolClient,
    byRow: readonly (readonly AnnouncedTransaction[])[],
  ): Promise<Map<number, AnnouncedTransaction>> {
    // All legs in one shard share a row.
    const transfers = byRow.flatMap((transactions) => [...legsOfTransfers(transactions).values()]);
    const debits = transfers.flatMap((legs) => (legs.length === 1 && legs[0]?.type === 'debit' ? legs : []));
    const found = await this.outgoing(
      client,
      debits.map(({ transferId }) => String(transferId)),
    );
    return new Map(
      [...found.values()].flatMap((transfer) => {
        const { transferId, credit, currency } = transfer;
        return credit ? [[transferId, { ...creditOf(transfer, credit), currency }]] : [];
      }),
    );
  }

  private outgoing(client: PoolClient, ids: readonly string[]): Promise<Map<string, OwnedTransfer>> {
    return byId(
      client,
      `${selectOutgoing(this.tables)} WHERE o.transfer_id = ANY($1::bigint[])`,
      ids,
      (row: OutgoingRow) => [row.transfer_id, { ...outgoingFromRow(row), owner: row.owner ?? undefined }],
    );
  }

  /** The holds of transactions, as they were after each; nothing is read where no transaction has one. */
  private async holdsThen(
    client: PoolClient,
    transactions: readonly Transaction[],
  ): Promise<Map<number, HoldThen>> {
    const held = transactions.filter(({ holdId }) => holdId !== undefined);
    if (held.length === 0) return new Map();
    const { rows } = await send<HoldThenRow>(
      client,
      `SELECT transaction_id, remaining, status, expires_at
       FROM (SELECT transaction_id, status, expires_at,
                    amount - coalesce(sum(posted_amount) FILTER (WHERE type = 'release') OVER up_to_here, 0) AS remaining
             FROM unnest($1::bigint[]) AS listed (listed_id),
               LATERAL (SELECT * FROM ${this.tables.holds} WHERE hold_id = listed_id LIMIT 1) h,
               LATERAL (SELECT transaction_id, type, amount AS posted_amount, version_after
                        FROM ${this.tables.allTransactions} t WHERE t.hold_id = listed_id) posted
             WINDOW up_to_here AS (PARTITION BY listed_id ORDER BY version_after)) counted
       WHERE transaction_id = ANY($2::bigint[])`,
      [[...new Set(held.map(({ holdId }) => holdId))], held.map(({ transactionId }) => transactionId)],
    );
    return new Map(rows.map((row) => [Number(row.transaction_id), holdThenFromRow(row)]));
  }
}

/** Reads rows by their ids; nothing is read where there is no id. */
async function byId<R extends object, T>(
  client: PoolClient,
  sql: string,
  ids: readonly string[],
  fromRow: (row: R) => [id: string, value: T],
): Promise<Map<string, T>> {
  if (ids.length === 0) return new Map();
  const { rows } = await send<R & Record<string, unknown>>(client, sql, [ids]);
  return new Map(rows.map(fromRow));
}

const found = <T>(values: ReadonlyMap<string, T>, ids: readonly string[]): T[] =>
  ids.flatMap((id) => values.get(id) ?? []);

function announcedFromRow(row: AnnouncedRow): AnnouncedTransaction {
  const { reference, effective_date: effectiveDate } = row;
  const transaction = { ...transactionFromRow(row), ...aboutAccount(row) };
  if (reference === null && effectiveDate === null) return transaction;
  const details = { reference: reference ?? undefined, effectiveDate: effectiveDate ?? undefined };
  return { ...transaction, details };
}

const aboutAccount = ({ currency, owner }: AboutAccountRow) => ({
  ...(currency !== null && { currency }),
  ...(owner !== null && { owner }),
});

function changeFromRow(row: ChangeRow): AccountChanged {
  const { account_id, revision, timestamp, changes } = row;
  const about = { accountId: Number(account_id), ...aboutAccount(row) };
  return { kind: 'account.changed', ...about, revision, timestamp, changes };
}

function refusalFromRow(row: RefusalRow): SubmissionRefused {
  return {
    ...{ kind: 'submission.refused', refusalId: Number(row.refusal_id), accountId: Number(row.account_id) },
    ...{ idempotencyKey: row.idempotency_key, rejection: JSON.parse(row.rejection) as Rejection },
    ...{ timestamp: row.refused_at, ...aboutAccount(row) },
  };
}

type OwnedTransfer = OutgoingTransfer & { readonly owner: string | undefined };

function failedTransfer(transfer: OwnedTransfer, timestamp: Date): TransferFailed {
  const { transferId, accountId, to, amount, decimals, currency, owner, holdId } = transfer;
  return {
    ...{ kind: 'transfer.failed', transferId, accountId, to, amount, decimals, timestamp },
    ...{ currency, owner, holdId: isCapture(transfer) ? holdId : undefined },
  };
}

function holdThenFromRow({ remaining, status, expires_at }: HoldThenRow): HoldThen {
  return { remaining: moneyFromColumn(remaining), status, expiresAt: expires_at ?? undefined };
}
