import { InvalidRequestError } from './invalid-request.js';

const BARE = /^[\x21-\x7e]{1,255}$/;
const QUOTED = /^"((?:[\x21\x23-\x5b\x5d-\x7e]|\\["\\])*)"$/;

/** The form of a key, for error messages. */
export const KEY_FORM = 'must be 1 to 255 visible ASCII characters, bare or quoted';

/**
 * The key in an Idempotency-Key header: 1 to 255 visible ASCII characters, bare or as a quoted string (RFC 8941, 3.3.3;
 * the IETF draft idempotency-key-header). Both forms mean the same key.
 *
 * @throws InvalidRequestError
 */
export function parseIdempotencyKey(header: string | undefined): string | undefined {
  if (header === undefined) return undefined;
  const key = readIdempotencyKey(header);
  if (key !== undefined) return key;
  throw InvalidRequestError.of('Idempotency-Key', JOINED.test(header) ? SEVERAL : KEY_FORM);
}

/** As HTTP clients and proxies join the lines of a header that is given several times. */
const JOINED = /\S,[ \t]+\S|","/;
const SEVERAL = 'must be one key, but is several, joined by commas';

/** The same for a text; undefined: it is not a valid key. */
export function readIdempotencyKey(text: string): string | undefined {
  const key = text.startsWith('"') ? unquote(text) : text;
  return key !== undefined && BARE.test(key) ? key : undefined;
}

function unquote(header: string): string | undefined {
  return QUOTED.exec(header)?.[1]?.replace(/\\(["\\])/g, '$1');
}
