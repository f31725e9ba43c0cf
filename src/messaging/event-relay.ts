import { BackgroundLoop } from '../concurrency/background-loop.js';
import { classifyFailure } from '../storage/database-errors.js';
import type { EventPublisher } from '../domain/ports.js';
import type { PublishFailure, RelayMetrics } from '../observability/metrics.js';
import type { Backlog, Chunk, EventSource } from './event-source.js';
import { PublishError } from './publish-error.js';

/**
 * The most transactions and changes in one chunk: few enough to bound memory, many enough to need few round trips. Those
 * of holds and transfers make up to two events each.
 */
const MAX_EVENTS = 1_000;
/** How often the backlog is counted, which costs more than finding out whether there is one. */
const COUNT_EVERY_MS = 1_000;
const LONGEST_BACKOFF_MS = 10_000;
/** When events have waited this long and publishing fails, the health check reports it. */
const LONG_MS = 30_000;

export interface RelayLog {
  /** Publishing has begun to fail; called once for each reason. */
  failing(error: unknown): void;
  /** Publishing succeeds again. */
  recovered(): void;
}

/**
 * Publishes the events of one source, in order and at least once each. What fails is tried again, so that no event is
 * lost. The write path never waits for any of this, and neither does another source.
 */
export class EventRelay {
  private readonly loop = new BackgroundLoop();
  private maxEvents = MAX_EVENTS;
  private begun = false;
  private failures = 0;
  private readonly complaints = new Set<PublishFailure>();
  private lastFailure: PublishFailure | undefined;
  private countedMs = -Infinity;
  private counted: Backlog = { rows: 0, events: 0, ageMs: 0 };

  constructor(
    private readonly source: EventSource,
    private readonly publisher: EventPublisher,
    private readonly pollMs: number,
    private readonly metrics: RelayMetrics,
    private readonly log: RelayLog,
    /** Called before the first turn, until it succeeds. */
    private readonly begin: () => Promise<void> = () => Promise.resolve(),
  ) {
    metrics.watchBacklog(() => this.backlog());
  }

  start(): void {
    this.loop.start(() => this.drain(), this.pollMs);
  }

  /** Waits for the chunk in progress; the rest waits for the next start. */
  stop(): Promise<void> {
    return this.loop.stop();
  }

  /** Why events have been waiting for long; undefined: they have not, or they are being published. */
  problem(): string | undefined {
    const { ageMs } = this.backlog();
    if (this.lastFailure === undefined || ageMs < LONG_MS) return undefined;
    return `events have been waiting for ${Math.round(ageMs / 1_000)} s: ${this.lastFailure}`;
  }

  /** Publishes without a pause while there is a backlog. */
  private async drain(): Promise<number> {
    try {
      if (!this.begun) await this.begin();
      this.begun = true;
      while (!this.loop.stopped && (await this.publishChunk()));
    } catch (error) {
      this.failed(error);
    }
    return this.pauseMs();
  }

  /** @returns whether there may be more */
  private async publishChunk(): Promise<boolean> {
    if (await this.nothingWaits()) return false;
    this.publisher.assertReady();
    const chunk = await this.source.claim(this.maxEvents, (firstId) => this.publisher.alreadyKnows(firstId));
    if (!chunk) {
      // Another relay is publishing, or nothing is left: whatever held events back here is over.
      this.lastFailure = undefined;
      return false;
    }
    await this.publish(chunk);
    await this.source.complete(chunk);
    this.succeeded(chunk);
    // Events that arrived meanwhile wait for the next poll: a chunk per row would burden the database.
    return chunk.more;
  }

  private async publish({ rows }: Chunk): Promise<void> {
    try {
      await this.publisher.publish(rows.flatMap(({ events }) => events));
    } catch (error) {
      // Released at once, so that another instance may try. If that fails too, the lease runs out by itself.
      await this.source.release().catch(() => undefined);
      throw error;
    }
  }

  private async nothingWaits(): Promise<boolean> {
    if (performance.now() - this.countedMs < COUNT_EVERY_MS) return this.source.isEmpty();
    this.counted = await this.source.backlog();
    this.countedMs = performance.now();
    return this.counted.rows === 0;
  }

  /** As last counted. Its age keeps growing while it can neither be counted nor published. */
  private backlog(): Backlog {
    const { rows, events, ageMs } = this.counted;
    return rows === 0 ? this.counted : { rows, events, ageMs: ageMs + performance.now() - this.countedMs };
  }

  private succeeded({ ids, rows }: Chunk): void {
    this.metrics.published(
      ids.length,
      rows.reduce((sum, { events }) => sum + events.length, 0),
    );
    this.failures = 0;
    this.lastFailure = undefined;
    this.maxEvents = Math.min(MAX_EVENTS, this.maxEvents * 2);
    if (this.complaints.size > 0) this.log.recovered();
    this.complaints.clear();
  }

  /**
   * Nothing is lost: a chunk that was not completed is published again, in smaller chunks, so that a slow broker can
   * confirm one in time, and one that returns everything is not sent much.
   */
  private failed(error: unknown): void {
    const reason = reasonOf(error);
    this.metrics.failed(reason);
    this.lastFailure = reason;
    // The connection knows and logs whether the broker is there, so trying again soon costs nothing.
    if (reason === 'down' || reason === 'blocked') {
      this.failures = 0;
      return;
    }
    this.failures += 1;
    this.maxEvents = Math.max(1, Math.floor(this.maxEvents / 2));
    if (!this.complaints.has(reason)) this.log.failing(error);
    this.complaints.add(reason);
  }

  /** After failures it grows exponentially, with jitter. */
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
