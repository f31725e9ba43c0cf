import { setTimeout as sleep } from 'node:timers/promises';
import { connect, type ChannelModel, type ConfirmChannel, type RecoveringChannelModel } from 'amqplib';
import { messageOf } from '../domain/error-message.js';

export interface RabbitMqSettings {
  /** amqp: or amqps:, with user, password and virtual host. */
  readonly url: string;
  /** The topic exchange for events. */
  readonly exchange: string;
}

/** blocked: connected, but an alarm of the broker (memory or disk) stops it from reading. */
export type BrokerStatus = 'up' | 'down' | 'blocked';

export interface BrokerLog {
  info(message: string): void;
  warn(message: string): void;
}

/** How long the broker may be silent while a connection is opened. */
const CONNECT_TIMEOUT_MS = 5_000;
export const CLOSE_TIMEOUT_MS = 2_000;
/** A connection counts as dead after two heartbeats without a sign of life. */
const HEARTBEAT_SECONDS = 5;
const FIRST_RETRY_MS = 200;
const LONGEST_RETRY_MS = 10_000;

export const connectOptions = { timeout: CONNECT_TIMEOUT_MS, noDelay: true };

/**
 * The process's connection to RabbitMQ. It is opened in the background and reopened, with backoff and jitter, whenever
 * it is lost. Nothing waits for it; `status` always says whether it can be used.
 */
export class RabbitMqConnection {
  private current: BrokerStatus = 'down';
  private problem = 'not connected yet';
  private complained = false;
  /** Ends the current connection, even one that does not answer. */
  private readonly cut = new AbortController();
  private readonly model: Promise<RecoveringChannelModel>;

  constructor(
    private readonly settings: RabbitMqSettings,
    private readonly log: BrokerLog,
  ) {
    this.model = this.open();
  }

  get status(): BrokerStatus {
    return this.current;
  }

  /** Why it can't be used, for humans; without user and password. */
  get reason(): string {
    return this.problem;
  }

  /** Waits without a bound while there is no connection. */
  async createConfirmChannel(): Promise<ConfirmChannel> {
    return (await this.model).createConfirmChannel();
  }

  async close(): Promise<void> {
    const model = await this.model;
    await Promise.race([model.close(), sleep(CLOSE_TIMEOUT_MS, undefined, { ref: false })]);
    this.cut.abort();
  }

  private async open(): Promise<RecoveringChannelModel> {
    const model = await connect(withHeartbeat(this.settings.url), {
      ...connectOptions,
      // Handed on to the socket; amqplib's types know less of a socket's options than it does.
      ...{ signal: this.cut.signal },
      recovery: {
        initialDelay: FIRST_RETRY_MS,
        maxDelay: LONGEST_RETRY_MS,
        jitter: 0.5,
        waitForConnect: false,
        setup: (connection: ChannelModel) => this.assertExchange(connection),
      },
    });
    model.on('connect', () => this.changed('up', ''));
    model.on('connect-failed', (error) => this.changed('down', messageOf(error)));
    model.on('disconnect', (error) => this.changed('down', messageOf(error)));
    model.on('blocked', (reason) => this.changed('blocked', reason));
    model.on('unblocked', () => this.changed('up', ''));
    // A lost connection is an error and a disconnect; the second of them is listened to.
    model.on('error', () => undefined);
    return model;
  }

  private async assertExchange(connection: ChannelModel): Promise<void> {
    const channel = await connection.createChannel();
    // If it fails, the request below fails with it.
    channel.on('error', () => undefined);
    await channel.assertExchange(this.settings.exchange, 'topic', { durable: true });
    await channel.close();
  }

  /** Logged once, however often it is retried, and once more when it is over. */
  private changed(status: BrokerStatus, problem: string): void {
    this.current = status;
    this.problem = problem;
    if (status !== 'up' && !this.complained) {
      this.log.warn(`RabbitMQ is ${status}, events wait in the outbox: ${problem}`);
    }
    if (status === 'up' && this.complained) this.log.info('RabbitMQ takes events again');
    this.complained = status !== 'up';
  }
}

export function withHeartbeat(text: string): string {
  const url = new URL(text);
  if (!url.searchParams.has('heartbeat')) url.searchParams.set('heartbeat', String(HEARTBEAT_SECONDS));
  return url.href;
}
