import type { ErrorCode, FieldProblem, HoldStatus } from './generated/api/types.gen.js';

/** A code of the API, of this client, or, where an answer has none, `HTTP_` and its status. */
export type BankErrorCode = ErrorCode | 'NETWORK_ERROR' | 'TIMEOUT' | `HTTP_${number}`;

interface Facts {
  readonly code: BankErrorCode;
  readonly status: number;
  readonly requestId?: string | undefined;
  readonly body?: unknown;
  readonly retryAfterMs?: number | undefined;
  readonly location?: string | undefined;
  readonly cause?: unknown;
}

/** Any failure of a call, except that of its own `AbortSignal`, whose reason is thrown as it is. */
export class BankError extends Error {
  readonly code: BankErrorCode;
  /** 0: there was no answer. */
  readonly status: number;
  /** What the log of the service has it under. */
  readonly requestId: string | undefined;
  /** What was answered: JSON where it is, otherwise text. */
  readonly body: unknown;
  /** How long the service asks to wait before the next try. */
  readonly retryAfterMs: number | undefined;
  /** The path of what the error is about. */
  readonly location: string | undefined;
  /**
   * Whether the call may have been applied nevertheless: one of its tries got no answer, or one that does not know. Only
   * the same call with the same key tells.
   */
  mayBeApplied = false;

  constructor(message: string, facts: Facts) {
    super(message, { cause: facts.cause });
    this.name = new.target.name;
    this.code = facts.code;
    this.status = facts.status;
    this.requestId = facts.requestId;
    this.body = facts.body;
    this.retryAfterMs = facts.retryAfterMs;
    this.location = facts.location;
  }

  protected member(name: string): unknown {
    return (this.body as Record<string, unknown> | null | undefined)?.[name];
  }
}

/** No answer arrived: the connection failed, or broke before the answer was complete. */
export class NetworkError extends BankError {}

/** No answer arrived in time, or what was waited for did not happen in time. */
export class TimeoutError extends BankError {}

/** 400: the request is wrong, and stays so. */
export class InvalidRequestError extends BankError {
  constructor(message: string, facts: Facts) {
    super(message, facts);
    const problems = this.details.map(({ field, message }) => `${field} ${message}`);
    if (problems.length > 0) this.message += `: ${problems.join('; ')}`;
  }

  get details(): readonly FieldProblem[] {
    return (this.member('details') as FieldProblem[] | undefined) ?? [];
  }
}

/** 401: no credential, or one that is not valid any more. */
export class UnauthorizedError extends BankError {}

/** 403: the credential lacks a scope. */
export class ForbiddenError extends BankError {}

/** 404: it does not exist, or belongs to another owner. `code` says what. */
export class NotFoundError extends BankError {}

/** 409, or 412 with `ifMatch`: the account has another version. Read it, decide again. */
export class VersionMismatchError extends BankError {
  get currentVersion(): number {
    return this.member('CurrentVersion') as number;
  }
}

/** 412: the account has another revision than `ifMatch`. */
export class RevisionMismatchError extends BankError {
  get currentRevision(): number {
    return this.member('currentRevision') as number;
  }
}

abstract class KeyError extends BankError {
  /** The transaction (`txn…`), transfer (`tr…`), hold (`hold…`) or account (a number) that the key belongs to. */
  get id(): string | number | undefined {
    const names = ['transactionId', 'transferId', 'holdId', 'accountId'];
    return names.map((name) => this.member(name)).find((id) => id !== undefined) as
      string | number | undefined;
  }
}

/**
 * 409: the caller's idempotency key was used before, for the same request. What it asks for is done, as `id`. With a
 * `cause`, it was this call that did it, and only the result could not be read.
 */
export class DuplicateError extends KeyError {}

/** 422: the caller's idempotency key was used before, for another request. Nothing of this one is done. */
export class IdempotencyKeyReusedError extends KeyError {}

/** 422: less is available than asked for. */
export class InsufficientBalanceError extends BankError {}

/** 409: the hold was captured or voided, or has expired. */
export class HoldNotActiveError extends BankError {
  get holdStatus(): HoldStatus {
    return this.member('holdStatus') as HoldStatus;
  }
}

/** 429, after all retries. */
export class RateLimitedError extends BankError {}

/** 408 or 503, after all retries: the service or its database does not work just now. */
export class UnavailableError extends BankError {}

/** 503, after all retries: the service does not know whether it was applied. */
export class OutcomeUnknownError extends BankError {}

type ErrorClass = new (message: string, facts: Facts) => BankError;

/** Codes that say more than their status does. */
const CLASS_OF_CODE: Partial<Record<ErrorCode, ErrorClass>> = {
  VERSION_MISMATCH: VersionMismatchError,
  PRECONDITION_FAILED: VersionMismatchError,
  REVISION_MISMATCH: RevisionMismatchError,
  DUPLICATE_TRANSACTION: DuplicateError,
  DUPLICATE_TRANSFER: DuplicateError,
  DUPLICATE_HOLD: DuplicateError,
  DUPLICATE_ACCOUNT: DuplicateError,
  IDEMPOTENCY_KEY_REUSED: IdempotencyKeyReusedError,
  INSUFFICIENT_BALANCE: InsufficientBalanceError,
  HOLD_NOT_ACTIVE: HoldNotActiveError,
  OUTCOME_UNKNOWN: OutcomeUnknownError,
};

/** All others, so that a code of a later release finds its class, too. */
const CLASS_OF_STATUS: Readonly<Record<number, ErrorClass>> = {
  400: InvalidRequestError,
  401: UnauthorizedError,
  403: ForbiddenError,
  404: NotFoundError,
  408: UnavailableError,
  429: RateLimitedError,
  502: UnavailableError,
  503: UnavailableError,
  504: UnavailableError,
};

/** The error that an answer is. `text` is its body. */
export function errorOf(response: Response, text: string): BankError {
  const { status, headers } = response;
  const code = (headers.get('X-Error-Code') ?? `HTTP_${status}`) as BankErrorCode;
  const body = jsonOr(text);
  const { error } = (typeof body === 'object' && body !== null ? body : {}) as { error?: unknown };
  const OwnClass = CLASS_OF_CODE[code as ErrorCode] ?? CLASS_OF_STATUS[status] ?? BankError;
  return new OwnClass(typeof error === 'string' ? error : `HTTP status ${status}`, {
    ...{ code, status, body },
    requestId: headers.get('X-Request-Id') ?? undefined,
    retryAfterMs: retryAfterOf(headers.get('Retry-After')),
    location: headers.get('Location') ?? undefined,
  });
}

function jsonOr(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

/** Seconds, or a date of HTTP. @returns milliseconds from now; undefined: there is none, or it can't be read */
export function retryAfterOf(value: string | null, now = Date.now()): number | undefined {
  if (value === null) return undefined;
  if (/^\d{1,9}$/.test(value)) return Number(value) * 1000;
  const date = Date.parse(value);
  return Number.isNaN(date) ? undefined : Math.max(0, date - now);
}
