import { hash, randomBytes } from 'node:crypto';
import { crc32 } from 'node:zlib';

/** This prefix and the checksum let secret scanners recognise a key wherever somebody has left it. */
export const KEY_PREFIX = 'bank_';
const SECRET_BYTES = 32;
/** Digits that 256 bits and that 32 bits take in base 62. */
const SECRET_DIGITS = 43;
const CHECKSUM_DIGITS = 6;
const DIGITS = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz';
const HINT_DIGITS = 4;
const FORM = new RegExp(`^${KEY_PREFIX}[0-9A-Za-z]{${SECRET_DIGITS + CHECKSUM_DIGITS}}$`);

/** A new key: `bank_`, 256 random bits in 43 digits of base 62, and their CRC-32 in 6. */
export function generateKey(): string {
  const secret = KEY_PREFIX + base62(BigInt(`0x${randomBytes(SECRET_BYTES).toString('hex')}`), SECRET_DIGITS);
  return secret + checksumOf(secret);
}

/** Whether a text can be a key at all: a mistyped or invented one needs no look-up. */
export function isKey(text: string): boolean {
  if (!FORM.test(text)) return false;
  const secret = text.slice(0, -CHECKSUM_DIGITS);
  return text.slice(-CHECKSUM_DIGITS) === checksumOf(secret);
}

/** What is stored of a key, in hexadecimal. 256 random bits need neither salt nor a slow hash: nobody can try them all. */
export function hashOfKey(key: string): string {
  return hash('sha256', key);
}

/** Lets a person recognise a key. It leaves 238 of its bits unknown. */
export function hintOf(key: string): string {
  return `${key.slice(0, KEY_PREFIX.length + HINT_DIGITS)}…`;
}

function checksumOf(secret: string): string {
  return base62(BigInt(crc32(secret)), CHECKSUM_DIGITS);
}

function base62(value: bigint, digits: number): string {
  let text = '';
  for (let rest = value; text.length < digits; rest /= 62n) text = DIGITS.charAt(Number(rest % 62n)) + text;
  return text;
}
