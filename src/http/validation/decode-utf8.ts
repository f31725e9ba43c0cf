import { isUtf8 } from 'node:buffer';
import { InvalidRequestError } from './invalid-request.js';

/** The bytes are not UTF-8. */
export class NotUtf8Error extends InvalidRequestError {
  constructor() {
    super([{ field: 'body', message: 'is not valid UTF-8' }]);
  }
}

/**
 * The text in these bytes. Buffer.toString alone would replace what is not UTF-8, and read something that the sender
 * never wrote. Undefined: it is not UTF-8.
 */
export function decodeUtf8(bytes: Buffer): string | undefined {
  return isUtf8(bytes) ? bytes.toString() : undefined;
}

/** Bytes of a byte order mark. */
export const BOM_BYTES = 3;

/** Without the byte order mark that some editors and libraries write first. RFC 8259, 8.1, allows to skip it. */
export function withoutBom(bytes: Buffer): Buffer {
  return bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf ? bytes.subarray(BOM_BYTES) : bytes;
}
