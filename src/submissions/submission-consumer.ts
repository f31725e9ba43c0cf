import { setTimeout as sleep } from 'node:timers/promises';
import type { ConfirmChannel, ConsumeMessage } from 'amqplib';
import { LedgerError } from '../domain/errors.js';
import type { RabbitMqConnection } from '../messaging/rabbitmq-connection.js';
import type { SubmissionMetrics } from '../observability/metrics.js';
import { publishDeadLetter } from './dead-letters.js';
import { Inbox } from './inbox.js';
import { MalformedError, sentAtMs } from './submission-message.js';
import type { Settled, SubmissionPoster } from './submission-poster.js';
import type { Topology } from './topology.js';

/**
 * Messages that the broker hands over before the first of them is acknowledged. The same in all instances: a consumer
 * then gets all that another one has left behind at once, and before anything later.
 */
const PREFETCH = 2_000;
/** Messages that are decided in one transaction. */
const MAX_CHUNK = 1_000;
/** How often a message that fails by itself is tried before it is put aside. */
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
  /** Taken from the queue and not decided yet, in order. */
  private waiting: ConsumeMessage[] = [];
  private queued = 0;
  private failures = 0;
  private isFailing = false;

  constructor(
    private readonly connection: RabbitMqConnection,
    private readonly topology: Topology,
    private readonly poster: SubmissionPoster,
    private readonly shardIndex: number,
    private readonly confirmTimeoutMs: number,
    private readonly metrics: SubmissionMetrics,
    private readonly log: ConsumerLog,
  ) {
    metrics.watchQueue(() => ({ messages: this.queued + this.waiting.length, ageMs: this.ageMs() }));
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
      this.waiting = [];
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
        if (this.waiting.length === 0) await this.untilStopped(inbox.changed());
        this.waiting.push(...inbox.take(Math.max(0, MAX_CHUNK - this.waiting.length)));
        if (this.stopped) return;
        const chunk = this.waiting.slice(0, limit);
        try {
          await this.settle(channel, chunk, await this.poster.decide(chunk));
          limit = Math.min(MAX_CHUNK, limit * 2);
          attempts = 0;
          this.succeeded();
        } catch (error) {
          this.failed(error);
          const isDefect = !(error instanceof LedgerError);
          // In smaller chunks, until what fails by itself is alone.
          if (isDefect && chunk.length === 1 && (attempts += 1) >= MAX_ATTEMPTS) {
            await this.putAside(channel, chunk[0] as ConsumeMessage, `it failed ${attempts} times`, error);
            this.waiting.shift();
            attempts = 0;
          }
          limit = Math.max(1, Math.floor(chunk.length / 2));
          await this.pause();
        }
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
      await this.topology.assert(channel, this.shardIndex);
      await channel.prefetch(PREFETCH);
      await channel.consume(this.topology.queueOf(this.shardIndex), (message) => {
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

  /** Acknowledges what was decided, and keeps the rest in its order. */
  private async settle(
    channel: ConfirmChannel,
    chunk: readonly ConsumeMessage[],
    outcomes: readonly (Settled | undefined)[],
  ): Promise<void> {
    const undecided: ConsumeMessage[] = [];
    let lastOfAll: ConsumeMessage | undefined;
    const single: ConsumeMessage[] = [];
    for (const [index, message] of chunk.entries()) {
      const outcome = outcomes[index];
      if (outcome === undefined) {
        undecided.push(message);
        continue;
      }
      if (outcome instanceof MalformedError) await this.publishAside(channel, message, outcome.message);
      else this.metrics.settled(outcome);
      if (undecided.length === 0) lastOfAll = message;
      else single.push(message);
    }
    this.waiting = [...undecided, ...this.waiting.slice(chunk.length)];
    // All before it are decided.
    if (lastOfAll) channel.ack(lastOfAll, true);
    for (const message of single) channel.ack(message);
  }

  private async putAside(
    channel: ConfirmChannel,
    message: ConsumeMessage,
    reason: string,
    error: unknown,
  ): Promise<void> {
    await this.publishAside(channel, message, reason, error);
    channel.ack(message);
  }

  private async publishAside(
    channel: ConfirmChannel,
    message: ConsumeMessage,
    reason: string,
    error?: unknown,
  ): Promise<void> {
    const { shardIndex, confirmTimeoutMs: timeoutMs } = this;
    await publishDeadLetter(channel, this.topology, message, { reason, shardIndex, timeoutMs });
    this.metrics.settled('dead-lettered');
    this.log.deadLettered(reason, error);
  }

  private async count(channel: ConfirmChannel): Promise<void> {
    const found = await channel.checkQueue(this.topology.queueOf(this.shardIndex)).catch(() => undefined);
    this.queued = found?.messageCount ?? 0;
  }

  private ageMs(): number {
    const [first] = this.waiting;
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
