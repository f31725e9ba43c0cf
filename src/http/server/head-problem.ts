import type { IncomingMessage } from 'node:http';
import { InvalidRequestError } from '../validation/invalid-request.js';

/**
 * Headers that the service acts on and that may appear only once. Node keeps the first of several, or joins them; a
 * proxy in front may have used another one. (Lists, like If-Match, may span several lines.)
 */
const SINGLE = ['Authorization', 'Content-Length', 'Content-Type', 'Host', 'Idempotency-Key'];
/** By name in lower case: its place in {@link SINGLE}. */
const PLACES = new Map(SINGLE.map((name, place) => [name.toLowerCase(), place]));
const LENGTHS = new Set(SINGLE.map(({ length }) => length));

const WITHOUT_BODY: ReadonlySet<string | undefined> = new Set(['GET', 'HEAD', 'DELETE']);

/**
 * What is wrong with the head of a request that Node accepts but a proxy on the way may read differently; undefined:
 * nothing.
 */
export function headProblem({
  headers,
  httpVersion,
  method,
  rawHeaders,
}: IncomingMessage): InvalidRequestError | undefined {
  // Node reads a request line without a version as HTTP/0.9, and HTTP/2 is not served.
  if (httpVersion !== '1.1' && httpVersion !== '1.0') {
    return InvalidRequestError.of('request', 'must be HTTP/1.1 or HTTP/1.0');
  }
  const coding = headers['transfer-encoding'];
  if (coding !== undefined && (httpVersion === '1.0' || coding.toLowerCase() !== 'chunked')) {
    // RFC 9112, 6.1: Node would hand over the body still encoded, and HTTP/1.0 has no transfer codings.
    return InvalidRequestError.of('Transfer-Encoding', 'must be chunked and nothing else, with HTTP/1.1');
  }
  if (WITHOUT_BODY.has(method) && (coding ?? headers['content-length'] ?? '0') !== '0') {
    // RFC 9110, 9.3.1 and 9.3.5: it has no meaning, and is a means to smuggle requests past a proxy.
    return InvalidRequestError.of('body', `is not supported with ${method}`);
  }
  return twice(rawHeaders);
}

function twice(rawHeaders: readonly string[]): InvalidRequestError | undefined {
  // One bit for each place, since this runs for every request.
  let seen = 0;
  for (let at = 0; at < rawHeaders.length; at += 2) {
    const given = rawHeaders[at] ?? '';
    // The length alone rules out most headers.
    if (!LENGTHS.has(given.length)) continue;
    const place = PLACES.get(given.toLowerCase());
    if (place === undefined) continue;
    if (seen & (1 << place)) return InvalidRequestError.of(SINGLE[place] ?? '', 'is given twice');
    seen |= 1 << place;
  }
  return undefined;
}
