import { once } from 'node:events';
import { createServer, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { exportJWK, exportSPKI, generateKeyPair, SignJWT, type CryptoKey, type JWK } from 'jose';

export interface TokenOptions {
  readonly expiresInSeconds?: number;
  /** Additional claims, or other values for the usual ones. */
  readonly claims?: Readonly<Record<string, unknown>>;
  /** Additional members of its header. */
  readonly header?: Readonly<Record<string, unknown>>;
  /** stranger: signed with another key that has the id of the provider's key. */
  readonly signedBy?: 'provider' | 'stranger';
}

/** What the server answers to a request for the keys. */
export type KeysAnswer = 'keys' | 'nonsense' | 'redirect' | 'failure' | 'flood' | 'symmetric';

const KEY_ID = 'key-1';
const AUDIENCE = 'bank';
const FLOOD_BYTES = 4 * 1024 * 1024;

/** Makes valid tokens, and invalid ones that no identity provider would make. */
export class IdentityProvider {
  keysAnswer: KeysAnswer = 'keys';
  /** How often its keys were requested. */
  keysAsked = 0;

  private constructor(
    private readonly server: Server,
    private readonly own: CryptoKey,
    private readonly strange: CryptoKey,
    private readonly publicKey: JWK,
    private readonly publicPem: string,
  ) {
    server.on('request', (_, response: ServerResponse) => this.answer(response));
  }

  static async start(): Promise<IdentityProvider> {
    const pair = await generateKeyPair('ES256', { extractable: true });
    const stranger = await generateKeyPair('ES256');
    const server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    const publicKey = { ...(await exportJWK(pair.publicKey)), kid: KEY_ID, alg: 'ES256', use: 'sig' };
    return new IdentityProvider(
      server,
      pair.privateKey,
      stranger.privateKey,
      publicKey,
      await exportSPKI(pair.publicKey),
    );
  }

  get issuer(): string {
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  get audience(): string {
    return AUDIENCE;
  }

  get jwksUrl(): string {
    return `${this.issuer}/jwks`;
  }

  async stop(): Promise<void> {
    this.server.closeAllConnections();
    this.server.close();
    await once(this.server, 'close');
  }

  token(subject: string | undefined, scopes: readonly string[], options: TokenOptions = {}): Promise<string> {
    const { expiresInSeconds = 300, claims, header, signedBy = 'provider' } = options;
    const nowSeconds = Math.floor(Date.now() / 1_000);
    return new SignJWT({
      iss: this.issuer,
      aud: AUDIENCE,
      sub: subject,
      iat: nowSeconds,
      exp: nowSeconds + expiresInSeconds,
      scope: scopes.join(' '),
      ...claims,
    })
      .setProtectedHeader({ alg: 'ES256', kid: KEY_ID, ...header })
      .sign(signedBy === 'provider' ? this.own : this.strange);
  }

  /** Tokens with one mistake each, by the name of the mistake. */
  async badTokens(subject: string, scopes: readonly string[]): Promise<Readonly<Record<string, string>>> {
    const good = await this.token(subject, scopes);
    const [, payload = '', signature = ''] = good.split('.');
    const claims = JSON.parse(Buffer.from(payload, 'base64url').toString()) as Record<string, unknown>;
    const encode = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url');
    const symmetric = (secret: string) =>
      new SignJWT(claims).setProtectedHeader({ alg: 'HS256', kid: KEY_ID }).sign(Buffer.from(secret));
    const nowSeconds = Math.floor(Date.now() / 1_000);
    const withClaims = (changed: Record<string, unknown>) => this.token(subject, scopes, { claims: changed });
    return {
      'no algorithm': `${encode({ alg: 'none' })}.${payload}.`,
      'no algorithm, in another case': `${encode({ alg: 'NoNe', kid: KEY_ID })}.${payload}.${signature}`,
      'the public key as a shared secret': await symmetric(this.publicPem),
      'the public key, as it is published, as a shared secret': await symmetric(
        JSON.stringify(this.publicKey),
      ),
      'an empty secret': await symmetric(' '),
      'another algorithm in its header': `${encode({ alg: 'RS256', kid: KEY_ID })}.${payload}.${signature}`,
      'no signature': `${good.split('.').slice(0, 2).join('.')}.`,
      'a signature of something else': `${encode({ alg: 'ES256', kid: KEY_ID })}.${encode({ ...claims, sub: 'eve' })}.${signature}`,
      'a stranger’s signature': await this.token(subject, scopes, { signedBy: 'stranger' }),
      'a key that is not there': await this.token(subject, scopes, { header: { kid: 'key-2' } }),
      'another issuer': await withClaims({ iss: 'https://elsewhere.example' }),
      'no issuer': await withClaims({ iss: undefined }),
      'another audience': await withClaims({ aud: 'another service' }),
      'no audience': await withClaims({ aud: undefined }),
      'no subject': await withClaims({ sub: undefined }),
      'an empty subject': await withClaims({ sub: '' }),
      'a subject that is no text': await withClaims({ sub: 7 }),
      'a subject with a control character': await withClaims({ sub: 'ada\u0000' }),
      'a subject that is too long': await withClaims({ sub: 'x'.repeat(256) }),
      'no end': await withClaims({ exp: undefined }),
      'an end that is past': await this.token(subject, scopes, { expiresInSeconds: -600 }),
      'a beginning that is to come': await withClaims({ nbf: nowSeconds + 600 }),
    };
  }

  /** Tokens that say where to get their key, in each way that a token can. */
  async tokensThatPointTo(url: string, subject: string, scopes: readonly string[]): Promise<string[]> {
    const headers = [
      { jku: url },
      { x5u: url },
      { jku: url, kid: url },
      { jwk: this.publicKey },
      { kid: `../../${url}` },
    ];
    return Promise.all([
      ...headers.map((header) => this.token(subject, scopes, { header, signedBy: 'stranger' })),
      this.token(subject, scopes, { claims: { iss: url }, signedBy: 'stranger' }),
    ]);
  }

  private answer(response: ServerResponse): void {
    const json = { 'content-type': 'application/json' };
    this.keysAsked += 1;
    switch (this.keysAnswer) {
      case 'keys':
        response.writeHead(200, json).end(JSON.stringify({ keys: [this.publicKey] }));
        return;
      case 'nonsense':
        response.writeHead(200, json).end('{"keys":{"a":');
        return;
      case 'redirect':
        response.writeHead(302, { location: this.jwksUrl }).end();
        return;
      case 'failure':
        response.writeHead(500).end();
        return;
      case 'symmetric':
        response
          .writeHead(200, json)
          .end(JSON.stringify({ keys: [{ kty: 'oct', k: 'AAAA', kid: KEY_ID, alg: 'HS256' }] }));
        return;
      case 'flood':
        response.writeHead(200, json).end(`{"keys":[],"padding":"${'x'.repeat(FLOOD_BYTES)}"}`);
        return;
    }
  }
}
