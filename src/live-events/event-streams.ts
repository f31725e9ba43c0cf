import { Inject, Injectable, Logger, type OnModuleDestroy } from '@nestjs/common';
import { TooManyRequestsError } from '../access/too-many-requests.js';
import type { Config } from '../config/config.js';
import { CONFIG } from '../config/config.module.js';
import { LedgerError } from '../domain/errors.js';
import { EventStream } from '../http/server/event-stream.js';
import { Metrics } from '../observability/metrics.js';

/** How soon a user who has too many streams may try again, in seconds. */
const RETRY_AFTER_S = 10;

interface OpenStream {
  readonly stream: EventStream;
  /** Whether its client may still get events. @throws when it may not, or when that can't be told */
  readonly check: () => Promise<void>;
  checking: boolean;
}

/** The open streams of this process: how many there may be, and how long each may go on. */
@Injectable()
export class EventStreams implements OnModuleDestroy {
  private readonly logger = new Logger('Events');
  private readonly open = new Set<OpenStream>();
  /** By user, those that are about to begin included. */
  private readonly places = new Map<string, number>();
  private taken = 0;
  private checks: NodeJS.Timeout | undefined;
  private closed = false;

  constructor(
    @Inject(CONFIG) private readonly config: Config,
    metrics: Metrics,
  ) {
    metrics.watchEventStreams(() => this.open.size);
  }

  /**
   * Keeps a place for a stream.
   *
   * @returns gives it back
   * @throws LedgerError OVERLOADED when there are too many, or the service stops; TooManyRequestsError when the user has
   *   too many
   */
  take(user: string): () => void {
    const { maxStreams, maxStreamsPerUser } = this.config.events;
    const ofUser = this.places.get(user) ?? 0;
    if (ofUser >= maxStreamsPerUser) throw new TooManyRequestsError(RETRY_AFTER_S);
    if (this.closed || this.taken >= maxStreams) throw new LedgerError({ code: 'OVERLOADED' });
    this.taken += 1;
    this.places.set(user, ofUser + 1);
    return () => {
      this.taken -= 1;
      const left = (this.places.get(user) ?? 0) - 1;
      if (left > 0) this.places.set(user, left);
      else this.places.delete(user);
    };
  }

  /**
   * Fills a stream until its client is gone, or may get no more events.
   *
   * @param listen resolves when there is nothing more to send
   * @param check called about once a second, whether or not there are events
   */
  async fill(stream: EventStream, listen: () => Promise<void>, check: OpenStream['check']): Promise<void> {
    const one: OpenStream = { stream, check, checking: false };
    this.open.add(one);
    stream.onGone(() => this.open.delete(one));
    this.checks ??= setInterval(() => this.checkAll(), this.config.events.checkMs).unref();
    try {
      if (this.closed) return;
      await listen();
    } catch (error) {
      this.logger.error({ msg: 'a stream of events failed', err: error });
    } finally {
      stream.end();
    }
  }

  /** Before the server waits for its last answers. Clients come back to another instance. */
  onModuleDestroy(): void {
    this.closed = true;
    clearInterval(this.checks);
    for (const { stream } of [...this.open]) stream.end();
  }

  private checkAll(): void {
    for (const one of this.open) {
      one.stream.heartbeat(this.config.events.heartbeatMs);
      if (!one.checking) void this.checkOne(one);
    }
  }

  private async checkOne(one: OpenStream): Promise<void> {
    one.checking = true;
    try {
      await one.check();
    } catch {
      // Whoever comes back is told why.
      one.stream.end();
    }
    one.checking = false;
  }
}
