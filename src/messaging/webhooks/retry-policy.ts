import type { Config } from '../../config/config.js';

/** When an event that was not accepted is tried again. */
export type RetryPolicy = Config['webhooks']['retries'];

/**
 * The time of the next try: exponential, with jitter, and not before the endpoint asks for it.
 *
 * @param tries how many have failed
 * @param retryAfterMs what the endpoint asked for; 0: nothing
 */
export function retryAt(
  policy: RetryPolicy,
  nowMs: number,
  tries: number,
  retryAfterMs: number,
  longestMs: number,
): number {
  const pauseMs = Math.min(longestMs, policy.firstRetryMs * 2 ** Math.min(tries - 1, 30));
  const jittered = pauseMs * (0.5 + Math.random() / 2);
  return Math.round(nowMs + Math.max(jittered, Math.min(retryAfterMs, policy.longestRetryAfterMs)));
}

/** What the header Retry-After asks for, in milliseconds: seconds, or a date (RFC 9110). 0: nothing that can be read. */
export function retryAfterMsOf(header: string | undefined, nowMs: number): number {
  if (header === undefined) return 0;
  if (/^\d{1,9}$/.test(header)) return Number(header) * 1_000;
  const at = Date.parse(header);
  return Number.isNaN(at) ? 0 : Math.max(0, at - nowMs);
}
