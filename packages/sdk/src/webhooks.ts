import type { BankEvent } from './generated/events/types.gen.js';

/** The request did not come from the bank, or is too old, or was changed on its way. Answer 400, and do nothing. */
export class WebhookVerificationError extends Error {
  override readonly name = 'WebhookVerificationError';
}

/** As `fetch` and Node have them. Their names count in any case. */
export type WebhookHeaders = Headers | Readonly<Record<string, string | readonly string[] | undefined>>;

/** Seconds that the clocks may differ, and a delivery take. */
const TOLERANCE_S = 300;
const MAX_SIGNATURES = 16;

/**
 * Checks that a delivery is the bank's, as Standard Webhooks describes it, and reads its event. A delivery can come
 * twice: `webhook-id` says which it is.
 *
 * @param body exactly the bytes that arrived, or their text: not parsed and written again
 * @param secret `whsec_…`; while it is rotated, the old one and the new one
 * @throws WebhookVerificationError
 */
export async function verify(
  body: string | Uint8Array,
  headers: WebhookHeaders,
  secret: string | readonly string[],
): Promise<BankEvent> {
  const id = headerOf(headers, 'webhook-id');
  const timestamp = headerOf(headers, 'webhook-timestamp');
  const signatures = headerOf(headers, 'webhook-signature');
  if (!/^\d{1,12}$/.test(timestamp)) throw new WebhookVerificationError('webhook-timestamp is not a time');
  if (Math.abs(Date.now() / 1000 - Number(timestamp)) > TOLERANCE_S)
    throw new WebhookVerificationError('webhook-timestamp is too far from now');
  const text = typeof body === 'string' ? body : new TextDecoder().decode(body);
  const signed = new TextEncoder().encode(`${id}.${timestamp}.`);
  const content = typeof body === 'string' ? new TextEncoder().encode(body) : body;
  const message = new Uint8Array(signed.length + content.length);
  message.set(signed);
  message.set(content, signed.length);
  if (!(await isSigned(message, signatures, typeof secret === 'string' ? [secret] : secret)))
    throw new WebhookVerificationError('webhook-signature is of no secret');
  return eventIn(text);
}

function headerOf(headers: WebhookHeaders, name: string): string {
  const entries = typeof headers.get === 'function' ? [...(headers as Headers)] : Object.entries(headers);
  const [, value] = entries.find(([key]) => key.toLowerCase() === name) ?? [];
  // Two headers are neither one.
  if (typeof value !== 'string' || value === '') throw new WebhookVerificationError(`${name} is missing`);
  return value;
}

/** WebCrypto compares in constant time. */
async function isSigned(
  message: Uint8Array<ArrayBuffer>,
  signatures: string,
  secrets: readonly string[],
): Promise<boolean> {
  const candidates = signatures.split(' ', MAX_SIGNATURES).filter((each) => each.startsWith('v1,'));
  for (const secret of secrets) {
    const algorithm = { name: 'HMAC', hash: 'SHA-256' };
    const key = await crypto.subtle.importKey('raw', secretBytes(secret), algorithm, false, ['verify']);
    for (const candidate of candidates) {
      const signature = bytesOf(candidate.slice('v1,'.length));
      if (signature && (await crypto.subtle.verify('HMAC', key, signature, message))) return true;
    }
  }
  return false;
}

function secretBytes(secret: string): Uint8Array<ArrayBuffer> {
  const bytes = secret.startsWith('whsec_') ? bytesOf(secret.slice('whsec_'.length)) : undefined;
  if (!bytes || bytes.length === 0) throw new TypeError('a secret is whsec_ and base64');
  return bytes;
}

/** Undefined: it is not base64. */
function bytesOf(base64: string): Uint8Array<ArrayBuffer> | undefined {
  try {
    return Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
  } catch {
    return undefined;
  }
}

function eventIn(text: string): BankEvent {
  let event: Partial<BankEvent> | null = null;
  try {
    event = JSON.parse(text) as Partial<BankEvent> | null;
  } catch {
    // Below.
  }
  if (event?.specversion !== '1.0' || typeof event.type !== 'string')
    throw new WebhookVerificationError('the body is no CloudEvent 1.0');
  return event as BankEvent;
}
