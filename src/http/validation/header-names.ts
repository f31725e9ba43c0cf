import { advice, adviceFor } from './advice.js';
import { InvalidRequestError } from './invalid-request.js';

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
 * Refuses a header that has no effect though its sender counts on it, because its name is misspelt or names a condition
 * that is not evaluated.
 *
 * @param rawHeaders names and values in turn
 * @throws InvalidRequestError
 */
export function checkHeaderNames(rawHeaders: readonly string[]): void {
  let sought = 0;
  for (let at = 0; at < rawHeaders.length && sought < MAX_SOUGHT; at += 2) {
    const name = rawHeaders[at] ?? '';
    if (!mayBeMisspelt(name) || CRUCIAL_NAMES.has(name.toLowerCase())) continue;
    sought += 1;
    const hint = hintFor(name);
    if (hint !== undefined) throw InvalidRequestError.of(name, `is not a known header; ${hint}`);
  }
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
  const meant = name.replace(/^x[-_]/i, '').replace(/^idemp?[-_]?key$/i, 'Idempotency-Key');
  // Any other condition, like those of WebDAV, is not evaluated either.
  return adviceFor(meant, ADVICE) ?? (/^if(?:[-_]|$)/i.test(meant) ? 'it sets a condition' : undefined);
}
