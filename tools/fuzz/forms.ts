import { isDeepStrictEqual } from 'node:util';
import { parse } from 'lossless-json';
import type { Answer } from './contract.js';
import type { Draft, Pair } from './draft.js';

/** The forms of answers that a request asks for. */
export interface Form {
  /** Money as JSON strings. */
  readonly textMoney: boolean;
  /** Errors as RFC 9457 describes them. */
  readonly problems: boolean;
}

const PLAIN: Form = { textMoney: false, problems: false };
const TEXT: Form = { textMoney: true, problems: false };
const PROBLEMS: Form = { textMoney: false, problems: true };
const BOTH: Form = { textMoney: true, problems: true };

const TEXT_JSON = 'application/json; money=string';
const PROBLEM_JSON = 'application/problem+json';

/** What Accept headers ask for. */
export const ACCEPTS: ReadonlyMap<string, Form> = new Map([
  ['*/*', PLAIN],
  ['application/json', PLAIN],
  ['application/json; money=number', PLAIN],
  ['text/html, application/xhtml+xml, */*;q=0.8', PLAIN],
  [`${TEXT_JSON}; q=0, */*`, PLAIN],
  [`${PROBLEM_JSON}; q=0, */*`, PLAIN],
  [TEXT_JSON, TEXT],
  ['application/json;money="string"', TEXT],
  [`${TEXT_JSON}; charset=utf-8`, TEXT],
  [`application/json; q=0.5, ${TEXT_JSON}`, TEXT],
  [PROBLEM_JSON, PROBLEMS],
  ['APPLICATION/Problem+JSON', PROBLEMS],
  [`application/json, ${PROBLEM_JSON}`, PROBLEMS],
  [`${TEXT_JSON}, ${PROBLEM_JSON}`, BOTH],
]);

/** The forms of answers that headers ask for; undefined: the rules do not say. */
export function formAskedFor(headers: readonly Pair[]): Form | undefined {
  const [accept, ...others] = headers.filter(([name]) => name.toLowerCase() === 'accept');
  if (!accept) return PLAIN;
  return others.length === 0 ? ACCEPTS.get(accept[1]) : undefined;
}

/** A request in its plain form, and in the others. */
export function inAllForms(draft: Draft): { readonly plain: Draft; readonly others: readonly Draft[] } {
  const asking = (...accept: readonly string[]): Draft => ({
    ...draft,
    headers: [
      ...draft.headers.filter(([name]) => name.toLowerCase() !== 'accept'),
      ...accept.map((value): Pair => ['Accept', value]),
    ],
  });
  return { plain: asking(), others: [asking(TEXT_JSON), asking(PROBLEM_JSON)] };
}

/** Headers that belong to the one answer, or to its form. */
const OWN = ['content-length', 'content-type', 'date', 'etag', 'x-request-id'];

/** How an answer differs from the plain one to the same request, where it must not; empty: not at all. */
export function differences(plain: Answer, other: Answer, form: Form): string[] {
  if (plain.status !== other.status) {
    return [`status ${other.status}, but in the plain form ${plain.status}`];
  }
  const [ours, theirs] = [plain, other].map(({ headers }) =>
    Object.entries(headers).flatMap(([name, value]) => (OWN.includes(name) ? [] : [`${name}: ${value}`])),
  ) as [string[], string[]];
  const tag = plain.headers['etag'];
  const expectedTag = form.textMoney ? tag?.replace(/"$/, '-string"') : tag;
  return [
    ...ours.filter((line) => !theirs.includes(line)).map((line) => `only the plain form has "${line}"`),
    ...theirs.filter((line) => !ours.includes(line)).map((line) => `the plain form has no "${line}"`),
    ...(other.headers['etag'] === expectedTag
      ? []
      : [`the entity tag is ${other.headers['etag']}, not ${expectedTag}`]),
    ...(saysTheSame(plain, other, form)
      ? []
      : [`the body says otherwise than the plain form: ${plain.text}`]),
  ];
}

function saysTheSame(plain: Answer, other: Answer, form: Form): boolean {
  if (plain.text === '' || other.text === '') return plain.text === other.text;
  // Statements in other forms than JSON are each made anew, with the time at which that was done.
  const type = plain.headers['content-type'] ?? '';
  if (/^(text\/csv|application\/(pdf|xml))/.test(type)) return other.headers['content-type'] === type;
  const expected = read(plain.text, form.textMoney);
  const actual = read(other.text, false);
  const isProblem = form.problems && plain.status >= 400 && !Array.isArray(expected);
  return isDeepStrictEqual(
    actual,
    isProblem ? problemOf(plain, expected as Fields, actual as Fields) : expected,
  );
}

type Fields = Readonly<Record<string, unknown>>;

/** RFC 9457, 3.1, and the members of the plain body. */
function problemOf({ status, headers }: Answer, body: Fields, { detail }: Fields): Fields {
  const code = headers['x-error-code'] ?? '';
  return {
    type: `/docs/errors#${code.toLowerCase()}`,
    title: body['error'],
    status: new Digits(String(status)),
    // Any text, for people.
    detail: typeof detail === 'string' && detail !== '' ? detail : 'a text',
    code,
    ...body,
  };
}

/** A number as it was written. */
class Digits {
  constructor(readonly text: string) {}
}

/** @param textMoney makes texts of amounts, which alone have decimals, except in metadata */
function read(text: string, textMoney: boolean): unknown {
  const value = parse(text, undefined, (digits) => new Digits(digits));
  return textMoney ? withTextMoney(value) : value;
}

function withTextMoney(value: unknown): unknown {
  if (value instanceof Digits) return value.text.includes('.') ? value.text : value;
  if (Array.isArray(value)) return value.map(withTextMoney);
  if (typeof value !== 'object' || value === null) return value;
  const members = Object.entries(value);
  return Object.fromEntries(
    members.map(([name, one]) => [name, name === 'metadata' ? one : withTextMoney(one)]),
  );
}
