import { Logger } from '@nestjs/common';
import { BackgroundLoop } from '../concurrency/background-loop.js';
import type { EventLog } from './event-log.js';

/** How often rows are looked for that are older than the log retains. */
const EVERY_MS = 60_000;

/** Removes what a shard's log need not retain any more. Several at work at once do no harm. */
export class LogPruner {
  private readonly loop = new BackgroundLoop();

  constructor(
    private readonly log: EventLog,
    private readonly retentionMs: number,
  ) {}

  start(): void {
    this.loop.start(() => this.prune(), EVERY_MS);
  }

  stop(): Promise<void> {
    return this.loop.stop();
  }

  private async prune(): Promise<number> {
    try {
      while (!this.loop.stopped && (await this.log.prune(this.retentionMs)));
    } catch (error) {
      new Logger('Events').debug({ msg: 'old events were not removed; that is tried again', err: error });
    }
    return EVERY_MS;
  }
}
