import { BankError, DuplicateError, errorOf, NetworkError, TimeoutError } from './errors.js';
import { backoffMs, Deadline, sleep } from './waiting.js';

/** For one call, or, given to the client, for each. */
export interface Limits {
  /** For one try, until its answer is complete. Default: 30,000. */
  readonly timeoutMs?: number;
  /** Tries after the first one. Default: 5. */
  readonly maxRetries?: number;
  /** For all tries and the waits between them. Default: 90,000. */
  readonly maxElapsedMs?: number;
}

export interface CallOptions extends Limits {
  /** Ends the call; its reason is thrown. Whether a posting was applied is then not known. */
  readonly signal?: AbortSignal | undefined;
}

/** What the transport must know of a call to repeat it. */
export interface Repetition {
  /** It repeats itself exactly, although it is no GET and has no `Idempotency-Key`. */
  readonly isRepeatable?: boolean;
  /** Nobody else knows its key, so whatever was done with the key, this call did. */
  readonly hasOwnKey?: boolean;
  /** Where its result is, if not at the `Location` of a duplicate. */
  readonly resultPath?: string;
}

export interface TransportSettings extends Required<Limits> {
  /** Without a slash at its end. */
  readonly baseUrl: string;
  readonly fetch: (url: string, init: RequestInit) => Promise<Response>;
  /** Asked before each try. */
  readonly token: ((signal: AbortSignal) => string | Promise<string>) | undefined;
}

const BASE_DELAY_MS = 200;
const MAX_DELAY_MS = 10_000;
/** Answers that may be another one after a while; 502 and 504 come from proxies. */
const TRANSIENT = new Set([408, 429, 502, 503, 504]);
/** Errors of the service that do not say whether the request was applied. */
const UNCERTAIN = new Set<string>(['INTERNAL_ERROR', 'OUTCOME_UNKNOWN']);

type Call = CallOptions & Repetition;

/** Nothing was sent. Its cause is thrown. */
class CredentialError extends Error {}

/** Sends requests, again where they fail, but never so that anything is applied twice. */
export class Transport {
  constructor(private readonly settings: TransportSettings) {}

  get baseUrl(): string {
    return this.settings.baseUrl;
  }

  /** What the generated client takes for `fetch`. Failures are thrown as `BankError`. */
  fetch(call: Call = {}): typeof fetch {
    return ((request: Request) => this.send(request, call)) as typeof fetch;
  }

  /** @returns a complete answer, or a stream of events that begins @throws BankError */
  async send(request: Request, call: Call): Promise<Response> {
    const { timeoutMs, maxRetries, maxElapsedMs } = { ...this.settings, ...defined(call) };
    // That of a Request follows it only as long as nobody has forgotten the Request.
    const signal = call.signal ?? request.signal;
    const giveUpAt = performance.now() + maxElapsedMs;
    const body = (await request.text()) || undefined;
    const changesNothing = request.method === 'GET';
    const isRepeatable = changesNothing || call.isRepeatable || request.headers.has('Idempotency-Key');
    let mayBeApplied = false;
    for (let attempt = 0; ; attempt++) {
      const leftMs = giveUpAt - performance.now();
      const result = await this.attempt(request, { body, signal, timeoutMs: Math.min(timeoutMs, leftMs) });
      if (!(result instanceof BankError)) return result;
      if (result instanceof DuplicateError && (attempt > 0 || call.hasOwnKey))
        return this.resultOf(result, request, { ...call, signal, maxElapsedMs: leftMs });
      mayBeApplied ||= !changesNothing && isUncertain(result);
      result.mayBeApplied = mayBeApplied;
      const delayMs = (result.retryAfterMs ?? 0) + backoffMs(attempt, BASE_DELAY_MS, MAX_DELAY_MS);
      const isInTime = performance.now() + delayMs < giveUpAt;
      if (!isRepeatable || !isTransient(result) || attempt >= maxRetries || !isInTime) throw result;
      await sleep(delayMs, signal);
    }
  }

  /** @returns the complete answer, or what went wrong; a stream of events is returned as it begins */
  private async attempt(
    { method, url, headers }: Request,
    { body, signal, timeoutMs }: { body: string | undefined; signal: AbortSignal; timeoutMs: number },
  ): Promise<Response | BankError> {
    const late = new TimeoutError(`no answer within ${Math.round(timeoutMs)} ms`, {
      ...{ code: 'TIMEOUT', status: 0 },
    });
    const deadline = new Deadline(timeoutMs, signal, late);
    try {
      const init = { method, body, signal: deadline.signal };
      const allHeaders = await this.withCredential(headers, deadline.signal);
      const response = await this.settings.fetch(url, { ...init, headers: allHeaders });
      if (response.ok && isEventStream(response)) {
        deadline.stopClock();
        return response;
      }
      const bytes = await response.arrayBuffer();
      deadline.end();
      if (!response.ok) return errorOf(response, new TextDecoder().decode(bytes));
      // Some statuses may have no body, not even an empty one.
      return new Response(bytes.byteLength > 0 ? bytes : null, response);
    } catch (cause) {
      deadline.end();
      signal.throwIfAborted();
      if (deadline.signal.aborted) return late;
      if (cause instanceof CredentialError) throw cause.cause;
      return new NetworkError('no answer arrived', { code: 'NETWORK_ERROR', status: 0, cause });
    }
  }

  private async withCredential(headers: Headers, signal: AbortSignal): Promise<Headers> {
    const { token } = this.settings;
    const all = new Headers(headers);
    try {
      if (token) all.set('Authorization', `Bearer ${await token(signal)}`);
    } catch (cause) {
      throw new CredentialError('there is no token', { cause });
    }
    return all;
  }

  /** What a call has made whose earlier answer was lost. */
  private async resultOf(duplicate: DuplicateError, request: Request, call: Call): Promise<Response> {
    const url = this.urlOf(call.resultPath ?? duplicate.location ?? '/');
    const headers = { Accept: request.headers.get('Accept') ?? '' };
    try {
      return await this.send(new Request(url, { headers }), call);
    } catch (error) {
      call.signal?.throwIfAborted();
      throw Object.assign(duplicate, { cause: error });
    }
  }

  /** Never another server's, because the credential goes there. */
  private urlOf(location: string): string {
    const base = new URL(this.settings.baseUrl);
    const prefix = base.pathname.replace(/\/$/, '');
    const { pathname } = new URL(location, base);
    return base.origin + (pathname.startsWith(`${prefix}/`) ? pathname : prefix + pathname);
  }
}

export function isTransient(error: unknown): error is BankError {
  if (!(error instanceof BankError)) return false;
  return error instanceof NetworkError || error instanceof TimeoutError || TRANSIENT.has(error.status);
}

export const isEventStream = ({ headers }: Response): boolean =>
  headers.get('Content-Type')?.startsWith('text/event-stream') ?? false;

function isUncertain({ code, status }: BankError): boolean {
  const isOfProxy = code === `HTTP_${status}`;
  return status === 0 || UNCERTAIN.has(code) || (isOfProxy && (status >= 500 || status === 408));
}

/** Without the members that are undefined, which would hide the settings. */
const defined = <T extends object>(object: T): T =>
  Object.fromEntries(Object.entries(object).filter(([, value]) => value !== undefined)) as T;
