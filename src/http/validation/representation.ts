import type { IncomingHttpHeaders } from 'node:http';
import Negotiator from 'negotiator';
import { InvalidRequestError } from './invalid-request.js';

/** The media types of answers. */
export const JSON_MEDIA_TYPE = 'application/json';
/** Of a batch in lines. */
export const NDJSON_MEDIA_TYPE = 'application/x-ndjson';
export const PROBLEM_MEDIA_TYPE = 'application/problem+json';

/** All names of the type of a batch in lines. */
export const NDJSON_TYPES = [NDJSON_MEDIA_TYPE, 'application/jsonl'];

/** The media type of the same answer with money as text. */
export const withTextMoney = (mediaType: string) => `${mediaType}; money=string`;

/** The forms that a client asks for in its Accept header. */
export interface Representation {
  /** Money as JSON strings, for clients whose numbers are doubles. */
  readonly textMoney: boolean;
  /** Errors as RFC 9457 describes them. */
  readonly problems: boolean;
}

/** The Content-Type of an answer in this form. */
export const contentTypeOf = (mediaType: string, { textMoney }: Pick<Representation, 'textMoney'>) =>
  `${textMoney ? withTextMoney(mediaType) : mediaType}; charset=utf-8`;

const USUAL: Representation = { textMoney: false, problems: false };
/** Nothing else in an Accept header changes an answer, so most need no parser. */
const MATTERS = /money|problem/i;
/** Parameters that change nothing, but that a negotiator would compare. */
const NEUTRAL = /;\s*(?:charset\s*=\s*"?utf-8"?|money\s*=\s*"?number"?)(?=\s*(?:[;,]|$))/gi;
const MONEY = /;\s*money\s*=\s*"?([^\s;,"]*)/gi;
/** For each media type of answers with money: its usual form, and the one with money as text. */
const MONEY_FORMS = [JSON_MEDIA_TYPE, ...NDJSON_TYPES].map((type) => [type, withTextMoney(type)]);

/** The header that was parsed last: a client sends the same one with each request. */
let last = { accept: '', forms: USUAL };

/**
 * Reads an Accept header (RFC 9110, 12.5.1). A client that accepts none of the forms gets the usual one, as the RFC
 * allows. One that asks for text with one of the media types gets it with all. One that names problem+json gets its
 * errors so, whatever it prefers for other answers: they never have that type.
 */
export function representationOf({ accept }: IncomingHttpHeaders): Representation {
  if (accept === undefined || !MATTERS.test(accept)) return USUAL;
  if (accept !== last.accept) last = { accept, forms: formsIn(accept) };
  return last.forms;
}

function formsIn(accept: string): Representation {
  const negotiator = new Negotiator({ headers: { accept: accept.replace(NEUTRAL, '') } });
  return {
    textMoney:
      /money/i.test(accept) && MONEY_FORMS.some((forms) => negotiator.mediaTypes(forms)[0] === forms[1]),
    problems: /problem/i.test(accept) && negotiator.mediaTypes([PROBLEM_MEDIA_TYPE]).length > 0,
  };
}

/** @throws InvalidRequestError when it asks for money in a form that there is not */
export function checkAccept({ accept }: IncomingHttpHeaders): void {
  if (accept === undefined || !MATTERS.test(accept)) return;
  for (const [, form = ''] of accept.matchAll(MONEY)) {
    if (!['string', 'number'].includes(form.toLowerCase())) {
      throw InvalidRequestError.of('Accept', 'has a form of money that is neither string nor number');
    }
  }
}
