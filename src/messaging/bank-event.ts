import { z } from 'zod';
import type {
  AccountChanged,
  AnnouncedTransaction,
  HoldEvent,
  LedgerEvent,
  SubmissionRefused,
  TransferCompleted,
  TransferFailed,
} from '../domain/ledger-event.js';
import { formatMoney } from '../domain/money.js';
import { ENVELOPE, SEQUENCE, text } from './cloud-event.js';
import {
  TRANSACTION_POSTED_V1,
  TRANSACTION_POSTED_V2,
  transactionPostedJson,
  transactionPostedType,
} from './transaction-posted.js';

const accountId = z.int().min(1);
const version = z.int().min(2);

const TRANSFER_COMPLETED = z.looseObject({
  ...ENVELOPE,
  id: text.transferId,
  type: z.literal('transfer.completed.v1'),
  subject: z.string().regex(/^transfers\/tr[1-9]\d{0,15}$/),
  data: z.looseObject({
    transferId: text.transferId,
    legs: z
      .array(
        z.looseObject({
          ...{ transactionId: text.transactionId, accountId, amount: text.money },
          version: version.optional(),
          type: z.enum(['Deposit', 'Withdraw']),
          currency: text.currency.optional(),
          reverses: text.transactionId.optional(),
        }),
      )
      .min(2),
    holdId: text.holdId.optional(),
    reference: text.reference.optional(),
    effectiveDate: text.day.optional(),
  }),
});

const TRANSFER_FAILED = z.looseObject({
  ...ENVELOPE,
  id: text.transferId,
  type: z.literal('transfer.failed.v1'),
  subject: z.string().regex(/^transfers\/tr[1-9]\d{0,15}$/),
  data: z.looseObject({
    ...{ transferId: text.transferId, accountId, toAccountId: accountId, amount: text.money },
    currency: text.currency.optional(),
    holdId: text.holdId.optional(),
  }),
});

const SUBMISSION_REFUSED = z.looseObject({
  ...ENVELOPE,
  id: z.string().regex(/^refusal[1-9]\d{0,15}$/),
  type: z.literal('submission.refused.v1'),
  subject: text.account,
  data: z.looseObject({
    accountId,
    idempotencyKey: z.string().min(1).max(255),
    code: z.string().regex(/^[A-Z_]{1,64}$/),
  }),
});

/** The events of a hold differ in what they have besides these. */
const holdEventOf = <T extends string, M extends z.ZodRawShape>(type: T, more: M) =>
  z.looseObject({
    ...ENVELOPE,
    ...SEQUENCE,
    id: z.string().regex(/^hold[1-9]\d{0,15}\/[1-9]\d{0,15}$/),
    type: z.literal(type),
    subject: z.string().regex(/^holds\/hold[1-9]\d{0,15}$/),
    data: z.looseObject({
      ...{ holdId: text.holdId, accountId, transactionId: text.transactionId, version, amount: text.money },
      currency: text.currency.optional(),
      ...more,
    }),
  });

const ACCOUNT_CHANGED = z.looseObject({
  ...ENVELOPE,
  id: z.string().regex(/^account[1-9]\d{0,15}\/[1-9]\d{0,9}$/),
  type: z.literal('account.changed.v1'),
  subject: text.account,
  data: z.looseObject({
    accountId,
    revision: z.int().min(1),
    currency: text.currency.optional(),
    changes: z.looseObject({
      status: z.enum(['open', 'debits_blocked', 'frozen', 'closed']).optional(),
      overdraftLimit: text.money.optional(),
      owner: z.string().nullable().optional(),
      reference: text.reference.nullable().optional(),
      metadata: z
        .looseObject({ digest: z.string().regex(/^[0-9a-f]{64}$/) })
        .nullable()
        .optional(),
      currency: text.currency.optional(),
    }),
  }),
});

/** Each is as its schema in docs/events. */
const BANK_EVENT = z.discriminatedUnion('type', [
  TRANSACTION_POSTED_V1,
  TRANSACTION_POSTED_V2,
  TRANSFER_COMPLETED,
  TRANSFER_FAILED,
  holdEventOf('hold.placed.v1', { expiresAt: text.time.optional() }),
  holdEventOf('hold.captured.v1', { remaining: text.money, transferId: text.transferId.optional() }),
  holdEventOf('hold.voided.v1', {}),
  holdEventOf('hold.expired.v1', {}),
  ACCOUNT_CHANGED,
  SUBMISSION_REFUSED,
]);

/** An event of the bank as it is delivered. */
export type BankEvent = z.infer<typeof BANK_EVENT>;

/** The type of an event of the bank, in a version that this release knows. */
const TYPES: ReadonlySet<string> = new Set(BANK_EVENT.options.map(({ shape }) => shape.type.value));

export const isBankEventType = (type: unknown): boolean => typeof type === 'string' && TYPES.has(type);

/** The routing keys of all events, over all shards. */
export const ALL_ROUTES = [
  'transaction.posted.*',
  'transfer.*.*',
  'hold.*.*',
  'account.*.*',
  'submission.*.*',
] as const;

/** Leaves room for members that are added later. */
const MAX_EVENT_CHARACTERS = 65_536;
const MAX_NESTING = 16;

/** Reads a delivered message, which need not come from the bank. Undefined: it is not such an event. */
export function readBankEvent(message: string): BankEvent | undefined {
  if (message.length > MAX_EVENT_CHARACTERS) return undefined;
  try {
    const value: unknown = JSON.parse(message);
    if (!nestsWithin(value, MAX_NESTING) || !BANK_EVENT.safeParse(value).success) return undefined;
    // As it was published: what Zod returns has its members in another order.
    return value as BankEvent;
  } catch {
    return undefined;
  }
}

/** JSON.parse accepts deeper nesting than JSON.stringify can write without overflowing the stack. */
function nestsWithin(value: unknown, levels: number): boolean {
  if (typeof value !== 'object' || value === null) return true;
  return levels > 0 && Object.values(value).every((member) => nestsWithin(member, levels - 1));
}

/** An event as a message to a broker. */
export interface BankMessage {
  readonly id: string;
  readonly type: BankEvent['type'];
  /** The account whose events it belongs among; of a transfer, the first one that pays. */
  readonly accountId: number;
  readonly timestamp: Date;
  /** The event as JSON. */
  readonly body: string;
  /** The trace context (W3C) of the batch that it is from; undefined: it was not traced. */
  readonly traceparent?: string;
}

/** @param owner to whom it is told, if not to the bank: of accounts of others it does not say what version they have */
export function messageOf(event: LedgerEvent, bankId: string, owner?: string): BankMessage {
  switch (event.kind) {
    case 'transaction.posted': {
      const { transaction } = event;
      const { transactionId, accountId, timestamp } = transaction;
      const type = transactionPostedType(transaction);
      const body = transactionPostedJson(transaction, bankId, event.traceparent);
      const { traceparent } = event;
      return { id: `txn${transactionId}`, type, accountId, timestamp, body, traceparent };
    }
    case 'transfer.completed':
      return transferMessage(event, bankId, owner);
    case 'transfer.failed':
      return failedTransferMessage(event, bankId);
    case 'submission.refused':
      return refusalMessage(event, bankId);
    case 'account.changed':
      return changeMessage(event, bankId);
    case 'hold.placed':
    case 'hold.captured':
    case 'hold.voided':
    case 'hold.expired':
      return holdMessage(event, bankId);
  }
}

type Traced<E> = E & Pick<LedgerEvent, 'traceparent'>;

function transferMessage(
  { legs, traceparent }: Traced<TransferCompleted>,
  bankId: string,
  owner: string | undefined,
): BankMessage {
  const [first] = legs as [AnnouncedTransaction];
  const payer = legs.find(({ type }) => type === 'debit') ?? first;
  const id = `tr${first.transferId}`;
  const details = legs.find((leg) => leg.details)?.details;
  const holdId = legs.find((leg) => leg.holdId !== undefined)?.holdId;
  const about = {
    id,
    type: 'transfer.completed.v1',
    subject: `transfers/${id}`,
    timestamp: first.timestamp,
    traceparent,
  } as const;
  return message(about, payer.accountId, bankId, {
    transferId: id,
    legs: legs.map((leg) => ({
      transactionId: `txn${leg.transactionId}`,
      accountId: leg.accountId,
      type: leg.type === 'credit' ? 'Deposit' : 'Withdraw',
      amount: formatMoney(leg.amount, leg.decimals),
      currency: leg.currency,
      version: owner === undefined || leg.owner === owner ? leg.versionAfter : undefined,
      reverses: leg.reversesId && `txn${leg.reversesId}`,
    })),
    holdId: holdId && `hold${holdId}`,
    reference: details?.reference,
    effectiveDate: details?.effectiveDate,
  });
}

function failedTransferMessage(
  {
    transferId,
    accountId,
    to,
    amount,
    decimals,
    currency,
    holdId,
    timestamp,
    traceparent,
  }: Traced<TransferFailed>,
  bankId: string,
): BankMessage {
  const id = `tr${transferId}`;
  const about = {
    id,
    type: 'transfer.failed.v1',
    subject: `transfers/${id}`,
    timestamp,
    traceparent,
  } as const;
  return message(about, accountId, bankId, {
    ...{ transferId: id, accountId, toAccountId: to, amount: formatMoney(amount, decimals), currency },
    holdId: holdId && `hold${holdId}`,
  });
}

function refusalMessage(
  { refusalId, accountId, idempotencyKey, rejection, timestamp, traceparent }: Traced<SubmissionRefused>,
  bankId: string,
): BankMessage {
  const about: About = {
    ...{ id: `refusal${refusalId}`, type: 'submission.refused.v1', subject: `accounts/${accountId}` },
    ...{ timestamp, traceparent },
  };
  return message(about, accountId, bankId, { accountId, idempotencyKey, code: rejection.code });
}

function holdMessage(
  { kind, transaction, remaining, expiresAt, traceparent }: Traced<HoldEvent>,
  bankId: string,
): BankMessage {
  const { transactionId, accountId, amount, versionAfter, transferId, timestamp, decimals } = transaction;
  const holdId = `hold${transaction.holdId}`;
  const about = {
    id: `${holdId}/${versionAfter}`,
    type: `${kind}.v1`,
    subject: `holds/${holdId}`,
    timestamp,
    traceparent,
    sequence: String(versionAfter),
  } as const;
  return message(about, accountId, bankId, {
    ...{ holdId, accountId, transactionId: `txn${transactionId}`, version: versionAfter },
    amount: formatMoney(amount, decimals),
    currency: transaction.currency,
    ...(kind === 'hold.placed' && { expiresAt: expiresAt?.toISOString() }),
    ...(kind === 'hold.captured' && {
      remaining: formatMoney(remaining, decimals),
      transferId: transferId && `tr${transferId}`,
    }),
  });
}

function changeMessage(
  { accountId, revision, timestamp, currency, changes, traceparent }: Traced<AccountChanged>,
  bankId: string,
): BankMessage {
  const id = `account${accountId}/${revision}`;
  const about: About = {
    ...{ id, type: 'account.changed.v1', subject: `accounts/${accountId}` },
    ...{ timestamp, traceparent },
  };
  return message(about, accountId, bankId, {
    ...{ accountId, revision, currency },
    changes: JSON.parse(changes) as unknown,
  });
}

interface About extends Pick<BankMessage, 'id' | 'type' | 'timestamp'> {
  readonly subject: string;
  readonly sequence?: string;
  readonly traceparent: string | undefined;
}

function message(
  { id, type, subject, timestamp, sequence, traceparent }: About,
  accountId: number,
  bankId: string,
  data: object,
): BankMessage {
  const event = {
    ...{ specversion: '1.0', id, source: `urn:uuid:${bankId}`, type, subject },
    ...{ time: timestamp.toISOString(), sequence, traceparent, datacontenttype: 'application/json', data },
  };
  return { id, type, accountId, timestamp, body: JSON.stringify(event), traceparent };
}
