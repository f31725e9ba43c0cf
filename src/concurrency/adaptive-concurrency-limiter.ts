import { LedgerError } from '../domain/errors.js';
import type { PermitRequest } from '../domain/ports.js';
import { FairQueue } from './fair-queue.js';

export interface ConcurrencyLimits {
  /** Requests that may be at work; fewer while each takes longer than {@link AT_WORK_MS}. */
  readonly atWork: number;
  /** How many of these one user may have even if there are no others: at least half. Undefined: all of them. */
  readonly perUser?: number;
  /** Requests that may be held. When the queue is full, the user with the most in it loses the newest. */
  readonly queue: number;
  /** How long a request is held at most. */
  readonly holdMs: number;
}

interface Held {
  readonly entrant: PermitRequest;
  readonly sinceMs: number;
}

/** How many places one user may have where slow clients can keep them, so that another user finds one at once. */
export const halfOf = (places: number) => Math.max(1, Math.floor(places / 2));

/** How often those that are held are looked at. */
const CHECK_MS = 50;

/**
 * What a request is to take at work, at least. So many are let in as the shard gets done in about that time, or in twice
 * what one takes where few are at work: a database that is far away is no slower with more of them.
 */
export const AT_WORK_MS = 500;
/** Let in however long they take. */
const LEAST_AT_WORK = 32;
/** By how much the limit changes with each request that leaves: downwards fast, upwards more slowly. */
const STEP_DOWN = 1;
const STEP_UP = 0.1;
/** How fast what few take follows what is measured. */
const SMOOTHING = 0.1;

/**
 * Bounds the requests that are at work and shares the places fairly by user. Further requests are held.
 *
 * A request is admitted at once, or held. One that is held is later admitted, refused (its time is over, or the queue is
 * full and another user has fewer in it), or forgotten (its client is gone). Once admitted it is at work until it leaves.
 *
 * Users take turns, but those who have half of the places or more come after those who have fewer. So nobody gets beyond
 * half while others wait, and a single user gets all places, unless `perUser` says otherwise. Only a few users can have
 * half at once, so finding the next one takes a step or two, however many wait.
 *
 * Why there is a bound: thousands at work on a shard are slower than hundreds. What each has in memory lives long enough to
 * be moved by the garbage collector, and each turn of the event loop takes so long that the database waits for the next
 * statement of its batch. And where the database is slow, hundreds are too many: a batch of them would take longer than a
 * transaction may.
 */
export class AdaptiveConcurrencyLimiter {
  private readonly held: FairQueue<Held>;
  private atWork = 0;
  /** By user, for users who have any. */
  private readonly atWorkOf = new Map<string, number>();
  private limit: number;
  private checks: NodeJS.Timeout | undefined;
  /** What a request takes where no more than {@link LEAST_AT_WORK} are at work. */
  private aloneMs = 0;

  /** @param parked of those at work, how many wait for a lock that another session holds: they leave their place to others */
  constructor(
    private readonly limits: ConcurrencyLimits,
    private readonly parked: () => number = () => 0,
    /** Called for each that is refused. */
    private readonly onRefused: () => void = () => undefined,
  ) {
    this.limit = limits.atWork;
    this.held = new FairQueue(limits.queue);
  }

  get heldNow(): number {
    return this.held.size;
  }

  /** Decides at once, or holds the entrant. */
  enter(entrant: PermitRequest): void {
    if (this.held.size === 0 && this.hasRoom() && this.mayHaveMore(entrant.user)) {
      return this.admit(entrant);
    }
    const refused = this.held.push(entrant.user, { entrant, sinceMs: performance.now() });
    if (refused) this.refuse(refused.item.entrant);
    this.checks ??= setInterval(() => this.check(), CHECK_MS).unref();
    // The requests that are held may all be of users who may have no more, while this one may be admitted.
    this.admitHeld();
  }

  /**
   * Does work in a place of its own. How long it takes does not change the limit.
   *
   * @throws LedgerError OVERLOADED when there is no place in time; whatever the work fails with
   */
  async within<T>(user: string, work: () => Promise<T>): Promise<T> {
    const leave = await new Promise<(posted: boolean) => void>((resolve, reject) =>
      this.enter({
        user,
        isGone: () => false,
        admitted: resolve,
        refused: () => reject(new LedgerError({ code: 'OVERLOADED' })),
      }),
    );
    try {
      return await work();
    } finally {
      leave(false);
    }
  }

  private admit(entrant: PermitRequest, heldSinceMs?: number): void {
    const { user } = entrant;
    this.atWork += 1;
    this.atWorkOf.set(user, (this.atWorkOf.get(user) ?? 0) + 1);
    const admittedMs = performance.now();
    const alone = this.atWork <= LEAST_AT_WORK;
    entrant.admitted(
      (posted) => this.leave(user, posted ? performance.now() - admittedMs : undefined, alone),
      heldSinceMs,
    );
  }

  private refuse(entrant: PermitRequest): void {
    this.onRefused();
    entrant.refused();
  }

  /** @param tookMs undefined: it never came to the database, and tells nothing of it */
  private leave(user: string, tookMs: number | undefined, beganAlone: boolean): void {
    const alone = beganAlone && this.atWork <= LEAST_AT_WORK;
    this.atWork -= 1;
    const left = (this.atWorkOf.get(user) ?? 1) - 1;
    if (left > 0) this.atWorkOf.set(user, left);
    else this.atWorkOf.delete(user);
    if (tookMs !== undefined) this.adapt(tookMs, alone);
    this.admitHeld();
  }

  private adapt(tookMs: number, alone: boolean): void {
    // Some wait for a row that a foreign session has locked: that it takes long says nothing of what the shard can do.
    const parked = this.parked() > 0;
    if (alone && !parked) this.aloneMs += (tookMs - this.aloneMs) * SMOOTHING;
    const longMs = Math.max(AT_WORK_MS, Math.min(2 * this.aloneMs, this.limits.holdMs / 2));
    const step = tookMs <= longMs ? STEP_UP : parked ? 0 : -STEP_DOWN;
    const least = Math.min(LEAST_AT_WORK, this.limits.atWork);
    this.limit = Math.min(this.limits.atWork, Math.max(least, this.limit + step));
  }

  /** Those that are parked leave their places to as many others, but not to more than may be at work at all. */
  private hasRoom(): boolean {
    return this.atWork - Math.min(this.parked(), this.limits.atWork) < Math.floor(this.limit);
  }

  private mayHaveMore(user: string, most = this.limits.perUser ?? Infinity): boolean {
    return (this.atWorkOf.get(user) ?? 0) < most;
  }

  private admitHeld(): void {
    while (this.held.size > 0 && this.hasRoom()) {
      const half = halfOf(this.limit);
      const next =
        this.held.take((user) => this.mayHaveMore(user, half)) ??
        this.held.take((user) => this.mayHaveMore(user));
      if (!next) return;
      const { entrant, sinceMs } = next.item;
      if (!entrant.isGone()) this.admit(entrant, sinceMs);
    }
  }

  private check(): void {
    const lateMs = performance.now() - this.limits.holdMs;
    for (const waiting of this.held.waiting()) {
      const { entrant, sinceMs } = waiting.item;
      const late = sinceMs <= lateMs;
      if (late || entrant.isGone()) this.held.remove(waiting);
      if (late) this.refuse(entrant);
    }
    this.admitHeld();
    if (this.held.size > 0) return;
    clearInterval(this.checks);
    this.checks = undefined;
  }
}
