import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { Client } from 'pg';
import { VALID_MS } from '../../src/access/api-keys.js';
import { generateKey } from '../../src/access/api-key.js';
import { listKeys, revokeKey, rotateKey } from '../../src/admin/keys.js';
import { startApp, startInstance, type TestApp } from '../support/app.js';
import { bearer, makeKey } from '../support/credentials.js';
import { RawClient } from '../support/raw-client.js';
import { waitUntil } from '../support/service.js';

/** The longest that a revocation may take. */
const REVOKED_WITHIN_MS = 5_000;

let app: TestApp;
let other: TestApp;
let client: Client;

beforeAll(async () => {
  app = await startApp({ AUTH: 'on' });
  other = await startInstance(app.databaseUrl, { AUTH: 'on' });
  client = new Client({ connectionString: app.databaseUrl });
  await client.connect();
});

afterAll(async () => {
  await client.end();
  await other.close();
  await app.close();
});

const shards = () => [{ url: app.databaseUrl, schema: 'bank' }];
const get = (headers: Record<string, string>, of = app, path = '/accounts') => of.http.get(path).set(headers);
const status = async (headers: Record<string, string>, of = app, path = '/accounts') =>
  (await get(headers, of, path)).status;

describe('a credential', () => {
  it('is required', async () => {
    const response = await get({});
    expect(response.status).toBe(401);
    expect(response.text).toBe('{"error":"Unauthorized"}');
    expect(response.headers).toMatchObject({
      'www-authenticate': 'Bearer',
      'content-type': 'application/json; charset=utf-8',
    });
    expect(response.headers['x-request-id']).toBeDefined();
  });

  it('is accepted, however its scheme is written', async () => {
    const { key } = await makeKey(app);
    for (const scheme of ['Bearer', 'bearer', 'BEARER', 'Bearer  ']) {
      expect(await status({ authorization: `${scheme} ${key}` })).toBe(200);
    }
  });

  it.each([
    ['a key that was never made', () => `Bearer ${generateKey()}`],
    ['a key with a slip', () => `Bearer ${generateKey().slice(0, -1)}_`],
    ['what is no key', () => 'Bearer secret'],
    ['a JWT, where there is no identity provider', () => 'Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJtZSJ9.'],
    ['another scheme', () => `Basic ${Buffer.from('me:secret').toString('base64')}`],
    ['a scheme alone', () => 'Bearer'],
    ['two credentials', () => `Bearer ${generateKey()}, Bearer ${generateKey()}`],
    ['an SQL injection', () => `Bearer bank_'OR'1'='1`],
    ['very much', () => `Bearer bank_${'a'.repeat(10_000)}`],
  ])('is not %s', async (_what, authorization) => {
    const response = await get({ authorization: authorization() });
    expect(response.status).toBe(401);
    expect(response.text).toBe('{"error":"Unauthorized"}');
    expect(response.headers['www-authenticate']).toBe('Bearer error="invalid_token"');
  });

  it('is not read from the URL, the body or another header', async () => {
    const { key } = await makeKey(app);
    expect(await status({}, app, `/accounts?access_token=${key}`)).toBe(401);
    expect(await status({ 'x-api-key': key, cookie: `authorization=Bearer ${key}` })).toBe(401);
    const posted = await app.http.post('/accounts').send({ access_token: key });
    expect(posted.status).toBe(401);
  });

  it('is required before the body is parsed, but after the path is found to exist', async () => {
    const broken = await app.http.post('/accounts').set('content-type', 'application/json').send('{"a":');
    expect(broken.status).toBe(401);
    expect(await status({}, app, '/nowhere')).toBe(404);
  });

  it('is required before a misspelt key is named', async () => {
    const misspelt = (headers: object) =>
      app.http
        .post('/accounts')
        .set({ 'X-Idempotency-Key': 'k', ...headers })
        .send({});
    expect((await misspelt({})).status).toBe(401);
    const writer = bearer((await makeKey(app, { scopes: ['accounts:write'] })).key);
    expect((await misspelt(writer)).status).toBe(400);
  });

  it('allows exactly what its scopes say', async () => {
    const reader = bearer((await makeKey(app, { scopes: ['accounts:read'] })).key);
    expect(await status(reader)).toBe(200);
    const response = await app.http.post('/accounts').set(reader).send({});
    expect(response.status).toBe(403);
    expect(response.text).toBe('{"error":"Forbidden"}');
    expect(response.headers['www-authenticate']).toBe(
      'Bearer error="insufficient_scope", scope="accounts:write"',
    );
    expect(await status(reader, app, '/metrics')).toBe(403);
    const writer = bearer((await makeKey(app, { scopes: ['accounts:write'] })).key);
    expect((await app.http.post('/accounts').set(writer).send({})).status).toBe(201);
    expect(await status(writer)).toBe(403);
    const admin = bearer((await makeKey(app, { scopes: ['admin'] })).key);
    expect(await status(admin)).toBe(200);
    expect(await status(admin, app, '/metrics')).toBe(200);
  });
});

describe('an API key', () => {
  it('ends exactly when it expires, even if it was in use just before', async () => {
    const expires = new Date(Date.now() + 1_000);
    const { key } = await makeKey(app, { expires });
    while (Date.now() < expires.getTime() - 20) {
      const answered = await status(bearer(key));
      // An answer after the key's expiry may be either.
      if (Date.now() < expires.getTime()) expect(answered).toBe(200);
    }
    await new Promise((resolve) => setTimeout(resolve, expires.getTime() - Date.now() + 5));
    expect(await status(bearer(key))).toBe(401);
  });

  it(`that is revoked is rejected after ${REVOKED_WITHIN_MS} ms by every instance, however busy`, async () => {
    const { key, keyId } = await makeKey(app);
    const instances = [app, other];
    for (const instance of instances) expect(await status(bearer(key), instance)).toBe(200);
    await revokeKey(shards(), keyId);
    const revokedMs = performance.now();
    const takenMs = await Promise.all(
      instances.map(async (instance) => {
        while ((await status(bearer(key), instance)) === 200) await new Promise((r) => setTimeout(r, 10));
        return performance.now() - revokedMs;
      }),
    );
    for (const ms of takenMs) expect(ms).toBeLessThan(REVOKED_WITHIN_MS);
    for (const instance of instances) expect(await status(bearer(key), instance)).toBe(401);
  }, 20_000);

  it('stays valid beside its replacement during the overlap', async () => {
    const old = await makeKey(app, { scopes: ['accounts:read'], owner: 'rotated', name: 'rotating' });
    expect(await status(bearer(old.key))).toBe(200);
    const created = await rotateKey(shards(), old.keyId, { overlapMs: 2_000 });
    expect(await status(bearer(created.key))).toBe(200);
    expect(await status(bearer(old.key))).toBe(200);
    const keys = await listKeys(shards());
    expect(keys.find(({ keyId }) => keyId === created.keyId)).toMatchObject({
      name: 'rotating',
      scopes: ['accounts:read'],
      owner: 'rotated',
      expiresAt: null,
    });
    await waitUntil(async () => (await status(bearer(old.key))) === 401, 2_000 + VALID_MS + 1_000);
    expect(await status(bearer(created.key))).toBe(200);
    await expect(rotateKey(shards(), old.keyId, { overlapMs: 1 })).rejects.toThrow('has expired already');
  }, 20_000);

  it('records when it was last used', async () => {
    const { key, keyId } = await makeKey(app);
    const lastUse = async () =>
      (await listKeys(shards())).find((listed) => listed.keyId === keyId)?.lastUsedAt;
    expect(await lastUse()).toBeNull();
    const beforeMs = Date.now();
    for (let n = 0; n < 20; n++) await status(bearer(key));
    await waitUntil(async () => (await lastUse()) !== null, 5_000);
    expect(Math.abs(((await lastUse()) as Date).getTime() - beforeMs)).toBeLessThan(10_000);
    const { rows } = await client.query<{ updates: string }>(
      `SELECT xmin::text AS updates FROM bank.api_keys WHERE key_id = $1`,
      [keyId],
    );
    for (const instance of [app, other]) await status(bearer(key), instance);
    await new Promise((resolve) => setTimeout(resolve, 200));
    // Within the minute nobody writes it again, not even another instance.
    expect(
      (await client.query('SELECT xmin::text AS updates FROM bank.api_keys WHERE key_id = $1', [keyId])).rows,
    ).toEqual(rows);
  });

  it('is stored only as a hash', async () => {
    const { key } = await makeKey(app);
    const { rows } = await client.query('SELECT * FROM bank.api_keys');
    const { rows: events } = await client.query('SELECT * FROM bank.audit_events');
    expect(JSON.stringify([rows, events])).not.toContain(key.slice(9));
  });

  it('with an owner may not be an admin', async () => {
    await expect(makeKey(app, { scopes: ['admin'], owner: 'me' })).rejects.toThrow('can have no owner');
  });
});

describe('an address that keeps sending malformed credentials', () => {
  it('is told to wait, while well-formed ones are still looked up', async () => {
    const limited = await startInstance(app.databaseUrl, { AUTH: 'on' }, { auth: { failuresPerMinute: 5 } });
    try {
      const used = await makeKey(app);
      expect(await status(bearer(used.key), limited)).toBe(200);
      for (let n = 0; n < 5; n++) expect(await status(bearer('secret'), limited)).toBe(401);
      const refused = await get(bearer('secret'), limited);
      expect(refused.status).toBe(429);
      expect(Number(refused.headers['retry-after'])).toBe(12);
      expect(refused.text).toBe('{"error":"Too many requests"}');
      for (const one of [`${generateKey().slice(0, -1)}_`, 'eyJhbGciOiJub25lIn0.eyJzdWIiOiJtZSJ9.']) {
        expect(await status(bearer(one), limited)).toBe(429);
      }
      // A request without a credential is not an attempt.
      expect(await status({}, limited)).toBe(401);
      for (let n = 0; n < 60; n++) expect(await status(bearer(generateKey()), limited)).toBe(401);
      const fresh = await makeKey(app);
      for (const { key } of [used, fresh]) expect(await status(bearer(key), limited)).toBe(200);
      const metrics = await limited.http.get('/metrics').set(bearer(used.key));
      expect(metrics.text).toContain('bank_authentication_failures_total{failure="invalid"} 65');
      expect(metrics.text).toContain('bank_authentication_failures_total{failure="limited"} 3');
      expect(metrics.text).toContain('bank_authentication_failures_total{failure="missing"} 1');
    } finally {
      await limited.close();
    }
  });
});

describe('a client that keeps using an ended key', () => {
  it('is rejected each time, even on the connection on which the key was valid', async () => {
    const limited = await startInstance(app.databaseUrl, { AUTH: 'on' }, { auth: { failuresPerMinute: 3 } });
    const raw = await RawClient.open(limited.url);
    try {
      const expires = new Date(Date.now() + 1_000);
      const { key } = await makeKey(app, { expires });
      const send = async () => {
        const answered = raw.statuses.length;
        raw.send(`GET /accounts HTTP/1.1\r\nHost: bank\r\nAuthorization: Bearer ${key}\r\n\r\n`);
        await waitUntil(() => Promise.resolve(raw.statuses.length > answered), 5_000);
      };
      await send();
      await new Promise((resolve) => setTimeout(resolve, expires.getTime() - Date.now() + 5));
      for (let n = 0; n < 4; n++) await send();
      expect(raw.statuses).toEqual([200, 401, 401, 401, 401]);
    } finally {
      raw.destroy();
      await limited.close();
    }
  });
});

describe('health', () => {
  it('tells everybody whether the service works, and an admin what is down', async () => {
    expect((await app.http.get('/health/live')).text).toBe('{"status":"ok"}');
    expect((await app.http.get('/health/ready')).text).toBe('{"status":"ok"}');
    const admin = bearer((await makeKey(app)).key);
    expect((await app.http.get('/health/ready').set(admin)).text).toContain('"shard-0":{"status":"up"}');
    const reader = bearer((await makeKey(app, { scopes: ['accounts:read'] })).key);
    expect((await app.http.get('/health/ready').set(reader)).text).toBe('{"status":"ok"}');
    expect(await status(bearer(generateKey()), app, '/health/ready')).toBe(401);
  });
});
