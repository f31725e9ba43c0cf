import { createHmac, timingSafeEqual } from 'node:crypto';

/** What is signed; so the signature of one is none of another. */
export type Purpose = 'id' | 'message';

export function signatureOf(
  secret: string,
  purpose: Purpose,
  ...parts: readonly (string | Buffer)[]
): string {
  const hmac = createHmac('sha256', secret).update(purpose);
  for (const part of parts) hmac.update('\0').update(part);
  return hmac.digest('base64url');
}

export function isSignatureOf(
  signature: string,
  secret: string,
  purpose: Purpose,
  ...parts: readonly (string | Buffer)[]
): boolean {
  const expected = Buffer.from(signatureOf(secret, purpose, ...parts));
  const given = Buffer.from(signature);
  return given.length === expected.length && timingSafeEqual(given, expected);
}
