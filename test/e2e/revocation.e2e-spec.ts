import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { assignAccounts } from '../../src/admin/assign-accounts.js';
import { revokeKey } from '../../src/admin/keys.js';
import { isBankScope, SCOPES } from '../../src/access/principal.js';
import { startApp, type TestApp } from '../support/app.js';
import { bearer, makeKey } from '../support/credentials.js';
import { OidcProvider } from '../support/oidc-provider.js';
import { RawClient } from '../support/raw-client.js';
import { closeLineClients, LineClient, NDJSON_TYPE, of } from './batches.js';
import { deposit, JSON_TYPE } from '../support/requests.js';

/** The longest that a revocation or a change of owner may take. */
const WITHIN_MS = 5_000;
const EVERY_MS = 100;
const ORDINARY = SCOPES.filter((scope) => scope !== 'admin' && !isBankScope(scope));

let provider: OidcProvider;
let app: TestApp;
let admin: Record<string, string>;

beforeAll(async () => {
  provider = await OidcProvider.start();
  app = await startApp(provider.settings, { jwt: { clockToleranceS: 0 } });
  admin = bearer((await makeKey(app)).key);
  await open('lea');
});

afterEach(closeLineClients);

afterAll(async () => {
  await app.close();
  await provider.stop();
});

const shards = () => [{ url: app.databaseUrl, schema: 'bank' }];

async function open(owner: string): Promise<number> {
  const { body } = await app.http.post('/accounts').set(admin).send({ owner });
  return (body as { accountId: number }).accountId;
}

async function versionOf(accountId: number): Promise<number> {
  const { body } = await app.http.get(`/accounts/${accountId}/balance`).set(admin);
  return (body as { version: number }).version;
}

/**
 * Sends a line in each {@link EVERY_MS} while something ends; returns the results of those that came later than it may
 * take.
 */
async function streamWhile(
  credential: string,
  accountId: number,
  end: () => Promise<unknown>,
): Promise<number[]> {
  const client = await LineClient.open(app.url, '', true, bearer(credential));
  const until = async (ms: number) => {
    for (const endMs = performance.now() + ms; performance.now() < endMs; await sleep(EVERY_MS))
      client.send(of(accountId, deposit('0.01')));
  };
  await until(5 * EVERY_MS);
  expect(new Set(await client.results(1))).toEqual(new Set([201]));
  await end();
  await until(WITHIN_MS - EVERY_MS);
  const count = client.statuses.length;
  const version = await versionOf(accountId);
  for (let n = 0; n < 3; n++) client.send(of(accountId, deposit('0.01')), 'no JSON');
  client.end();
  const late = (await client.results(count + 6)).slice(-6);
  expect(await versionOf(accountId)).toBe(version);
  return late;
}

describe('an open batch in lines', () => {
  it('posts nothing more when its key is revoked, its token expires, or its account gets another owner', async () => {
    const [one, two, three] = [await open('lea'), await open('lea'), await open('lea')];
    const { key, keyId } = await makeKey(app, { scopes: ORDINARY });
    const owners = await makeKey(app, { scopes: ORDINARY, owner: 'lea' });
    const exp = Math.floor(Date.now() / 1_000) + 3;
    const token = await provider.sign({ sub: 'lea', scope: ORDINARY.join(' '), exp });
    const [revoked, over, lost] = await Promise.all([
      streamWhile(key, one, () => revokeKey(shards(), keyId)),
      streamWhile(token, two, () => Promise.resolve()),
      streamWhile(owners.key, three, () => assignAccounts(shards(), { accounts: [three], owner: 'max' })),
    ]);
    expect(revoked).toEqual([401, 401, 401, 401, 401, 401]);
    expect(over).toEqual([401, 401, 401, 401, 401, 401]);
    expect(lost).toEqual([404, 400, 404, 400, 404, 400]);
    const read = await app.http.get(`/accounts/${three}/balance`).set(bearer(owners.key));
    expect(read.status).toBe(404);
  }, 20_000);
});

describe('a request whose body is still arriving when its key expires', () => {
  const transaction = JSON.stringify(deposit('0.01'));
  const item = JSON.stringify({ accountId: 1, ...deposit('0.01') });

  it.each([
    ['a posting', '/accounts/1/transactions', JSON_TYPE, transaction],
    ['a batch', '/transactions/batch', JSON_TYPE, `[${item}]`],
    ['an atomic batch', '/transactions/batch?atomic=true', JSON_TYPE, `[${item}]`],
    ['an atomic batch on lines', '/transactions/batch?atomic=true', NDJSON_TYPE, `${item}\n`],
    ['an opening', '/accounts', JSON_TYPE, '{}'],
  ])('is rejected as a whole: %s', async (_what, path, type, body) => {
    const expires = new Date(Date.now() + 700);
    const { key } = await makeKey(app, { scopes: ORDINARY, expires });
    const accountId = 1;
    const version = await versionOf(accountId);
    const raw = await RawClient.open(app.url);
    try {
      raw.send(
        `POST ${path} HTTP/1.1\r\nHost: bank\r\nConnection: close\r\nAuthorization: Bearer ${key}\r\n` +
          `Content-Type: ${type}\r\nContent-Length: ${body.length}\r\n\r\n${body.slice(0, 1)}`,
      );
      await sleep(expires.getTime() - Date.now() + 20);
      raw.send(body.slice(1));
      await raw.closed;
      expect(raw.received).toMatch(/^HTTP\/1\.1 401 /);
      expect(raw.received).toMatch(/\{"error":"Unauthorized"\}$/);
    } finally {
      raw.destroy();
    }
    expect(await versionOf(accountId)).toBe(version);
  });
});
