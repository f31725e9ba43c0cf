import type { Money } from './money.js';

/** `active` as long as something remains; then how its last part ended. */
export type HoldStatus = 'active' | 'captured' | 'voided' | 'expired';

/** Money of an account that is reserved for later. Its id is that of the transaction that placed it. */
export interface Hold {
  readonly holdId: number;
  readonly accountId: number;
  readonly amount: Money;
  /** What is still reserved. */
  readonly remaining: Money;
  readonly captured: Money;
  /**
   * The part of `remaining` that awaits another shard's decision: the amount under way, or all of it if the capture is
   * final. Until then the hold can't end.
   */
  readonly capturing: Money;
  readonly status: HoldStatus;
  /** Undefined: never. */
  readonly expiresAt: Date | undefined;
  readonly createdAt: Date;
  /** How many decimals its currency has. */
  readonly decimals: number;
}

/** The most active holds of one account. */
export const MAX_ACTIVE_HOLDS = 10_000;

/**
 * After so many captures, a hold is captured only for good. Whoever tells what remained after each of them, as events
 * do, reads all of its transactions each time.
 */
export const MAX_CAPTURES = 1_000;

/**
 * The most holds that one command expires. The rest is for the next one; what a refused command would have expired, for
 * the sweeper.
 */
export const MAX_EXPIRED_AT_ONCE = 1_000;

/** Whether a hold has ended by itself at this time, and that can be written down now. */
export function isDue(hold: Hold, now: Date): boolean {
  return hold.status === 'active' && hold.capturing === 0n && statusAt(hold, now) === 'expired';
}

/** What a hold is at this time, whether or not anybody has written it down yet. */
export function statusAt({ status, expiresAt }: Hold, now: Date): HoldStatus {
  return status === 'active' && expiresAt !== undefined && expiresAt <= now ? 'expired' : status;
}
