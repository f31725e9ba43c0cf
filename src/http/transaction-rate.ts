import type { FastifyReply, FastifyRequest } from 'fastify';
import { InvalidRequestError } from './validation/invalid-request.js';
import { TooManyRequestsError } from '../access/too-many-requests.js';
import type { RatePolicy } from '../access/rate-limit/gcra.js';
import type { RateLimiter } from '../access/rate-limit/rate-limiter.js';
import { userOf } from '../access/user.js';

/**
 * Limits transactions per second and user, and tells HTTP clients about it: with the fields of the IETF draft "RateLimit
 * header fields for HTTP" (draft-ietf-httpapi-ratelimit-headers), on every answer to a request that was counted or
 * rejected.
 */
export class TransactionRate {
  private readonly policyField: string;

  constructor(
    private readonly limiter: RateLimiter,
    private readonly policy: RatePolicy,
  ) {
    const { burst, intervalMicros } = policy;
    this.policyField = `"transactions";q=${burst};w=${wholeSeconds(burst * intervalMicros)}`;
  }

  /**
   * @param transactions how many are admitted together or not at all
   * @throws TooManyRequestsError; InvalidRequestError when they are more than are ever admitted together
   */
  async admit(request: FastifyRequest, reply: FastifyReply, transactions = 1): Promise<void> {
    const tooMany = this.tooMany(transactions);
    if (tooMany) throw tooMany;
    const decision = await this.limiter.take(userOf(request), transactions);
    const { admitted, remaining, resetMicros, retryAfterMicros } = decision;
    void reply.headers({
      'ratelimit-policy': this.policyField,
      ratelimit: `"transactions";r=${remaining};t=${wholeSeconds(resetMicros)}`,
    });
    if (!admitted) throw new TooManyRequestsError(wholeSeconds(retryAfterMicros));
  }

  /** The same, to be called later. */
  admission(request: FastifyRequest, reply: FastifyReply): (transactions?: number) => Promise<void> {
    return (transactions) => this.admit(request, reply, transactions);
  }

  /**
   * Decides each item of a batch by itself; undefined: admitted. A result in a batch has no header fields.
   *
   * @param weights how many transactions each makes
   */
  async admitEach(request: FastifyRequest, weights: readonly number[]): Promise<(Error | undefined)[]> {
    const user = userOf(request);
    return Promise.all(
      weights.map(async (transactions) => {
        const tooMany = this.tooMany(transactions);
        if (tooMany) return tooMany;
        const { admitted, retryAfterMicros } = await this.limiter.take(user, transactions);
        return admitted ? undefined : new TooManyRequestsError(wholeSeconds(retryAfterMicros));
      }),
    );
  }

  /** The error of what is never admitted, however long a client waits. */
  private tooMany(transactions: number): InvalidRequestError | undefined {
    const { burst } = this.policy;
    if (transactions <= burst) return undefined;
    return InvalidRequestError.of(
      'body',
      `has more transactions than the rate limit admits together: ${burst}`,
    );
  }
}

/** Rounded up, at least 1. */
function wholeSeconds(micros: number): number {
  return Math.max(1, Math.ceil(micros / 1_000_000));
}
