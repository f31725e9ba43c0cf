import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { request, type IncomingMessage } from 'node:http';
import { createRequire } from 'node:module';
import { dirname } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { openAccount, startApp, type TestApp } from '../support/app.js';
import { deposit, post, sendRaw } from '../support/requests.js';

/** The headers of an answer that a browser must treat as data: not render, run or frame. */
const DATA = {
  'cache-control': expect.stringContaining('no-store') as unknown,
  'content-security-policy': "default-src 'none';frame-ancestors 'none'",
  'cross-origin-resource-policy': 'same-origin',
  'referrer-policy': 'no-referrer',
  vary: 'Accept',
  'x-content-type-options': 'nosniff',
};

/** The status for a path that is sent unchanged. */
async function statusOf(url: string): Promise<number | undefined> {
  const { hostname, port } = new URL(url);
  const asked = request({ hostname, port, path: url.slice(url.indexOf('/docs')) }).end();
  const [response] = (await once(asked, 'response')) as [IncomingMessage];
  response.resume();
  return response.statusCode;
}

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

  it('are on the answer to a posting, without replacing its own headers', async () => {
    const posted = await post(app, accountId, deposit('1'));
    expect(posted.status).toBe(201);
    expect(posted.headers).toMatchObject(DATA);
    expect(posted.headers.etag).toBe('"3"');
    const ready = await app.http.get('/health/ready');
    expect(ready.headers['cache-control']).toContain('no-store');
  });

  it('keep answers out of caches, including an unchanged balance, which still has its tag', async () => {
    const path = `/accounts/${accountId}/balance`;
    const { headers } = await app.http.get(path);
    const unchanged = await app.http.get(path).set('if-none-match', headers.etag ?? '');
    expect(unchanged.status).toBe(304);
    expect(unchanged.headers).toMatchObject({ 'cache-control': 'no-store', etag: headers.etag });
    const items = [{ accountId, ...deposit('1') }];
    const batch = await app.http.post('/transactions/batch').send(items);
    expect(batch.headers['cache-control']).toBe('no-store');
    for (const other of [`/accounts/${accountId}`, '/accounts', `/accounts/${accountId}/transactions`]) {
      expect((await app.http.get(other)).headers['cache-control']).toBe('no-store');
    }
  });

  it('come with only those files of Swagger UI that its page needs', async () => {
    const folder = dirname(createRequire(import.meta.url).resolve('swagger-ui-dist/package.json'));
    const encoded = (file: string) => file.replace(/^./, (first) => `%${first.charCodeAt(0).toString(16)}`);
    const served = new Set<string>();
    for (const file of [...readdirSync(folder), 'nothing']) {
      for (const name of [file, `./${file}`, encoded(file), `${file}/`, `../swagger-ui-dist/${file}`]) {
        const status = await statusOf(`${app.url}/docs/${name}`);
        if (status === 200) served.add(file);
        else expect([name, status]).toEqual([name, 404]);
      }
    }
    expect([...served].sort()).toEqual([
      'favicon-16x16.png',
      'favicon-32x32.png',
      'index.html',
      'swagger-ui-bundle.js',
      'swagger-ui-standalone-preset.js',
      'swagger-ui.css',
    ]);
  });

  it.each(['/docs', '/docs/', '/docs/index.html', '/docs/swagger-ui-bundle.js', '/docs/swagger-ui-init.js'])(
    'let %s run only scripts of the service',
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

  it('leaves the rest unchanged', async () => {
    const accountId = await openAccount(app, '10.00');
    expect((await post(app, accountId, deposit('1'))).status).toBe(201);
  });
});
