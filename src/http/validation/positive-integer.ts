import { MAX_ID } from '../../domain/account.js';

const POSITIVE_INTEGER = /^[1-9]\d{0,18}$/;
const MAX_BIGINT = 9_223_372_036_854_775_807n;

/**
 * A positive integer in PostgreSQL's bigint range, or undefined. One that JSON can't represent exactly is read as
 * {@link MAX_ID}, which no account, transaction or version ever has: it is well-formed, but names nothing.
 */
export function parsePositiveInteger(text: string): number | undefined {
  if (!POSITIVE_INTEGER.test(text)) return undefined;
  if (text.length <= 15) return Number(text);
  const value = BigInt(text);
  if (value > MAX_BIGINT) return undefined;
  return value > BigInt(MAX_ID) ? MAX_ID : Number(value);
}
