import type { RateDecision } from './gcra.js';

/** Counts each user's transactions against the limit. */
export abstract class RateLimiter {
  /** Decides one transaction of a user, and counts it if it is admitted. Never fails. */
  abstract take(user: string): RateDecision | Promise<RateDecision>;
}
