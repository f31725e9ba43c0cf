import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { openAccount, startApp, type TestApp } from '../support/app.js';
import { deposit, post, sendRaw } from './requests.js';

/** What an answer tells a browser: that it is data, of which nothing is to be shown, run, or put into a frame. */
const DATA = {
  'content-security-policy': "default-src 'none';frame-ancestors 'none'",
  'cross-origin-resource-policy': 'same-origin',
  'referrer-policy': 'no-referrer',
  'x-content-type-options': 'nosniff',
};

describe('security headers', () => {
  let app: TestApp;
  let accountId: number;

  beforeAll(async () => {
    app = await startApp();
    accountId = await openAccount(app, '10.00');
  });

  afterAll(() => app.close());

  const get = (path: string) =>
    sendRaw(app, `GET ${path} HTTP/1.1\r\nHost: bank\r\nConnection: close\r\n\r\n`);

  it.each([
    ['a balance', 200, (id: number) => get(`/accounts/${id}/balance`)],
    ['metrics', 200, () => get('/metrics')],
    ['the OpenAPI document', 200, () => get('/openapi.json')],
    ['a refusal of a route', 404, () => get('/accounts/999999/balance')],
    ['no route', 404, () => get('/nothing')],
    ['a URL that is none', 400, () => get('/%')],
    ['a URL that is too long', 431, () => get(`/${'x'.repeat(20_000)}`)],
    ['no HTTP', 400, () => sendRaw(app, 'nonsense\r\n\r\n')],
    ['CONNECT', 404, () => sendRaw(app, 'CONNECT bank:80 HTTP/1.1\r\nHost: bank\r\n\r\n')],
    [
      'an expectation',
      417,
      () => sendRaw(app, 'GET / HTTP/1.1\r\nHost: bank\r\nExpect: tea\r\nConnection: close\r\n\r\n'),
    ],
  ])('are on the answer to %s', async (_, status, ask) => {
    const answer = await ask(accountId);
    expect(answer.status).toBe(status);
    expect(answer.headers).toMatchObject(DATA);
    expect(answer.headers).not.toHaveProperty('strict-transport-security');
    expect(answer.headers).not.toHaveProperty('x-powered-by');
    expect(answer.headers).not.toHaveProperty('server');
  });

  it('are on the answer to a posting, and leave its own headers', async () => {
    const posted = await post(app, accountId, deposit('1'));
    expect(posted.status).toBe(201);
    expect(posted.headers).toMatchObject(DATA);
    expect(posted.headers.etag).toBe('"3"');
    const ready = await app.http.get('/health/ready');
    expect(ready.headers['cache-control']).toContain('no-store');
  });

  it.each(['/docs', '/docs/', '/docs/index.html', '/docs/swagger-ui-bundle.js', '/docs/swagger-ui-init.js'])(
    'let %s run scripts of the service alone',
    async (path) => {
      const page = await app.http.get(path);
      expect(page.status).toBe(200);
      expect(page.headers).toMatchObject({
        'content-security-policy':
          "default-src 'none';script-src 'self';style-src 'self' 'unsafe-inline';img-src 'self' data:;" +
          "connect-src 'self';base-uri 'none';form-action 'none';frame-ancestors 'none'",
        'cross-origin-opener-policy': 'same-origin',
        'referrer-policy': 'no-referrer',
        'x-content-type-options': 'nosniff',
        'x-frame-options': 'DENY',
      });
    },
  );
});

describe('SWAGGER_UI=off', () => {
  let app: TestApp;

  beforeAll(async () => {
    app = await startApp({ SWAGGER_UI: 'off' });
  });

  afterAll(() => app.close());

  it.each([
    '/docs',
    '/docs/',
    '/docs/index.html',
    '/docs/swagger-ui-bundle.js',
    '/docs/swagger-ui-init.js',
    '/docs/swagger-ui.css',
    '/openapi.json',
    '/docs-json',
    '/docs-yaml',
  ])('has no %s', async (path) => {
    const answer = await app.http.get(path);
    expect(answer.status).toBe(404);
    expect(answer.text).toBe('{"error":"Not found"}');
  });

  it('serves the rest', async () => {
    const accountId = await openAccount(app, '10.00');
    expect((await post(app, accountId, deposit('1'))).status).toBe(201);
  });
});
