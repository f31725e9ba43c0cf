/** A limit in terms of GCRA, the generic cell rate algorithm. Times are whole microseconds. */
export interface RatePolicy {
  /** Transactions that may be sent at once. */
  readonly burst: number;
  /** The time after which one more is admitted. */
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

/** Rounds the interval up to whole microseconds, so that never more than the limit is admitted. */
export function ratePolicy(limit: { readonly perSecond: number; readonly burst: number }): RatePolicy {
  return { burst: limit.burst, intervalMicros: Math.ceil(1_000_000 / limit.perSecond) };
}

/**
 * Decides transactions that a user sends together: all are admitted or none. Pure. The only state of a user is the
 * theoretical arrival time (TAT), at which the whole burst is available again. Each admitted transaction moves it by
 * one interval; a rejected one does not count.
 *
 * @param tatMicros the state that was kept; undefined for an unknown user
 * @returns the decision, and the state to keep
 */
export function decideRate(
  { burst, intervalMicros }: RatePolicy,
  tatMicros: number | undefined,
  nowMicros: number,
  transactions = 1,
): { readonly decision: RateDecision; readonly tatMicros: number } {
  const burstMicros = burst * intervalMicros;
  // Later than that only if the clock was set back, which must not lock anybody out.
  const currentMicros = Math.min(Math.max(tatMicros ?? nowMicros, nowMicros), nowMicros + burstMicros);
  const nextMicros = currentMicros + transactions * intervalMicros;
  const leftMicros = nowMicros + burstMicros - nextMicros;
  if (leftMicros < 0) {
    const resetMicros = currentMicros - nowMicros;
    return {
      decision: { admitted: false, remaining: 0, retryAfterMicros: -leftMicros, resetMicros },
      tatMicros: currentMicros,
    };
  }
  const remaining = Math.floor(leftMicros / intervalMicros);
  return {
    decision: { admitted: true, remaining, retryAfterMicros: 0, resetMicros: nextMicros - nowMicros },
    tatMicros: nextMicros,
  };
}
