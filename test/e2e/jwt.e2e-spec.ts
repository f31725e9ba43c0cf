import { createHmac, createSecretKey } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, afterEach, beforeAll, describe, expect, it, jest } from '@jest/globals';
import {
  exportSPKI,
  exportJWK,
  generateKeyPair,
  importJWK,
  SignJWT,
  type CryptoKey,
  type JWTPayload,
} from 'jose';
import { startApp, startInstance, type TestApp } from '../support/app.js';
import { pass } from '../support/clock.js';
import { bearer, makeKey } from '../support/credentials.js';
import { AUDIENCE, OidcProvider, type Algorithm } from '../support/oidc-provider.js';
import { waitUntil } from '../support/service.js';

/** After this time the keys may be requested from the provider again. */
const AGAIN_MS = 5_100;
const HOUR_MS = 3_600_000;

let provider: OidcProvider;
let app: TestApp;

beforeAll(async () => {
  provider = await OidcProvider.start();
  app = await startApp(provider.settings, { auth: { failuresPerMinute: 1_000_000 } });
});

afterEach(() => {
  jest.restoreAllMocks();
});

afterAll(async () => {
  await app.close();
  await provider.stop();
});

const READ = 'accounts:read';
const get = (token: string, path = '/accounts', of = app) => of.http.get(path).set(bearer(token));
const status = async (token: string, of = app) => (await get(token, '/accounts', of)).status;
const nowS = () => Math.floor(Date.now() / 1_000);

/** Parts of a token that nobody signs. */
const part = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url');
const claims = (): JWTPayload => ({
  iss: provider.issuer,
  aud: AUDIENCE,
  sub: 'alice',
  scope: READ,
  exp: nowS() + 60,
});

describe('a token of the identity provider', () => {
  it.each<Algorithm>(['RS256', 'ES256', 'EdDSA'])('that is signed by %s is accepted', async (algorithm) => {
    expect(await status(await provider.token(READ, { algorithm }))).toBe(200);
  });

  it('allows exactly what its scopes say', async () => {
    const token = await provider.token(READ);
    const refused = await app.http.post('/accounts').set(bearer(token)).send({});
    expect(refused.status).toBe(403);
    const writing = await provider.token('accounts:write transactions:read');
    expect((await app.http.post('/accounts').set(bearer(writing)).send({})).status).toBe(201);
    expect(await status(writing)).toBe(403);
    expect(await status(await provider.sign({}))).toBe(403);
    expect(await status(await provider.sign({ scope: 'accounts:readx ACCOUNTS:READ openid' }))).toBe(403);
    expect(await status(await provider.sign({ scope: [READ, 7, null] }))).toBe(200);
    expect(await status(await provider.sign({ scope: { [READ]: true } }))).toBe(403);
  });

  it('shows its subject only the accounts of that owner, and an admin all', async () => {
    const scope = 'accounts:read accounts:write';
    const [alice, bob] = await Promise.all(['alice', 'bob'].map((sub) => provider.sign({ sub, scope })));
    const opened = await app.http
      .post('/accounts')
      .set(bearer(bob ?? ''))
      .send({});
    const { accountId, owner } = opened.body as { accountId: number; owner: string };
    expect(owner).toBe('bob');
    expect((await get(bob ?? '', `/accounts/${accountId}`)).status).toBe(200);
    expect((await get(alice ?? '', `/accounts/${accountId}`)).status).toBe(404);
    const admin = await provider.sign({ sub: 'carol', scope: 'admin' });
    expect((await get(admin, `/accounts/${accountId}`)).status).toBe(200);
    expect((await get(admin, '/metrics')).status).toBe(200);
  });

  it('is verified once and then remembered until it expires', async () => {
    const strict = await startInstance(app.databaseUrl, provider.settings, { jwt: { clockToleranceS: 0 } });
    const exp = nowS() + 3;
    const token = await provider.sign({ scope: READ, exp });
    try {
      expect(await status(token, strict)).toBe(200);
      const asked = provider.keysAsked;
      expect(await status(token, strict)).toBe(200);
      expect(provider.keysAsked).toBe(asked);
      await waitUntil(async () => (await status(token, strict)) === 401, 6_000);
      expect(nowS()).toBeGreaterThanOrEqual(exp);
    } finally {
      await strict.close();
    }
  });

  it('may be off by the clock tolerance', async () => {
    expect(await status(await provider.sign({ scope: READ, exp: nowS() - 3 }))).toBe(200);
    expect(await status(await provider.sign({ scope: READ, exp: nowS() - 7 }))).toBe(401);
    expect(await status(await provider.sign({ scope: READ, nbf: nowS() + 3 }))).toBe(200);
    expect(await status(await provider.sign({ scope: READ, nbf: nowS() + 30 }))).toBe(401);
  });

  it('may have its scopes in another claim', async () => {
    const other = await startInstance(app.databaseUrl, {
      ...provider.settings,
      JWT_SCOPES_CLAIM: 'permissions',
    });
    try {
      expect(await status(await provider.sign({ permissions: [READ] }), other)).toBe(200);
      expect(await status(await provider.sign({ scope: READ }), other)).toBe(403);
    } finally {
      await other.close();
    }
  });

  it('works beside API keys', async () => {
    expect(await status((await makeKey(app)).key)).toBe(200);
  });
});

describe('no credential', () => {
  const signed = async (key: CryptoKey | Uint8Array, alg: string, header: object = {}, payload = claims()) =>
    new SignJWT(payload).setProtectedHeader({ alg, ...header }).sign(key);

  it.each<[string, () => Promise<string> | string]>([
    ['without a signature (alg none)', () => `${part({ alg: 'none' })}.${part(claims())}.`],
    ['without a signature, written otherwise', () => `${part({ alg: 'nOnE' })}.${part(claims())}.`],
    [
      'with its signature taken off',
      async () => (await provider.token(READ)).split('.').slice(0, 2).join('.') + '.',
    ],
    [
      'with HS256 and the public key for a secret (PEM)',
      async () => {
        const pem = await exportSPKI((await importJWK(provider.publicKey('RS256'), 'RS256')) as CryptoKey);
        const head = `${part({ alg: 'HS256', kid: provider.publicKey('RS256').kid })}.${part(claims())}`;
        return `${head}.${createHmac('sha256', createSecretKey(Buffer.from(pem)))
          .update(head)
          .digest('base64url')}`;
      },
    ],
    [
      'with HS256 and the public key for a secret (JWK)',
      () =>
        signed(Buffer.from(JSON.stringify(provider.publicKey('RS256'))), 'HS256', {
          kid: provider.publicKey('RS256').kid,
        }),
    ],
    [
      "with a stranger's key under the provider's id",
      async () => {
        const { privateKey } = await generateKeyPair('ES256');
        return signed(privateKey, 'ES256', { kid: provider.publicKey('ES256').kid });
      },
    ],
    [
      'with the key that it brings along (jwk)',
      async () => {
        const { privateKey, publicKey } = await generateKeyPair('ES256');
        return signed(privateKey, 'ES256', { jwk: await exportJWK(publicKey) });
      },
    ],
    [
      'with the id of a key of another algorithm',
      async () => {
        const { privateKey } = await generateKeyPair('ES256');
        return signed(privateKey, 'ES256', { kid: provider.publicKey('RS256').kid });
      },
    ],
    [
      'of an algorithm that is not taken (PS256)',
      async () => signed((await generateKeyPair('PS256')).privateKey, 'PS256'),
    ],
    ['of another issuer', () => provider.sign({ scope: READ, iss: 'https://elsewhere.example.com' })],
    ['for another audience', () => provider.sign({ scope: READ, aud: 'urn:other' })],
    ['for another audience, as the provider makes it', () => provider.token(READ, { resource: 'urn:other' })],
    ['for no audience', () => provider.sign({ scope: READ, aud: undefined })],
    ['that expired', () => provider.sign({ scope: READ, exp: nowS() - 60 })],
    ['that never expires', () => provider.sign({ scope: READ, exp: undefined })],
    ['with a time that is none', () => provider.sign({ scope: READ, exp: 'never' as unknown as number })],
    ['of nobody', () => provider.sign({ scope: READ, sub: undefined })],
    ['of an empty subject', () => provider.sign({ scope: READ, sub: '' })],
    ['of a subject that is too long', () => provider.sign({ scope: READ, sub: 'x'.repeat(256) })],
    ['of a subject with a line feed', () => provider.sign({ scope: READ, sub: 'alice\nbob' })],
    ['of a subject that is no text', () => provider.sign({ scope: READ, sub: 7 as unknown as string })],
    [
      'with an extension that must be understood',
      () => provider.sign({ scope: READ }, { crit: ['x'], x: 1 }),
    ],
    ['for another purpose', () => provider.sign({ scope: READ }, { typ: 'logout+jwt' })],
    ['that is cut off', async () => (await provider.token(READ)).slice(0, -10)],
    [
      'with a changed claim',
      async () => {
        const [head, , signature] = (await provider.token(READ)).split('.');
        return `${head}.${part({ ...claims(), scope: 'admin' })}.${signature}`;
      },
    ],
    ['that is huge', () => provider.sign({ scope: READ, filler: 'x'.repeat(8_000) })],
    ['that is encrypted', () => `${part({ alg: 'dir', enc: 'A256GCM' })}..AAAA.AAAA.AAAA`],
    ['of parts that are no JSON', () => 'AAAA.BBBB.CCCC'],
  ])('is a token %s', async (_what, make) => {
    const response = await get(await make());
    expect(response.status).toBe(401);
    expect(response.text).toBe('{"error":"Unauthorized"}');
  });

  it('is a token that says where its key is, and the service does not ask there', async () => {
    let asked = 0;
    const stranger = createServer((_request, response) => {
      asked += 1;
      response.end('{"keys":[]}');
    }).listen(0, '127.0.0.1');
    await once(stranger, 'listening');
    const url = `http://127.0.0.1:${(stranger.address() as AddressInfo).port}/jwks`;
    const { privateKey } = await generateKeyPair('ES256');
    for (const header of [{ jku: url }, { x5u: url }, { jku: url, kid: 'mine' }]) {
      expect(await status(await signed(privateKey, 'ES256', header))).toBe(401);
    }
    expect(asked).toBe(0);
    stranger.close();
  });

  it('that is forged causes the provider next to no work', async () => {
    const asked = provider.keysAsked;
    const { privateKey } = await generateKeyPair('ES256');
    for (let n = 0; n < 50; n++) {
      expect(await status(await signed(privateKey, 'ES256', { kid: `made-up-${n}` }))).toBe(401);
    }
    expect(provider.keysAsked - asked).toBeLessThanOrEqual(1);
  });
});

describe('the keys of the identity provider', () => {
  it('may be rotated; a token of a removed key is valid only if it was verified just before', async () => {
    const [seen, unseen] = await Promise.all([provider.token(READ), provider.token(READ)]);
    expect(await status(seen)).toBe(200);
    await provider.rotate();
    const after = await provider.token(READ);
    pass(AGAIN_MS);
    expect(await status(after)).toBe(200);
    expect(await status(unseen)).toBe(401);
    expect(await status(seen)).toBe(200);
  });

  it('are not requested over and over while the provider fails, and are fetched again afterwards', async () => {
    const troubled = await OidcProvider.start();
    troubled.keysAnswer = 'refused';
    const service = await startInstance(app.databaseUrl, troubled.settings);
    try {
      const tokens = await Promise.all(Array.from({ length: 20 }, () => troubled.token(READ)));
      for (const token of tokens) expect(await status(token, service)).toBe(503);
      expect(troubled.keysAsked).toBe(1);
      troubled.keysAnswer = 'given';
      pass(AGAIN_MS);
      for (const token of tokens) expect(await status(token, service)).toBe(200);
      expect(troubled.keysAsked).toBe(2);
    } finally {
      await service.close();
      await troubled.stop();
    }
  });

  it('make one request wait, not all, when the provider hangs', async () => {
    const troubled = await OidcProvider.start();
    const service = await startInstance(app.databaseUrl, troubled.settings);
    try {
      expect(await status(await troubled.token(READ), service)).toBe(200);
      const strange = await troubled.sign({ scope: READ }, { kid: 'of tomorrow' });
      // Only then are they requested again.
      pass(AGAIN_MS);
      troubled.keysAnswer = 'never';
      expect(await status(strange, service)).toBe(503);
      const startedMs = performance.now();
      expect(await status(strange, service)).toBe(503);
      expect(await status(await troubled.token(READ), service)).toBe(200);
      expect(performance.now() - startedMs).toBeLessThan(2_000);
    } finally {
      await service.close();
      await troubled.stop();
    }
  }, 30_000);

  it('are kept while it can not be reached; a token with a new key can’t be checked, which is not a 401', async () => {
    const lonely = await OidcProvider.start();
    const service = await startInstance(app.databaseUrl, lonely.settings);
    try {
      const [seen, unseen] = await Promise.all([lonely.token(READ), lonely.token(READ)]);
      expect(await status(seen, service)).toBe(200);
      const strange = await lonely.sign({ scope: READ }, { kid: 'of tomorrow' });
      const late = await lonely.sign({ scope: READ, exp: nowS() + 7_200 });
      pass(AGAIN_MS);
      await lonely.stop();
      expect(await status(unseen, service)).toBe(200);
      const response = await get(strange, '/accounts', service);
      expect(response.status).toBe(503);
      expect(response.text).toBe('{"error":"Identity provider unavailable"}');
      expect(response.headers['x-error-code']).toBe('IDENTITY_PROVIDER_UNAVAILABLE');
      expect(response.headers['retry-after']).toBe('1');
      // Nor are they kept for ever.
      pass(HOUR_MS);
      expect(await status(late, service)).toBe(503);
    } finally {
      await service.close();
    }
  });

  it('that were never fetched do not make a token invalid', async () => {
    const lonely = await OidcProvider.start();
    const token = await lonely.token(READ);
    const { settings } = lonely;
    await lonely.stop();
    const service = await startInstance(app.databaseUrl, settings);
    try {
      expect(await status(token, service)).toBe(503);
      expect(await status((await makeKey(app)).key, service)).toBe(200);
    } finally {
      await service.close();
    }
  });
});
