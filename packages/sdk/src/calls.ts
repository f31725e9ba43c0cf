import type { Client } from './generated/api/client/index.js';
import type { Connect } from './live-events.js';
import { Pages, type Page } from './pages.js';
import type { CallOptions, Repetition, Transport } from './transport.js';

/** For a call that posts something. */
export interface PostOptions extends CallOptions {
  /** Default: a new one for each call. One of your own makes the call safe to repeat after a crash, too. */
  readonly idempotencyKey?: string;
}

/** For a call that posts to one account. */
export interface ConditionalPostOptions extends PostOptions {
  /** The `ETag` that the account must have. */
  readonly ifMatch?: string;
}

type NamesOf<T> = Record<keyof Required<T>, true>;
const CALL_OPTIONS: NamesOf<CallOptions> = {
  ...{ signal: true, timeoutMs: true, maxRetries: true, maxElapsedMs: true },
};
const POST_OPTIONS: NamesOf<ConditionalPostOptions> = {
  ...CALL_OPTIONS,
  idempotencyKey: true,
  ifMatch: true,
};

/** What each method of the client gives to the generated function that it calls. */
export class Calls {
  constructor(
    readonly http: Client,
    readonly transport: Transport,
  ) {}

  /** For a call that only reads. */
  reading(call: CallOptions = {}) {
    return this.sending(call, {});
  }

  /** For a call that posts; its key stays the same over all tries. */
  posting({ idempotencyKey, ifMatch, ...call }: ConditionalPostOptions, repetition: Repetition = {}) {
    const hasOwnKey = idempotencyKey === undefined;
    return {
      ...this.sending(call, { hasOwnKey, ...repetition }),
      headers: {
        'Idempotency-Key': idempotencyKey ?? crypto.randomUUID(),
        ...(ifMatch !== undefined && { 'If-Match': ifMatch }),
      },
    };
  }

  /** For a stream of events. Its reader reopens it. */
  streaming(path: string): Connect {
    const { baseUrl } = this.transport;
    return (lastEventId, signal) => {
      const headers = { Accept: 'text/event-stream', ...(lastEventId && { 'Last-Event-ID': lastEventId }) };
      return this.transport.send(new Request(baseUrl + path, { headers, signal }), { maxRetries: 0, signal });
    };
  }

  sending(call: CallOptions, repetition: Repetition) {
    return {
      client: this.http,
      throwOnError: true as const,
      fetch: this.transport.fetch({ ...call, ...repetition }),
      ...(call.signal && { signal: call.signal }),
    };
  }
}

/** Of what a method takes in one object, the options of the call. */
export function splitCall<T extends CallOptions>(all: T): [CallOptions, Omit<T, keyof CallOptions>] {
  return split(all, CALL_OPTIONS) as [CallOptions, Omit<T, keyof CallOptions>];
}

/** Of what a method takes in one object, the options of the call, and the body. */
export function splitPost<T extends ConditionalPostOptions>(
  all: T,
): [ConditionalPostOptions, Omit<T, keyof ConditionalPostOptions>] {
  return split(all, POST_OPTIONS) as [ConditionalPostOptions, Omit<T, keyof ConditionalPostOptions>];
}

function split(all: object, names: Readonly<Record<string, true>>): [object, object] {
  const entries = Object.entries(all);
  return [
    Object.fromEntries(entries.filter(([name]) => Object.hasOwn(names, name))),
    Object.fromEntries(entries.filter(([name]) => !Object.hasOwn(names, name))),
  ];
}

/** What is answered, without the request and the response. */
export async function dataOf<T>(answer: Promise<{ data: T }>): Promise<T> {
  return (await answer).data;
}

/** What is answered to a posting that is no dry run and not queued, of all that could be. */
export async function postedOf<T extends All, All = unknown>(answer: Promise<{ data: All }>): Promise<T> {
  return (await answer).data as T;
}

/** A list that a generated function loads. */
export function pagesOf<T>(load: (cursor: { cursor?: string }) => Promise<{ data: Page<T> }>): Pages<T> {
  return new Pages((cursor) => dataOf(load(cursor === undefined ? {} : { cursor })));
}

/** The filters of a list, without the cursor, which `Pages` has. */
export type FilterOf<T extends { query?: unknown }> = Omit<NonNullable<T['query']>, 'cursor'>;
