import type { IncomingHttpHeaders } from 'node:http';

/** A body that is not read, or only in part. The code is that of the answer. */
export class RefusedBodyError extends Error {
  constructor(readonly code: 'UNSUPPORTED_ENCODING' | 'UNSUPPORTED_CHARSET' | 'TOO_MANY_TRANSACTIONS') {
    super(code);
    this.name = 'RefusedBodyError';
  }
}

/** With its value, if it has one. */
const CHARSET = /;[ \t]*charset\b(?:[ \t]*=[ \t]*(?:"([^"]*)"|([^;\s]*)))?/gi;
/** Text in US-ASCII is the same text in UTF-8. */
const UTF_8 = ['utf-8', 'utf8', 'us-ascii'];
const IDENTITY = /^(?:[ \t,]|identity(?=[ \t,]|$))*$/i;

/** Why a body can't be read as what its sender says it is; undefined: nothing is in the way. */
export function bodyProblem(headers: IncomingHttpHeaders): RefusedBodyError | undefined {
  const { 'content-encoding': encoding, 'content-type': type } = headers;
  if (encoding !== undefined && !IDENTITY.test(encoding)) return new RefusedBodyError('UNSUPPORTED_ENCODING');
  if (type === undefined || type === 'application/json') return undefined;
  const charsets = [...type.matchAll(CHARSET)].map(([, quoted, bare = '']) => quoted ?? bare);
  const areRead = charsets.every((charset) => UTF_8.includes(charset.toLowerCase()));
  return areRead ? undefined : new RefusedBodyError('UNSUPPORTED_CHARSET');
}
