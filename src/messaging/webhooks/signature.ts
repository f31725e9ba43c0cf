import { createHmac, timingSafeEqual } from 'node:crypto';
import { SECRET_PREFIX } from './secrets.js';

/** The headers that Standard Webhooks adds to a request. */
export type SignatureHeaders = Readonly<
  Record<'webhook-id' | 'webhook-timestamp' | 'webhook-signature', string>
>;

/** A signature by each secret (https://www.standardwebhooks.com). @param at when it is sent */
export function signatureHeaders(
  secrets: readonly string[],
  id: string,
  at: Date,
  body: string,
): SignatureHeaders {
  const timestamp = String(Math.floor(at.getTime() / 1_000));
  const signatures = secrets.map((secret) => `v1,${signatureOf(secret, id, timestamp, body)}`);
  return { 'webhook-id': id, 'webhook-timestamp': timestamp, 'webhook-signature': signatures.join(' ') };
}

/** How far the sender's clock, and a request on its way, may be off. */
const TOLERANCE_S = 300;

/** Why a request is not one that the holder of the secret has just signed; undefined: it is. */
export function signatureProblem(
  secret: string,
  { 'webhook-id': id, 'webhook-timestamp': timestamp, 'webhook-signature': given }: Partial<SignatureHeaders>,
  body: string,
): string | undefined {
  if (!id || !timestamp || !given) return 'it is not signed';
  const offS = Math.abs(Date.now() / 1_000 - Number(timestamp));
  if (!(/^\d{1,12}$/.test(timestamp) && offS <= TOLERANCE_S))
    return 'its time is not of the last five minutes';
  const expected = Buffer.from(`v1,${signatureOf(secret, id, timestamp, body)}`);
  const isRight = given
    .split(' ')
    .map((text) => Buffer.from(text))
    .some((each) => each.length === expected.length && timingSafeEqual(each, expected));
  return isRight ? undefined : 'its signature is not by this secret';
}

function signatureOf(secret: string, id: string, timestamp: string, body: string): string {
  const key = Buffer.from(secret.slice(SECRET_PREFIX.length), 'base64');
  return createHmac('sha256', key).update(`${id}.${timestamp}.${body}`).digest('base64');
}
