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

/** Only signatures by a private key: with HS256, the provider's public key would be used as a secret. */
const ALGORITHMS = ['RS256', 'ES256', 'EdDSA', 'Ed25519'];
/** RFC 9068 names the first; older providers use `jwt`, or none. Excludes tokens made for another purpose. */
const TYPES = ['at+jwt', 'application/at+jwt', 'jwt'];
const MAX_TOKEN_LENGTH = 8 * 1024;

/** How long a verified token is trusted without verifying it again. */
const VALID_MS = 60_000;
const MAX_TOKENS = 10_000;

/** Bounds the verification of signatures, since anybody can invent tokens. */
const VERIFICATIONS = { maxInFlight: 16, maxPerUser: halfOf(16), queue: 10_000, maxWaitMs: 2_000 };

const KEYS_VALID_MS = 10 * 60_000;
/** From this age on they are fetched in the background, so that nobody waits for a slow provider. */
const KEYS_REFRESH_MS = 5 * 60_000;
/** How long the last keys are used while the provider can't be reached. */
const KEYS_STALE_MS = 60 * 60_000;
/** An unknown key makes the keys be fetched again, but not more often than this; a failed fetch is not repeated sooner. */
const FETCH_AGAIN_MS = 5_000;
const FETCH_TIMEOUT_MS = 5_000;
/** How long after a failure requests with a known key don't wait for the provider to answer again. */
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

  /** A token that was verified before; undefined: it has to be verified. */
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
      // By its own account it has expired: not worth asking the provider.
      if (!this.isCurrent(token)) throw new UnauthorizedError(true);
      // A token that waits for the provider holds no permit that one with a known key needs.
      const key = await this.keyOf(decodeProtectedHeader(token) as JWTHeaderParameters);
      return await this.turns.run(client, () => this.verify(token, key));
    } catch (error) {
      if (error instanceof ProviderUnavailableError || error instanceof LedgerError) throw error;
      // The reason would only help whoever invented it.
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

class KnownToken implements KnownCredential {
  /** @param untilMs by the wall clock */
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

/** Finds the key that signed a token with this header. @throws ProviderUnavailableError when only the provider could tell */
type KeyOf = (header: JWTHeaderParameters) => Promise<CryptoKey>;

/**
 * The provider's keys, only from the address in the configuration: what a token says about its key (`jku`, `x5u`, `jwk`)
 * is ignored.
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
      // If the keys are fresh and this one is among them, the key itself is bad, not the provider.
      if (!remote.fresh || isUnknown) failedMs = performance.now();
      return key;
    }
  };
  const refresh = () => {
    if (!remote.fresh || remote.reloading || Date.now() - (kept.uat ?? 0) < KEYS_REFRESH_MS) return;
    remote.reload().catch(() => (failedMs = performance.now()));
  };
  return (header) => {
    // A provider in trouble is not asked for every token, and known users don't wait for it.
    if (failedWithin(FETCH_AGAIN_MS)) return keyAmong(kept, header);
    refresh();
    const asked = ask(header);
    if (!failedWithin(TROUBLE_MS)) return asked;
    // Otherwise a rejection would be unhandled, and end the process.
    asked.catch(() => undefined);
    return keyAmong(kept, header).catch(() => asked);
  };
}

/** Looks among the last known keys. @throws ProviderUnavailableError when only the provider could tell */
async function keyAmong(
  { jwks, uat = -Infinity }: JWKSCacheInput,
  header: JWTHeaderParameters,
): Promise<CryptoKey> {
  if (!jwks || Date.now() - uat > KEYS_STALE_MS) throw new ProviderUnavailableError();
  return createLocalJWKSet(jwks)(header).catch((failure: unknown) => {
    // It may be a new key, which only the provider knows.
    throw failure instanceof errors.JWKSNoMatchingKey ? new ProviderUnavailableError() : failure;
  });
}

/** The keys could be read, but none of them is for this token. */
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
