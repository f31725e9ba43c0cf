import type { Entrant } from '../domain/ports.js';

export interface TurnstileLimits {
  /** Requests that may be at work; fewer while each takes longer than {@link AT_WORK_MS}. */
  readonly atWork: number;
  /** Requests that may be held; one more is refused at once. */
  readonly queue: number;
  /** One is held for half of it at most: the rest is left for its work. */
  readonly commandTimeoutMs: number;
}

interface Held {
  readonly entrant: Entrant;
  readonly sinceMs: number;
}

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
 * How many requests are at work on one shard; what comes beyond that is held, in order of arrival. Thousands at work are
 * slower than hundreds: what each has in memory lives long enough to be moved about by the garbage collector, and each
 * turn of the event loop becomes so long that the database waits for the next statement of its batch. And where the
 * database is slow, hundreds are too many: a batch of them would take longer than a transaction may.
 */
export class Turnstile {
  private readonly held = new Set<Held>();
  private atWork = 0;
  private limit: number;
  private checks: NodeJS.Timeout | undefined;
  /** What a request takes where no more than {@link LEAST_AT_WORK} are at work. */
  private aloneMs = 0;

  /** @param parked of those at work, how many wait for a lock that another session holds: they leave their place to others */
  constructor(
    private readonly limits: TurnstileLimits,
    private readonly parked: () => number,
    /** Called for each that is refused. */
    private readonly onRefused: () => void,
  ) {
    this.limit = limits.atWork;
  }

  get heldNow(): number {
    return this.held.size;
  }

  /** Decides at once, or holds the entrant. */
  enter(entrant: Entrant): void {
    if (this.hasRoom() && this.held.size === 0) {
      this.admit(entrant);
    } else if (this.held.size >= this.limits.queue) {
      this.refuse(entrant);
    } else {
      this.held.add({ entrant, sinceMs: performance.now() });
      this.checks ??= setInterval(() => this.check(), CHECK_MS).unref();
    }
  }

  private admit(entrant: Entrant, heldSinceMs?: number): void {
    this.atWork += 1;
    const admittedMs = performance.now();
    const alone = this.atWork <= LEAST_AT_WORK;
    entrant.admitted(
      (posted) => this.leave(posted ? performance.now() - admittedMs : undefined, alone),
      heldSinceMs,
    );
  }

  private refuse(entrant: Entrant): void {
    this.onRefused();
    entrant.refused();
  }

  /** @param tookMs undefined: it never came to the database, and tells nothing of it */
  private leave(tookMs: number | undefined, beganAlone: boolean): void {
    const alone = beganAlone && this.atWork <= LEAST_AT_WORK;
    this.atWork -= 1;
    if (tookMs !== undefined) this.adapt(tookMs, alone);
    this.admitHeld();
  }

  private adapt(tookMs: number, alone: boolean): void {
    // Some wait for a row that a foreign session has locked: that it takes long says nothing of what the shard can do.
    const parked = this.parked() > 0;
    if (alone && !parked) this.aloneMs += (tookMs - this.aloneMs) * SMOOTHING;
    const longMs = Math.max(AT_WORK_MS, Math.min(2 * this.aloneMs, this.limits.commandTimeoutMs / 4));
    const step = tookMs <= longMs ? STEP_UP : parked ? 0 : -STEP_DOWN;
    const least = Math.min(LEAST_AT_WORK, this.limits.atWork);
    this.limit = Math.min(this.limits.atWork, Math.max(least, this.limit + step));
  }

  /** Those that are parked leave their places to as many others, but not to more than may be at work at all. */
  private hasRoom(): boolean {
    return this.atWork - Math.min(this.parked(), this.limits.atWork) < Math.floor(this.limit);
  }

  private admitHeld(): void {
    for (const next of this.held) {
      if (!this.hasRoom()) return;
      this.held.delete(next);
      if (!next.entrant.isGone()) this.admit(next.entrant, next.sinceMs);
    }
  }

  private check(): void {
    const lateMs = performance.now() - this.limits.commandTimeoutMs / 2;
    for (const held of this.held) {
      const late = held.sinceMs <= lateMs;
      if (late || held.entrant.isGone()) this.held.delete(held);
      if (late) this.refuse(held.entrant);
    }
    this.admitHeld();
    if (this.held.size > 0) return;
    clearInterval(this.checks);
    this.checks = undefined;
  }
}
