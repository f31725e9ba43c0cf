import { setTimeout as sleep } from 'node:timers/promises';
import { classifyFailure } from '../storage/database-errors.js';
import type { EventPublisher } from '../domain/ports.js';
import type { OutboxMetrics, PublishFailure } from '../observability/metrics.js';
import type { Backlog, Chunk, Outbox } from './outbox.js';
import { PublishError } from './publish-error.js';

/** Events of one chunk at most: few enough for flat memory, many enough for few round trips. */
const MAX_EVENTS = 1_000;
/** Counting what waits costs more than a look: no more often than this. */
const COUNT_EVERY_MS = 1_000;
const LONGEST_BACKOFF_MS = 10_000;
/** When events have waited this long and publishing fails, the health check reports it. */
const LONG_MS = 30_000;

export interface RelayLog {
  /** Publishing has begun to fail; said once for each reason. */
  failing(error: unknown): void;
  /** It succeeds again. */
  recovered(): void;
}

/**
 * Publishes what one shard's outbox holds, in order, and removes what has arrived: at least once for each event. Every
 * publisher gets every batch that it does not know yet; one that fails holds back all of them, so that none is lost.
 * The write path never waits for any of this.
 */
export class OutboxRelay {
  private readonly ending = new AbortController();
  private running: Promise<void> = Promise.resolve();
  private maxEvents = MAX_EVENTS;
  private failures = 0;
  private readonly complaints = new Set<PublishFailure>();
  private lastFailure: PublishFailure | undefined;
  private countedMs = -Infinity;
  private counted: Backlog = { rows: 0, events: 0, ageMs: 0 };

  constructor(
    private readonly outbox: Outbox,
    private readonly publishers: readonly EventPublisher[],
    private readonly pollMs: number,
    private readonly metrics: OutboxMetrics,
    private readonly log: RelayLog,
  ) {
    metrics.watchBacklog(() => this.backlog());
  }

  start(): void {
    this.running = this.work();
  }

  /** Waits for the chunk in hand; the rest stays in the outbox for the next start. */
  async stop(): Promise<void> {
    this.ending.abort();
    await this.running;
  }

  /** Why events have been waiting for long; undefined: they have not. A long backlog that is being published is no problem. */
  problem(): string | undefined {
    const { ageMs } = this.backlog();
    if (this.lastFailure === undefined || ageMs < LONG_MS) return undefined;
    return `events have been waiting for ${Math.round(ageMs / 1_000)} s: ${this.lastFailure}`;
  }

  private get stopped(): boolean {
    return this.ending.signal.aborted;
  }

  private async work(): Promise<void> {
    while (!this.stopped) {
      await sleep(this.pauseMs(), undefined, { signal: this.ending.signal }).catch(() => undefined);
      await this.drain();
    }
  }

  /** Without a pause for as long as there is a backlog. */
  private async drain(): Promise<void> {
    try {
      while (!this.stopped && (await this.publishChunk()));
    } catch (error) {
      this.failed(error);
    }
  }

  /** @returns whether there may be more */
  private async publishChunk(): Promise<boolean> {
    if (await this.nothingWaits()) return false;
    for (const publisher of this.publishers) publisher.assertReady();
    const known = (firstId: number) => this.publishers.every((publisher) => publisher.alreadyKnows(firstId));
    const chunk = await this.outbox.claim(this.maxEvents, known);
    if (!chunk) {
      // Another relay is at work, or nothing is left: what kept events back here is over.
      this.lastFailure = undefined;
      return false;
    }
    await this.publish(chunk);
    await this.outbox.remove(chunk);
    this.succeeded(chunk);
    // What comes in while this works is left for the next poll: a chunk for each row would load the database that posts.
    return chunk.more;
  }

  private async publish({ batches }: Chunk): Promise<void> {
    try {
      for (const publisher of this.publishers) {
        const news = batches.filter(([first]) => first && !publisher.alreadyKnows(first.transactionId));
        await publisher.publish(news.flat());
      }
    } catch (error) {
      // At once, so that another instance may try. If that fails too, the lease ends by itself.
      await this.outbox.release().catch(() => undefined);
      throw error;
    }
  }

  private async nothingWaits(): Promise<boolean> {
    if (performance.now() - this.countedMs < COUNT_EVERY_MS) return this.outbox.isEmpty();
    this.counted = await this.outbox.backlog();
    this.countedMs = performance.now();
    return this.counted.rows === 0;
  }

  /** As last counted; its age goes on growing while nothing can be counted or published. */
  private backlog(): Backlog {
    const { rows, events, ageMs } = this.counted;
    return rows === 0 ? this.counted : { rows, events, ageMs: ageMs + performance.now() - this.countedMs };
  }

  private succeeded({ outboxIds, batches }: Chunk): void {
    this.metrics.published(
      outboxIds.length,
      batches.reduce((sum, batch) => sum + batch.length, 0),
    );
    this.failures = 0;
    this.lastFailure = undefined;
    this.maxEvents = Math.min(MAX_EVENTS, this.maxEvents * 2);
    if (this.complaints.size > 0) this.log.recovered();
    this.complaints.clear();
  }

  /**
   * Nothing is lost: what was not removed is published again. In smaller chunks, so that a slow broker can confirm one
   * in time, and one that returns everything is not sent much.
   */
  private failed(error: unknown): void {
    const reason = reasonOf(error);
    this.metrics.failed(reason);
    this.lastFailure = reason;
    // Whether the broker is there is known without asking it, and said by its connection: just look again soon.
    if (reason === 'down' || reason === 'blocked') {
      this.failures = 0;
      return;
    }
    this.failures += 1;
    this.maxEvents = Math.max(1, Math.floor(this.maxEvents / 2));
    if (!this.complaints.has(reason)) this.log.failing(error);
    this.complaints.add(reason);
  }

  /** After failures exponential, with jitter. */
  private pauseMs(): number {
    if (this.failures === 0) return this.pollMs;
    const longest = Math.max(this.pollMs, LONGEST_BACKOFF_MS);
    return Math.min(longest, this.pollMs * 2 ** this.failures) * (0.5 + Math.random() / 2);
  }
}

function reasonOf(error: unknown): PublishFailure {
  if (error instanceof PublishError) return error.reason;
  return classifyFailure(error) === 'statement' ? 'other' : 'database';
}
