import { LRUCache } from 'lru-cache';
import { decideRate, type RateDecision, type RatePolicy } from './gcra.js';
import { RateLimiter } from './rate-limiter.js';

/** Users remembered; the least recently seen is forgotten first, and may send a burst again. */
const MAX_USERS = 100_000;

/** Counts in this process's memory. */
export class LocalRateLimiter extends RateLimiter {
  private readonly tatMicros = new LRUCache<string, number>({ max: MAX_USERS });

  constructor(
    private readonly policy: RatePolicy,
    private readonly onDecision: (admitted: boolean) => void,
  ) {
    super();
  }

  take(user: string, transactions = 1): RateDecision {
    const nowMicros = Math.floor(performance.now() * 1_000);
    const { decision, tatMicros } = decideRate(
      this.policy,
      this.tatMicros.get(user),
      nowMicros,
      transactions,
    );
    this.tatMicros.set(user, tatMicros);
    this.onDecision(decision.admitted);
    return decision;
  }
}
