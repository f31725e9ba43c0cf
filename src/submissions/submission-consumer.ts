import { setTimeout as sleep } from 'node:timers/promises';
import type { ConfirmChannel, ConsumeMessage } from 'amqplib';
import { LedgerError } from '../domain/errors.js';
import type { RabbitMqConnection } from '../messaging/rabbitmq-connection.js';
import type { SubmissionMetrics } from '../observability/metrics.js';
import { publishDeadLetter } from './dead-letters.js';
import { Inbox } from './inbox.js';
import {
  MalformedError,
  requestsIn,
  sentAtMs,
  type QueuedRequest,
  type ShardSeal,
  type Taken,
} from './submission-message.js';
import type { Settled, SubmissionPoster } from './submission-poster.js';
import type { Topology } from './topology.js';

/**
 * Messages that the broker hands over before the first of them is acknowledged. The same in all instances: a consumer
 * then gets all that another one has left behind at once, and before anything later.
 */
const PREFETCH = 1_000;
/** Requests that are decided in one transaction. */
const MAX_CHUNK = 1_000;
/** How often a request that fails by itself is tried before it is put aside. */
const MAX_ATTEMPTS = 5;
const FIRST_PAUSE_MS = 100;
const LONGEST_PAUSE_MS = 5_000;
const SUBSCRIBE_TIMEOUT_MS = 10_000;
/** How often the length of the queue is asked for. */
const COUNT_EVERY_MS = 1_000;

export interface ConsumerLog {
  /** It has begun to fail. */
  failing(error: unknown): void;
  /** It works again. */
  recovered(): void;
  deadLettered(reason: string, error?: unknown): void;
}

/**
 * Decides the submissions of one shard, in the order of the queue, of which one consumer over all instances is active.
 *
 * A message is acknowledged once its outcome is durable. Nothing is ever given back while the channel lives: what could
 * not be decided is tried again from here, before anything later, with growing pauses. What is not acknowledged when the
 * channel ends goes back to the front of the queue, in its order. If two consumers are at work for a moment, because the
 * broker has given up one that is only slow, both decide in this order, and each key once.
 */
export class SubmissionConsumer {
  private readonly ending = new AbortController();
  private running: Promise<void> = Promise.resolve();
  /** Taken from the queue and not read yet, in order. */
  private unread: ConsumeMessage[] = [];
  /** Before those: what is not decided yet, in order. */
  private waiting: Taken[] = [];
  /** Of each message, how many of its requests are not decided yet. */
  private readonly undecided = new Map<ConsumeMessage, number>();
  private queued = 0;
  private failures = 0;
  private isFailing = false;

  constructor(
    private readonly connection: RabbitMqConnection,
    private readonly topology: Topology,
    private readonly poster: SubmissionPoster,
    private readonly shard: ShardSeal & { readonly index: number },
    private readonly confirmTimeoutMs: number,
    private readonly metrics: SubmissionMetrics,
    private readonly log: ConsumerLog,
  ) {
    metrics.watchQueue(() => ({
      messages: this.queued + this.unread.length + this.waiting.length,
      ageMs: this.ageMs(),
    }));
  }

  start(): void {
    this.running = this.work();
  }

  /** Finishes what is being decided; the rest goes back to the queue. */
  async stop(): Promise<void> {
    this.ending.abort();
    await this.running;
  }

  private get stopped(): boolean {
    return this.ending.signal.aborted;
  }

  private async work(): Promise<void> {
    while (!this.stopped) {
      let channel: ConfirmChannel | undefined;
      try {
        channel = await this.untilStopped(this.connection.createConfirmChannel());
        if (channel) await this.consume(channel);
      } catch (error) {
        // The connection itself says when the broker is lost.
        if (this.connection.status === 'up') this.failed(error);
        else this.failures += 1;
      }
      this.unread = [];
      this.waiting = [];
      this.undecided.clear();
      if (channel) closeUnawaited(channel);
      if (!this.stopped) await this.pause();
    }
  }

  /** Decides messages until it is stopped. @throws when the channel is lost */
  private async consume(channel: ConfirmChannel): Promise<void> {
    const inbox = await this.subscribe(channel);
    const counter = setInterval(() => void this.count(channel), COUNT_EVERY_MS);
    let limit = MAX_CHUNK;
    let attempts = 0;
    try {
      for (;;) {
        if (this.unread.length + this.waiting.length === 0) await this.untilStopped(inbox.changed());
        this.unread.push(...inbox.take(Math.max(0, MAX_CHUNK - this.unread.length - this.waiting.length)));
        if (this.stopped) return;
        let chunk: readonly Taken[] = [];
        let outcomes: readonly (Settled | undefined)[];
        try {
          this.read();
          chunk = this.waiting.slice(0, limit);
          outcomes = await this.poster.decide(chunk.map(({ request }) => request));
        } catch (error) {
          this.failed(error);
          const [poison] = chunk;
          // In smaller chunks, until what fails by itself is alone.
          if (
            poison &&
            chunk.length === 1 &&
            !(error instanceof LedgerError) &&
            (attempts += 1) >= MAX_ATTEMPTS
          ) {
            await this.publishAside(channel, poison, `it failed ${attempts} times`, error);
            this.waiting.shift();
            this.finish(channel, poison);
            attempts = 0;
          }
          limit = Math.max(1, Math.floor(chunk.length / 2));
          await this.pause();
          continue;
        }
        await this.settle(channel, chunk, outcomes);
        limit = Math.min(MAX_CHUNK, limit * 2);
        attempts = 0;
        this.succeeded();
      }
    } finally {
      clearInterval(counter);
    }
  }

  private async subscribe(channel: ConfirmChannel): Promise<Inbox> {
    const inbox = new Inbox();
    channel.on('error', (error: Error) => inbox.close(error));
    channel.on('close', () => inbox.close(new Error('the channel was closed')));
    const subscribed = (async () => {
      await this.topology.assert(channel, this.shard.index);
      await channel.prefetch(PREFETCH);
      await channel.consume(this.topology.queueOf(this.shard.index), (message) => {
        if (message) inbox.push(message);
        else inbox.close(new Error('the queue was deleted'));
      });
    })();
    const late = sleep(SUBSCRIBE_TIMEOUT_MS, undefined, { ref: false }).then(() => {
      throw new Error(`RabbitMQ did not answer in ${SUBSCRIBE_TIMEOUT_MS} ms`);
    });
    await Promise.race([subscribed, late]);
    return inbox;
  }

  /** @throws LedgerError DATABASE_FAILED while nothing can be read */
  private read(): void {
    for (let message = this.unread[0]; message; message = this.unread[0]) {
      const requests = this.requestsOf(message);
      this.undecided.set(message, requests.length);
      for (const request of requests) this.waiting.push({ message, request });
      this.unread.shift();
    }
  }

  private requestsOf(message: ConsumeMessage): readonly (QueuedRequest | MalformedError)[] {
    try {
      return requestsIn(message, this.shard);
    } catch (error) {
      if (error instanceof MalformedError) return [error];
      throw error;
    }
  }

  /** Acknowledges what was decided, and keeps the rest in its order. */
  private async settle(
    channel: ConfirmChannel,
    chunk: readonly Taken[],
    outcomes: readonly (Settled | undefined)[],
  ): Promise<void> {
    for (const [index, outcome] of outcomes.entries()) {
      const taken = chunk[index] as Taken;
      if (outcome instanceof MalformedError) await this.publishAside(channel, taken, outcome.message);
      else if (outcome !== undefined) this.metrics.settled(outcome);
    }
    const left = chunk.filter((_, index) => outcomes[index] === undefined);
    this.waiting = [...left, ...this.waiting.slice(chunk.length)];
    for (const [index, taken] of chunk.entries())
      if (outcomes[index] !== undefined) this.finish(channel, taken);
  }

  /** Acknowledges the message with the last of its requests. */
  private finish(channel: ConfirmChannel, { message }: Taken): void {
    const left = (this.undecided.get(message) ?? 1) - 1;
    this.undecided.set(message, left);
    if (left > 0) return;
    this.undecided.delete(message);
    channel.ack(message);
  }

  private async publishAside(
    channel: ConfirmChannel,
    taken: Taken,
    reason: string,
    error?: unknown,
  ): Promise<void> {
    const { shard, confirmTimeoutMs: timeoutMs } = this;
    await publishDeadLetter(channel, this.topology, taken, { reason, shard, timeoutMs });
    this.metrics.settled('dead-lettered');
    this.log.deadLettered(reason, error);
  }

  private async count(channel: ConfirmChannel): Promise<void> {
    const found = await channel.checkQueue(this.topology.queueOf(this.shard.index)).catch(() => undefined);
    this.queued = found?.messageCount ?? 0;
  }

  private ageMs(): number {
    const first = this.waiting[0]?.message ?? this.unread[0];
    const sentMs = first && sentAtMs(first);
    return sentMs === undefined ? 0 : Math.max(0, Date.now() - sentMs);
  }

  private succeeded(): void {
    if (this.isFailing) this.log.recovered();
    this.isFailing = false;
    this.failures = 0;
  }

  private failed(error: unknown): void {
    this.failures += 1;
    this.metrics.failed();
    if (!this.isFailing) this.log.failing(error);
    this.isFailing = true;
  }

  /** Grows exponentially, with jitter. */
  private async pause(): Promise<void> {
    const pauseMs = Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** Math.min(this.failures, 10));
    await this.untilStopped(sleep(pauseMs * (0.5 + Math.random() / 2), undefined, { ref: false }));
  }

  /** Undefined: it was stopped meanwhile. */
  private async untilStopped<T>(promise: Promise<T>): Promise<T | undefined> {
    const { signal } = this.ending;
    if (signal.aborted) return undefined;
    const stopped = Promise.withResolvers<undefined>();
    const stop = () => stopped.resolve(undefined);
    signal.addEventListener('abort', stop, { once: true });
    try {
      return await Promise.race([promise, stopped.promise]);
    } finally {
      signal.removeEventListener('abort', stop);
    }
  }
}

/** It may be closed already, or never answer. */
function closeUnawaited(channel: ConfirmChannel): void {
  void Promise.resolve()
    .then(() => channel.close())
    .catch(() => undefined);
}
