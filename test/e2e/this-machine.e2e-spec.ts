import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { startInstance, startUnconfigured, type TestApp } from '../support/app.js';
import { bearer, makeKey } from '../support/credentials.js';
import { createTestDatabase, type TestDatabase } from '../support/postgres.js';
import { spawnService } from '../support/service.js';
import { deposit, JSON_TYPE, sendRaw, type Problem } from '../support/requests.js';

let database: TestDatabase;
/** Without settings: it asks for no credentials. */
let app: TestApp;
/** AUTH=off. */
let open: TestApp;

beforeAll(async () => {
  database = await createTestDatabase('this_machine');
  app = await startUnconfigured(database.url);
  open = await startInstance(database.url, { AUTH: 'off' });
});

afterAll(async () => {
  await app.close();
  await open.close();
  await database.drop();
});

const WHAT_TO_SET =
  'Where others than this machine send, set AUTH=on, and TRUSTED_PROXIES to the address of a proxy';
const refusal = (field: string, problem: string) =>
  `{"error":"Invalid request","details":[{"field":"${field}","message":"${problem}. ${WHAT_TO_SET}"}]}`;

const onlyProblem = ({ text }: { readonly text: string }) =>
  (JSON.parse(text) as { details: [Problem] }).details[0];

describe('a service that needs no credentials because only this machine can reach it', () => {
  it.each([
    'Forwarded',
    'Via',
    'X-Forwarded-For',
    'X-Forwarded-Host',
    'X-Forwarded-Proto',
    'x-forwarded-anything',
    'X-Real-IP',
    'X-Original-Forwarded-For',
    'X-Original-URL',
    'X-Client-IP',
    'X-Cluster-Client-IP',
    'True-Client-IP',
    'Fastly-Client-IP',
    'X-Azure-ClientIP',
    'Ali-CDN-Real-IP',
    'X-Envoy-External-Address',
    'CF-Connecting-IP',
    'CDN-Loop',
  ])('rejects every request with %s, and says what to set', async (name) => {
    const sent = { [name]: '' };
    const expected = refusal(name.toLowerCase(), 'is what a proxy adds');
    for (const path of [
      '/accounts',
      '/accounts/1/balance',
      '/health/live',
      '/metrics',
      '/docs',
      '/nowhere',
    ]) {
      const { status, text } = await app.http.get(path).set(sent);
      expect({ path, status, text }).toEqual({ path, status: 400, text: expected });
    }
    const posted = await app.http.post('/accounts').set(sent).send({});
    expect({ status: posted.status, text: posted.text }).toEqual({ status: 400, text: expected });
    expect((await app.http.head('/accounts').set(sent)).status).toBe(400);
    expect((await open.http.get('/accounts').set(sent)).status).toBe(200);
  });

  it.each(['X-Request-Id', 'Origin', 'Referer', 'User-Agent', 'X-Requested-With', 'Client-Id', 'Vary'])(
    'takes %s',
    async (name) => {
      expect((await app.http.get('/accounts').set(name, 'some')).status).toBe(200);
    },
  );

  it('rejects a request before it reads the body', async () => {
    const head = `POST /accounts HTTP/1.1\r\nHost: bank\r\nConnection: close\r\nContent-Type: ${JSON_TYPE}\r\n`;
    const answer = await sendRaw(app, `${head}Content-Length: 10000\r\nVia: 1.1 proxy\r\n\r\n`);
    expect(answer.status).toBe(400);
  });

  it('recognises nginx by its default, HTTP/1.0; with HTTP/1.1 it looks like a client', async () => {
    const body = JSON.stringify(deposit('1'));
    const proxied = (version: string) =>
      `POST /accounts/1/transactions HTTP/${version}\r\nHost: 127.0.0.1:3000\r\nConnection: close\r\n` +
      `Content-Type: ${JSON_TYPE}\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
    const refused = await sendRaw(app, proxied('1.0'));
    expect(refused.status).toBe(400);
    expect(refused.text).toBe(refusal('request', 'is HTTP/1.0, as proxies speak it'));
    // There is no such account.
    expect((await sendRaw(app, proxied('1.1'))).status).toBe(404);
    expect((await sendRaw(open, proxied('1.0'))).status).toBe(404);
  });

  it.each([
    'evil.example',
    'evil.example:3000',
    'evil.example.',
    '127.0.0.1.evil.example',
    '192.0.2.7:3000',
    '0.0.0.0',
    '[2001:db8::1]:3000',
  ])('does not answer under %s, which is a proxy or a stranger’s name (DNS rebinding)', async (host) => {
    const refused = await app.http.post('/accounts').set('host', host).send({});
    expect(refused.status).toBe(400);
    expect(onlyProblem(refused)).toEqual({
      field: 'Host',
      message: `is not of this machine. ${WHAT_TO_SET}`,
    });
    expect((await open.http.get('/accounts').set('host', host)).status).toBe(200);
  });

  it.each([
    'localhost',
    'localhost:3000',
    '127.0.0.1:3000',
    '127.9.9.9',
    '[::1]:3000',
    'bank',
    'bank.localhost',
  ])('answers under %s', async (host) => {
    expect((await app.http.get('/accounts').set('host', host)).status).toBe(200);
  });
});

describe('a web page in a browser on this machine', () => {
  it.each(['https://evil.example', 'http://127.0.0.1:1', 'null', ''])(
    'of %s changes nothing, without a body either',
    async (origin) => {
      for (const path of ['/holds/hold1/void', '/transactions/txn1/reversal', '/webhooks/wh1/secret']) {
        const refused = await app.http.post(path).set({ origin });
        expect({ path, status: refused.status }).toEqual({ path, status: 400 });
        expect(onlyProblem(refused)).toEqual({
          field: 'Origin',
          message: 'is of a web page that is not in CORS_ORIGINS',
        });
        expect((await open.http.post(path).set({ origin })).status).toBe(404);
      }
      expect((await app.http.delete('/webhooks/wh1').set({ origin })).status).toBe(400);
      expect((await app.http.get('/accounts').set({ origin })).status).toBe(200);
    },
  );

  it('that is the service’s own may send', async () => {
    expect((await app.http.delete('/webhooks/wh1').set({ origin: app.url })).status).toBe(404);
  });
});

describe('a service with a configured database', () => {
  it('needs credentials even on the loopback address, and then accepts forwarded requests', async () => {
    const guarded = await startInstance(database.url, { AUTH: 'auto' });
    try {
      const { key } = await makeKey(guarded);
      const proxied = { host: 'bank.example.com', 'x-forwarded-for': '192.0.2.7' };
      expect((await guarded.http.get('/accounts')).status).toBe(401);
      expect((await guarded.http.get('/accounts').set({ ...bearer(key), ...proxied })).status).toBe(200);
    } finally {
      await guarded.close();
    }
  });

  it('does not start without a key, and says what to do', async () => {
    const empty = await createTestDatabase('this_machine');
    const settings: Record<string, string>[] = [
      { DATABASE_URL: empty.url },
      { SHARDS: `${empty.url}?schema=bank` },
    ];
    const services = await Promise.all(settings.map((environment) => spawnService({ environment })));
    try {
      for (const service of services) {
        expect(await service.exited).toBe(1);
        expect(service.output()).toContain(
          "Can't start. requests need a credential here, and there is none yet",
        );
        for (const way of ['keys create --name first --scopes admin', 'JWT_ISSUER', 'AUTH=off']) {
          expect(service.output()).toContain(way);
        }
      }
    } finally {
      for (const { child } of services) child.kill('SIGKILL');
      await empty.drop();
    }
  });
});
