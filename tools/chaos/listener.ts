import { setTimeout as sleep } from 'node:timers/promises';
import { connect, type Channel, type ConsumeMessage } from 'amqplib';
import type { Arrival } from './checker/check-events.js';

/** Of everything that the bank publishes. */
const ROUTES = '#';
/** The type of the messages by which the listener learns how far it has read. */
const MARK = 'mark';
const MARK_MS = 1_000;
const PREFETCH = 500;
const RETRY_MS = 200;
const CONNECT_TIMEOUT_MS = 2_000;
const HEARTBEAT_SECONDS = 2;

/** A consumer of the bank's events with a durable queue. It reconnects whenever it loses the broker. */
export class EventListener {
  /** All events in the order of their arrival, repeats included. */
  readonly arrivals: Arrival[] = [];
  private running: Promise<void> = Promise.resolve();
  private readonly ending = new AbortController();
  private channel: Channel | undefined;
  private onMark: (arrived: boolean) => void = () => undefined;

  private constructor(
    private readonly url: string,
    private readonly exchange: string,
  ) {}

  private get queue(): string {
    return `${this.exchange}-chaos`;
  }

  /** @returns a listener whose queue is bound, so that no event is missed from now on */
  static async start(url: string, exchange: string): Promise<EventListener> {
    const listener = new EventListener(url, exchange);
    const ready = Promise.withResolvers<void>();
    listener.running = listener.run(ready.resolve);
    await ready.promise;
    return listener;
  }

  /** Whether everything has arrived that was in the queue: a mark at its end has. */
  async caughtUp(): Promise<boolean> {
    const mark = Promise.withResolvers<boolean>();
    this.onMark = mark.resolve;
    this.channel?.sendToQueue(this.queue, Buffer.alloc(0), { type: MARK });
    return Promise.race([mark.promise, sleep(MARK_MS, false)]);
  }

  async stop(): Promise<void> {
    this.ending.abort();
    await this.running;
  }

  private async run(onReady: () => void): Promise<void> {
    while (!this.ending.signal.aborted) {
      await this.consume(onReady).catch(() => undefined);
      await sleep(RETRY_MS);
    }
  }

  /** Consumes until the connection is lost. */
  private async consume(onReady: () => void): Promise<void> {
    const connection = await connect(`${this.url}?heartbeat=${HEARTBEAT_SECONDS}`, {
      timeout: CONNECT_TIMEOUT_MS,
    });
    const lost = Promise.withResolvers<void>();
    connection.on('error', () => lost.resolve());
    connection.on('close', () => lost.resolve());
    this.ending.signal.addEventListener('abort', () => lost.resolve(), { once: true });
    const channel = await connection.createChannel();
    channel.on('error', () => lost.resolve());
    await channel.assertExchange(this.exchange, 'topic', { durable: true });
    await channel.assertQueue(this.queue, { durable: true });
    await channel.bindQueue(this.queue, this.exchange, ROUTES);
    await channel.prefetch(PREFETCH);
    await channel.consume(this.queue, (message) => {
      if (!message) return lost.resolve();
      if (message.properties.type === MARK) this.onMark(true);
      else this.arrivals.push(arrivalOf(message));
      channel.ack(message);
    });
    this.channel = channel;
    onReady();
    await lost.promise;
    await Promise.race([connection.close().catch(() => undefined), sleep(CONNECT_TIMEOUT_MS)]);
  }
}

const arrivalOf = ({ content }: ConsumeMessage) => JSON.parse(content.toString()) as Arrival;
