import type { RateDecision } from './gcra.js';

/** Counts each user's transactions against the limit. */
export abstract class RateLimiter {
  /** Decides transactions of a user, all or none, and counts them if they are admitted. Never fails. */
  abstract take(user: string, transactions?: number): RateDecision | Promise<RateDecision>;
}
