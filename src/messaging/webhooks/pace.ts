import { retryAt, type RetryPolicy } from './retry-policy.js';

/** The most requests of one endpoint and shard at a time. */
const MOST_AT_ONCE = 16;
const AT_FIRST = 4;
/** So many events that fail one after the other mean that the endpoint is down, not that it refuses some of them. */
const DOWN_AFTER = 5;

/**
 * How many requests an endpoint gets at a time: more as long as it accepts them, fewer when it does not. One that is
 * down gets a single one now and then.
 */
export class Pace {
  private limit = AT_FIRST;
  private failuresInARow = 0;
  private pausedUntilMs = 0;

  constructor(private readonly policy: RetryPolicy) {}

  get isDown(): boolean {
    return this.failuresInARow >= DOWN_AFTER;
  }

  /** @param inFlight how many requests are on their way */
  admits(inFlight: number, nowMs: number): boolean {
    return nowMs >= this.pausedUntilMs && inFlight < (this.isDown ? 1 : this.limit);
  }

  accepted(): void {
    this.failuresInARow = 0;
    this.pausedUntilMs = 0;
    this.limit = Math.min(MOST_AT_ONCE, this.limit + 1);
  }

  /**
   * @param isFirstTry of its event: one that is refused again and again says nothing of others
   * @param retryAfterMs how long the endpoint asks to be left alone; 0: it does not
   */
  failed(nowMs: number, isFirstTry: boolean, retryAfterMs: number): void {
    if (isFirstTry || this.isDown) this.failuresInARow += 1;
    this.limit = Math.max(1, Math.floor(this.limit / 2));
    const tries = this.failuresInARow - DOWN_AFTER + 1;
    if (this.isDown)
      this.pausedUntilMs = retryAt(this.policy, nowMs, tries, retryAfterMs, this.policy.longestRetryMs);
    else if (retryAfterMs > 0)
      this.pausedUntilMs = nowMs + Math.min(retryAfterMs, this.policy.longestRetryAfterMs);
  }
}
