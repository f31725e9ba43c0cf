import { setTimeout as sleep } from 'node:timers/promises';
import { connect, type ConsumeMessage } from 'amqplib';
import type { Arrival } from './checker/check-books.js';

const QUEUE = 'chaos';
const ROUTES = 'transaction.posted.#';
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

  private constructor(
    private readonly url: string,
    private readonly exchange: string,
  ) {}

  /** @returns a listener whose queue is bound, so that no event is missed from now on */
  static async start(url: string, exchange: string): Promise<EventListener> {
    const listener = new EventListener(url, exchange);
    const ready = Promise.withResolvers<void>();
    listener.running = listener.run(ready.resolve);
    await ready.promise;
    return listener;
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
    await channel.assertQueue(QUEUE, { durable: true });
    await channel.bindQueue(QUEUE, this.exchange, ROUTES);
    await channel.prefetch(PREFETCH);
    await channel.consume(QUEUE, (message) => {
      if (!message) return lost.resolve();
      this.arrivals.push(arrivalOf(message));
      channel.ack(message);
    });
    onReady();
    await lost.promise;
    await Promise.race([connection.close().catch(() => undefined), sleep(CONNECT_TIMEOUT_MS)]);
  }
}

function arrivalOf({ content }: ConsumeMessage): Arrival {
  const { data } = JSON.parse(content.toString()) as { data: Record<string, string & number> };
  return {
    transactionId: data['transactionId'] ?? '',
    accountId: data['accountId'] ?? 0,
    type: data['type'] ?? '',
    amount: minorUnits(data['amount']),
    balance: minorUnits(data['balance']),
    version: data['version'] ?? 0,
  };
}

/** Money in an event is text with two decimals. */
function minorUnits(text: string | undefined): number {
  return Number(text?.replace('.', ''));
}
