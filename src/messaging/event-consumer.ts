import { setTimeout as sleep } from 'node:timers/promises';
import { connect, type Channel, type ChannelModel, type ConsumeMessage } from 'amqplib';
import { ALL_ROUTES, isBankEventType, readBankEvent, type BankEvent } from './bank-event.js';
import { CLOSE_TIMEOUT_MS, connectOptions, withHeartbeat } from './rabbitmq-connection.js';

export interface ConsumerSettings {
  readonly url: string;
  readonly exchange: string;
  /** A durable queue, made when it is missing. Without it: one that lasts as long as the connection. */
  readonly queue?: string;
  /** Called once the queue is bound: events that are published from now on will arrive. */
  readonly onReady?: () => void;
  /** Called for each message that passes for an event and is none; it is left out. */
  readonly onStranger?: () => void;
  /** Ends it. */
  readonly signal: AbortSignal;
}

/** Events that the broker hands over before the first of them is acknowledged. */
const PREFETCH = 500;

/**
 * Hands over the bank's events as they arrive, repeats included, until the signal is aborted. An event is acknowledged
 * once it is taken, so with a durable queue none is lost when the consumer dies.
 *
 * @throws when the broker can't be reached, the connection is lost, or `take` throws
 */
export async function consumeEvents(
  settings: ConsumerSettings,
  take: (event: BankEvent) => void,
): Promise<void> {
  const connection = await connect(withHeartbeat(settings.url), connectOptions);
  const ended = Promise.withResolvers<void>();
  // It may end before it is waited for.
  ended.promise.catch(() => undefined);
  connection.on('error', ended.reject);
  connection.on('close', (error) => ended.reject(error ?? new Error('the connection was closed')));
  settings.signal.addEventListener('abort', () => ended.resolve(), { once: true });
  try {
    if (settings.signal.aborted) return;
    const channel = await connection.createChannel();
    channel.on('error', ended.reject);
    await subscribe(channel, settings, (message) => {
      try {
        // What is still on its way when it ends stays in the queue.
        if (!settings.signal.aborted) handle(channel, message, take, settings.onStranger);
      } catch (error) {
        ended.reject(error);
      }
    });
    settings.onReady?.();
    await ended.promise;
  } finally {
    await close(connection);
  }
}

async function subscribe(
  channel: Channel,
  { exchange, queue }: ConsumerSettings,
  onMessage: (message: ConsumeMessage | null) => void,
): Promise<void> {
  await channel.assertExchange(exchange, 'topic', { durable: true });
  const declared = queue
    ? // Of several consumers one works at a time: two would take an account's events out of order.
      await channel.assertQueue(queue, { durable: true, arguments: { 'x-single-active-consumer': true } })
    : await channel.assertQueue('', { exclusive: true, autoDelete: true, durable: false });
  for (const route of ALL_ROUTES) await channel.bindQueue(declared.queue, exchange, route);
  await channel.prefetch(PREFETCH);
  await channel.consume(declared.queue, onMessage);
}

function handle(
  channel: Channel,
  message: ConsumeMessage | null,
  take: (event: BankEvent) => void,
  onStranger?: () => void,
): void {
  if (!message) throw new Error('the queue was deleted');
  if (isBankEventType(message.properties.type)) {
    const event = readBankEvent(message.content.toString());
    if (event) take(event);
    else onStranger?.();
  }
  channel.ack(message);
}

/** A connection that is lost already throws; one that does not answer is not waited for. */
async function close(connection: ChannelModel): Promise<void> {
  const closed = Promise.resolve()
    .then(() => connection.close())
    .catch(() => undefined);
  await Promise.race([closed, sleep(CLOSE_TIMEOUT_MS, undefined, { ref: false })]);
}
