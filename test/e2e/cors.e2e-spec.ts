import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { openAccount, startApp, type TestApp } from '../support/app.js';
import { bearer, makeKey } from '../support/credentials.js';
import { RawClient } from '../support/raw-client.js';
import { waitUntil } from '../support/service.js';
import { deposit, post } from '../support/requests.js';

const ORIGIN = 'https://app.example';
const PREFLIGHT = {
  origin: ORIGIN,
  'access-control-request-method': 'POST',
  'access-control-request-headers': 'accept,authorization,content-type,idempotency-key,if-match',
};

const allowing = (headers: object) =>
  Object.keys(headers).filter((name) => name.startsWith('access-control-'));

describe('without CORS_ORIGINS', () => {
  let app: TestApp;

  beforeAll(async () => {
    app = await startApp();
  });

  afterAll(() => app.close());

  it('no page of another origin may read an answer or learn what it may send', async () => {
    const answer = await app.http.get('/accounts').set('origin', ORIGIN);
    expect(answer.status).toBe(200);
    expect(allowing(answer.headers)).toEqual([]);
    const preflight = await app.http.options('/accounts').set(PREFLIGHT);
    expect(preflight.status).toBe(204);
    expect(preflight.headers['allow']).toBe('GET, HEAD, OPTIONS, POST');
    expect(allowing(preflight.headers)).toEqual([]);
  });
});

describe('with CORS_ORIGINS', () => {
  let app: TestApp;
  let accountId: number;

  beforeAll(async () => {
    app = await startApp({ CORS_ORIGINS: `${ORIGIN}, http://localhost:8080` });
    accountId = await openAccount(app, '10.00');
  });

  afterAll(() => app.close());

  it.each([ORIGIN, 'http://localhost:8080'])('a page of %s may send a transaction', async (origin) => {
    const { status, headers } = await app.http
      .options(`/accounts/${accountId}/transactions`)
      .set({ ...PREFLIGHT, origin });
    expect(status).toBe(204);
    expect(headers['access-control-allow-origin']).toBe(origin);
    expect(headers['access-control-allow-methods']).toBe('DELETE, GET, HEAD, PATCH, POST');
    const allowed = String(headers['access-control-allow-headers']).toLowerCase().split(', ');
    for (const name of PREFLIGHT['access-control-request-headers'].split(','))
      expect(allowed).toContain(name);
    expect(headers['x-request-id']).toBeDefined();
    expect(headers.vary).toBe('Accept, Origin');
  });

  it('may read the answer and its headers, whether it succeeded or not', async () => {
    const headers = { origin: ORIGIN };
    for (const [answer, status] of [
      [await post(app, accountId, deposit('1'), headers), 201],
      [await post(app, accountId, '{', headers), 400],
      [await post(app, 999_999, deposit('1'), headers), 404],
      [await app.http.get('/nothing').set(headers), 404],
    ] as const) {
      expect(answer.status).toBe(status);
      expect(answer.headers['access-control-allow-origin']).toBe(ORIGIN);
      const exposed = String(answer.headers['access-control-expose-headers']).split(', ');
      for (const name of [
        ...['Allow', 'ETag', 'X-Error-Code', 'X-Request-Id'],
        ...['RateLimit', 'RateLimit-Policy', 'Retry-After'],
      ]) {
        expect(exposed).toContain(name);
      }
      expect(answer.headers).not.toHaveProperty('access-control-allow-credentials');
      expect(answer.headers.vary).toBe('Accept, Origin');
    }
  });

  it.each([
    'https://app.example.evil',
    'https://evil',
    'http://app.example',
    'https://app.example:8443',
    'null',
  ])('a page of %s may not', async (origin) => {
    for (const answer of [
      await app.http.options('/accounts').set({ ...PREFLIGHT, origin }),
      await app.http.get('/accounts').set('origin', origin),
    ]) {
      expect(answer.headers).not.toHaveProperty('access-control-allow-origin');
      expect(answer.headers.vary).toBe('Accept, Origin');
    }
  });

  it.each(['/metrics', '/health/ready', '/docs'])('no page of another origin may read %s', async (path) => {
    expect(allowing((await app.http.get(path).set('origin', ORIGIN)).headers)).toEqual([]);
  });

  it.each([{}, { origin: ORIGIN }, { 'access-control-request-method': 'POST' }])(
    'OPTIONS with only %j is no preflight request: it is told the methods of the path',
    async (headers) => {
      const answer = await app.http.options('/accounts').set(headers);
      expect(answer.status).toBe(204);
      expect(answer.headers['allow']).toBe('GET, HEAD, OPTIONS, POST');
      expect(answer.headers).not.toHaveProperty('access-control-allow-methods');
      expect(answer.headers['access-control-allow-origin']).toBe('origin' in headers ? ORIGIN : undefined);
      const nowhere = await app.http.options('/nothing').set(headers);
      expect(nowhere.status).toBe(404);
      expect(nowhere.text).toBe('{"error":"Not found"}');
    },
  );

  it('OPTIONS * is told the methods of the service', async () => {
    const client = await RawClient.open(app.url);
    client.send('OPTIONS * HTTP/1.1\r\nHost: bank\r\nConnection: close\r\n\r\n');
    await client.closed;
    expect(client.statuses).toEqual([204]);
    expect(client.received).toMatch(/allow: DELETE, GET, HEAD, OPTIONS, PATCH, POST\r\n/i);
    expect(client.received).toMatch(/x-request-id: [0-9a-f-]{36}\r\n/i);
  });

  it('preflight requests count as requests of their connection', async () => {
    const client = await RawClient.open(app.url);
    try {
      const lines = Object.entries(PREFLIGHT).map(([name, value]) => `${name}: ${value}\r\n`);
      const preflight = `OPTIONS /accounts HTTP/1.1\r\nHost: bank\r\n${lines.join('')}\r\n`;
      for (let round = 1; round <= 4; round++) {
        client.send(preflight.repeat(10));
        await waitUntil(() => Promise.resolve(client.statuses.length === round * 10), 5_000);
      }
      expect(new Set(client.statuses)).toEqual(new Set([204]));
    } finally {
      client.destroy();
    }
  });
});

describe('with CORS_ORIGINS and credentials', () => {
  let app: TestApp;

  beforeAll(async () => {
    app = await startApp({ CORS_ORIGINS: ORIGIN, AUTH: 'on' });
  });

  afterAll(() => app.close());

  it('a page needs no credential for a preflight, and can read that it needs one for the rest', async () => {
    expect((await app.http.options('/accounts').set(PREFLIGHT)).status).toBe(204);
    const refused = await app.http.get('/accounts').set('origin', ORIGIN);
    expect(refused.status).toBe(401);
    expect(refused.headers['access-control-allow-origin']).toBe(ORIGIN);
    expect(refused.headers['access-control-expose-headers']).toContain('WWW-Authenticate');
    const { key } = await makeKey(app, { scopes: ['accounts:read'] });
    const allowed = await app.http.get('/accounts').set({ origin: ORIGIN, ...bearer(key) });
    expect(allowed.status).toBe(200);
  });
});
