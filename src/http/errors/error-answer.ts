import type { IncomingHttpHeaders } from 'node:http';
import type { FieldProblem } from '../validation/invalid-request.js';
import {
  contentTypeOf,
  JSON_MEDIA_TYPE,
  PROBLEM_MEDIA_TYPE,
  representationOf,
} from '../validation/representation.js';
import { ERRORS, type ErrorCode } from './catalogue.js';

const NO_MONEY = { textMoney: false };
const JSON_TYPE = contentTypeOf(JSON_MEDIA_TYPE, NO_MONEY);
const PROBLEM_TYPE = contentTypeOf(PROBLEM_MEDIA_TYPE, NO_MONEY);

/** The answer to a failed request. */
export interface ErrorAnswer {
  readonly code: ErrorCode;
  readonly status: number;
  /** Its plain form. */
  readonly body: object;
  /** Its own header fields, by name in lower case. */
  readonly headers: Readonly<Record<string, string | number>>;
}

/**
 * The answer that the catalogue has for a code.
 *
 * @param body what it holds, if that is more than `error`
 * @param headers its header fields besides `X-Error-Code`
 */
export function errorAnswer(
  code: ErrorCode,
  { body, headers }: Partial<Pick<ErrorAnswer, 'body' | 'headers'>> = {},
): ErrorAnswer {
  const { status, error } = ERRORS[code];
  return { code, status, body: body ?? { error }, headers: { 'x-error-code': code, ...headers } };
}

/** 400, naming each wrong field. */
export const invalidRequest = (details: readonly FieldProblem[]) =>
  errorAnswer('INVALID_REQUEST', { body: { error: ERRORS.INVALID_REQUEST.error, details } });

/** The body of an error in the form that the request asks for: plain, or as RFC 9457 describes it. */
export function writeError(
  answer: ErrorAnswer,
  asked: IncomingHttpHeaders = {},
): { readonly type: string; readonly text: string } {
  // A health report is not a problem with the request, and its own `status` is a word.
  const plain = answer.code === 'NOT_READY' || !representationOf(asked).problems;
  return plain
    ? { type: JSON_TYPE, text: JSON.stringify(answer.body) }
    : { type: PROBLEM_TYPE, text: JSON.stringify(problemOf(answer)) };
}

/** `detail` tells people of so many wrong fields; `details` has them all. */
const MAX_FIELDS_TOLD = 3;

/** The members of RFC 9457, and those of the plain body. */
export function problemOf({ code, status, body }: ErrorAnswer): object {
  const { error: title, detail } = ERRORS[code];
  const { details = [] } = body as { readonly details?: readonly FieldProblem[] };
  const fields = details
    .slice(0, MAX_FIELDS_TOLD)
    .map(({ field, message }) => `${field} ${message}`)
    .join('; ');
  return { type: linkTo(code), title, status, detail: fields || detail, code, ...body };
}

/** Where docs/errors.md explains the error, on the service itself. */
const linkTo = (code: ErrorCode) => `/docs/errors#${code.toLowerCase()}`;
