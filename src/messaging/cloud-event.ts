import { z } from 'zod';

/** The texts in events: as `$defs` of their schemas in docs/events, which both sides of a queue keep to. */
export const text = {
  transactionId: z.string().regex(/^txn[1-9]\d{0,15}$/),
  transferId: z.string().regex(/^tr[1-9]\d{0,15}$/),
  holdId: z.string().regex(/^hold[1-9]\d{0,15}$/),
  account: z.string().regex(/^accounts\/[1-9]\d{0,15}$/),
  money: z.string().regex(/^(0|[1-9]\d{0,15})(\.\d{1,4})?$/),
  balance: z.string().regex(/^-?(0|[1-9]\d{0,15})(\.\d{1,4})?$/),
  currency: z.string().regex(/^[A-Z]{3}$/),
  time: z.string().regex(/^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{3}Z$/),
  day: z.string().regex(/^\d{4}-\d{2}-\d{2}$/),
  reference: z.string().min(1).max(255),
} as const;

/** What all events have: they are CloudEvents 1.0 in JSON. `id` is unique together with `source`, the bank. */
export const ENVELOPE = {
  specversion: z.literal('1.0'),
  source: z.string().regex(/^urn:uuid:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/),
  time: text.time,
  traceparent: z
    .string()
    .regex(/^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$/)
    .optional(),
  datacontenttype: z.literal('application/json'),
} as const;

/** The version of an account as the CloudEvents attribute `sequence`. */
export const SEQUENCE = {
  sequence: z
    .string()
    .regex(/^[1-9]\d{0,15}$/)
    .optional(),
} as const;
