import { setTimeout as sleep } from 'node:timers/promises';

/** Work that is repeated in the background, one turn after the other, until it is stopped. */
export class BackgroundLoop {
  private readonly ending = new AbortController();
  private running: Promise<void> = Promise.resolve();

  /**
   * @param turn returns how long to pause before the next turn, in milliseconds; it must not throw
   * @param firstMs how long to pause before the first one
   */
  start(turn: () => Promise<number>, firstMs = 0): void {
    this.running = (async () => {
      await this.pause(firstMs);
      while (!this.stopped) await this.pause(await turn());
    })();
  }

  /** Waits for the turn in progress, which can ask whether it is {@link stopped}. */
  async stop(): Promise<void> {
    this.ending.abort();
    await this.running;
  }

  get stopped(): boolean {
    return this.ending.signal.aborted;
  }

  /** Ends early when the loop is stopped. */
  async pause(ms: number): Promise<void> {
    await sleep(ms, undefined, { signal: this.ending.signal }).catch(() => undefined);
  }
}
