import { circuitBreaker, CircuitState, ConsecutiveBreaker, handleAll, isBrokenCircuitError } from 'cockatiel';
import { Redis } from 'ioredis';
import { messageOf } from '../domain/error-message.js';

export interface RedisSettings {
  readonly url: string;
  /** How long an answer may take. */
  readonly timeoutMs: number;
}

/** Learns about the state of the connection. */
export interface RedisObserver {
  /** Redis can't be used; called once, not for every command. */
  lost(problem: string): void;
  /** It can be used again. */
  back(): void;
  /** A command failed, or was not answered in time. */
  failed(failure: RedisFailure): void;
}

export type RedisFailure = 'timeout' | 'error';

/** Runs a script over keys and arguments. Undefined: Redis failed, or did not answer in time. */
export type RedisScript<Answer> = (
  keys: readonly string[],
  args: readonly (string | number)[],
) => Promise<Answer | undefined>;

class NoAnswerError extends Error {}

const CONNECT_TIMEOUT_MS = 1_000;
/** After this many consecutive failures Redis is left alone … */
const FAILURES_TO_OPEN = 3;
/** … for this long; then one command tries it. */
const OPEN_MS = 1_000;
const LONGEST_RECONNECT_MS = 1_000;
/** The problem, unless more is known. */
const CLOSED = 'the connection was closed';
/** After this time, an abandoned connection is destroyed if the other side has not closed it. */
const DISCONNECT_MS = 100;

/**
 * One connection to Redis, which may be down, slow or full at any time: nothing waits for it longer than the timeout,
 * nothing is queued for it, nothing is sent twice, and no failure is thrown.
 */
export class RedisConnection {
  private readonly redis: Redis;
  private readonly breaker = circuitBreaker(handleAll, {
    halfOpenAfter: OPEN_MS,
    breaker: new ConsecutiveBreaker(FAILURES_TO_OPEN),
  });
  private isUp = true;
  private problem = CLOSED;
  private timer: NodeJS.Timeout | undefined;

  private constructor(
    private readonly settings: RedisSettings,
    private readonly observer: RedisObserver,
  ) {
    this.redis = new Redis(settings.url, {
      lazyConnect: true,
      connectTimeout: CONNECT_TIMEOUT_MS,
      disconnectTimeout: DISCONNECT_MS,
      enableOfflineQueue: false,
      // While Redis loads its data it answers each command with an error: a failure like any other.
      enableReadyCheck: false,
      // It would be waited for, and a connection that ends meanwhile would then pass for ready (ioredis 5.11).
      disableClientInfo: true,
      maxRetriesPerRequest: 0,
      autoResendUnfulfilledCommands: false,
      retryStrategy: (attempt) =>
        Math.min(50 * 2 ** attempt, LONGEST_RECONNECT_MS) * (0.5 + Math.random() / 2),
    });
    this.redis.on('error', (error: Error) => (this.problem = messageOf(error)));
    this.redis.on('ready', () => void this.answers());
    this.redis.on('close', () => this.lost());
    this.breaker.onBreak((reason) => {
      if ('error' in reason) this.problem = messageOf(reason.error);
      this.lost();
      // A connection that fell silent may be dead for good, and would answer old commands first.
      this.redis.disconnect(true);
    });
  }

  /** Waits for the first attempt to connect, successful or not. A Redis that is down is retried for ever. */
  static async open(settings: RedisSettings, observer: RedisObserver): Promise<RedisConnection> {
    const connection = new RedisConnection(settings, observer);
    await connection.redis.connect().catch(() => undefined);
    return connection;
  }

  /** Whether Redis can be used, as far as known. */
  get up(): boolean {
    return this.isUp;
  }

  /** Whether Redis answers now. */
  async answers(): Promise<boolean> {
    return (await this.run(() => this.redis.ping())) !== undefined;
  }

  /** The values of the keys, null for a missing one. Undefined: Redis failed, or did not answer in time. */
  mget(keys: string[]): Promise<(string | null)[] | undefined> {
    return this.run(() => this.redis.mget(keys));
  }

  /** A script that is sent once per connection and from then on named by its hash. */
  script<Answer>(name: string, lua: string): RedisScript<Answer> {
    this.redis.defineCommand(name, { lua });
    const command = Reflect.get(this.redis, name) as (
      this: Redis,
      ...input: (string | number)[]
    ) => Promise<Answer>;
    return (keys, args) => this.run(() => command.call(this.redis, keys.length, ...keys, ...args));
  }

  close(): void {
    this.isUp = false; // so that closing is not reported as a loss
    clearTimeout(this.timer);
    this.redis.disconnect();
  }

  private async run<T>(command: () => Promise<T>): Promise<T | undefined> {
    // One command tests whether Redis is back; the others would have to wait for it.
    if (this.breaker.state === CircuitState.HalfOpen) return undefined;
    try {
      const answer = await this.breaker.execute(() => answerWithin(this.settings.timeoutMs, command));
      if (!this.isUp && this.breaker.state === CircuitState.Closed) this.back();
      return answer;
    } catch (error) {
      if (!isBrokenCircuitError(error)) {
        this.observer.failed(error instanceof NoAnswerError ? 'timeout' : 'error');
      }
      return undefined;
    }
  }

  private lost(): void {
    if (!this.isUp) return;
    this.isUp = false;
    this.observer.lost(this.problem);
    this.lookAgain();
  }

  /** Tests whether it is back even when nobody needs it, for readiness and metrics. */
  private lookAgain(): void {
    const look = () =>
      void this.answers().then(() => {
        if (!this.isUp && this.redis.status !== 'end') this.lookAgain();
      });
    this.timer = setTimeout(look, OPEN_MS).unref();
  }

  private back(): void {
    this.isUp = true;
    this.problem = CLOSED;
    this.observer.back();
  }
}

/** @throws NoAnswerError; what the command fails with */
function answerWithin<T>(timeoutMs: number, command: () => Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    // After a busy moment a process sees its timers first and what has arrived only then (so ioredis's own timeout,
    // which does not look, would blame Redis for it).
    const look = () => setImmediate(() => reject(new NoAnswerError(`no answer within ${timeoutMs} ms`)));
    const timer = setTimeout(look, timeoutMs);
    command()
      .then(resolve, reject)
      .finally(() => clearTimeout(timer));
  });
}
