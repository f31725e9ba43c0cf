import { hash } from 'node:crypto';
import {
  createLocalJWKSet,
  createRemoteJWKSet,
  customFetch,
  decodeJwt,
  decodeProtectedHeader,
  errors,
  jwksCache,
  jwtVerify,
  type CryptoKey,
  type JWKSCacheInput,
  type JWTHeaderParameters,
  type JWTPayload,
} from 'jose';
import { LRUCache } from 'lru-cache';
import { isOwner } from '../domain/account.js';
import { halfOf, AdaptiveConcurrencyLimiter } from '../concurrency/adaptive-concurrency-limiter.js';
import { LedgerError } from '../domain/errors.js';
import { ProviderUnavailableError, UnauthorizedError } from './access-errors.js';
import { principalOf, type CredentialSource, type KnownCredential, type Principal } from './principal.js';
import type { TokenSettings } from '../config/config.js';

/** Signatures by a private key alone: with HS256, the provider's public key would be taken for a secret. */
const ALGORITHMS = ['RS256', 'ES256', 'EdDSA', 'Ed25519'];
/** RFC 9068 names the first; providers of before it use the second, or none. Not what is for another purpose. */
const TYPES = ['at+jwt', 'application/at+jwt', 'jwt'];
const MAX_TOKEN_LENGTH = 8 * 1024;

/** A token that was verified is not verified again for so long. */
const VALID_MS = 60_000;
const MAX_TOKENS = 10_000;

/** Limits of verifying signatures, which anybody can make up. */
const VERIFICATIONS = { maxInFlight: 16, maxPerUser: halfOf(16), queue: 10_000, maxWaitMs: 2_000 };

const KEYS_VALID_MS = 10 * 60_000;
/** From then on they are fetched in the background, so that nobody waits for a provider that is slow just then. */
const KEYS_REFRESH_MS = 5 * 60_000;
/** While the provider can't be reached, its last keys are good for so long. */
const KEYS_STALE_MS = 60 * 60_000;
/** A key that is not among those known has them fetched anew, but not more often than this; nor is it tried again sooner. */
const FETCH_AGAIN_MS = 5_000;
const FETCH_TIMEOUT_MS = 5_000;
/** For so long after it failed, nobody whose key is known waits to see whether the provider answers again. */
const TROUBLE_MS = 30_000;
const MAX_KEYS_BYTES = 1024 * 1024;

/** The access tokens (JWT) of an identity provider: `sub` is the owner of the accounts that their bearer sees. */
export class Tokens implements CredentialSource {
  private readonly known = new LRUCache<string, KnownToken>({ max: MAX_TOKENS });
  private readonly keyOf: KeyOf;
  private readonly turns = new AdaptiveConcurrencyLimiter(VERIFICATIONS);

  constructor(private readonly settings: TokenSettings) {
    this.keyOf = keysAt(new URL(settings.jwksUrl));
  }

  /** What is known of a token; undefined: it has to be verified. */
  recall(token: string): KnownToken | undefined {
    return this.known.get(hash('sha256', token));
  }

  /** Whether it claims to be the provider's; {@link lookUp} verifies that. */
  isWellFormed(token: string): boolean {
    if (token.length > MAX_TOKEN_LENGTH) return false;
    try {
      const { alg, typ } = decodeProtectedHeader(token);
      const known = alg !== undefined && ALGORITHMS.includes(alg);
      const suits = typ === undefined || TYPES.includes(typ.toLowerCase());
      return known && suits && decodeJwt(token).iss === this.settings.issuer;
    } catch {
      return false;
    }
  }

  /**
   * Verifies a token.
   *
   * @throws UnauthorizedError; ProviderUnavailableError when the keys can't be had, LedgerError OVERLOADED
   */
  async lookUp(token: string, client: string): Promise<KnownToken> {
    try {
      // It says itself that it is over: not worth a question to the provider.
      if (!this.isCurrent(token)) throw new UnauthorizedError(true);
      // A token that waits for the provider takes no place from those whose key is known.
      const key = await this.keyOf(decodeProtectedHeader(token) as JWTHeaderParameters);
      return await this.turns.run(client, () => this.verify(token, key));
    } catch (error) {
      if (error instanceof ProviderUnavailableError || error instanceof LedgerError) throw error;
      // Why, would help only whoever made it up.
      throw new UnauthorizedError(true);
    }
  }

  private async verify(token: string, key: CryptoKey): Promise<KnownToken> {
    const { issuer, audience, clockToleranceS } = this.settings;
    const { payload } = await jwtVerify(token, key, {
      issuer,
      audience,
      algorithms: ALGORITHMS,
      clockTolerance: clockToleranceS,
      requiredClaims: ['exp', 'sub'],
    });
    const expiresMs = ((payload.exp ?? 0) + clockToleranceS) * 1_000;
    const known = new KnownToken(this.principalOf(payload), Math.min(Date.now() + VALID_MS, expiresMs));
    this.known.set(hash('sha256', token), known);
    return known;
  }

  private isCurrent(token: string): boolean {
    const { exp } = decodeJwt(token);
    return exp !== undefined && exp + this.settings.clockToleranceS > Date.now() / 1_000;
  }

  private principalOf(payload: JWTPayload): Principal {
    const { sub } = payload;
    if (typeof sub !== 'string' || !isOwner(sub)) throw new UnauthorizedError(true);
    return principalOf(`user:${sub}`, sub, scopesIn(payload[this.settings.scopesClaim]));
  }
}

export class KnownToken implements KnownCredential {
  /** @param untilMs by the clock of the day */
  constructor(
    private readonly principal: Principal,
    private readonly untilMs: number,
  ) {}

  principalNow(): Principal | undefined {
    return Date.now() < this.untilMs ? this.principal : undefined;
  }
}

function scopesIn(claim: unknown): string[] {
  if (typeof claim === 'string') return claim.split(' ');
  return Array.isArray(claim) ? claim.filter((entry) => typeof entry === 'string') : [];
}

/** The key by which a token with this header is signed. @throws ProviderUnavailableError when only the provider could tell */
type KeyOf = (header: JWTHeaderParameters) => Promise<CryptoKey>;

/**
 * The provider's keys, from the one address in the configuration: what a token says of where its key is (`jku`, `x5u`,
 * `jwk`) is not looked at.
 */
function keysAt(url: URL): KeyOf {
  const kept: JWKSCacheInput = {};
  const remote = createRemoteJWKSet(url, {
    cacheMaxAge: KEYS_VALID_MS,
    cooldownDuration: FETCH_AGAIN_MS,
    timeoutDuration: FETCH_TIMEOUT_MS,
    [jwksCache]: kept,
    [customFetch]: fetchBounded,
  });
  let failedMs = -Infinity;
  const failedWithin = (ms: number) => performance.now() - failedMs < ms;
  const ask: KeyOf = async (header) => {
    try {
      return await remote(header);
    } catch (error) {
      if (isOfToken(error)) throw error;
      const key = keyAmong(kept, header);
      const isUnknown = await key.then(
        () => false,
        (failure: unknown) => failure instanceof ProviderUnavailableError,
      );
      // Where the keys are new and this one is among them, it is the key that is no good, and not the provider.
      if (!remote.fresh || isUnknown) failedMs = performance.now();
      return key;
    }
  };
  const refresh = () => {
    if (!remote.fresh || remote.reloading || Date.now() - (kept.uat ?? 0) < KEYS_REFRESH_MS) return;
    remote.reload().catch(() => (failedMs = performance.now()));
  };
  return (header) => {
    // A provider in trouble is not asked for every token, and not every user waits for it.
    if (failedWithin(FETCH_AGAIN_MS)) return keyAmong(kept, header);
    refresh();
    const asked = ask(header);
    if (!failedWithin(TROUBLE_MS)) return asked;
    // Otherwise a failure would be nobody's, and end the process.
    asked.catch(() => undefined);
    return keyAmong(kept, header).catch(() => asked);
  };
}

/** Where the provider can't be asked. @throws ProviderUnavailableError when only it could tell */
async function keyAmong(
  { jwks, uat = -Infinity }: JWKSCacheInput,
  header: JWTHeaderParameters,
): Promise<CryptoKey> {
  if (!jwks || Date.now() - uat > KEYS_STALE_MS) throw new ProviderUnavailableError();
  return createLocalJWKSet(jwks)(header).catch((failure: unknown) => {
    // It may be a new key, which nobody can tell us of just now.
    throw failure instanceof errors.JWKSNoMatchingKey ? new ProviderUnavailableError() : failure;
  });
}

/** The keys were there, but none is for this token. */
function isOfToken(error: unknown): boolean {
  return [errors.JWKSNoMatchingKey, errors.JWKSMultipleMatchingKeys, errors.JOSENotSupported].some(
    (kind) => error instanceof kind,
  );
}

async function fetchBounded(url: string, options: RequestInit): Promise<Response> {
  const response = await fetch(url, options);
  let bytes = 0;
  const bounded = new TransformStream<Uint8Array, Uint8Array>({
    transform(chunk, controller) {
      bytes += chunk.length;
      if (bytes > MAX_KEYS_BYTES) controller.error(new Error('too many keys'));
      else controller.enqueue(chunk);
    },
  });
  return new Response(response.body?.pipeThrough(bounded), { status: response.status });
}
