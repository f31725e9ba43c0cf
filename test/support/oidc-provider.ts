import { once } from 'node:events';
import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { exportJWK, generateKeyPair, importJWK, SignJWT, type JWK, type JWTPayload } from 'jose';
import { Provider, type Adapter } from 'oidc-provider';

export const AUDIENCE = 'urn:bank';

export type Algorithm = 'RS256' | 'ES256' | 'EdDSA';

const CLIENT = { id: 'alice', secret: 'the-secret-of-alice' };

/** Stores nothing: the tokens are JWTs and the client is in the configuration. */
class NoStore implements Adapter {
  upsert = () => Promise.resolve(undefined);
  find = () => Promise.resolve(undefined);
  findByUserCode = () => Promise.resolve(undefined);
  findByUid = () => Promise.resolve(undefined);
  consume = () => Promise.resolve(undefined);
  destroy = () => Promise.resolve(undefined);
  revokeByGrantId = () => Promise.resolve(undefined);
}

/** An OpenID provider on a loopback address, with keys of its own. */
export class OidcProvider {
  /** How often its keys were requested. */
  keysAsked = 0;
  /** How it answers a request for its keys. */
  keysAnswer: 'given' | 'refused' | 'never' = 'given';
  private handler: RequestListener = () => undefined;
  private keys: JWK[] = [];
  private readonly server = createServer((request, response) => {
    if (request.url?.startsWith('/jwks')) {
      this.keysAsked += 1;
      if (this.keysAnswer === 'never') return;
      if (this.keysAnswer === 'refused') return response.writeHead(503).end();
    }
    this.handler(request, response);
  });

  static async start(): Promise<OidcProvider> {
    const provider = new OidcProvider();
    provider.server.listen(0, '127.0.0.1');
    await once(provider.server, 'listening');
    await provider.rotate();
    return provider;
  }

  get issuer(): string {
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  /** The service's settings for this provider. */
  get settings() {
    return {
      AUTH: 'on',
      JWT_ISSUER: this.issuer,
      JWT_AUDIENCE: AUDIENCE,
      JWT_JWKS_URL: `${this.issuer}/jwks`,
    };
  }

  /** Replaces the keys. */
  async rotate(): Promise<void> {
    this.keys = await Promise.all((['RS256', 'ES256', 'EdDSA'] as const).map(makeKey));
    const provider = new Provider(this.issuer, {
      clients: [
        {
          client_id: CLIENT.id,
          client_secret: CLIENT.secret,
          grant_types: ['client_credentials'],
          redirect_uris: [],
          response_types: [],
        },
      ],
      features: {
        devInteractions: { enabled: false },
        clientCredentials: { enabled: true },
        resourceIndicators: {
          enabled: true,
          getResourceServerInfo: (_context, resource) => ({
            scope: 'accounts:read accounts:write transactions:read transactions:write',
            audience: resource === 'urn:bank' ? AUDIENCE : resource,
            accessTokenFormat: 'jwt',
            accessTokenTTL: 600,
            jwt: { sign: { alg: this.algorithm } },
          }),
        },
      },
      ttl: { ClientCredentials: 600 },
      adapter: NoStore,
      jwks: { keys: this.keys },
    });
    const callback = provider.callback();
    this.handler = (request, response) => void callback(request, response);
  }

  private algorithm: Algorithm = 'ES256';

  /** Gets a token by the client credentials grant, as a client does. Its subject is the client. */
  async token(
    scope: string,
    { algorithm = 'ES256', resource = AUDIENCE }: { algorithm?: Algorithm; resource?: string } = {},
  ): Promise<string> {
    this.algorithm = algorithm;
    const response = await fetch(`${this.issuer}/token`, {
      method: 'POST',
      headers: { authorization: `Basic ${Buffer.from(`${CLIENT.id}:${CLIENT.secret}`).toString('base64')}` },
      body: new URLSearchParams({ grant_type: 'client_credentials', scope, resource }),
    });
    const body = (await response.json()) as { access_token?: string };
    if (!body.access_token) throw new Error(`no token: ${JSON.stringify(body)}`);
    return body.access_token;
  }

  /** Signs claims that the provider would not issue with the provider's own key. */
  async sign(claims: JWTPayload, header: Record<string, unknown> = {}): Promise<string> {
    const key = this.keys.find(({ alg }) => alg === 'ES256') as JWK;
    const now = Math.floor(Date.now() / 1_000);
    const payload = { iss: this.issuer, aud: AUDIENCE, sub: 'alice', iat: now, exp: now + 60, ...claims };
    return new SignJWT(payload)
      .setProtectedHeader({ alg: 'ES256', kid: key.kid, typ: 'at+jwt', ...header })
      .sign(await importJWK(key, 'ES256'), { crit: { x: true } });
  }

  /** The public half of a key. */
  publicKey(algorithm: Algorithm): JWK {
    const key = this.keys.find(({ alg }) => alg === algorithm) as JWK;
    return Object.fromEntries(
      Object.entries(key).filter(([name]) => !['d', 'p', 'q', 'dp', 'dq', 'qi'].includes(name)),
    );
  }

  /** Stops answering. */
  async stop(): Promise<void> {
    this.server.closeAllConnections();
    this.server.close();
    await once(this.server, 'close');
  }
}

async function makeKey(alg: Algorithm): Promise<JWK> {
  const { privateKey } = await generateKeyPair(alg, { extractable: true });
  return { ...(await exportJWK(privateKey)), alg, use: 'sig', kid: `${alg}-${Math.random()}` };
}
