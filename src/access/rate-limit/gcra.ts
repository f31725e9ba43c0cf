/** A limit as the generic cell rate algorithm counts it. Times are whole microseconds. */
export interface RatePolicy {
  /** Transactions that may be sent at once. */
  readonly burst: number;
  /** After this time one more. */
  readonly intervalMicros: number;
}

export interface RateDecision {
  readonly admitted: boolean;
  /** Transactions that may still be sent at once. */
  readonly remaining: number;
  /** Until the next one is admitted; 0 when this one was. */
  readonly retryAfterMicros: number;
  /** Until the whole burst may be sent again. */
  readonly resetMicros: number;
}

/** An interval that is no whole number of microseconds is rounded up: never more than the limit is admitted. */
export function ratePolicy(limit: { readonly perSecond: number; readonly burst: number }): RatePolicy {
  return { burst: limit.burst, intervalMicros: Math.ceil(1_000_000 / limit.perSecond) };
}

/**
 * Decides transactions of a user that are sent together: all are admitted or none. Pure. All that is kept of a user is the time at which the whole burst is free
 * again; each transaction puts it off by one interval, and what would put it off too far is refused and not counted.
 *
 * @param tatMicros what was kept; undefined for a user who is not known
 * @returns the decision, and what is to be kept
 */
export function decideRate(
  { burst, intervalMicros }: RatePolicy,
  tatMicros: number | undefined,
  nowMicros: number,
  transactions = 1,
): { readonly decision: RateDecision; readonly tatMicros: number } {
  const longestMicros = burst * intervalMicros;
  // Later than that only when the clock was put back: that must not lock anybody out.
  const soonestMicros = Math.min(Math.max(tatMicros ?? nowMicros, nowMicros), nowMicros + longestMicros);
  const thenMicros = soonestMicros + transactions * intervalMicros;
  const leftMicros = nowMicros + longestMicros - thenMicros;
  if (leftMicros < 0) {
    const resetMicros = soonestMicros - nowMicros;
    return {
      decision: { admitted: false, remaining: 0, retryAfterMicros: -leftMicros, resetMicros },
      tatMicros: soonestMicros,
    };
  }
  const remaining = Math.floor(leftMicros / intervalMicros);
  return {
    decision: { admitted: true, remaining, retryAfterMicros: 0, resetMicros: thenMicros - nowMicros },
    tatMicros: thenMicros,
  };
}
