import type { ConfirmChannel, Message } from 'amqplib';
import { LedgerError, type InfrastructureFailure } from '../domain/errors.js';
import type { RabbitMqConnection } from '../messaging/rabbitmq-connection.js';
import type { SubmissionMetrics } from '../observability/metrics.js';
import { propertiesOf, type OwnHeaders } from './submission-message.js';
import type { Topology } from './topology.js';

export interface PublisherSettings {
  readonly shardIndex: number;
  readonly maxUnconfirmed: number;
  readonly confirmTimeoutMs: number;
}

type Code = Exclude<InfrastructureFailure['code'], 'DATABASE_FAILED'>;

/** A message on its way into the queue. */
interface Unconfirmed {
  readonly settle: (failure?: Code) => void;
}

/** Puts the service's own messages into the queue of one shard, and waits for each until the broker has it on disk. */
export class SubmissionPublisher {
  private channel: Promise<ConfirmChannel> | undefined;
  /** By message id. */
  private readonly unconfirmed = new Map<string, Unconfirmed>();
  private sent = 0;
  private readonly queue: string;
  /** One object for all messages: see RabbitMqPublisher. */
  private readonly headers: OwnHeaders = { bank: '', claim: '', signature: '' };

  constructor(
    private readonly connection: RabbitMqConnection,
    private readonly topology: Topology,
    private readonly settings: PublisherSettings,
    private readonly metrics: Pick<SubmissionMetrics, 'accepted'>,
  ) {
    this.queue = topology.queueOf(settings.shardIndex);
  }

  /**
   * Resolves once the message is safe. Messages arrive in the order of the calls, once there is a channel.
   *
   * @throws LedgerError BROKER_UNAVAILABLE or OVERLOADED (it was not queued), OUTCOME_UNKNOWN
   */
  async publish(body: Buffer, headers: OwnHeaders): Promise<void> {
    if (this.connection.status !== 'up') throw new LedgerError({ code: 'BROKER_UNAVAILABLE' });
    if (this.unconfirmed.size >= this.settings.maxUnconfirmed) throw new LedgerError({ code: 'OVERLOADED' });
    this.channel ??= this.open();
    await this.send(await this.channel, body, headers);
    this.metrics.accepted();
  }

  private send(channel: ConfirmChannel, body: Buffer, headers: OwnHeaders): Promise<void> {
    return new Promise((resolve, reject) => {
      const messageId = String((this.sent += 1));
      const settle = (failure?: Code) => {
        clearTimeout(timer);
        this.unconfirmed.delete(messageId);
        if (failure === undefined) resolve();
        else reject(new LedgerError({ code: failure }));
      };
      const timer = setTimeout(() => settle('OUTCOME_UNKNOWN'), this.settings.confirmTimeoutMs);
      this.unconfirmed.set(messageId, { settle });
      Object.assign(this.headers, headers);
      try {
        channel.publish('', this.queue, body, propertiesOf(this.headers, messageId), (error: unknown) =>
          settle(failureOf(error)),
        );
      } catch {
        // The channel is closed, so nothing was sent.
        settle('BROKER_UNAVAILABLE');
      }
    });
  }

  /** @throws LedgerError BROKER_UNAVAILABLE */
  private async open(): Promise<ConfirmChannel> {
    const opening = this.prepare();
    const late = Promise.withResolvers<never>();
    const timer = setTimeout(() => late.reject(new Error('too late')), this.settings.confirmTimeoutMs);
    try {
      return await Promise.race([opening, late.promise]);
    } catch {
      this.channel = undefined;
      // One that opens too late is not needed.
      void opening.then((channel) => channel.close()).catch(() => undefined);
      throw new LedgerError({ code: 'BROKER_UNAVAILABLE' });
    } finally {
      clearTimeout(timer);
    }
  }

  private async prepare(): Promise<ConfirmChannel> {
    const channel = await this.connection.createConfirmChannel();
    // The messages of a lost channel learn of it by their confirms.
    channel.on('error', () => undefined);
    channel.on('close', () => (this.channel = undefined));
    // A return precedes the confirm of the same message.
    channel.on('return', ({ properties }: Message) =>
      this.unconfirmed.get(String(properties.messageId))?.settle('BROKER_UNAVAILABLE'),
    );
    await this.topology.assert(channel, this.settings.shardIndex);
    return channel;
  }
}

/** The broker rejects a message that the queue has no room for. If the channel is lost, it may have taken it. */
function failureOf(error: unknown): Code | undefined {
  if (!(error instanceof Error)) return undefined;
  return error.message === 'message nacked' ? 'OVERLOADED' : 'OUTCOME_UNKNOWN';
}
