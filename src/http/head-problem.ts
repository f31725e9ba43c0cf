import type { IncomingMessage } from 'node:http';
import { InvalidRequestError } from './invalid-request.js';

/**
 * Headers of which there may be one, and by which the service acts. Of several, Node keeps the first, or joins them; a
 * proxy in front may have looked at another one. (Those that are lists, like If-Match, may stand on several lines.)
 */
const SINGLE = new Map(
  ['Authorization', 'Content-Length', 'Content-Type', 'Host', 'Idempotency-Key'].map((name) => [
    name.toLowerCase(),
    name,
  ]),
);
const LENGTHS = new Set([...SINGLE.keys()].map(({ length }) => length));

/**
 * What is wrong with the head of a request that Node lets through, though it may mean one thing here and another one to
 * a proxy on the way; undefined: nothing.
 */
export function headProblem({
  headers,
  httpVersion,
  rawHeaders,
}: IncomingMessage): InvalidRequestError | undefined {
  // Node takes what has no version for HTTP/0.9, and speaks no HTTP/2 here.
  if (httpVersion !== '1.1' && httpVersion !== '1.0') {
    return InvalidRequestError.of('request', 'must be of HTTP/1.1 or HTTP/1.0');
  }
  const coding = headers['transfer-encoding'];
  if (coding !== undefined && (httpVersion === '1.0' || coding.toLowerCase() !== 'chunked')) {
    // RFC 9112, 6.1: Node would hand over the body as it was coded, and HTTP/1.0 has no codings.
    return InvalidRequestError.of('Transfer-Encoding', 'must be chunked alone, and of HTTP/1.1');
  }
  return twice(rawHeaders);
}

function twice(rawHeaders: readonly string[]): InvalidRequestError | undefined {
  const seen = new Set<string>();
  for (let at = 0; at < rawHeaders.length; at += 2) {
    const given = rawHeaders[at] ?? '';
    // Most headers are none of these, and need not be looked at further.
    if (!LENGTHS.has(given.length)) continue;
    const name = SINGLE.get(given.toLowerCase());
    if (name === undefined) continue;
    if (seen.has(name)) return InvalidRequestError.of(name, 'is given twice');
    seen.add(name);
  }
  return undefined;
}
