import { formatMoney } from '../domain/money.js';
import type { Transaction } from '../domain/transaction.js';

export const TRANSACTION_POSTED = 'transaction.posted.v1';

/** A CloudEvent 1.0 in JSON; its schema is docs/events/transaction.posted.v1.schema.json. */
export interface TransactionPosted {
  readonly specversion: '1.0';
  /** The transaction's id; unique together with `source`. */
  readonly id: string;
  /** `urn:uuid:` and the bank's id. */
  readonly source: string;
  readonly type: typeof TRANSACTION_POSTED;
  /** `accounts/<id>` */
  readonly subject: string;
  readonly time: string;
  readonly datacontenttype: 'application/json';
  readonly data: {
    readonly transactionId: string;
    readonly accountId: number;
    readonly type: 'Deposit' | 'Withdraw';
    /** Money is text with exactly two decimals. */
    readonly amount: string;
    /** After the transaction, as is the version. */
    readonly balance: string;
    readonly version: number;
    readonly idempotencyKey?: string;
  };
}

/** The event as JSON. Written by hand: of its members only the key can hold what needs escaping. */
export function transactionPostedJson(transaction: Transaction, bankId: string): string {
  const { transactionId, accountId, idempotencyKey } = transaction;
  const key = idempotencyKey === undefined ? '' : `,"idempotencyKey":${JSON.stringify(idempotencyKey)}`;
  return (
    `{"specversion":"1.0","id":"txn${transactionId}","source":"urn:uuid:${bankId}",` +
    `"type":"${TRANSACTION_POSTED}","subject":"accounts/${accountId}",` +
    `"time":"${transaction.timestamp?.toISOString()}","datacontenttype":"application/json",` +
    `"data":{"transactionId":"txn${transactionId}","accountId":${accountId},` +
    `"type":"${transaction.type === 'credit' ? 'Deposit' : 'Withdraw'}",` +
    `"amount":"${formatMoney(transaction.amount)}","balance":"${formatMoney(transaction.balanceAfter)}",` +
    `"version":${transaction.versionAfter}${key}}}`
  );
}
