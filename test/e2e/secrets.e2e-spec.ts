import { randomBytes } from 'node:crypto';
import { createConnection } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { startRabbitMq, type RabbitMqServer } from '../../tools/stack/servers/rabbitmq.js';
import { startRedis, type RedisServer } from '../../tools/stack/servers/redis.js';
import { startCli } from '../support/cli.js';
import { bearer } from '../support/credentials.js';
import { OpenApiContract } from '../../tools/fuzz/contract.js';
import { createTestDatabase, onTestServer, type TestDatabase } from '../support/postgres.js';
import { secretsIn } from '../support/secrets.js';
import { spawnService, startService, stopService, type ServiceProcess } from '../support/service.js';
import { ORDINARY, WalletWithTokens } from '../support/wallet.js';
import { deposit, JSON_TYPE } from '../support/requests.js';

/*
 * Secrets are planted wherever the service takes one, everything that can fail is made to fail, and then all its output
 * is searched for the secrets, whole, in parts and encoded.
 */

const password = () => randomBytes(18).toString('base64url').replaceAll('-', 'a').replaceAll('_', 'b');

const secrets: Record<string, string> = {
  'the password of the database': password(),
  'the password of Redis': password(),
  'the password of RabbitMQ': password(),
};
const role = `planted_${randomBytes(4).toString('hex')}`;

let database: TestDatabase;
let redis: RedisServer;
let broker: RabbitMqServer;
let wallet: WalletWithTokens;
let service: ServiceProcess;
let admin: Record<string, string>;
/** All answers, with their headers. */
const answers: string[] = [];

beforeAll(async () => {
  [database, redis, broker] = await Promise.all([
    createTestDatabase('secrets'),
    startRedis(),
    startRabbitMq(),
    onTestServer(`CREATE ROLE ${role} LOGIN SUPERUSER PASSWORD '${secrets['the password of the database']}'`),
  ]);
  await setRedisPassword(redis.port, secrets['the password of Redis'] ?? '');
  await broker.control('add_user', 'planted', secrets['the password of RabbitMQ'] ?? '');
  await broker.control('set_permissions', 'planted', '.*', '.*', '.*');
  wallet = await WalletWithTokens.open(database.url);
  // Before it starts: without any credential it does not.
  admin = bearer(await plant('the key of an administrator', wallet.key({ scopes: ['admin'] })));
  service = await startService({ environment: environment() });
}, 60_000);

afterAll(async () => {
  await stopService(service);
  await wallet.close();
  await Promise.all([redis.stop(), broker.stop()]);
  await database.drop();
  await onTestServer(`DROP ROLE ${role}`);
});

function environment(): Record<string, string> {
  const url = (text: string, username: string, secret: string) => {
    const planted = new URL(text);
    planted.username = username;
    planted.password = secrets[secret] ?? '';
    return planted.href;
  };
  return {
    DATABASE_URL: url(database.url, role, 'the password of the database'),
    REDIS_URL: url(redis.url, '', 'the password of Redis'),
    RABBITMQ_URL: url(broker.url, 'planted', 'the password of RabbitMQ'),
    LOG_LEVEL: 'trace',
    LOG_REQUESTS: 'all',
    LEDGER_COMMAND_TIMEOUT_MS: '1000',
    LEDGER_TRANSACTION_TIMEOUT_MS: '1000',
    DATABASE_CONNECT_TIMEOUT_MS: '500',
    ...wallet.settings,
  };
}

async function plant(name: string, secret: string | Promise<string>): Promise<string> {
  return (secrets[name] = await secret);
}

function setRedisPassword(port: number, secret: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = createConnection(port, '127.0.0.1', () =>
      socket.write(`CONFIG SET requirepass ${secret}\r\n`),
    );
    socket.once('error', reject);
    socket.once('data', (data) => {
      socket.destroy();
      if (data.toString().startsWith('+OK')) resolve();
      else reject(new Error(data.toString()));
    });
  });
}

async function ask(
  path: string,
  headers: Record<string, string>,
  { method = 'GET', body }: { method?: string; body?: string } = {},
): Promise<number> {
  const response = await fetch(service.url + path, {
    method,
    headers: { ...headers, ...(body !== undefined && { 'content-type': JSON_TYPE }) },
    body,
    redirect: 'manual',
  });
  const isStream = response.headers.get('content-type') === 'text/event-stream';
  if (isStream) await response.body?.cancel();
  const answered = `${JSON.stringify([...response.headers])}\n${isStream ? '' : await response.text()}`;
  answers.push(answered);
  return response.status;
}

/** Calls every route with a credential in its proper place, and in places where one is put by mistake. */
async function askAll(credential: string): Promise<Set<number>> {
  const statuses = new Set<number>();
  const basic = Buffer.from(`user:${credential}`).toString('base64');
  for (const { method, path } of new OpenApiContract().routes) {
    const filled = path.replace('{accountId}', '1').replace('{transactionId}', 'txn1');
    const bodies =
      method === 'POST' ? [JSON.stringify(deposit('1.00')), `{"amount":"${credential}`, '{}'] : [undefined];
    for (const body of bodies) statuses.add(await ask(filled, bearer(credential), { method, body }));
    const ways: Record<string, string>[] = [
      { authorization: credential },
      { authorization: `Basic ${basic}` },
      { 'x-api-key': credential, cookie: `token=${credential}` },
      {
        ...bearer(credential),
        'idempotency-key': `${credential} x`,
        'if-match': credential,
        'if-none-match': credential,
      },
    ];
    for (const headers of ways) {
      statuses.add(await ask(filled, headers, { method, body: bodies[0] }));
    }
    statuses.add(
      await ask(`${filled}?access_token=${credential}`, bearer(credential), { method, body: bodies[0] }),
    );
    statuses.add(
      await ask(path.replace(/{\w+}/, credential), bearer(credential), { method, body: bodies[0] }),
    );
  }
  return statuses;
}

/** Expects that no part of a secret appears in a text. */
const expectClean = (what: string, text: string) =>
  expect({ what, shows: secretsIn(text, secrets) }).toEqual({ what, shows: [] });

describe('the search itself', () => {
  it.each([
    ['whole', (secret: string) => secret],
    ['in part', (secret: string) => secret.slice(5, 17)],
    ['in base64', (secret: string) => Buffer.from(`user:${secret}`).toString('base64')],
    [
      'in base64url, after something',
      (secret: string) => Buffer.from(`{"a":"${secret}"}`).toString('base64url'),
    ],
    ['in hexadecimal', (secret: string) => Buffer.from(secret).toString('hex')],
  ])('finds a secret %s', (_, shown) => {
    const name = 'the password of Redis';
    expect(secretsIn(`before ${shown(secrets[name] ?? '')} after`, secrets)).toEqual([name]);
  });
});

describe('planted secrets', () => {
  it('appear nowhere, whatever is requested with them', async () => {
    const credentials = {
      'a key': wallet.key(),
      'a key of an owner': wallet.key({ owner: 'ada' }),
      'a key of few scopes': wallet.key({ scopes: ['accounts:read'] }),
      'an expired key': wallet.expiredKey(),
      'a revoked key': wallet.revokedKey(),
      'a key that never was': Promise.resolve(wallet.unknownKey()),
      'a token': wallet.token('ada'),
      'an expired token': wallet.provider.token('ada', ORDINARY, { expiresInSeconds: -600 }),
      'a token of nobody’s': wallet.provider.token('ada', ORDINARY, { signedBy: 'stranger' }),
    };
    const statuses = new Set<number>();
    for (const [name, credential] of Object.entries(credentials)) {
      for (const status of await askAll(await plant(name, credential))) statuses.add(status);
    }
    for (const status of [200, 201, 400, 401, 403, 404]) expect(statuses).toContain(status);
    expect(await ask('/metrics', admin)).toBe(200);
    expect(answers.length).toBeGreaterThan(300);
    expectClean('the answers', answers.join('\n'));
    expect(service.output()).toContain('"msg":"request"');
    expect(service.output()).toMatch(/"status":401,"code":"UNAUTHORIZED",[^\n]*"msg":"request"/);
    expectClean('the log', service.output());
  }, 60_000);

  it('appear nowhere when the servers that the service needs are gone', async () => {
    await redis.kill('SIGKILL');
    await broker.kill('SIGKILL');
    await askAll(secrets['a key'] ?? '');
    await onTestServer(`ALTER ROLE ${role} PASSWORD '${password()}'`);
    await onTestServer(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '${role}'`);
    const statuses = await askAll(secrets['a key'] ?? '');
    expect([...statuses].some((status) => [408, 500, 503].includes(status))).toBe(true);
    await ask('/metrics', admin);
    await ask('/health/ready', admin);
    expectClean('the answers', answers.join('\n'));
    expect(service.output()).toMatch(/"level":(40|50)/);
    expectClean('the log', service.output());
  }, 60_000);

  it('appear nowhere when they keep the service or the command line from starting', async () => {
    const given = environment();
    const malformed = {
      ...given,
      DATABASE_URL: given.DATABASE_URL?.replace('postgresql:', 'postgres_') ?? '',
    };
    const outputs: Record<string, string> = {};
    for (const [name, settings] of Object.entries({ refused: given, malformed })) {
      const started = await spawnService({ environment: { ...settings, DATABASE_START_TIMEOUT_MS: '0' } });
      expect(await started.exited).toBe(1);
      outputs[`the service, ${name}`] = started.output();
      const run = await startCli(['verify'], { ...settings, DATABASE_START_TIMEOUT_MS: '0' }).ended;
      expect(run.code).toBe(1);
      outputs[`the command line, ${name}`] = run.stdout + run.stderr;
    }
    for (const [what, text] of Object.entries(outputs)) {
      expect(text.length).toBeGreaterThan(20);
      expectClean(what, text);
    }
  }, 60_000);
});
