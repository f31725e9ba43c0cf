import { errorOf, NetworkError, TimeoutError } from './errors.js';
import { EventStreamParser, type StreamedEvent } from './event-stream.js';
import type { BankEvent } from './generated/events/types.gen.js';
import { isEventStream, isTransient } from './transport.js';
import { backoffMs, sleep } from './waiting.js';

export interface LiveEventsOptions {
  /** The `id` of the last event that was dealt with: the next one is the first. Default: from now on. */
  readonly lastEventId?: string | undefined;
  /** Ends the stream; its reason is thrown. */
  readonly signal?: AbortSignal | undefined;
  /** A connection that says nothing for so long, not even that it lives, is replaced. Default: 45,000. */
  readonly heartbeatTimeoutMs?: number;
  /** So many connections in a row may fail. Default: 20, which takes some minutes. */
  readonly maxReconnects?: number;
}

export interface LiveEvent<T = BankEvent> {
  /** What resumes the stream behind this event, as `lastEventId`. */
  readonly id: string;
  readonly type: string;
  readonly data: T;
}

/** Opens a connection. @throws BankError */
export type Connect = (lastEventId: string | undefined, signal: AbortSignal) => Promise<Response>;

const BASE_DELAY_MS = 1_000;
const MAX_DELAY_MS = 30_000;
/** A connection that lasted for so long has worked, even if nothing happened in the meantime. */
const STEADY_MS = 30_000;
/** In characters. An event of the bank has a few thousand. */
const MAX_EVENT_LENGTH = 1_000_000;

/**
 * The events of a stream, in order, over as many connections as it takes. The next one is read when the last one was
 * dealt with, so a slow consumer slows the sender down, and at most one piece of the stream is in memory.
 *
 * @throws BankError the stream is refused, or `maxReconnects` connections in a row failed
 */
export async function* liveEvents<T = BankEvent>(
  connect: Connect,
  { signal, heartbeatTimeoutMs = 45_000, maxReconnects = 20, ...options }: LiveEventsOptions = {},
): AsyncGenerator<LiveEvent<T>, void, undefined> {
  let { lastEventId } = options;
  let baseDelayMs = BASE_DELAY_MS;
  for (let failures = 0; ; failures++) {
    const openedAt = performance.now();
    const connection = new AbortController();
    const end = () => connection.abort(signal?.reason);
    signal?.addEventListener('abort', end);
    let problem: unknown = new NetworkError('the stream ended', { code: 'NETWORK_ERROR', status: 0 });
    try {
      signal?.throwIfAborted();
      const response = await connect(lastEventId, connection.signal);
      // What a server says that wants no more connections.
      if (response.status === 204) return;
      if (!isEventStream(response)) throw errorOf(response, 'the answer is no stream of events');
      const parser = new EventStreamParser(MAX_EVENT_LENGTH, lastEventId);
      for await (const { id, type, data } of eventsOf(response, parser, heartbeatTimeoutMs)) {
        baseDelayMs = Math.min(parser.retryMs ?? BASE_DELAY_MS, MAX_DELAY_MS);
        lastEventId = id || undefined;
        if (data === undefined) continue;
        failures = 0;
        yield { id, type, data: JSON.parse(data) as T };
      }
    } catch (error) {
      signal?.throwIfAborted();
      if (!isTransient(error)) throw error;
      problem = error;
    } finally {
      signal?.removeEventListener('abort', end);
      connection.abort();
    }
    if (performance.now() - openedAt > STEADY_MS) failures = 0;
    if (failures >= maxReconnects) throw problem;
    const askedMs = isTransient(problem) ? (problem.retryAfterMs ?? 0) : 0;
    await sleep(askedMs + backoffMs(failures, baseDelayMs, MAX_DELAY_MS), signal);
  }
}

async function* eventsOf(
  response: Response,
  parser: EventStreamParser,
  heartbeatTimeoutMs: number,
): AsyncGenerator<StreamedEvent, void, undefined> {
  if (!response.body) return;
  const reader: ReadableStreamDefaultReader<Uint8Array> = response.body.getReader();
  const decoder = new TextDecoder();
  for (;;) {
    const { done, value } = await inTime(reader.read(), heartbeatTimeoutMs);
    if (done) return;
    yield* parser.push(decoder.decode(value, { stream: true }));
  }
}

/** Only waits: whoever caught the error ends the connection. */
async function inTime<T>(reading: Promise<T>, timeoutMs: number): Promise<T> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<never>((_, reject) => {
    const error = new TimeoutError(`no sign of life for ${timeoutMs} ms`, { code: 'TIMEOUT', status: 0 });
    timer = setTimeout(() => reject(error), timeoutMs);
  });
  try {
    return await Promise.race([reading.catch(networkError), late]);
  } finally {
    clearTimeout(timer);
  }
}

function networkError(cause: unknown): never {
  throw new NetworkError('the stream broke', { code: 'NETWORK_ERROR', status: 0, cause });
}
