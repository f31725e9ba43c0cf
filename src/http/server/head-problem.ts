import type { IncomingMessage } from 'node:http';
import leven from 'leven';
import { InvalidRequestError } from '../validation/invalid-request.js';

/**
 * Headers that the service acts on and that may appear only once. Node keeps the first of several, or joins them; a
 * proxy in front may have used another one. (Lists, like If-Match, may span several lines.)
 */
const SINGLE = ['Authorization', 'Content-Length', 'Content-Type', 'Host', 'Idempotency-Key'];
/** By name in lower case: its place in {@link SINGLE}. */
const PLACES = new Map(SINGLE.map((name, place) => [name.toLowerCase(), place]));
const LENGTHS = new Set(SINGLE.map(({ length }) => length));

/** Headers whose misspelling would change what is carried out, or how often. */
const CRUCIAL = [
  'Idempotency-Key',
  'If-Match',
  'If-None-Match',
  'If-Modified-Since',
  'If-Unmodified-Since',
  'If-Range',
].map((name) => ({ name, plain: plain(name) }));
const CRUCIAL_NAMES = new Set(CRUCIAL.map(({ name }) => name.toLowerCase()));
/** No longer name is a misspelling of theirs. */
const MAX_CRUCIAL_LENGTH = 30;
/** The letters that their names begin with, and their misspellings with X-. */
const [I, X] = [0x69, 0x78];

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
  for (let at = 0; at < rawHeaders.length; at += 2) {
    const given = rawHeaders[at] ?? '';
    if (mayBeCrucial(given)) {
      const meant = misspelt(given);
      if (meant !== undefined) {
        return InvalidRequestError.of(given, `is not a known header; did you mean ${meant}?`);
      }
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

/** Rules out most headers at next to no cost. */
function mayBeCrucial(given: string): boolean {
  const letter = lowerCase(given, 0);
  return letter === I || (letter === X && lowerCase(given, 2) === I);
}

const lowerCase = (text: string, at: number) => text.charCodeAt(at) | 0x20;

/** The header that a client probably meant by an unknown one: If_Match, X-Idempotency-Key, Idempotence-Key. */
function misspelt(given: string): string | undefined {
  if (given.length > MAX_CRUCIAL_LENGTH || CRUCIAL_NAMES.has(given.toLowerCase())) return undefined;
  const name = plain(given);
  if (/^idem(?:p|key|$)/.test(name)) return 'Idempotency-Key';
  let meant: string | undefined;
  let nearest = Infinity;
  for (const one of CRUCIAL) {
    const maxDistance = Math.floor(one.plain.length / 3);
    const distance = leven(name, one.plain, { maxDistance: maxDistance + 1 });
    if (distance > maxDistance || distance >= nearest) continue;
    meant = one.name;
    nearest = distance;
  }
  return meant;
}

/** Without what differs between styles of names. */
function plain(name: string): string {
  return name
    .toLowerCase()
    .replace(/^x[-_]/, '')
    .replaceAll(/[-_]/g, '');
}
