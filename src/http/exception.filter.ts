import { Catch, HttpException, Logger, type ArgumentsHost, type ExceptionFilter } from '@nestjs/common';
import type { FastifyReply, FastifyRequest } from 'fastify';
import {
  CredentialStoreUnavailableError,
  ForbiddenError,
  ProviderUnavailableError,
  UnauthorizedError,
} from '../access/access-errors.js';
import { SummaryNotReadyError } from '../ledger/read/summary-reader.js';
import { LedgerError, type LedgerFailure } from '../domain/errors.js';
import { WebhookError } from '../messaging/webhooks/webhook-error.js';
import { errorAnswer, invalidRequest, writeError, type ErrorAnswer } from './errors/error-answer.js';
import { type ErrorCode } from './errors/catalogue.js';
import { answerToRepeat } from './idempotency.interceptor.js';
import {
  AboutAccountDto,
  HoldNotActiveDto,
  PartOfTransferDto,
  RevisionMismatchDto,
  ServerCrashesDto,
  VersionMismatchDto,
} from './openapi/error-bodies.js';
import { EventsGoneError } from '../messaging/event-log.js';
import { MethodNotAllowedError } from './server/paths.js';
import { InvalidRequestError } from './validation/invalid-request.js';
import { RefusedBodyError } from './validation/refused-body.js';
import { TooManyRequestsError } from '../access/too-many-requests.js';

const RETRY_SOON = { headers: { 'retry-after': 1 } };
const INTERNAL_ERROR = errorAnswer('INTERNAL_ERROR');

/** Maps every failure to its answer, except the repeats of {@link answerToRepeat}. */
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
    const reply = http.getResponse<FastifyReply>();
    // An answer that had begun was cut; nothing more can be said, and trying to would end the process.
    if (!reply.raw.headersSent) sendError(reply, answer);
  }
}

export function sendError(reply: FastifyReply, answer: ErrorAnswer): void {
  const { type, text } = writeError(answer, reply.request.headers);
  // A route that answers with another type has already set it.
  void reply
    .status(answer.status)
    .headers({ ...answer.headers, 'content-type': type })
    .send(text);
}

export function answerOf(error: unknown): ErrorAnswer {
  if (error instanceof LedgerError) return answerOfLedger(error);
  if (error instanceof InvalidRequestError) return invalidRequest(error.problems);
  if (error instanceof RefusedBodyError) {
    const isEncoded = error.code === 'UNSUPPORTED_ENCODING';
    return errorAnswer(error.code, isEncoded ? { headers: { 'accept-encoding': 'identity' } } : {});
  }
  if (error instanceof TooManyRequestsError) {
    return errorAnswer('TOO_MANY_REQUESTS', { headers: { 'retry-after': error.retryAfterSeconds } });
  }
  if (error instanceof UnauthorizedError) {
    return challenge('UNAUTHORIZED', error.given ? 'Bearer error="invalid_token"' : 'Bearer');
  }
  if (error instanceof ForbiddenError) {
    const scope = error.scope === undefined ? '' : `, scope="${error.scope}"`;
    return challenge('FORBIDDEN', `Bearer error="insufficient_scope"${scope}`);
  }
  if (error instanceof ProviderUnavailableError) {
    return errorAnswer('IDENTITY_PROVIDER_UNAVAILABLE', RETRY_SOON);
  }
  if (error instanceof CredentialStoreUnavailableError) {
    return errorAnswer('CREDENTIAL_STORE_UNAVAILABLE', RETRY_SOON);
  }
  if (error instanceof WebhookError) return errorAnswer(error.code);
  if (error instanceof SummaryNotReadyError) return errorAnswer('SUMMARY_NOT_READY', RETRY_SOON);
  if (error instanceof EventsGoneError) return errorAnswer('EVENTS_GONE');
  if (error instanceof MethodNotAllowedError) {
    return errorAnswer('METHOD_NOT_ALLOWED', { headers: { allow: error.allow } });
  }
  if (error instanceof HttpException) return answerOfHttpException(error);
  return answerOfFastifyError(error);
}

/** Names the required credential (RFC 6750, section 3). */
const challenge = (code: ErrorCode, header: string) =>
  errorAnswer(code, { headers: { 'www-authenticate': header } });

function answerOfLedger({ failure, transferId }: LedgerError): ErrorAnswer {
  const answer = answerOfFailure(failure);
  if (transferId === undefined) return answer;
  return { ...answer, headers: { ...answer.headers, location: `/transfers/tr${transferId}` } };
}

function answerOfFailure(failure: LedgerFailure): ErrorAnswer {
  switch (failure.code) {
    case 'DATABASE_FAILED':
      return errorAnswer(failure.code, { body: new ServerCrashesDto(failure.currentVersion) });
    case 'VERSION_MISMATCH':
      return errorAnswer(failure.code, {
        body: new VersionMismatchDto(failure.currentVersion, failure.accountId),
      });
    case 'PRECONDITION_FAILED':
      return errorAnswer(failure.code, { body: new VersionMismatchDto(failure.currentVersion) });
    case 'REVISION_MISMATCH':
      return errorAnswer(failure.code, { body: new RevisionMismatchDto(failure.currentRevision) });
    case 'HOLD_NOT_ACTIVE':
      return errorAnswer(failure.code, { body: new HoldNotActiveDto(failure.status) });
    case 'PART_OF_TRANSFER':
      return errorAnswer(failure.code, { body: new PartOfTransferDto(failure.transferId) });
    case 'DUPLICATE_TRANSACTION':
    case 'DUPLICATE_TRANSFER':
    case 'DUPLICATE_HOLD':
    case 'DUPLICATE_ACCOUNT':
    case 'IDEMPOTENCY_KEY_REUSED':
    case 'OPENING_KEY_REUSED':
      return answerToRepeat(failure);
    case 'OVERLOADED':
    case 'OUTCOME_UNKNOWN':
    case 'BROKER_UNAVAILABLE':
    case 'TOO_MANY_PENDING_TRANSFERS':
      return errorAnswer(failure.code, RETRY_SOON);
    case 'ACCOUNT_NOT_FOUND':
    case 'ACCOUNT_FROZEN':
    case 'DEBITS_BLOCKED':
    case 'ACCOUNT_CLOSED':
    case 'INSUFFICIENT_BALANCE':
    case 'BALANCE_LIMIT_EXCEEDED':
    case 'COUNTERPARTY_REFUSED':
    case 'CURRENCY_MISMATCH':
      return failure.accountId === undefined
        ? errorAnswer(failure.code)
        : errorAnswer(failure.code, { body: new AboutAccountDto(failure.code, failure.accountId) });
    case 'TOO_MANY_DECIMALS':
    case 'LEGS_UNBALANCED':
    case 'TIME_IN_FUTURE':
    case 'NO_LONGER_VALID':
      return invalidRequest([fieldProblemOf(failure)]);
    case 'NOT_YET_OPENED':
    case 'VERSION_NOT_REACHED':
    case 'TRANSACTION_NOT_FOUND':
    case 'TRANSFER_NOT_FOUND':
    case 'HOLD_NOT_FOUND':
    case 'SUBMISSION_NOT_FOUND':
    case 'SENDER_REFUSED':
    case 'SUBMISSION_DISCARDED':
    case 'DIFFERENT_SHARDS':
    case 'HOLD_BEING_CAPTURED':
    case 'TRANSFER_CANCELLED':
    case 'TRANSFER_NOT_COMPLETED':
    case 'TOO_MANY_HOLDS':
    case 'TOO_MANY_CAPTURES':
    case 'HOLD_EXCEEDED':
    case 'NOT_REVERSIBLE':
    case 'NOT_REVERSIBLE_IN_PART':
    case 'REVERSAL_EXCEEDED':
    case 'ACCOUNT_NOT_EMPTY':
    case 'OVERDRAFT_IN_USE':
    case 'STATEMENT_TOO_LONG':
    case 'NOT_APPLIED':
      return errorAnswer(failure.code);
  }
}

type OfField = 'TOO_MANY_DECIMALS' | 'LEGS_UNBALANCED' | 'TIME_IN_FUTURE' | 'NO_LONGER_VALID';

function fieldProblemOf(failure: Extract<LedgerFailure, { readonly code: OfField }>) {
  switch (failure.code) {
    case 'TOO_MANY_DECIMALS':
      return { field: failure.field, message: decimalsOf(failure.decimals) };
    case 'LEGS_UNBALANCED':
      return { field: 'legs', message: 'must withdraw as much as they deposit' };
    case 'TIME_IN_FUTURE':
      return { field: 'at', message: 'must not be in the future' };
    case 'NO_LONGER_VALID':
      return { field: failure.field, message: failure.message };
  }
}

const decimalsOf = (decimals: number) =>
  `must have ${decimals === 0 ? 'no decimals' : `at most ${decimals} decimals`}, like the account's currency`;

/** Nest's own exceptions: an unknown route, a failed health check (whose body says what is down). */
function answerOfHttpException(error: HttpException): ErrorAnswer {
  const status = error.getStatus();
  const response = error.getResponse();
  if (status === 503 && typeof response === 'object') return errorAnswer('NOT_READY', { body: response });
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
      return invalidRequest([]);
    case 404:
      return errorAnswer('NOT_FOUND');
    case 408:
      return errorAnswer('NOT_RECEIVED');
    case 413:
      return errorAnswer('BODY_TOO_LARGE');
    case 415:
      return errorAnswer('UNSUPPORTED_CONTENT_TYPE');
    default:
      return status >= 400 && status < 500 ? { ...errorAnswer('REQUEST_REFUSED'), status } : INTERNAL_ERROR;
  }
}
