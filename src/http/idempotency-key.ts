import { InvalidRequestError } from './invalid-request.js';

const BARE = /^[\x21-\x7e]{1,255}$/;
const QUOTED = /^"((?:[\x21\x23-\x5b\x5d-\x7e]|\\["\\])*)"$/;

/**
 * The key that an Idempotency-Key header names: 1 to 255 visible ASCII characters, bare or as a quoted string
 * (RFC 8941, 3.3.3; the IETF draft idempotency-key-header). Both forms name the same key.
 *
 * @throws InvalidRequestError
 */
export function parseIdempotencyKey(header: string | undefined): string | undefined {
  if (header === undefined) return undefined;
  const key = header.startsWith('"') ? unquote(header) : header;
  if (key === undefined || !BARE.test(key)) {
    throw InvalidRequestError.of(
      'Idempotency-Key',
      'must be 1 to 255 visible ASCII characters, bare or quoted',
    );
  }
  return key;
}

function unquote(header: string): string | undefined {
  return QUOTED.exec(header)?.[1]?.replace(/\\(["\\])/g, '$1');
}
