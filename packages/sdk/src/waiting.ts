/** Waits, unless the signal ends it, whose reason is thrown then. */
export function sleep(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const abort = () => {
      clearTimeout(timer);
      reject(signal?.reason as Error);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener('abort', abort);
      resolve();
    }, ms);
    if (signal?.aborted) abort();
    else signal?.addEventListener('abort', abort, { once: true });
  });
}

/**
 * Exponential backoff with full jitter: clients that failed together do not come back together.
 *
 * @param attempt of the tries that failed, the first one is 0
 */
export function backoffMs(attempt: number, baseMs: number, maxMs: number): number {
  return Math.random() * Math.min(maxMs, baseMs * 2 ** attempt);
}

/** A signal that also ends after a time, and the end of that watch. The time's reason is `onTime`. */
export class Deadline {
  private readonly controller = new AbortController();
  private readonly timer: ReturnType<typeof setTimeout>;
  private readonly pass = () => this.controller.abort(this.outer?.reason);

  constructor(
    ms: number,
    private readonly outer: AbortSignal | undefined,
    onTime: Error,
  ) {
    this.timer = setTimeout(() => this.controller.abort(onTime), ms);
    if (outer?.aborted) this.pass();
    else outer?.addEventListener('abort', this.pass, { once: true });
  }

  get signal(): AbortSignal {
    return this.controller.signal;
  }

  /** Leaves the connection of a running answer bound to the outer signal only. */
  stopClock(): void {
    clearTimeout(this.timer);
  }

  end(): void {
    clearTimeout(this.timer);
    this.outer?.removeEventListener('abort', this.pass);
  }
}
