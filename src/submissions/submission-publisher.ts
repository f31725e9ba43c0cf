import type { ConfirmChannel, Message } from 'amqplib';
import { LedgerError, type InfrastructureFailure } from '../domain/errors.js';
import type { RabbitMqConnection } from '../messaging/rabbitmq-connection.js';
import type { SubmissionMetrics } from '../observability/metrics.js';
import { propertiesOf, sealed, type QueuedRequest } from './submission-message.js';
import type { Topology } from './topology.js';

export interface PublisherSettings {
  readonly shardIndex: number;
  readonly maxUnconfirmed: number;
  readonly confirmTimeoutMs: number;
}

type Code = Exclude<InfrastructureFailure['code'], 'DATABASE_FAILED'>;

/** The most requests of one message, and characters of their items. */
const MAX_REQUESTS = 64;
const MAX_CHARACTERS = 32_768;

/** The requests that arrive in one turn of the event loop go out in one message. */
interface Gathered {
  readonly requests: QueuedRequest[];
  characters: number;
  readonly secret: string;
  readonly confirmed: PromiseWithResolvers<void>;
}

/** Puts what the service has accepted into the queue of one shard, and waits until the broker has it on disk. */
export class SubmissionPublisher {
  private channel: Promise<ConfirmChannel> | undefined;
  private gathered: Gathered | undefined;
  /** Requests that are not confirmed yet. */
  private unconfirmed = 0;
  /** By message id. */
  private readonly returned = new Map<string, () => void>();
  private sent = 0;
  private readonly queue: string;
  /** One object for all messages: see RabbitMqPublisher. */
  private readonly headers = { bank: '', signature: '' };

  constructor(
    private readonly connection: RabbitMqConnection,
    private readonly topology: Topology,
    private readonly bankId: string,
    private readonly settings: PublisherSettings,
    private readonly metrics: Pick<SubmissionMetrics, 'accepted'>,
  ) {
    this.queue = topology.queueOf(settings.shardIndex);
  }

  /**
   * Resolves once the request is safe. Requests arrive in the order of the calls, once there is a channel.
   *
   * @param secret of the shard
   * @throws LedgerError BROKER_UNAVAILABLE or OVERLOADED (it was not queued), OUTCOME_UNKNOWN
   */
  async publish(request: QueuedRequest, secret: string): Promise<void> {
    if (this.connection.status !== 'up') throw new LedgerError({ code: 'BROKER_UNAVAILABLE' });
    if (this.unconfirmed >= this.settings.maxUnconfirmed) throw new LedgerError({ code: 'OVERLOADED' });
    this.unconfirmed += 1;
    try {
      await this.gather(request, secret);
    } finally {
      this.unconfirmed -= 1;
    }
    this.metrics.accepted();
  }

  private gather(request: QueuedRequest, secret: string): Promise<void> {
    const { length } = request.item;
    const last = this.gathered;
    if (last && (last.requests.length >= MAX_REQUESTS || last.characters + length > MAX_CHARACTERS))
      this.flush();
    if (!this.gathered) {
      this.gathered = { requests: [], characters: 0, secret, confirmed: Promise.withResolvers() };
      const gathered = this.gathered;
      setImmediate(() => this.gathered === gathered && this.flush());
    }
    this.gathered.requests.push(request);
    this.gathered.characters += length;
    return this.gathered.confirmed.promise;
  }

  private flush(): void {
    const { gathered } = this;
    if (!gathered) return;
    this.gathered = undefined;
    this.channel ??= this.open();
    this.channel.then((channel) => this.send(channel, gathered)).catch(gathered.confirmed.reject);
  }

  private send(channel: ConfirmChannel, { requests, secret, confirmed }: Gathered): void {
    const messageId = String((this.sent += 1));
    const settle = (failure?: Code) => {
      clearTimeout(timer);
      this.returned.delete(messageId);
      if (failure === undefined) confirmed.resolve();
      else confirmed.reject(new LedgerError({ code: failure }));
    };
    const timer = setTimeout(() => settle('OUTCOME_UNKNOWN'), this.settings.confirmTimeoutMs);
    this.returned.set(messageId, () => settle('BROKER_UNAVAILABLE'));
    const { body, type, headers } = sealed(requests, { bankId: this.bankId, secret });
    Object.assign(this.headers, headers);
    const properties = propertiesOf(type, this.headers, messageId);
    try {
      channel.publish('', this.queue, body, properties, (error: unknown) => settle(failureOf(error)));
    } catch {
      // The channel is closed, so nothing was sent.
      settle('BROKER_UNAVAILABLE');
    }
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
    channel.on('return', ({ properties }: Message) => this.returned.get(String(properties.messageId))?.());
    await this.topology.assert(channel, this.settings.shardIndex);
    return channel;
  }
}

/** The broker rejects a message that the queue has no room for. If the channel is lost, it may have taken it. */
function failureOf(error: unknown): Code | undefined {
  if (!(error instanceof Error)) return undefined;
  return error.message === 'message nacked' ? 'OVERLOADED' : 'OUTCOME_UNKNOWN';
}
