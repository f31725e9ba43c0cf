import { z } from 'zod';

const PLACE = {
  /** The position of its row in the log. */
  position: z.int().min(0),
  /** Which of the row's events it is, from 0 on. */
  index: z.int().min(0),
};

const ATTEMPT = z.object({
  ...PLACE,
  eventId: z.string(),
  type: z.string(),
  accountId: z.int(),
  /** 1 for the first. */
  number: z.int(),
  startedAt: z.iso.datetime(),
  durationMs: z.number(),
  /** The status of the answer; undefined: there was none. */
  status: z.int().optional(),
  /** The beginning of the answer's body, or why there was no answer. */
  answer: z.string().optional(),
});

const FAILURE = z.object({
  ...PLACE,
  accountId: z.int(),
  /** How the last try went; undefined: it is to be tried for the first time, or again because it was asked for. */
  last: ATTEMPT.optional(),
  /** When it was tried for the first time. */
  firstFailedAt: z.iso.datetime().optional(),
  nextAt: z.iso.datetime(),
  /** True: later events of its account do not wait for it, or do so no longer. */
  givenUp: z.boolean(),
  /** Later events of its account, which wait for it: position and index of each. */
  waiting: z.array(z.tuple([z.int().min(0), z.int().min(0)])),
});

const STATE = z.object({
  failures: z.array(FAILURE),
  /** The last attempts, the newest first. */
  recent: z.array(ATTEMPT),
  /** Since when no event was accepted while some were tried; undefined: the last one was. */
  failingSince: z.iso.datetime().optional(),
  /** Events that were dropped: after three days, or because the log has them no longer. */
  dropped: z.int(),
});

/** An event in the log of a shard. */
export type EventPlace = Readonly<{ position: number; index: number }>;

/** How one try to deliver an event went. */
export type Attempt = Readonly<z.infer<typeof ATTEMPT>>;

/** An event that an endpoint has not accepted. */
export type Failure = Readonly<z.infer<typeof FAILURE>>;

/**
 * What an endpoint has to remember of one shard besides its position in the log: the exceptions. All rows up to the
 * position were accepted, except for these.
 */
export type DeliveryState = Readonly<z.infer<typeof STATE>>;

export const NO_STATE: DeliveryState = { failures: [], recent: [], dropped: 0 };

/** The receiver that is a webhook's endpoint. */
export const receiverOf = (webhookId: number): string => `webhook:${webhookId}`;

/** What can't be read, such as a row of a backup that somebody has edited, counts as nothing. */
export function readState(text: string | null): DeliveryState {
  try {
    return STATE.safeParse(JSON.parse(text ?? 'null')).data ?? NO_STATE;
  } catch {
    return NO_STATE;
  }
}
