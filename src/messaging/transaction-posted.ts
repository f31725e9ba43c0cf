import { z } from 'zod';
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

const id = z.string().regex(/^txn[1-9]\d{0,15}$/);
const money = z.string().regex(/^(0|[1-9]\d{0,15})\.\d{2}$/);

/** As its schema, which allows members that are added later. */
const EVENT = z.looseObject({
  specversion: z.literal('1.0'),
  id,
  source: z.string().regex(/^urn:uuid:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/),
  type: z.literal(TRANSACTION_POSTED),
  subject: z.string().regex(/^accounts\/[1-9]\d{0,15}$/),
  time: z.string().regex(/^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{3}Z$/),
  datacontenttype: z.literal('application/json'),
  data: z.looseObject({
    transactionId: id,
    accountId: z.int().min(1),
    type: z.enum(['Deposit', 'Withdraw']),
    amount: money,
    balance: money,
    version: z.int().min(2),
    idempotencyKey: z.string().min(1).max(255).optional(),
  }),
});

/** Leaves room for members that are added later. */
const MAX_EVENT_CHARACTERS = 65_536;
const MAX_NESTING = 16;

/** Reads a delivered message, which need not come from the bank. Undefined: it is not such an event. */
export function readTransactionPosted(text: string): TransactionPosted | undefined {
  if (text.length > MAX_EVENT_CHARACTERS) return undefined;
  try {
    const value: unknown = JSON.parse(text);
    return nestsWithin(value, MAX_NESTING) ? EVENT.safeParse(value).data : undefined;
  } catch {
    return undefined;
  }
}

/** JSON.parse accepts deeper nesting than JSON.stringify can write without overflowing the stack. */
function nestsWithin(value: unknown, levels: number): boolean {
  if (typeof value !== 'object' || value === null) return true;
  return levels > 0 && Object.values(value).every((member) => nestsWithin(member, levels - 1));
}

/** The event as JSON. Concatenated by hand: only the key can contain characters that need escaping. */
export function transactionPostedJson(transaction: Transaction, bankId: string): string {
  const { transactionId, accountId, idempotencyKey } = transaction;
  const key = idempotencyKey === undefined ? '' : `,"idempotencyKey":${JSON.stringify(idempotencyKey)}`;
  return (
    `{"specversion":"1.0","id":"txn${transactionId}","source":"urn:uuid:${bankId}",` +
    `"type":"${TRANSACTION_POSTED}","subject":"accounts/${accountId}",` +
    `"time":"${transaction.timestamp.toISOString()}","datacontenttype":"application/json",` +
    `"data":{"transactionId":"txn${transactionId}","accountId":${accountId},` +
    `"type":"${transaction.type === 'credit' ? 'Deposit' : 'Withdraw'}",` +
    `"amount":"${formatMoney(transaction.amount)}","balance":"${formatMoney(transaction.balanceAfter)}",` +
    `"version":${transaction.versionAfter}${key}}}`
  );
}
