import { createSign, generateKeyPairSync, type KeyObject } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, beforeEach, describe, expect, it, jest } from '@jest/globals';
import { ProviderUnavailableError, UnauthorizedError } from '../../src/access/access-errors.js';
import { Tokens } from '../../src/access/tokens.js';
import { pass } from '../support/clock.js';
import { waitUntil } from '../support/service.js';

/** After this time the keys may be requested from the provider again. */
const AGAIN_MS = 5_100;
/** After this time its keys must be read again before they are trusted. */
const OLD_MS = 11 * 60_000;
/** The order of P-256: if (r, s) is a signature, so is (r, n - s). */
const ORDER = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n;

interface SigningKey {
  readonly kid: string;
  readonly alg: 'ES256' | 'RS256';
  readonly privateKey: KeyObject;
  /** As it is published. */
  readonly jwk: Record<string, unknown>;
}

/** A server of keys that publishes whatever a test sets, or never ends its answer. */
class KeyServer {
  asked = 0;
  published: unknown[] = [];
  answer: 'given' | 'never' | 'never ends' | 'refusal that never ends' = 'given';
  private readonly waiting: ServerResponse[] = [];

  private constructor(private readonly server: Server) {
    server.on('request', (_, response: ServerResponse) => {
      this.asked += 1;
      this.respond(response);
    });
  }

  static async start(): Promise<KeyServer> {
    const server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    return new KeyServer(server);
  }

  get url(): string {
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}/jwks`;
  }

  /** Answers now those whom it let wait, too. */
  recover(published: unknown[]): void {
    this.answer = 'given';
    this.published = published;
    for (const response of this.waiting) this.respond(response);
  }

  async stop(): Promise<void> {
    this.server.closeAllConnections();
    this.server.close();
    await once(this.server, 'close');
  }

  private respond(response: ServerResponse): void {
    if (this.answer === 'never') return void this.waiting.push(response);
    if (this.answer === 'given') return void response.end(JSON.stringify({ keys: this.published }));
    response.writeHead(this.answer === 'never ends' ? 200 : 503);
    const timer = setInterval(() => response.write(' '), 50);
    response.on('close', () => clearInterval(timer));
  }
}

function makeKey(kid: string): SigningKey {
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const jwk = { ...publicKey.export({ format: 'jwk' }), kid, alg: 'ES256', use: 'sig' };
  return { kid, alg: 'ES256', privateKey, jwk };
}

let serial = 0;

/** Signed without a library that would refuse to sign it. No two are the same. */
function sign({ kid, alg, privateKey }: SigningKey, claims: object = {}): string {
  const part = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const exp = Math.floor(Date.now() / 1_000) + 7_200;
  const payload = { iss: 'issuer', aud: 'bank', sub: 'alice', scope: 'accounts:read', exp, jti: ++serial };
  const signed = `${part({ alg, kid })}.${part({ ...payload, ...claims })}`;
  const signer = createSign('sha256').update(signed);
  return `${signed}.${signer.sign({ key: privateKey, dsaEncoding: 'ieee-p1363' }, 'base64url')}`;
}

const CLIENT = '192.0.2.1';

let server: KeyServer;
let tokens: Tokens;
const key = makeKey('key-1');

beforeEach(async () => {
  server = await KeyServer.start();
  server.published = [key.jwk];
  tokens = new Tokens({
    issuer: 'issuer',
    audience: 'bank',
    jwksUrl: server.url,
    scopesClaim: 'scope',
    clockToleranceS: 5,
  });
});

afterEach(async () => {
  jest.restoreAllMocks();
  await server.stop();
});

const subjectOf = async (token: string) => (await tokens.lookUp(token, CLIENT)).principalNow()?.id;

describe('a token', () => {
  it('is remembered after it was verified, for a minute at most', async () => {
    const token = sign(key);
    expect(tokens.recall(token)).toBeUndefined();
    await tokens.lookUp(token, CLIENT);
    expect(tokens.recall(token)?.principalNow()?.id).toBe('user:alice');
    pass(60_000);
    expect(tokens.recall(token)?.principalNow()).toBeUndefined();
  });

  it('that was rejected is not remembered', async () => {
    const token = sign(makeKey('key-1'));
    await expect(tokens.lookUp(token, CLIENT)).rejects.toThrow(UnauthorizedError);
    expect(tokens.recall(token)).toBeUndefined();
  });

  it('is verified with many others at the same time after one request for the keys', async () => {
    const many = Array.from({ length: 200 }, () => sign(key));
    expect(new Set(await Promise.all(many.map(subjectOf)))).toEqual(new Set(['user:alice']));
    expect(server.asked).toBe(1);
  });

  it('whose signature is turned over says the same; one of zeros says nothing', async () => {
    const [head, payload, signature = ''] = sign(key).split('.');
    const bytes = Buffer.from(signature, 'base64url');
    const s = BigInt(`0x${bytes.toString('hex', 32)}`);
    bytes.write((ORDER - s).toString(16).padStart(64, '0'), 32, 'hex');
    expect(await subjectOf(`${head}.${payload}.${bytes.toString('base64url')}`)).toBe('user:alice');
    bytes.fill(0);
    await expect(tokens.lookUp(`${head}.${payload}.${bytes.toString('base64url')}`, CLIENT)).rejects.toThrow(
      UnauthorizedError,
    );
  });

  it('of an RSA key that is too short is rejected', async () => {
    const { publicKey, privateKey } = generateKeyPairSync('rsa', { modulusLength: 1024 });
    const weak: SigningKey = {
      ...{ kid: 'weak', alg: 'RS256', privateKey },
      jwk: { ...publicKey.export({ format: 'jwk' }), kid: 'weak', alg: 'RS256' },
    };
    server.published = [key.jwk, weak.jwk];
    await expect(tokens.lookUp(sign(weak), CLIENT)).rejects.toThrow(UnauthorizedError);
    expect(await subjectOf(sign(key))).toBe('user:alice');
  });
});

describe('keys', () => {
  it.each<[string, (broken: SigningKey) => object]>([
    ['is cut off', ({ jwk }) => ({ ...jwk, x: 'AAAA' })],
    ['is the private one', ({ jwk, privateKey }) => ({ ...jwk, ...privateKey.export({ format: 'jwk' }) })],
  ])(
    'of which one %s do not count as a failure of the provider: a new key is found',
    async (_what, breakIt) => {
      const [broken, next] = [makeKey('broken'), makeKey('next')];
      server.published = [key.jwk, breakIt(broken)];
      expect(await subjectOf(sign(key))).toBe('user:alice');
      server.published = [key.jwk, next.jwk];
      pass(AGAIN_MS);
      await expect(tokens.lookUp(sign(broken), CLIENT)).rejects.toThrow(UnauthorizedError);
      expect(await subjectOf(sign(next))).toBe('user:alice');
    },
  );

  it.each(['never ends', 'refusal that never ends'] as const)(
    'are waited for at most 5 seconds when the answer is of the kind %p',
    async (answer) => {
      server.answer = answer;
      const startedMs = performance.now();
      await expect(tokens.lookUp(sign(key), CLIENT)).rejects.toThrow(ProviderUnavailableError);
      expect(performance.now() - startedMs).toBeLessThan(6_000);
    },
  );

  it('are fetched again before they expire, and nobody waits for a slow provider then', async () => {
    expect(await subjectOf(sign(key))).toBe('user:alice');
    pass(OLD_MS * 0.6);
    server.answer = 'never';
    const startedMs = performance.now();
    for (let n = 0; n < 3; n++) expect(await subjectOf(sign(key))).toBe('user:alice');
    expect(performance.now() - startedMs).toBeLessThan(2_000);
    await waitUntil(() => Promise.resolve(server.asked === 2), 2_000);
  });

  it('that are unknown while the provider hangs do not hold up tokens with known keys', async () => {
    expect(await subjectOf(sign(key))).toBe('user:alice');
    pass(AGAIN_MS);
    server.answer = 'never';
    const strangers = Array.from({ length: 200 }, (_, n) =>
      tokens.lookUp(sign(makeKey(`none-${n % 3}`)), `${n}`),
    );
    const startedMs = performance.now();
    expect(await subjectOf(sign(key))).toBe('user:alice');
    expect(performance.now() - startedMs).toBeLessThan(2_000);
    for (const { status } of await Promise.allSettled(strangers)) expect(status).toBe('rejected');
  }, 10_000);

  it('that have expired make only the first request wait while the provider hangs, and are renewed afterwards', async () => {
    expect(await subjectOf(sign(key))).toBe('user:alice');
    pass(OLD_MS);
    server.answer = 'never';
    expect(await subjectOf(sign(key))).toBe('user:alice');
    expect(server.asked).toBe(2);
    pass(AGAIN_MS);
    const startedMs = performance.now();
    expect(await subjectOf(sign(key))).toBe('user:alice');
    expect(performance.now() - startedMs).toBeLessThan(2_000);
    // It is asked all the same, and its answer counts.
    await waitUntil(() => Promise.resolve(server.asked === 3), 2_000);
    const next = makeKey('next');
    server.recover([next.jwk]);
    expect(await subjectOf(sign(next))).toBe('user:alice');
    await expect(tokens.lookUp(sign(key), CLIENT)).rejects.toThrow(UnauthorizedError);
  });
});
