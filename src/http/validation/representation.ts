import type { IncomingHttpHeaders } from 'node:http';
import { LRUCache } from 'lru-cache';
import Negotiator from 'negotiator';
import { InvalidRequestError } from './invalid-request.js';

/** The media types of answers. */
export const JSON_MEDIA_TYPE = 'application/json';
/** Of a batch in lines. */
export const NDJSON_MEDIA_TYPE = 'application/x-ndjson';
export const PROBLEM_MEDIA_TYPE = 'application/problem+json';

/** All names of the type of a batch in lines. */
export const NDJSON_TYPES = [NDJSON_MEDIA_TYPE, 'application/jsonl'];

/** Of statements. */
export const CSV_MEDIA_TYPE = 'text/csv';
export const PDF_MEDIA_TYPE = 'application/pdf';
export const XML_MEDIA_TYPE = 'application/xml';

/** The media type of the same answer with money as text. */
export const withTextMoney = (mediaType: string) => `${mediaType}; money=string`;

const TEXT_MONEY = withTextMoney(JSON_MEDIA_TYPE);

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

/** Forms that are asked for, and what is wrong with how they are asked for. */
interface Asked {
  readonly forms: Representation;
  readonly problem?: string;
}

const USUAL: Asked = { forms: { textMoney: false, problems: false } };
/** Nothing else in an Accept header changes an answer, so most need no parser. */
const MATTERS = /money|problem/i;
/** Characters of a header that is read. */
const MAX_LENGTH = 1_000;
/** The ranges of a header, and the type and the parameters of a range. A quoted string may hold any separator. */
const RANGES = /(?:[^",]|"(?:[^"\\]|\\.)*"?)+/g;
const PARTS = /(?:[^";]|"(?:[^"\\]|\\.)*"?)+/g;
const PARAMETER = /^(money|q)(?:\s*=\s*"?([^"]*)"?)?$/i;
/** For each media type of answers with money: its usual form, and the one with money as text. */
const MONEY_FORMS = [JSON_MEDIA_TYPE, ...NDJSON_TYPES].map((type) => [type, withTextMoney(type)]);

/** Clients send the same headers again and again. */
const read = new LRUCache<string, Asked>({ max: 100 });

/**
 * Reads an Accept header (RFC 9110, 12.5.1). A client that accepts none of the forms gets the usual one, as the RFC
 * allows. One that asks for text with one of the media types gets it with all. One that names problem+json gets its
 * errors so, whatever it prefers for other answers: they never have that type.
 */
export const representationOf = (headers: IncomingHttpHeaders): Representation => askedBy(headers).forms;

/** The media type that an Accept header prefers among some; undefined: it names none of them. Parameters don't count. */
export function preferredType({ accept }: IncomingHttpHeaders, types: readonly string[]): string | undefined {
  if (accept === undefined || accept.length > MAX_LENGTH) return undefined;
  const ranges = (accept.match(RANGES) ?? [])
    .map(readRange)
    .map(({ type, q }) => (q === undefined ? type : `${type}; q=${q}`));
  return new Negotiator({ headers: { accept: ranges.join() } }).mediaTypes([...types])[0];
}

/** @throws InvalidRequestError when it asks for money in a form that there is not */
export function checkAccept(headers: IncomingHttpHeaders): void {
  const { problem } = askedBy(headers);
  if (problem !== undefined) throw InvalidRequestError.of('Accept', problem);
}

function askedBy({ accept }: IncomingHttpHeaders): Asked {
  if (accept === undefined || !MATTERS.test(accept)) return USUAL;
  if (accept.length > MAX_LENGTH) return { ...USUAL, problem: `is longer than ${MAX_LENGTH} characters` };
  return read.get(accept) ?? remembered(accept, parse(accept));
}

function remembered(accept: string, asked: Asked): Asked {
  read.set(accept, asked);
  return asked;
}

function parse(accept: string): Asked {
  const ranges = (accept.match(RANGES) ?? []).map(readRange);
  const isKnown = ranges.every(({ money }) => ['string', 'number', undefined].includes(money));
  // A negotiator compares all parameters, so it gets only those that matter.
  const relevant = ranges.map(({ type, money, q }) => {
    const form = money === 'string' && type !== PROBLEM_MEDIA_TYPE ? withTextMoney(type) : type;
    return q === undefined ? form : `${form}; q=${q}`;
  });
  const negotiator = new Negotiator({ headers: { accept: relevant.join() } });
  const forms: Representation = {
    textMoney: MONEY_FORMS.some((both) => negotiator.mediaTypes(both)[0] === both[1]),
    problems: /problem/i.test(accept) && negotiator.mediaTypes([PROBLEM_MEDIA_TYPE]).length > 0,
  };
  if (!isKnown) return { forms, problem: 'has a form of money that is neither string nor number' };
  const asksInVain =
    !forms.textMoney &&
    ranges.some(
      ({ type, money, q }) => money === 'string' && type !== PROBLEM_MEDIA_TYPE && Number(q ?? 1) > 0,
    ) &&
    negotiator.mediaTypes([JSON_MEDIA_TYPE, ...NDJSON_TYPES]).length === 0;
  return asksInVain ? { forms, problem: `has no type with money as text: send ${TEXT_MONEY}` } : { forms };
}

function readRange(range: string) {
  const [type = '', ...parameters] = range.match(PARTS) ?? [];
  const values = new Map(
    parameters.flatMap((parameter) => {
      const [, name, value = ''] = PARAMETER.exec(parameter.trim()) ?? [];
      return name === undefined ? [] : [[name.toLowerCase(), value.toLowerCase()]];
    }),
  );
  return { type: type.trim().toLowerCase(), money: values.get('money'), q: values.get('q') };
}
