import { afterAll, afterEach, beforeAll, describe, expect, it, jest } from '@jest/globals';
import { once } from 'node:events';
import { chmodSync, writeFileSync } from 'node:fs';
import { request } from 'node:https';
import { connect, type AddressInfo, type Socket } from 'node:net';
import { join } from 'node:path';
import {
  connect as connectTls,
  createServer,
  getCiphers,
  type ConnectionOptions,
  type TLSSocket,
} from 'node:tls';
import { loadConfig } from '../../src/config/config.js';
import { freePort } from '@scalable-banking/embedded-postgres';
import { keyFileProblem, readTls } from '../../src/http/server/tls.js';
import { startInstance, type TestApp } from '../support/app.js';
import { makeCertificate, type TestCertificate } from '../support/certificate.js';
import { startCli } from '../support/cli.js';
import { createTestDatabase, type TestDatabase } from '../support/postgres.js';
import { spawnService, stopService, temporaryDataDir, waitUntil } from '../support/service.js';

jest.setTimeout(60_000);

const folder = temporaryDataDir();
const files = { TLS_CERT_FILE: join(folder.path, 'cert.pem'), TLS_KEY_FILE: join(folder.path, 'key.pem') };
const LIMITS = { http: { maxConnections: 3, headersTimeoutMs: 1_000, answerTimeoutMs: 1_000 } };
/** A timeout, plus the time until it is noticed on a busy machine. */
const NOTICED_MS = 10_000;
const HEALTH = 'GET /health/live HTTP/1.1\r\nHost: bank\r\n\r\n';

let certificate: TestCertificate;
let database: TestDatabase;
const sockets: Socket[] = [];

beforeAll(async () => {
  certificate = makeCertificate();
  writeFileSync(files.TLS_CERT_FILE, certificate.cert);
  writeFileSync(files.TLS_KEY_FILE, certificate.key);
  database = await createTestDatabase();
});

afterEach(() => {
  for (const socket of sockets.splice(0)) socket.destroy();
});

afterAll(async () => {
  await database.drop();
  folder.remove();
});

const portOf = (url: string) => Number(new URL(url).port);

/** A TCP connection, on which TLS may never begin. */
async function openTcp(url: string): Promise<Socket> {
  const socket = connect({ host: '127.0.0.1', port: portOf(url) });
  sockets.push(socket.on('error', () => undefined));
  await new Promise((resolve) => socket.once('connect', resolve));
  return socket;
}

/** @throws Error when they can't agree */
function openTls(url: string, options: ConnectionOptions = {}): Promise<TLSSocket> {
  return new Promise((resolve, reject) => {
    const socket = connectTls(
      { host: '127.0.0.1', port: portOf(url), ca: certificate.cert, ...options },
      () => resolve(socket),
    );
    sockets.push(socket);
    socket.once('error', reject);
  });
}

/** All that comes until the connection ends. */
function everything(socket: Socket): Promise<string> {
  return new Promise((resolve) => {
    let received = '';
    socket.on('data', (data: Buffer) => (received += data.toString('latin1')));
    socket.on('error', () => undefined);
    socket.once('close', () => resolve(received));
  });
}

interface Answer {
  readonly status: number | undefined;
  readonly text: string;
  readonly headers: NodeJS.Dict<string | string[]>;
}

/** On a connection of its own, which checks the certificate. */
function get(url: string, path: string): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const options = { ca: certificate.cert, agent: false, headers: { connection: 'close' } };
    request(new URL(path, url), options, (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (data: string) => (text += data));
      response.once('end', () => resolve({ status: response.statusCode, text, headers: response.headers }));
    })
      .once('error', reject)
      .end();
  });
}

describe('TLS', () => {
  let app: TestApp;

  beforeAll(async () => {
    app = await startInstance(database.url, files, LIMITS);
  });

  afterAll(() => app.close());

  async function connections(): Promise<number> {
    const { text } = await get(app.url, '/metrics');
    return Number(/^bank_http_connections (\d+)$/m.exec(text)?.[1]);
  }

  it.each(['TLSv1.2', 'TLSv1.3'] as const)('serves over %s', async (version) => {
    const socket = await openTls(app.url, { minVersion: version, maxVersion: version });
    expect(socket.getProtocol()).toBe(version);
    const received = everything(socket);
    socket.write(HEALTH.replace('\r\n\r\n', '\r\nConnection: close\r\n\r\n'));
    expect(await received).toMatch(/^HTTP\/1\.1 200 .*\{"status":"ok"\}$/s);
  });

  it('serves over no older version', async () => {
    const old = { minVersion: 'TLSv1', maxVersion: 'TLSv1.1', ciphers: 'DEFAULT@SECLEVEL=0' } as const;
    await expect(openTls(app.url, old)).rejects.toThrow(/protocol version/i);
    const cbc = { maxVersion: 'TLSv1.2', ciphers: 'ECDHE-ECDSA-AES128-SHA' } as const;
    await expect(openTls(app.url, cbc)).rejects.toThrow(/handshake failure/i);
  });

  it('tells browsers to use only TLS', async () => {
    const answer = await get(app.url, '/accounts');
    expect(answer.status).toBe(200);
    expect(answer.headers['strict-transport-security']).toMatch(/^max-age=31536000/);
  });

  it('closes a connection without TLS, or with broken TLS, without an answer', async () => {
    for (const bytes of [HEALTH, '\x16\x03\x01\x00\x05nonsense']) {
      const socket = await openTcp(app.url);
      const received = everything(socket);
      socket.write(Buffer.from(bytes, 'latin1'));
      // At most the alert of TLS itself.
      expect((await received).length).toBeLessThan(10);
    }
    expect((await get(app.url, '/health/live')).status).toBe(200);
  });

  it('answers a client that has closed its side after its request', async () => {
    const socket = await openTls(app.url, { allowHalfOpen: true } as ConnectionOptions);
    const received = everything(socket.on('end', () => socket.destroySoon()));
    socket.end(HEALTH);
    expect(await received).toMatch(/^HTTP\/1\.1 200 /);
  });

  it('counts connections in an unfinished handshake, and limits how long one may take', async () => {
    await waitUntil(async () => (await connections()) === 1, NOTICED_MS);
    const half = [await openTcp(app.url), await openTcp(app.url)];
    // A ClientHello that stops halfway.
    half.push(await openTcp(app.url));
    half[2]?.write(Buffer.from('160301020001000', 'hex'));
    const closed = Promise.all(half.map((socket) => everything(socket)));
    const surplus = await get(app.url, '/health/live');
    expect(surplus).toMatchObject({ status: 503, text: '{"error":"Overloaded"}' });
    await closed;
    expect((await get(app.url, '/health/live')).status).toBe(200);
    expect(await connections()).toBe(1);
  });

  it('answers 408 to a request that does not arrive in time', async () => {
    const socket = await openTls(app.url);
    const received = everything(socket);
    socket.write('GET /health/live HTTP/1.1\r\nHo');
    expect(await received).toMatch(/^HTTP\/1\.1 408 .*\{"error":"Request not received in time"\}$/s);
  });

  it.each(['/docs/swagger-ui-bundle.js', '/openapi.json'])(
    'cuts a client that does not read, when it asks for %s',
    async (path) => {
      const socket = await openTls(app.url);
      const closed = new Promise((resolve) => socket.once('close', resolve));
      socket.pause().on('error', () => undefined);
      // More than the kernel buffers for a client that does not read.
      const ask = setInterval(
        () => socket.write(`GET ${path} HTTP/1.1\r\nHost: bank\r\n\r\n`.repeat(16)),
        50,
      );
      await closed;
      clearInterval(ask);
      expect((await get(app.url, '/health/live')).status).toBe(200);
    },
  );

  it('stops at once, even with clients in an unfinished handshake', async () => {
    const own = await startInstance(database.url, files, { http: { headersTimeoutMs: 30_000 } });
    const half = await openTcp(own.url);
    const ended = everything(half);
    expect((await get(own.url, '/health/live')).status).toBe(200);
    const startedMs = performance.now();
    await own.close();
    expect(performance.now() - startedMs).toBeLessThan(4_000);
    await ended;
  });
});

describe('the suites of TLS 1.2', () => {
  // Forward secrecy and authenticated encryption.
  const GOOD = /^ECDHE-(?:RSA|ECDSA)-(?:AES(?:128|256)-GCM-SHA(?:256|384)|CHACHA20-POLY1305)$/;
  const suites = getCiphers()
    .map((name) => name.toUpperCase())
    .filter((name) => !name.startsWith('TLS_'));

  it.each(['ec', 'rsa'] as const)('are only strong ones, with a key of type %s', async (kind) => {
    const own = makeCertificate(kind);
    const named = {
      TLS_CERT_FILE: join(folder.path, `${kind}.pem`),
      TLS_KEY_FILE: join(folder.path, `${kind}-key.pem`),
    };
    writeFileSync(named.TLS_CERT_FILE, own.cert);
    writeFileSync(named.TLS_KEY_FILE, own.key);
    const server = createServer(readTls(loadConfig(named).http) ?? {});
    await once(server.listen(0, '127.0.0.1'), 'listening');
    const url = `https://127.0.0.1:${(server.address() as AddressInfo).port}`;
    const accepted: string[] = [];
    try {
      for (const ciphers of suites) {
        const only = { ca: own.cert, maxVersion: 'TLSv1.2', ciphers: `${ciphers}:@SECLEVEL=0` } as const;
        await openTls(url, only).then(
          () => accepted.push(ciphers),
          () => undefined,
        );
      }
    } finally {
      server.close();
    }
    const fit = suites.filter((name) => GOOD.test(name) && name.includes(kind === 'ec' ? 'ECDSA' : '-RSA-'));
    expect(accepted).toEqual(fit);
    expect(fit).toHaveLength(3);
    // There was something to refuse: one without forward secrecy, one with CBC and SHA-1.
    expect(suites).toEqual(expect.arrayContaining(['AES128-GCM-SHA256', 'ECDHE-RSA-AES128-SHA']));
  });
});

describe('TLS with the configured files', () => {
  const KEY_WARNING = /every user of this machine may read .* TLS_KEY_FILE/;
  const settings = () => ({ DATA_DIR: join(folder.path, 'data'), LOG_FORMAT: 'json' });

  it('fails to start with a sentence that shows nothing of the files', async () => {
    const environment = { ...settings(), ...files, TLS_CERT_FILE: files.TLS_KEY_FILE };
    const service = await spawnService({ environment });
    expect(await service.exited).toBe(1);
    expect(service.output()).toMatch(/TLS_CERT_FILE .*certificate in PEM/);
    expect(service.output()).toContain("Can't start. The configuration has 1 problem");
    expect(service.output()).not.toMatch(/BEGIN|at .*\.js:|Making a new database/);
  });

  it('names the variable whose file is wrong', () => {
    const other = join(folder.path, 'other.pem');
    writeFileSync(other, makeCertificate().key);
    const read = (change: Partial<typeof files>) => () => readTls(loadConfig({ ...files, ...change }).http);
    expect(read({ TLS_CERT_FILE: join(folder.path, 'none') })).toThrow(
      /TLS_CERT_FILE .*can't be read: ENOENT/,
    );
    expect(read({ TLS_KEY_FILE: files.TLS_CERT_FILE })).toThrow(/TLS_KEY_FILE .*private key .* in PEM/);
    expect(read({ TLS_KEY_FILE: other })).toThrow(/TLS_KEY_FILE is not the key of the certificate/);
  });

  it('warns of a key that every user of the machine may read', () => {
    const problemWith = (mode: number) => {
      chmodSync(files.TLS_KEY_FILE, mode);
      return keyFileProblem(loadConfig(files).http);
    };
    expect(problemWith(0o640)).toBeUndefined();
    expect(problemWith(0o644)).toMatch(KEY_WARNING);
  });

  it('serves with several workers, says so, and shows the metrics of all on the port for management', async () => {
    chmodSync(files.TLS_KEY_FILE, 0o644);
    const port = String(await freePort());
    const environment = {
      DATABASE_URL: database.url,
      AUTH: 'off',
      WORKERS: '2',
      MANAGEMENT_PORT: port,
      ...files,
    };
    const service = await spawnService({ environment });
    try {
      await waitUntil(() => Promise.resolve(service.output().includes('Try:')), NOTICED_MS * 3);
      const url = service.url.replace('http:', 'https:');
      expect(service.output()).toContain(`${url}/docs`);
      expect(service.output()).toMatch(KEY_WARNING);
      expect(service.output()).toMatch(new RegExp(`Management: .*port ${port}`));
      const answers = await Promise.all(Array.from({ length: 8 }, () => get(url, '/health/ready')));
      expect(answers.map(({ status, text }) => ({ status, text }))).toEqual(
        Array(8).fill({ status: 200, text: '{"status":"ok"}' }),
      );
      expect((await get(url, '/metrics')).status).toBe(404);
      const metrics = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
      expect(metrics).toMatch(/^bank_workers 2$/m);
      const list = await startCli(['shards', 'list', '--json'], environment).ended;
      expect(JSON.parse(list.stdout)).toMatchObject([{ shard: 0, queue: 0 }]);
    } finally {
      await stopService(service);
    }
    expect(await service.exited).toBe(0);
  });
});
