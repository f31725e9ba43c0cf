import { parse } from 'lossless-json';
import { InvalidRequestError } from './invalid-request.js';

/** 16 KiB. */
export const BODY_LIMIT_BYTES = 16 * 1024;

/** 8 MiB for a batch; each of its transactions has the limit above. */
export const BATCH_BODY_LIMIT_BYTES = 8 * 1024 * 1024;

/** The text is not JSON at all. */
export class NotJsonError extends InvalidRequestError {
  constructor() {
    super([{ field: 'body', message: 'is not valid JSON' }]);
  }
}

/** A number in a JSON body, as it was written. JSON.parse would round 9007199254740993.07 and accept 1e2. */
export class NumberText {
  constructor(readonly text = '') {}
}

/** A character of a string that needs no escape: neither a control character, a quote nor a backslash. */
const PLAIN = String.raw`[ !#-[\]-\uffff]`;
const SPACE = String.raw`[ \t\n\r]*`;
const NUMBER = String.raw`-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?`;
/** A member of an object whose name and value contain no escape, and whose value is a string or a number. */
const PLAIN_MEMBER = new RegExp(
  `${SPACE}"(${PLAIN}*)"${SPACE}:${SPACE}(?:"(${PLAIN}*)"|(${NUMBER}))${SPACE}([,}])`,
  'y',
);

const STRING_AND_COLON = /"(?:[^"\\]|\\.)*"(\s*:)?/g;

/**
 * Parses a body without losing a digit: numbers become {@link NumberText}. Rejects a repeated key, of which JSON.parse
 * would silently take the last. `__proto__` is a field like any other, and so an unknown one.
 *
 * @throws InvalidRequestError
 */
export function parseJsonBody(text: string): unknown {
  return parsePlainObject(text) ?? parseAny(text);
}

/** Parses the usual kind of body at a quarter of the cost. Undefined: it is of another kind, or malformed. */
function parsePlainObject(text: string): object | undefined {
  if (!text.startsWith('{')) return undefined;
  const body: Record<string, unknown> = {};
  let end: string | undefined;
  PLAIN_MEMBER.lastIndex = 1;
  while (end !== '}') {
    const member = PLAIN_MEMBER.exec(text);
    if (!member) return undefined;
    const [, name = '', string, number] = member;
    // Repeated, or inherited, like __proto__.
    if (name in body) return undefined;
    body[name] = string ?? new NumberText(number);
    end = member[4];
  }
  return PLAIN_MEMBER.lastIndex === text.length ? body : undefined;
}

function parseAny(text: string): unknown {
  let body: unknown;
  try {
    body = parse(text, undefined, {
      parseNumber: (digits) => new NumberText(digits),
      onDuplicateKey: refuseTwice,
    });
  } catch (error) {
    if (error instanceof InvalidRequestError) throw error;
    if (error instanceof RangeError) throw InvalidRequestError.of('body', 'is nested too deeply');
    throw new NotJsonError();
  }
  if (countKeys(body) !== countKeysInText(text))
    throw InvalidRequestError.of('body', 'has the same key twice');
  return body;
}

function refuseTwice(): never {
  throw InvalidRequestError.of('body', 'has the same key twice');
}

/** In valid JSON, the keys are exactly the strings before a colon. */
function countKeysInText(text: string): number {
  let keys = 0;
  for (const [, colon] of text.matchAll(STRING_AND_COLON)) if (colon !== undefined) keys += 1;
  return keys;
}

/** Not recursive: a body of nothing but brackets must not overflow the stack. */
function countKeys(body: unknown): number {
  let keys = 0;
  const open = [body];
  while (open.length > 0) {
    const value = open.pop();
    if (typeof value !== 'object' || value === null || value instanceof NumberText) continue;
    const members: unknown[] = Object.values(value);
    if (!Array.isArray(value)) keys += members.length;
    open.push(...members);
  }
  return keys;
}
