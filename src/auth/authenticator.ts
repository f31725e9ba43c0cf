import type { Socket } from 'node:net';
import type { FastifyRequest } from 'fastify';
import { TooManyRequestsError } from '../http/too-many-requests.js';
import { LocalRateLimiter } from '../rate-limit/local-rate-limiter.js';
import { ratePolicy } from '../rate-limit/gcra.js';
import { addressOf } from '../rate-limit/user.js';
import type { AuthenticationFailure } from '../observability/metrics.js';
import { UnauthorizedError } from './access-errors.js';
import { KEY_PREFIX } from './api-key.js';
import type { ApiKeys } from './api-keys.js';
import type { KnownCredential, Principal } from './principal.js';
import type { Tokens } from './tokens.js';

/** Of `Authorization: Bearer <credential>`; the name of the scheme may be written in any case (RFC 9110, 11.1). */
const BEARER = /^bearer +(\S+) *$/i;

/** Finds out who sends a request. */
export class Authenticator {
  private readonly failures: LocalRateLimiter;
  /** Of a connection. A client mostly shows the same one with each request, which need not be hashed each time. */
  private readonly lastShown = new WeakMap<Socket, { authorization: string; known: KnownCredential }>();

  /**
   * @param failuresPerMinute credentials that an address may show in vain; then those that have to be looked up are refused
   * @param tokens undefined: there is no identity provider
   */
  constructor(
    private readonly keys: ApiKeys,
    private readonly tokens: Tokens | undefined,
    private readonly failuresPerMinute: number,
    private readonly onFailure: (failure: AuthenticationFailure) => void,
  ) {
    const policy = ratePolicy({ perSecond: failuresPerMinute / 60, burst: failuresPerMinute });
    this.failures = new LocalRateLimiter(policy, () => undefined);
  }

  /**
   * By the credential of the request. At once where it is known, and that whatever its address has done: behind one
   * address there may be many.
   *
   * @throws UnauthorizedError; TooManyRequestsError when its address has failed too often. Rejects with these, too, and
   *   with what keeps the credential from being looked up
   */
  authenticate(request: FastifyRequest): Principal | Promise<Principal> {
    const { authorization } = request.headers;
    const last = this.lastShown.get(request.socket);
    const known = last !== undefined && last.authorization === authorization && last.known.principalNow();
    return known || this.identify(request, authorization);
  }

  /** By a credential that is not the one that its connection has shown last, or is to be looked at again. */
  private identify(
    request: FastifyRequest,
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
    try {
      const source = credential.startsWith(KEY_PREFIX) ? this.keys : this.tokens;
      const recalled = source?.recall(credential);
      const principal = recalled && accept(recalled);
      if (principal) return principal;
      // One that was good before may only have to be read again: whoever shares its address must not lock it out.
      if (!recalled) this.checkFailures(request);
      if (!source) throw new UnauthorizedError(true);
      return source
        .lookUp(credential)
        .then((known) => {
          const principal = accept(known);
          if (!principal) throw new UnauthorizedError(true);
          return principal;
        })
        .catch((error: unknown) => this.failed(request, error));
    } catch (error) {
      return this.failed(request, error);
    }
  }

  private checkFailures(request: FastifyRequest): void {
    if (this.failures.take(addressOf(request), 0).remaining > 0) return;
    this.onFailure('limited');
    throw new TooManyRequestsError(Math.ceil(60 / this.failuresPerMinute));
  }

  private failed(request: FastifyRequest, error: unknown): never {
    if (error instanceof UnauthorizedError) {
      this.onFailure('invalid');
      this.failures.take(addressOf(request));
    }
    throw error;
  }
}
