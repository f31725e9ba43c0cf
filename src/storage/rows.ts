import { decimalsOf } from '../config/currencies.js';
import type { AccountStatus, LedgerAccount, OwnedAccount } from '../domain/account.js';
import type { KeyUse } from '../domain/books.js';
import type { Rejection } from '../domain/errors.js';
import type { Hold, HoldStatus } from '../domain/hold.js';
import { decimalsIn, readMoney, type Money } from '../domain/money.js';
import type { Transaction, TransactionDetails, TransactionType } from '../domain/transaction.js';

/** An account with all that decisions about it depend on. pg returns bigint and numeric as text. */
export interface LedgerAccountRow {
  account_id: string;
  balance: string;
  version: string;
  held: string;
  active_holds: number;
  overdraft_limit: string;
  status: AccountStatus;
  revision: number;
  currency: string | null;
}

export interface TransactionRow {
  transaction_id: string;
  account_id: string;
  type: TransactionType;
  amount: string;
  timestamp: Date;
  idempotency_key: string | null;
  balance_after: string;
  version_after: string;
  held_after: string | null;
  transfer_id: string | null;
  hold_id: string | null;
  reverses_id: string | null;
  fingerprint: string | null;
}

/** What has used an idempotency key: a transaction, or a submission that was refused. */
export type KeyUseRow = Pick<TransactionRow, 'type' | 'amount' | 'fingerprint' | 'transfer_id' | 'hold_id'> &
  ({ transaction_id: string; rejection: null } | { transaction_id: null; rejection: string });

/** The columns of {@link TransactionRow}, for a SELECT. */
export const TRANSACTION_COLUMNS =
  'transaction_id, account_id, type, amount, timestamp, idempotency_key, balance_after, version_after, ' +
  'held_after, transfer_id, hold_id, reverses_id, fingerprint';

/** Every column of a transaction, for code that moves rows. */
export const STORED_COLUMNS = `${TRANSACTION_COLUMNS}, hash`;

/** A transaction with its details, all NULL if it has none. */
export interface DetailedRow extends TransactionRow, DetailsRow {
  details_of: string | null;
}

export interface DetailsRow {
  reference: string | null;
  effective_date: string | null;
  actor: string | null;
  description: string | null;
  metadata: string | null;
  salt: string | null;
  digest: string | null;
}

/**
 * A SELECT of {@link DetailedRow}s.
 *
 * LIMIT makes the planner look up the details of each row by the primary key, however many it expects.
 *
 * @param select of {@link TransactionRow}s and perhaps more; its order is not kept
 * @param details the table of details
 * @param which a condition on `t`: the details of other rows are left out
 */
export function withDetails(select: string, details: string, which = 'true'): string {
  return `SELECT t.*, d.transaction_id AS details_of, d.reference, d.effective_date::text AS effective_date, d.actor,
            d.description, d.metadata, encode(d.salt, 'hex') AS salt, encode(d.digest, 'hex') AS digest
          FROM (${select}) t
          LEFT JOIN LATERAL (SELECT * FROM ${details} WHERE transaction_id = t.transaction_id AND ${which} LIMIT 1) d ON true`;
}

/**
 * @param decimals of the currency. What is of a transaction or a hold tells them itself: a numeric keeps those with which
 *   it was written
 */
export function moneyFromColumn(text: string, decimals = decimalsIn(text)): Money {
  const money = readMoney(text, decimals);
  if (money === undefined) throw new Error('a numeric column holds a value that is not an amount of money');
  return money;
}

export function ledgerAccountFromRow(row: LedgerAccountRow): LedgerAccount {
  const decimals = decimalsOf(row.currency);
  return {
    accountId: Number(row.account_id),
    balance: moneyFromColumn(row.balance, decimals),
    version: Number(row.version),
    decimals,
    held: moneyFromColumn(row.held, decimals),
    activeHolds: row.active_holds,
    overdraftLimit: moneyFromColumn(row.overdraft_limit, decimals),
    status: row.status,
    revision: row.revision,
    currency: row.currency ?? undefined,
  };
}

/** An account with its owner and what else the ledger does not need. */
export interface OwnedAccountRow extends LedgerAccountRow {
  owner: string | null;
  created_at: Date | null;
  reference: string | null;
  metadata: string | null;
}

/**
 * A SELECT of {@link OwnedAccountRow}s, for a WHERE on `a`.
 *
 * LIMIT makes the planner look up the details of each account by the primary key, however many it expects.
 *
 * @param accounts a table of accounts, or a SELECT of some in parentheses
 * @param details the table of their details
 */
export function selectOwnedAccounts(accounts: string, details: string): string {
  return `SELECT a.account_id, a.balance, a.version, a.held, a.active_holds, a.overdraft_limit, a.status, a.revision,
            a.currency, a.owner, a.created_at, d.reference, d.metadata
          FROM ${accounts} a
          LEFT JOIN LATERAL (SELECT * FROM ${details} WHERE account_id = a.account_id LIMIT 1) d ON true`;
}

export function ownedAccountFromRow(row: OwnedAccountRow): OwnedAccount {
  return {
    ...ledgerAccountFromRow(row),
    owner: row.owner ?? undefined,
    createdAt: row.created_at ?? undefined,
    reference: row.reference ?? undefined,
    metadata: row.metadata ?? undefined,
  };
}

export function transactionFromRow(row: TransactionRow): Transaction {
  const decimals = Math.max(decimalsIn(row.amount), decimalsIn(row.balance_after));
  return {
    transactionId: Number(row.transaction_id),
    timestamp: row.timestamp,
    accountId: Number(row.account_id),
    type: row.type,
    amount: moneyFromColumn(row.amount, decimals),
    balanceAfter: moneyFromColumn(row.balance_after, decimals),
    heldAfter: row.held_after === null ? 0n : moneyFromColumn(row.held_after, decimals),
    versionAfter: Number(row.version_after),
    decimals,
    idempotencyKey: row.idempotency_key ?? undefined,
    transferId: idFromColumn(row.transfer_id),
    holdId: idFromColumn(row.hold_id),
    reversesId: idFromColumn(row.reverses_id),
    fingerprint: row.fingerprint ?? undefined,
  };
}

export const idFromColumn = (text: string | null): number | undefined =>
  text === null ? undefined : Number(text);

export function detailedFromRow(row: DetailedRow): Transaction {
  const transaction = transactionFromRow(row);
  return row.details_of === null ? transaction : { ...transaction, details: detailsFromRow(row) };
}

export function detailsFromRow(row: DetailsRow): TransactionDetails {
  return {
    reference: row.reference ?? undefined,
    effectiveDate: row.effective_date ?? undefined,
    actor: row.actor ?? undefined,
    description: row.description ?? undefined,
    metadata: row.metadata ?? undefined,
    salt: row.salt ?? undefined,
    digest: row.digest ?? undefined,
  };
}

export interface HoldRow {
  hold_id: string;
  account_id: string;
  amount: string;
  remaining: string;
  captured: string;
  status: HoldStatus;
  expires_at: Date | null;
  created_at: Date;
}

/** The columns of {@link HoldRow}, for a SELECT. */
export const HOLD_COLUMNS =
  'hold_id, account_id, amount, remaining, captured, status, expires_at, created_at';

export function holdFromRow(row: HoldRow): Hold {
  const decimals = decimalsIn(row.amount);
  return {
    holdId: Number(row.hold_id),
    accountId: Number(row.account_id),
    amount: moneyFromColumn(row.amount, decimals),
    remaining: moneyFromColumn(row.remaining, decimals),
    captured: moneyFromColumn(row.captured, decimals),
    status: row.status,
    expiresAt: row.expires_at ?? undefined,
    createdAt: row.created_at,
    decimals,
  };
}

export function keyUseFromRow(row: KeyUseRow): KeyUse {
  const fingerprint = row.fingerprint ?? undefined;
  if (row.rejection !== null) return { rejection: JSON.parse(row.rejection) as Rejection, fingerprint };
  return {
    transactionId: Number(row.transaction_id),
    type: row.type,
    amount: moneyFromColumn(row.amount),
    decimals: decimalsIn(row.amount),
    fingerprint,
    transferId: idFromColumn(row.transfer_id),
    holdId: idFromColumn(row.hold_id),
  };
}
