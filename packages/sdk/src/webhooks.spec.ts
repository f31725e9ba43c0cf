import { describe, expect, it } from '@jest/globals';
import { randomBytes } from 'node:crypto';
import { Webhook } from 'standardwebhooks';
import { verify, WebhookVerificationError, type WebhookHeaders } from './webhooks.js';

const SECRET = `whsec_${randomBytes(32).toString('base64')}`;
const OTHER = `whsec_${randomBytes(24).toString('base64')}`;
const EVENT = {
  specversion: '1.0',
  id: 'txn131',
  type: 'transaction.posted.v1',
  data: { amount: '49.50 €' },
};
const BODY = JSON.stringify(EVENT);
const ID = 'msg_1';

/** A delivery as another implementation of the standard signs it. */
function delivery(secret = SECRET, { body = BODY, ageS = 0 } = {}) {
  const sentAt = new Date(Date.now() - ageS * 1000);
  return {
    'webhook-id': ID,
    'webhook-timestamp': String(Math.floor(sentAt.getTime() / 1000)),
    'webhook-signature': new Webhook(secret).sign(ID, sentAt, body),
  };
}

const refused = (headers: WebhookHeaders, secret: string | string[] = SECRET, body = BODY) =>
  expect(verify(body, headers, secret)).rejects.toThrow(WebhookVerificationError);

describe('webhooks.verify', () => {
  it('accepts what another implementation has signed, in each form', async () => {
    const headers = delivery();
    await expect(verify(BODY, headers, SECRET)).resolves.toEqual(EVENT);
    await expect(verify(new TextEncoder().encode(BODY), new Headers(headers), SECRET)).resolves.toEqual(
      EVENT,
    );
    const inCapitals = Object.fromEntries(
      Object.entries(headers).map(([name, value]) => [name.toUpperCase(), value]),
    );
    await expect(verify(BODY, inCapitals, SECRET)).resolves.toEqual(EVENT);
  });

  it('agrees with the other implementation on what is wrong', async () => {
    const right = delivery();
    const wrong: Record<string, string>[] = [
      { ...right, 'webhook-id': 'msg_2' },
      { ...right, 'webhook-timestamp': String(Number(right['webhook-timestamp']) + 1) },
      { ...right, 'webhook-signature': right['webhook-signature'].replace('v1,', 'v2,') },
      { ...right, 'webhook-signature': 'v1,' },
      { ...right, 'webhook-signature': 'v1,~~~' },
      { ...right, 'webhook-timestamp': 'now' },
      delivery(OTHER),
      delivery(SECRET, { ageS: 400 }),
      delivery(SECRET, { ageS: -400 }),
      delivery(SECRET, { body: `${BODY} ` }),
      ...Object.keys(right).map((name) => ({ ...right, [name]: '' })),
    ];
    for (const headers of wrong) {
      expect(() => new Webhook(SECRET).verify(BODY, headers)).toThrow();
      await refused(headers);
    }
  });

  it('takes any of several signatures and secrets, so that a secret can be rotated', async () => {
    const [old, now] = [delivery(OTHER), delivery()];
    const both = { ...now, 'webhook-signature': `${old['webhook-signature']} ${now['webhook-signature']}` };
    await expect(verify(BODY, both, SECRET)).resolves.toEqual(EVENT);
    await expect(verify(BODY, old, [SECRET, OTHER])).resolves.toEqual(EVENT);
    await refused(old, SECRET);
    await refused(now, []);
  });

  it('reads only so many signatures, and no header twice', async () => {
    const headers = delivery();
    await refused({
      ...headers,
      'webhook-signature': `${'v1,AAAA '.repeat(16)}${headers['webhook-signature']}`,
    });
    await refused({ ...headers, 'webhook-id': [ID, ID] });
  });

  it.each(['no JSON', 'null', '[]', '{"specversion":"0.3","type":"x"}', '{"specversion":"1.0"}'])(
    'refuses %s, though it is signed',
    (body) => refused(delivery(SECRET, { body }), SECRET, body),
  );

  it.each(['', 'whsec_', 'secret', 'whsec_~'])('says that %j is no secret', async (secret) => {
    await expect(verify(BODY, delivery(), secret)).rejects.toThrow(TypeError);
  });
});
