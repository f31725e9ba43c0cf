import type { IncomingHttpHeaders } from 'node:http';

/** A body that is compressed, or said to be. */
export class UnsupportedEncodingError extends Error {
  constructor() {
    super('Content encoding is not supported');
    this.name = 'UnsupportedEncodingError';
  }
}

/** A body that is said to be in another charset than UTF-8. */
export class UnsupportedCharsetError extends Error {
  constructor() {
    super('Charset must be utf-8');
    this.name = 'UnsupportedCharsetError';
  }
}

/** A batch with more transactions than one may have. */
export class TooManyTransactionsError extends Error {
  constructor() {
    super('Too many transactions');
    this.name = 'TooManyTransactionsError';
  }
}

const CHARSET = /;[ \t]*charset[ \t]*=[ \t]*(?:"([^"]*)"|([^;\s]*))/gi;
/** Text in US-ASCII is the same text in UTF-8. */
const UTF_8 = ['utf-8', 'utf8', 'us-ascii'];
const IDENTITY = /^(?:[ \t,]|identity(?=[ \t,]|$))*$/i;

/** Why a body can't be read as what its sender says it is; undefined: nothing is in the way. */
export function bodyProblem(headers: IncomingHttpHeaders): Error | undefined {
  const { 'content-encoding': encoding, 'content-type': type } = headers;
  if (encoding !== undefined && !IDENTITY.test(encoding)) return new UnsupportedEncodingError();
  if (type === undefined || type === 'application/json') return undefined;
  const charsets = [...type.matchAll(CHARSET)].map(([, quoted, bare = '']) => quoted ?? bare);
  const areRead = charsets.every((charset) => UTF_8.includes(charset.toLowerCase()));
  return areRead ? undefined : new UnsupportedCharsetError();
}
