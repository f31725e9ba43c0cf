import type { Account, OwnedAccount } from '../domain/account.js';
import { parseMoney, type Money } from '../domain/money.js';
import type { Transaction, TransactionType } from '../domain/transaction.js';

/** pg returns bigint and numeric as text. */
export interface AccountRow {
  account_id: string;
  balance: string;
  version: string;
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
}

/** An account whose row is locked. */
export interface LockedAccount extends Account {
  /** The hash of its last transaction. */
  readonly headHash: string;
}

export interface LockedAccountRow extends AccountRow {
  head_hash: string;
}

/** The columns of {@link TransactionRow}, for a SELECT. */
export const TRANSACTION_COLUMNS =
  'transaction_id, account_id, type, amount, timestamp, idempotency_key, balance_after, version_after';

/** Every column of a transaction, for code that moves rows. */
export const STORED_COLUMNS = `${TRANSACTION_COLUMNS}, hash`;

export function moneyFromColumn(text: string): Money {
  const money = parseMoney(text);
  if (money === undefined) throw new Error('a numeric column holds a value that is not an amount of money');
  return money;
}

export function accountFromRow(row: AccountRow): Account {
  return {
    accountId: Number(row.account_id),
    balance: moneyFromColumn(row.balance),
    version: Number(row.version),
  };
}

/** An account with its owner and revision, which the ledger does not need. */
export interface OwnedAccountRow extends AccountRow {
  owner: string | null;
  revision: number;
}

/** The columns of {@link OwnedAccountRow}, for a SELECT. */
export const OWNED_ACCOUNT_COLUMNS = 'account_id, balance, version, owner, revision';

export function ownedAccountFromRow(row: OwnedAccountRow): OwnedAccount {
  return { ...accountFromRow(row), owner: row.owner ?? undefined, revision: row.revision };
}

export function transactionFromRow(row: TransactionRow): Transaction {
  return {
    transactionId: Number(row.transaction_id),
    timestamp: row.timestamp,
    accountId: Number(row.account_id),
    type: row.type,
    amount: moneyFromColumn(row.amount),
    balanceAfter: moneyFromColumn(row.balance_after),
    versionAfter: Number(row.version_after),
    idempotencyKey: row.idempotency_key ?? undefined,
  };
}
