import type { IncomingMessage } from 'node:http';
import { advice, adviceFor } from '../validation/advice.js';
import { InvalidRequestError } from '../validation/invalid-request.js';

/**
 * Headers that the service acts on and that may appear only once. Node keeps the first of several, or joins them; a
 * proxy in front may have used another one. (Lists, like If-Match, may span several lines.)
 */
const SINGLE = ['Authorization', 'Content-Length', 'Content-Type', 'Host', 'Idempotency-Key'];
/** By name in lower case: its place in {@link SINGLE}. */
const PLACES = new Map(SINGLE.map((name, place) => [name.toLowerCase(), place]));
const LENGTHS = new Set(SINGLE.map(({ length }) => length));

/** Headers on which it depends what is carried out, or how often. */
const CRUCIAL = [
  'Idempotency-Key',
  'If-Match',
  'If-None-Match',
  'If-Modified-Since',
  'If-Unmodified-Since',
  'If-Range',
];
const CRUCIAL_NAMES = new Set(CRUCIAL.map((name) => name.toLowerCase()));
/** Unknown names of a request for which a known one is sought: no client has so many that look like these. */
const MAX_SOUGHT = 20;
const ADVICE = [
  ...CRUCIAL.map((name) => advice(name, `did you mean ${name}?`)),
  advice('Expected-Version', 'expectedversion belongs in the body'),
];

/**
 * What is wrong with the head of a request that Node accepts but a proxy on the way may read differently, or that has no
 * effect though the client counts on it; undefined: nothing.
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
  if ((method === 'GET' || method === 'HEAD') && (coding ?? headers['content-length'] ?? '0') !== '0') {
    // RFC 9110, 9.3.1: it has no meaning, and is a means to smuggle requests past a proxy.
    return InvalidRequestError.of('body', `is not supported with ${method}`);
  }
  return problemOfNames(rawHeaders);
}

function problemOfNames(rawHeaders: readonly string[]): InvalidRequestError | undefined {
  // One bit for each place, since this runs for every request.
  let seen = 0;
  let sought = 0;
  for (let at = 0; at < rawHeaders.length; at += 2) {
    const given = rawHeaders[at] ?? '';
    if (mayBeMisspelt(given) && !CRUCIAL_NAMES.has(given.toLowerCase()) && sought < MAX_SOUGHT) {
      sought += 1;
      const hint = hintFor(given);
      if (hint !== undefined) return InvalidRequestError.of(given, `is not a known header; ${hint}`);
    }
    // The length alone rules out most headers.
    if (!LENGTHS.has(given.length)) continue;
    const place = PLACES.get(given.toLowerCase());
    if (place === undefined) continue;
    if (seen & (1 << place)) return InvalidRequestError.of(SINGLE[place] ?? '', 'is given twice');
    seen |= 1 << place;
  }
  return undefined;
}

/** Whether it begins with E, I, X-E or X-I, or ends with "key": this rules out most headers at next to no cost. */
function mayBeMisspelt(name: string): boolean {
  const first = lowerCase(name, 0);
  const initial = first === X ? lowerCase(name, 2) : first;
  const { length } = name;
  return (
    (initial === E && length > 10) ||
    initial === I ||
    (lowerCase(name, length - 1) === Y && lowerCase(name, length - 3) === K)
  );
}

const [E, I, K, X, Y] = [0x65, 0x69, 0x6b, 0x78, 0x79];
const lowerCase = (text: string, at: number) => text.charCodeAt(at) | 0x20;

/** Names the header that a client probably meant by If_Match, X-Idempotency-Key or Idempotence-Key. */
function hintFor(name: string): string | undefined {
  if (/idempot/i.test(name)) return adviceFor('Idempotency-Key', ADVICE);
  const meant = name.replace(/^x[-_]/i, '').replace(/^idem[-_]?key$/i, 'Idempotency-Key');
  // Any other condition, like those of WebDAV, is not evaluated either.
  return adviceFor(meant, ADVICE) ?? (/^if(?:[-_]|$)/i.test(meant) ? 'it sets a condition' : undefined);
}
