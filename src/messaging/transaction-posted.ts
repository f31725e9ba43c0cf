import { z } from 'zod';
import type { AnnouncedTransaction } from '../domain/ledger-event.js';
import { formatMoney } from '../domain/money.js';
import type { Transaction } from '../domain/transaction.js';
import { ENVELOPE, SEQUENCE, text } from './cloud-event.js';

const V1 = 'transaction.posted.v1';
const V2 = 'transaction.posted.v2';

const DATA = {
  transactionId: text.transactionId,
  accountId: z.int().min(1),
  amount: text.money,
  version: z.int().min(2),
  idempotencyKey: z.string().min(1).max(255).optional(),
  transferId: text.transferId.optional(),
  holdId: text.holdId.optional(),
  reverses: text.transactionId.optional(),
  reference: text.reference.optional(),
  effectiveDate: text.day.optional(),
} as const;

const CENTS = z.string().regex(/^(0|[1-9]\d{0,15})\.\d{2}$/);

/** As docs/events/transaction.posted.v1.schema.json, which allows members that are added later. */
export const TRANSACTION_POSTED_V1 = z.looseObject({
  ...ENVELOPE,
  ...SEQUENCE,
  id: text.transactionId,
  type: z.literal(V1),
  subject: text.account,
  data: z.looseObject({ ...DATA, amount: CENTS, type: z.enum(['Deposit', 'Withdraw']), balance: CENTS }),
});

/** As docs/events/transaction.posted.v2.schema.json. */
export const TRANSACTION_POSTED_V2 = z.looseObject({
  ...ENVELOPE,
  ...SEQUENCE,
  id: text.transactionId,
  type: z.literal(V2),
  subject: text.account,
  data: z.looseObject({
    ...DATA,
    type: z.enum(['Deposit', 'Withdraw', 'Hold', 'Release']),
    balance: text.balance,
    held: text.money,
    currency: text.currency.optional(),
  }),
});

/** One version of an account: `balance`, `held` and `version` are the account's after the transaction. */
export type TransactionPosted = z.infer<typeof TRANSACTION_POSTED_V1> | z.infer<typeof TRANSACTION_POSTED_V2>;

const NAMES = { credit: 'Deposit', debit: 'Withdraw', hold: 'Hold', release: 'Release' } as const;

/** Version 1 knows deposits and withdrawals, no balance below zero, and no currency besides the bank's. */
export function transactionPostedType({
  type,
  balanceAfter,
  currency,
}: AnnouncedTransaction): typeof V1 | typeof V2 {
  const isMovement = type === 'credit' || type === 'debit';
  return isMovement && balanceAfter >= 0n && currency === undefined ? V1 : V2;
}

/** The event as JSON. Concatenated by hand, because the most events by far are of plain transactions. */
export function transactionPostedJson(
  transaction: AnnouncedTransaction,
  bankId: string,
  traceparent?: string,
): string {
  const { transactionId, accountId, idempotencyKey, decimals } = transaction;
  const type = transactionPostedType(transaction);
  const held = type === V1 ? '' : `"held":"${formatMoney(transaction.heldAfter, decimals)}",`;
  const code = transaction.currency;
  const currency = code === undefined ? '' : `"currency":"${code}",`;
  const trace = traceparent === undefined ? '' : `"traceparent":"${traceparent}",`;
  const key = idempotencyKey === undefined ? '' : `,"idempotencyKey":${JSON.stringify(idempotencyKey)}`;
  return (
    `{"specversion":"1.0","id":"txn${transactionId}","source":"urn:uuid:${bankId}",` +
    `"type":"${type}","subject":"accounts/${accountId}",` +
    `"time":"${transaction.timestamp.toISOString()}","sequence":"${transaction.versionAfter}",${trace}` +
    `"datacontenttype":"application/json",` +
    `"data":{"transactionId":"txn${transactionId}","accountId":${accountId},` +
    `"type":"${NAMES[transaction.type]}",` +
    `"amount":"${formatMoney(transaction.amount, decimals)}",` +
    `"balance":"${formatMoney(transaction.balanceAfter, decimals)}",` +
    `${held}${currency}"version":${transaction.versionAfter}${key}${membersOf(transaction)}}}`
  );
}

/** What a plain transaction has not. Description and metadata stay in the bank, which can erase them. */
function membersOf({ transferId, holdId, reversesId, details }: Transaction): string {
  if (transferId === undefined && holdId === undefined && reversesId === undefined && !details) return '';
  const members = JSON.stringify({
    transferId: transferId && `tr${transferId}`,
    holdId: holdId && `hold${holdId}`,
    reverses: reversesId && `txn${reversesId}`,
    reference: details?.reference,
    effectiveDate: details?.effectiveDate,
  });
  return members === '{}' ? '' : `,${members.slice(1, -1)}`;
}
