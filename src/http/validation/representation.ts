import type { IncomingHttpHeaders } from 'node:http';
import Negotiator from 'negotiator';
import { InvalidRequestError } from './invalid-request.js';

/** The media types of answers. The first is the usual one. */
export const JSON_MEDIA_TYPE = 'application/json';
export const TEXT_MONEY_MEDIA_TYPE = 'application/json; money=string';
export const PROBLEM_MEDIA_TYPE = 'application/problem+json';
/** The same as values of Content-Type. */
export const JSON_TYPE = `${JSON_MEDIA_TYPE}; charset=utf-8`;
export const PROBLEM_TYPE = `${PROBLEM_MEDIA_TYPE}; charset=utf-8`;

/** The forms that a client asks for in its Accept header. */
export interface Representation {
  /** Money as JSON strings, for clients whose numbers are doubles. */
  readonly textMoney: boolean;
  /** Errors as RFC 9457 describes them. */
  readonly problems: boolean;
}

const USUAL: Representation = { textMoney: false, problems: false };
/** Nothing else in an Accept header changes an answer, so most need no parser. */
const MATTERS = /money|problem/i;
/** Parameters that change nothing, but that a negotiator would compare. */
const NEUTRAL = /;\s*(?:charset\s*=\s*"?utf-8"?|money\s*=\s*"?number"?)(?=\s*(?:[;,]|$))/gi;
const MONEY = /;\s*money\s*=\s*"?([^\s;,"]*)/gi;

/**
 * Reads an Accept header (RFC 9110, 12.5.1). A client that accepts none of the forms gets the usual one, as the RFC
 * allows. One that names problem+json gets its errors so, whatever it prefers for other answers: they never have that
 * type.
 */
export function representationOf({ accept }: IncomingHttpHeaders): Representation {
  if (accept === undefined || !MATTERS.test(accept)) return USUAL;
  const negotiator = new Negotiator({ headers: { accept: accept.replace(NEUTRAL, '') } });
  const [preferred] = negotiator.mediaTypes([JSON_MEDIA_TYPE, TEXT_MONEY_MEDIA_TYPE]);
  return {
    textMoney: preferred === TEXT_MONEY_MEDIA_TYPE,
    problems: /problem/i.test(accept) && negotiator.mediaTypes([PROBLEM_MEDIA_TYPE]).length > 0,
  };
}

/** @throws InvalidRequestError when it asks for money in a form that there is not */
export function checkAccept({ accept }: IncomingHttpHeaders): void {
  if (accept === undefined || !MATTERS.test(accept)) return;
  for (const [, form = ''] of accept.matchAll(MONEY)) {
    if (!['string', 'number'].includes(form)) {
      throw InvalidRequestError.of('Accept', 'has a form of money that is neither string nor number');
    }
  }
}
