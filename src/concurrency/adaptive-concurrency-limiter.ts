import { performance } from 'node:perf_hooks';
import { LedgerError } from '../domain/errors.js';
import type { PermitRequest } from '../domain/ports.js';
import { FairQueue } from './fair-queue.js';

export interface ConcurrencyLimits {
  /** Requests in flight at most; fewer while each takes longer than {@link TARGET_MS}. */
  readonly maxInFlight: number;
  /** How many of these one user may have even without competition: at least half. Undefined: all of them. */
  readonly maxPerUser?: number;
  /** Requests that may wait. When the queue is full, the user with the most in it loses the newest. */
  readonly queue: number;
  /** How long a request waits at most. */
  readonly maxWaitMs: number;
}

interface WaitingRequest {
  readonly request: PermitRequest;
  readonly sinceMs: number;
}

/** The permits that one user may have where slow clients can keep them, so that another user gets one at once. */
export const halfOf = (permits: number) => Math.max(1, Math.floor(permits / 2));

/** How often waiting requests are checked for their deadline. */
const CHECK_MS = 50;

/**
 * How long a request should be in flight at most. The limit settles where requests take about this long, or twice as
 * long as one takes while few are in flight: more requests do not slow down a database that is only far away.
 */
export const TARGET_MS = 500;
/** Admitted however long they take. */
const MIN_IN_FLIGHT = 32;
/** How much each completed request changes the limit: down fast, up slowly. */
const STEP_DOWN = 1;
const STEP_UP = 0.1;
/** The weight of one measurement in the moving average of the base latency. */
const SMOOTHING = 0.1;

/**
 * Bounds the requests in flight and shares the permits fairly between users.
 *
 * A request gets its permit at once, or waits. A waiting request is later granted its permit, rejected (its time is
 * up, or the queue is full and another user has fewer requests in it), or dropped because its client is gone. A
 * granted permit counts as in flight until it is freed.
 *
 * Users take turns, but those with half of the permits or more come after those with fewer. So nobody gets beyond half
 * while others wait, and a single user gets all permits, unless `maxPerUser` says otherwise. Only a few users can have
 * half at once, so finding the next one takes a step or two, however many wait.
 *
 * Why there is a bound: thousands of requests in flight on a shard are slower than hundreds. Their objects live long
 * enough to be moved by the garbage collector, and each turn of the event loop takes so long that the database waits
 * for the next statement of its batch. Where the database is slow, hundreds are too many: a batch of them would take
 * longer than a transaction may.
 */
export class AdaptiveConcurrencyLimiter {
  private readonly queue: FairQueue<WaitingRequest>;
  private inFlight = 0;
  /** By user, for users who have any. */
  private readonly inFlightOf = new Map<string, number>();
  private limit: number;
  private checks: NodeJS.Timeout | undefined;
  /** The latency of a request while no more than {@link MIN_IN_FLIGHT} are in flight. */
  private baseLatencyMs = 0;

  /**
   * @param parked how many requests in flight wait for a lock of another session: they leave their permits to others
   * @param onRejected called for each request that is rejected
   */
  constructor(
    private readonly limits: ConcurrencyLimits,
    private readonly parked: () => number = () => 0,
    private readonly onRejected: () => void = () => undefined,
  ) {
    this.limit = limits.maxInFlight;
    this.queue = new FairQueue(limits.queue);
  }

  get waiting(): number {
    return this.queue.size;
  }

  /** Decides at once, or lets the request wait. */
  acquire(request: PermitRequest): void {
    if (this.queue.size === 0 && this.hasRoom() && this.mayHaveMore(request.user)) {
      return this.grant(request);
    }
    const dropped = this.queue.push(request.user, { request, sinceMs: performance.now() });
    if (dropped) this.reject(dropped.item.request);
    this.checks ??= setInterval(() => this.check(), CHECK_MS).unref();
    // All waiting requests may be of users who may have no more permits, while this one may get its own.
    this.grantWaiting();
  }

  /**
   * Does work under a permit of its own. How long it takes does not change the limit.
   *
   * @throws LedgerError OVERLOADED when there is no permit in time; whatever the work fails with
   */
  async run<T>(user: string, work: () => Promise<T>): Promise<T> {
    const free = await new Promise<(reachedDatabase: boolean) => void>((resolve, reject) =>
      this.acquire({
        user,
        isGone: () => false,
        granted: resolve,
        rejected: () => reject(new LedgerError({ code: 'OVERLOADED' })),
      }),
    );
    try {
      return await work();
    } finally {
      free(false);
    }
  }

  private grant(request: PermitRequest, waitingSinceMs?: number): void {
    const { user } = request;
    this.inFlight += 1;
    this.inFlightOf.set(user, (this.inFlightOf.get(user) ?? 0) + 1);
    const grantedMs = performance.now();
    const fewAtStart = this.inFlight <= MIN_IN_FLIGHT;
    request.granted(
      (reachedDatabase) =>
        this.free(user, reachedDatabase ? performance.now() - grantedMs : undefined, fewAtStart),
      waitingSinceMs,
    );
  }

  private reject(request: PermitRequest): void {
    this.onRejected();
    request.rejected();
  }

  /** @param latencyMs undefined: the request never reached the database, so it says nothing about it */
  private free(user: string, latencyMs: number | undefined, fewAtStart: boolean): void {
    const few = fewAtStart && this.inFlight <= MIN_IN_FLIGHT;
    this.inFlight -= 1;
    const left = (this.inFlightOf.get(user) ?? 1) - 1;
    if (left > 0) this.inFlightOf.set(user, left);
    else this.inFlightOf.delete(user);
    if (latencyMs !== undefined) this.adapt(latencyMs, few);
    this.grantWaiting();
  }

  private adapt(latencyMs: number, few: boolean): void {
    // Some wait for a row that another session has locked: their latency says nothing about the shard's capacity.
    const parked = this.parked() > 0;
    if (few && !parked) this.baseLatencyMs += (latencyMs - this.baseLatencyMs) * SMOOTHING;
    const targetMs = Math.max(TARGET_MS, Math.min(2 * this.baseLatencyMs, this.limits.maxWaitMs / 2));
    const step = latencyMs <= targetMs ? STEP_UP : parked ? 0 : -STEP_DOWN;
    const least = Math.min(MIN_IN_FLIGHT, this.limits.maxInFlight);
    this.limit = Math.min(this.limits.maxInFlight, Math.max(least, this.limit + step));
  }

  /** Parked requests leave their permits to as many others, but to no more than may be in flight at all. */
  private hasRoom(): boolean {
    return this.inFlight - Math.min(this.parked(), this.limits.maxInFlight) < Math.floor(this.limit);
  }

  private mayHaveMore(user: string, most = this.limits.maxPerUser ?? Infinity): boolean {
    return (this.inFlightOf.get(user) ?? 0) < most;
  }

  private grantWaiting(): void {
    while (this.queue.size > 0 && this.hasRoom()) {
      const half = halfOf(this.limit);
      const next =
        this.queue.take((user) => this.mayHaveMore(user, half)) ??
        this.queue.take((user) => this.mayHaveMore(user));
      if (!next) return;
      const { request, sinceMs } = next.item;
      if (!request.isGone()) this.grant(request, sinceMs);
    }
  }

  private check(): void {
    const lateMs = performance.now() - this.limits.maxWaitMs;
    for (const waiting of this.queue.waiting()) {
      const { request, sinceMs } = waiting.item;
      const late = sinceMs <= lateMs;
      if (late || request.isGone()) this.queue.remove(waiting);
      if (late) this.reject(request);
    }
    this.grantWaiting();
    if (this.queue.size > 0) return;
    clearInterval(this.checks);
    this.checks = undefined;
  }
}
