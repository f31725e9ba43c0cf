import type { BankEvent } from '../bank-event.js';

/** An event in the log of a shard. */
export interface EventPlace {
  /** The row's position. */
  readonly position: number;
  /** Which of the row's events, from 0 on. */
  readonly index: number;
}

/** How one try to deliver an event went. */
export interface Attempt extends EventPlace {
  readonly eventId: string;
  readonly type: BankEvent['type'];
  readonly accountId: number;
  /** 1 for the first. */
  readonly number: number;
  readonly startedAt: string;
  readonly durationMs: number;
  /** The status of the answer; undefined: there was none. */
  readonly status: number | undefined;
  /** The beginning of the answer's body, or why there was no answer. */
  readonly answer: string | undefined;
}

/** What an endpoint has not accepted. */
export interface Failure {
  readonly last: Attempt;
  readonly firstFailedAt: string;
  readonly nextAt: string;
  /** True: later events of its account do not wait for it any more. */
  readonly givenUp: boolean;
  /** Later events of its account, which wait for it. */
  readonly waiting: readonly EventPlace[];
}

/**
 * What an endpoint has to remember of one shard besides its position in the log: the exceptions. All rows up to the
 * position were accepted, except for these.
 */
export interface DeliveryState {
  readonly failures: readonly Failure[];
  /** The last attempts, the newest first. */
  readonly recent: readonly Attempt[];
  /** Since when no event was accepted while some were tried; undefined: the last one was. */
  readonly failingSince: string | undefined;
  /** Events that were given up for good, after three days. */
  readonly dropped: number;
}

export const NO_STATE: DeliveryState = { failures: [], recent: [], failingSince: undefined, dropped: 0 };

/** The receiver that is a webhook's endpoint. */
export const receiverOf = (webhookId: number): string => `webhook:${webhookId}`;

export function readState(text: string | null): DeliveryState {
  return text === null ? NO_STATE : { ...NO_STATE, ...(JSON.parse(text) as Partial<DeliveryState>) };
}
