import { once } from 'node:events';
import type { ConfirmChannel, Message, Options } from 'amqplib';
import { EventPublisher } from '../domain/ports.js';
import type { LedgerEvent } from '../domain/ledger-event.js';
import { messageOf as messageOfError } from '../domain/error-message.js';
import { messageOf, type BankMessage } from './bank-event.js';
import { PublishError } from './publish-error.js';
import type { RabbitMqConnection } from './rabbitmq-connection.js';

export interface RabbitMqPublisherSettings {
  readonly exchange: string;
  /** How long the broker may take to confirm everything passed to `publish`. */
  readonly confirmTimeoutMs: number;
  readonly bankId: string;
  readonly shardIndex: number;
}

/**
 * Publishes one shard's events to a durable topic exchange: persistent, mandatory and confirmed. Each shard has its own
 * channel, which is abandoned after a failure, so that a late confirm or return can't be mistaken for that of a retry.
 */
export class RabbitMqPublisher extends EventPublisher {
  /**
   * What a consistent-hash exchange can divide by, so that one account's events stay in one queue. One object for all
   * messages: amqplib makes it a prototype, and each new prototype costs V8 a hidden class that only a full garbage
   * collection frees. It is encoded before `publish` returns.
   */
  private readonly headers = { account: '' };
  private channel: ConfirmChannel | undefined;

  constructor(
    private readonly connection: RabbitMqConnection,
    private readonly settings: RabbitMqPublisherSettings,
  ) {
    super();
  }

  /** @throws PublishError down, blocked */
  assertReady(): void {
    const { status, reason } = this.connection;
    if (status !== 'up') throw new PublishError(status, `RabbitMQ is ${status}: ${reason}`);
  }

  override alreadyKnows(): boolean {
    return false;
  }

  /** @throws PublishError when not every event has reached a queue in time; some of them may have */
  async publish(events: readonly LedgerEvent[]): Promise<void> {
    if (events.length === 0) return;
    const delivery = new Delivery(events.length, this.settings.confirmTimeoutMs);
    try {
      const channel = (this.channel ??= await delivery.unlessFailed(this.openChannel(delivery)));
      channel.on('return', delivery.returned);
      await this.send(channel, events, delivery);
      await delivery.complete;
      channel.off('return', delivery.returned);
    } catch (error) {
      this.giveUpChannel();
      throw delivery.failure(error);
    } finally {
      delivery.end();
    }
  }

  private async openChannel(delivery: Delivery): Promise<ConfirmChannel> {
    const channel = await this.connection.createConfirmChannel();
    // The deliveries of a failed channel learn of it; see Delivery.
    channel.on('error', () => undefined);
    channel.on('close', () => {
      if (this.channel === channel) this.channel = undefined;
    });
    if (delivery.failed.aborted) closeUnawaited(channel);
    return channel;
  }

  private giveUpChannel(): void {
    const channel = this.channel;
    this.channel = undefined;
    if (channel) closeUnawaited(channel);
  }

  /** Writes no faster than the connection accepts. */
  private async send(
    channel: ConfirmChannel,
    events: readonly LedgerEvent[],
    delivery: Delivery,
  ): Promise<void> {
    const { exchange, bankId, shardIndex } = this.settings;
    for (const event of events) {
      const message = messageOf(event, bankId);
      this.headers.account = String(message.accountId);
      const hasRoom = channel.publish(
        exchange,
        `${event.kind}.${shardIndex}`,
        Buffer.from(message.body),
        propertiesOf(message, this.headers, event.kind === 'transaction.posted'),
        delivery.confirmed,
      );
      if (!hasRoom) await once(channel, 'drain', { signal: delivery.failed });
    }
  }
}

/** The channel may be closed already, or never answer. */
function closeUnawaited(channel: ConfirmChannel): void {
  void Promise.resolve()
    .then(() => channel.close())
    .catch(() => undefined);
}

/**
 * @param mandatory whether a queue must take it. Other events than `transaction.posted` need none: a bank's queues may
 *   be bound for that one alone, and a message that reaches no queue would hold up all others
 */
function propertiesOf(
  { id, type, timestamp }: BankMessage,
  headers: { readonly account: string },
  mandatory: boolean,
): Options.Publish {
  return {
    persistent: true,
    mandatory,
    contentType: 'application/cloudevents+json',
    type,
    messageId: id,
    timestamp: Math.floor(timestamp.getTime() / 1000),
    headers,
  };
}

/** Messages in flight: complete when each is confirmed, failed as soon as one is rejected or returned. */
class Delivery {
  private readonly outcome = Promise.withResolvers<void>();
  private readonly failing = new AbortController();
  private readonly timer: NodeJS.Timeout;

  constructor(
    private unconfirmed: number,
    timeoutMs: number,
  ) {
    // It may fail before anybody awaits it.
    this.outcome.promise.catch(() => undefined);
    const late = `RabbitMQ did not confirm in ${timeoutMs} ms what was published`;
    this.timer = setTimeout(() => this.fail(new PublishError('timeout', late)), timeoutMs);
  }

  get complete(): Promise<void> {
    return this.outcome.promise;
  }

  get failed(): AbortSignal {
    return this.failing.signal;
  }

  /** One function for all messages: a closure for each would cost. */
  readonly confirmed = (error: unknown): void => {
    if (error instanceof Error) {
      const reason = error.message === 'message nacked' ? 'refused' : 'closed';
      return this.fail(new PublishError(reason, `RabbitMQ did not take an event: ${error.message}`));
    }
    this.unconfirmed -= 1;
    if (this.unconfirmed === 0) this.outcome.resolve();
  };

  /** A return precedes the confirm of the same message. */
  readonly returned = ({ fields }: Message): void => {
    const target = `${fields.routingKey} to the exchange ${fields.exchange}`;
    this.fail(new PublishError('unroutable', `no queue is bound for ${target}`));
  };

  /** Settles with the promise or with the failure of this delivery, whichever comes first. */
  unlessFailed<T>(promise: Promise<T>): Promise<T> {
    return Promise.race([promise, this.complete as Promise<never>]);
  }

  /** Why it failed; an error may be only a consequence of that. */
  failure(error: unknown): PublishError {
    if (this.failed.aborted) return this.failed.reason as PublishError;
    return new PublishError('closed', `RabbitMQ can't be published to: ${messageOfError(error)}`, {
      cause: error,
    });
  }

  end(): void {
    clearTimeout(this.timer);
  }

  private fail(error: PublishError): void {
    this.outcome.reject(error);
    this.failing.abort(error);
  }
}
