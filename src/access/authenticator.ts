import type { Socket } from 'node:net';
import { TooManyRequestsError } from './too-many-requests.js';
import { LocalRateLimiter } from './rate-limit/local-rate-limiter.js';
import { ratePolicy } from './rate-limit/gcra.js';
import { addressOf, type RequestOrigin } from './user.js';
import type { AuthenticationFailure } from '../observability/metrics.js';
import { UnauthorizedError } from './access-errors.js';
import { KEY_PREFIX } from './api-key.js';
import type { CredentialSource, KnownCredential, Principal } from './principal.js';

/** `Authorization: Bearer <credential>`; the scheme is case-insensitive (RFC 9110, 11.1). */
const BEARER = /^bearer +(\S+) *$/i;

/** A request, as far as it shows who sends it. */
export interface CredentialedRequest extends RequestOrigin {
  readonly headers: { readonly authorization?: string | undefined };
}

/** Identifies the sender of a request. */
export class Authenticator {
  private readonly failures: LocalRateLimiter;
  /** By connection. A client mostly shows the same credential with each request, which need not be hashed each time. */
  private readonly lastShown = new WeakMap<Socket, { authorization: string; known: KnownCredential }>();

  /**
   * @param failuresPerMinute how many malformed credentials one address may send before it has to wait
   * @param tokens undefined: there is no identity provider
   */
  constructor(
    private readonly keys: CredentialSource,
    private readonly tokens: CredentialSource | undefined,
    private readonly failuresPerMinute: number,
    private readonly onFailure: (failure: AuthenticationFailure) => void,
  ) {
    const policy = ratePolicy({ perSecond: failuresPerMinute / 60, burst: failuresPerMinute });
    this.failures = new LocalRateLimiter(policy, () => undefined);
  }

  /**
   * Identifies the sender by its credential, at once where that is known. A well-formed credential is always looked
   * up, whatever else came from its address: many users may share one. Only malformed ones count against it.
   *
   * @throws UnauthorizedError; TooManyRequestsError. Rejects with UnauthorizedError, or with why the credential can't
   *   be looked up
   */
  authenticate(request: CredentialedRequest): Principal | Promise<Principal> {
    const { authorization } = request.headers;
    const last = this.lastShown.get(request.socket);
    const known = last !== undefined && last.authorization === authorization && last.known.principalNow();
    return known || this.identify(request, authorization);
  }

  /** For a credential that differs from the last one of its connection, or has to be checked again. */
  private identify(
    request: CredentialedRequest,
    authorization: string | undefined,
  ): Principal | Promise<Principal> {
    const credential = authorization === undefined ? undefined : BEARER.exec(authorization)?.[1];
    if (authorization === undefined || credential === undefined) {
      this.onFailure('missing');
      throw new UnauthorizedError(authorization !== undefined);
    }
    const accept = (known: KnownCredential): Principal | undefined => {
      const principal = known.principalNow();
      if (principal) this.lastShown.set(request.socket, { authorization, known });
      return principal;
    };
    const source = credential.startsWith(KEY_PREFIX) ? this.keys : this.tokens;
    const recalled = source?.recall(credential);
    const principal = recalled && accept(recalled);
    if (principal) return principal;
    if (!source || (!recalled && !source.isWellFormed(credential))) throw this.refuseMalformed(request);
    return source
      .lookUp(credential, addressOf(request))
      .then((known) => {
        const found = accept(known);
        if (!found) throw new UnauthorizedError(true);
        return found;
      })
      .catch((error: unknown) => {
        if (error instanceof UnauthorizedError) this.onFailure('invalid');
        throw error;
      });
  }

  private refuseMalformed(request: CredentialedRequest): Error {
    const { admitted } = this.failures.take(addressOf(request));
    this.onFailure(admitted ? 'invalid' : 'limited');
    return admitted
      ? new UnauthorizedError(true)
      : new TooManyRequestsError(Math.ceil(60 / this.failuresPerMinute));
  }
}
