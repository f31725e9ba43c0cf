import { decimalsOf } from '../config/currencies.js';
import type { AccountStatus, LedgerAccount, OwnedAccount } from '../domain/account.js';
import type { IncomingTransfer, OutgoingTransfer, TransferStatus } from '../domain/between-shards.js';
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
  capturing: string;
}

/** The columns of {@link HoldRow}, for a SELECT. */
export const HOLD_COLUMNS =
  'hold_id, account_id, amount, remaining, captured, status, expires_at, created_at, capturing';

export function holdFromRow(row: HoldRow): Hold {
  const decimals = decimalsIn(row.amount);
  return {
    holdId: Number(row.hold_id),
    accountId: Number(row.account_id),
    amount: moneyFromColumn(row.amount, decimals),
    remaining: moneyFromColumn(row.remaining, decimals),
    captured: moneyFromColumn(row.captured, decimals),
    capturing: moneyFromColumn(row.capturing, decimals),
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

/** A transfer to another shard, with its debit if there is one. */
export interface OutgoingRow extends DetailsRow {
  transfer_id: string;
  nonce: string;
  account_id: string;
  to_account_id: string;
  to_version: string | null;
  amount: string;
  hold_id: string;
  final: boolean;
  reverses_transfer_id: string | null;
  reverses_credit_id: string | null;
  reverses_debit_id: string | null;
  raised: string | null;
  idempotency_key: string | null;
  fingerprint: string | null;
  created_at: Date;
  status: TransferStatus;
  credit_id: string | null;
  credit_balance_after: string | null;
  credit_version_after: string | null;
  credited_at: Date | null;
  rejection: string | null;
  currency: string | null;
  owner: string | null;
  debit: TransactionRow | null;
  details_of: string | null;
}

/** The columns of the table of outgoing transfers, for code that writes them. */
export const OUTGOING_COLUMNS =
  'transfer_id, nonce, account_id, to_account_id, to_version, amount, hold_id, final, reverses_transfer_id, ' +
  'reverses_credit_id, reverses_debit_id, raised, idempotency_key, fingerprint, created_at, status, credit_id, ' +
  'credit_balance_after, credit_version_after, credited_at, rejection';

/**
 * A SELECT of {@link OutgoingRow}s, for a WHERE on `o`. The debit is read as text, like the rest of the money. The
 * account's owner is read, too.
 */
export function selectOutgoing({
  transfers,
  allTransactions,
  accounts,
  transactionDetails,
}: Readonly<Record<'transfers' | 'allTransactions' | 'accounts' | 'transactionDetails', string>>): string {
  const ofAccount = (column: string) =>
    `(SELECT ${column} FROM ${accounts} a WHERE a.account_id = o.account_id) AS ${column}`;
  const debit = TRANSACTION_COLUMNS.split(', ').flatMap((column) => [`'${column}'`, `t.${column}::text`]);
  const columns = OUTGOING_COLUMNS.split(', ').map((column) => `o.${column}`);
  return `SELECT ${columns.join(', ')}, d.transaction_id AS details_of, d.reference,
            d.effective_date::text AS effective_date, d.actor, d.description, d.metadata, encode(d.salt, 'hex') AS salt,
            encode(d.digest, 'hex') AS digest,
            ${ofAccount('currency')}, ${ofAccount('owner')}, (
            SELECT json_build_object(${debit.join(', ')}) FROM ${allTransactions} t
            WHERE t.transfer_id = o.transfer_id AND t.type = 'debit' AND o.status = 'completed' LIMIT 1) AS debit
          FROM ${transfers} o LEFT JOIN LATERAL (
            SELECT * FROM ${transactionDetails} WHERE transaction_id = o.transfer_id LIMIT 1) d ON true`;
}

export function outgoingFromRow(row: OutgoingRow): OutgoingTransfer {
  const decimals = decimalsIn(row.amount);
  return {
    transferId: Number(row.transfer_id),
    nonce: row.nonce,
    accountId: Number(row.account_id),
    to: Number(row.to_account_id),
    toVersion: idFromColumn(row.to_version),
    amount: moneyFromColumn(row.amount, decimals),
    currency: row.currency ?? undefined,
    decimals,
    holdId: Number(row.hold_id),
    final: row.final,
    reverses: reversedFromRow(row),
    raised: row.raised === null ? undefined : moneyFromColumn(row.raised, decimals),
    status: row.status,
    createdAt: row.created_at,
    details: row.details_of === null ? undefined : detailsFromRow(row),
    debit: row.debit
      ? transactionFromRow({ ...row.debit, timestamp: new Date(row.debit.timestamp) })
      : undefined,
    credit: creditFromRow(row, decimals),
    rejection: rejectionFromColumn(row.rejection),
    key:
      row.idempotency_key === null
        ? undefined
        : { idempotencyKey: row.idempotency_key, fingerprint: row.fingerprint ?? undefined },
  };
}

function reversedFromRow(row: OutgoingRow): OutgoingTransfer['reverses'] {
  if (row.reverses_transfer_id === null) return undefined;
  return {
    transferId: Number(row.reverses_transfer_id),
    creditId: Number(row.reverses_credit_id),
    debitId: Number(row.reverses_debit_id),
  };
}

function creditFromRow(
  row: Pick<OutgoingRow, 'credit_id' | 'credit_balance_after' | 'credit_version_after' | 'credited_at'>,
  decimals: number,
): OutgoingTransfer['credit'] {
  const { credit_id, credit_balance_after, credit_version_after, credited_at } = row;
  if (credit_id === null || credit_balance_after === null || credited_at === null) return undefined;
  return {
    transactionId: Number(credit_id),
    timestamp: credited_at,
    balanceAfter: moneyFromColumn(credit_balance_after, decimals),
    versionAfter: Number(credit_version_after),
  };
}

const rejectionFromColumn = (text: string | null): Rejection | undefined =>
  text === null ? undefined : (JSON.parse(text) as Rejection);

/** A decision about a transfer from another shard, with its credit if there is one. */
export interface IncomingRow extends Pick<
  OutgoingRow,
  'transfer_id' | 'nonce' | 'account_id' | 'amount' | 'rejection' | 'credit_id'
> {
  from_account_id: string;
  decided_at: Date;
  credit_balance_after: string | null;
  credit_version_after: string | null;
  credited_at: Date | null;
}

/** A SELECT of {@link IncomingRow}s, for a WHERE on `i`. */
export function selectIncoming({
  incomingTransfers,
  allTransactions,
}: Readonly<Record<'incomingTransfers' | 'allTransactions', string>>): string {
  return `SELECT i.transfer_id, nonce, i.account_id, from_account_id, i.amount, decided_at, credit_id, rejection,
                 c.balance_after AS credit_balance_after, c.version_after AS credit_version_after,
                 c.timestamp AS credited_at
          FROM ${incomingTransfers} i LEFT JOIN LATERAL (
            SELECT * FROM ${allTransactions} t WHERE t.transaction_id = i.credit_id LIMIT 1) c ON true`;
}

export function incomingFromRow(row: IncomingRow): IncomingTransfer {
  const decimals = decimalsIn(row.amount);
  return {
    transferId: Number(row.transfer_id),
    nonce: row.nonce,
    accountId: Number(row.account_id),
    from: Number(row.from_account_id),
    amount: moneyFromColumn(row.amount, decimals),
    decimals,
    decidedAt: row.decided_at,
    credit: creditFromRow(row, decimals),
    rejection: rejectionFromColumn(row.rejection),
  };
}
