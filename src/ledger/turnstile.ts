import type { Entrant } from '../domain/ports.js';

export interface TurnstileLimits {
  /** Requests that may be at work. */
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
 * How many requests are at work on one shard; what comes beyond that is held, in order of arrival. Thousands at work are
 * slower than hundreds: what each has in memory lives long enough to be moved about by the garbage collector, and each
 * turn of the event loop becomes so long that the database waits for the next statement of its batch.
 */
export class Turnstile {
  private readonly held = new Set<Held>();
  private atWork = 0;
  private checks: NodeJS.Timeout | undefined;

  /** @param parked of those at work, how many wait for a lock that another session holds: they leave their place to others */
  constructor(
    private readonly limits: TurnstileLimits,
    private readonly parked: () => number,
  ) {}

  get heldNow(): number {
    return this.held.size;
  }

  /** Decides at once, or holds the entrant. Once admitted it is counted until {@link leave}. */
  enter(entrant: Entrant): void {
    if (this.hasRoom() && this.held.size === 0) {
      this.atWork += 1;
      entrant.admitted();
    } else if (this.held.size >= this.limits.queue) {
      entrant.refused();
    } else {
      this.held.add({ entrant, sinceMs: performance.now() });
      this.checks ??= setInterval(() => this.check(), CHECK_MS).unref();
    }
  }

  leave(): void {
    this.atWork -= 1;
    this.admitHeld();
  }

  private hasRoom(): boolean {
    return this.atWork - this.parked() < this.limits.atWork;
  }

  private admitHeld(): void {
    for (const next of this.held) {
      if (!this.hasRoom()) return;
      this.held.delete(next);
      if (next.entrant.isGone()) continue;
      this.atWork += 1;
      next.entrant.admitted(next.sinceMs);
    }
  }

  private check(): void {
    const lateMs = performance.now() - this.limits.commandTimeoutMs / 2;
    for (const held of this.held) {
      const late = held.sinceMs <= lateMs;
      if (late || held.entrant.isGone()) this.held.delete(held);
      if (late) held.entrant.refused();
    }
    this.admitHeld();
    if (this.held.size > 0) return;
    clearInterval(this.checks);
    this.checks = undefined;
  }
}
