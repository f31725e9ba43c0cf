import { Catch, HttpException, Logger, type ArgumentsHost, type ExceptionFilter } from '@nestjs/common';
import type { FastifyReply, FastifyRequest } from 'fastify';
import {
  CredentialStoreUnavailableError,
  ForbiddenError,
  ProviderUnavailableError,
  UnauthorizedError,
} from '../access/access-errors.js';
import { LedgerError, type LedgerFailure } from '../domain/errors.js';
import { JSON_TYPE } from './server/connections.js';
import {
  ErrorDto,
  InvalidRequestDto,
  NotReceivedDto,
  ServerCrashesDto,
  VersionMismatchDto,
} from './openapi/error-bodies.js';
import { answerToRepeat } from './idempotency.interceptor.js';
import { InvalidRequestError } from './validation/invalid-request.js';
import {
  TooManyTransactionsError,
  UnsupportedCharsetError,
  UnsupportedEncodingError,
} from './validation/refused-body.js';
import { TooManyRequestsError } from '../access/too-many-requests.js';

export interface ErrorAnswer {
  readonly status: number;
  readonly body: object;
  readonly retryAfterSeconds?: number;
  /** The location of the resource that the first such request created. */
  readonly location?: string;
  /** The required credential (RFC 6750, section 3). */
  readonly challenge?: string;
  /** The content codings that a body may have (RFC 9110, 12.5.3). */
  readonly acceptEncoding?: string;
}

const RETRY_AFTER_SECONDS = 1;
const INTERNAL_ERROR: ErrorAnswer = { status: 500, body: new ErrorDto('Internal error') };

/** Maps every failure to its answer. No other code knows the status of an error, except {@link answerToRepeat}. */
@Catch()
export class GlobalExceptionFilter implements ExceptionFilter {
  private readonly logger = new Logger('HTTP');

  catch(error: unknown, host: ArgumentsHost): void {
    const http = host.switchToHttp();
    const answer = answerOf(error);
    if (answer === INTERNAL_ERROR) {
      // The answer reveals nothing of the defect; the request id leads to this line.
      this.logger.error({
        msg: 'internal error',
        requestId: http.getRequest<FastifyRequest>().id,
        err: error,
      });
    }
    sendError(http.getResponse<FastifyReply>(), answer);
  }
}

export function sendError(reply: FastifyReply, answer: ErrorAnswer): void {
  void withErrorHeaders(reply, answer);
  // A route that answers with another type has already set it.
  void reply.status(answer.status).header('content-type', JSON_TYPE).send(answer.body);
}

/** Adds the header fields of an error. */
export function withErrorHeaders(
  reply: FastifyReply,
  {
    retryAfterSeconds,
    location,
    challenge,
    acceptEncoding,
  }: Pick<ErrorAnswer, 'retryAfterSeconds' | 'location' | 'challenge' | 'acceptEncoding'>,
): FastifyReply {
  if (retryAfterSeconds !== undefined) void reply.header('retry-after', retryAfterSeconds);
  if (location !== undefined) void reply.header('location', location);
  if (challenge !== undefined) void reply.header('www-authenticate', challenge);
  if (acceptEncoding !== undefined) void reply.header('accept-encoding', acceptEncoding);
  return reply;
}

export function answerOf(error: unknown): ErrorAnswer {
  if (error instanceof LedgerError) return answerOfFailure(error.failure);
  if (error instanceof InvalidRequestError) {
    return { status: 400, body: new InvalidRequestDto(error.problems) };
  }
  if (error instanceof UnsupportedEncodingError) {
    return { status: 415, body: new ErrorDto(error.message), acceptEncoding: 'identity' };
  }
  if (error instanceof UnsupportedCharsetError) return { status: 415, body: new ErrorDto(error.message) };
  if (error instanceof TooManyTransactionsError) return { status: 413, body: new ErrorDto(error.message) };
  if (error instanceof TooManyRequestsError) {
    return { status: 429, body: new ErrorDto(error.message), retryAfterSeconds: error.retryAfterSeconds };
  }
  if (error instanceof UnauthorizedError) {
    const challenge = error.given ? 'Bearer error="invalid_token"' : 'Bearer';
    return { status: 401, body: new ErrorDto(error.message), challenge };
  }
  if (error instanceof ProviderUnavailableError || error instanceof CredentialStoreUnavailableError) {
    return { status: 503, body: new ErrorDto(error.message), retryAfterSeconds: RETRY_AFTER_SECONDS };
  }
  if (error instanceof ForbiddenError) {
    const scope = error.scope === undefined ? '' : `, scope="${error.scope}"`;
    return {
      status: 403,
      body: new ErrorDto(error.message),
      challenge: `Bearer error="insufficient_scope"${scope}`,
    };
  }
  if (error instanceof HttpException) return answerOfHttpException(error);
  return answerOfFastifyError(error);
}

function answerOfFailure(failure: LedgerFailure): ErrorAnswer {
  switch (failure.code) {
    case 'ACCOUNT_NOT_FOUND':
      return { status: 404, body: new ErrorDto('Account not found') };
    case 'TRANSACTION_NOT_FOUND':
      return { status: 404, body: new ErrorDto('Transaction not found') };
    case 'DATABASE_FAILED':
      return { status: 408, body: new ServerCrashesDto(failure.currentVersion) };
    case 'VERSION_MISMATCH':
      return { status: 409, body: new VersionMismatchDto(failure.currentVersion) };
    case 'PRECONDITION_FAILED':
      return { status: 412, body: new VersionMismatchDto(failure.currentVersion) };
    case 'INSUFFICIENT_BALANCE':
      return { status: 422, body: new ErrorDto('Insufficient Balance') };
    case 'BALANCE_LIMIT_EXCEEDED':
      return { status: 422, body: new ErrorDto('Balance limit exceeded') };
    case 'DUPLICATE_TRANSACTION':
    case 'DUPLICATE_ACCOUNT':
    case 'IDEMPOTENCY_KEY_REUSED':
    case 'OPENING_KEY_REUSED':
      return answerToRepeat(failure);
    case 'NOT_APPLIED':
      return { status: 424, body: new ErrorDto('Not applied') };
    case 'OVERLOADED':
      return { status: 503, body: new ErrorDto('Overloaded'), retryAfterSeconds: RETRY_AFTER_SECONDS };
    case 'OUTCOME_UNKNOWN':
      return { status: 503, body: new ErrorDto('Outcome unknown'), retryAfterSeconds: RETRY_AFTER_SECONDS };
  }
}

/** Nest's own exceptions: an unknown route, a failed health check (whose body says what is down). */
function answerOfHttpException(error: HttpException): ErrorAnswer {
  const status = error.getStatus();
  const response = error.getResponse();
  if (status === 503 && typeof response === 'object') return { status, body: response };
  return answerOfStatus(status);
}

/** Fastify's own errors: a body too large, a content type that is not JSON, a length that does not match. */
function answerOfFastifyError(error: unknown): ErrorAnswer {
  if (typeof error !== 'object' || error === null || !('statusCode' in error)) return INTERNAL_ERROR;
  return typeof error.statusCode === 'number' ? answerOfStatus(error.statusCode) : INTERNAL_ERROR;
}

function answerOfStatus(status: number): ErrorAnswer {
  switch (status) {
    case 400:
      return { status, body: new InvalidRequestDto([]) };
    case 404:
      return { status, body: new ErrorDto('Not found') };
    case 408:
      return { status, body: new NotReceivedDto() };
    case 413:
      return { status, body: new ErrorDto('Body too large') };
    case 414:
      return { status, body: new ErrorDto('URL too long') };
    case 415:
      return { status, body: new ErrorDto('Content type must be application/json') };
    default:
      return status >= 400 && status < 500
        ? { status, body: new ErrorDto('Request refused') }
        : INTERNAL_ERROR;
  }
}
