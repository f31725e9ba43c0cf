import { circuitBreaker, CircuitState, ConsecutiveBreaker, handleAll, isBrokenCircuitError } from 'cockatiel';
import { Redis } from 'ioredis';

export interface RedisSettings {
  readonly url: string;
  /** How long an answer may take. */
  readonly timeoutMs: number;
}

/** What the connection tells of itself. */
export interface RedisObserver {
  /** Redis can't be used; said once, not for every command. */
  lost(problem: string): void;
  /** It can be used again. */
  back(): void;
  /** A command failed, or was not answered in time. */
  failed(failure: RedisFailure): void;
}

export type RedisFailure = 'timeout' | 'error';

/** Runs a script over keys and arguments. Undefined: Redis did not do it, or did not say so in time. */
export type RedisScript<Answer> = (
  keys: readonly string[],
  args: readonly (string | number)[],
) => Promise<Answer | undefined>;

/** ioredis has no class for it. */
const TIMED_OUT = 'Command timed out';
const CONNECT_TIMEOUT_MS = 1_000;
/** After so many failures one after the other Redis is left alone … */
const FAILURES_TO_OPEN = 3;
/** … for so long; then one command tries it. */
const OPEN_MS = 1_000;
const LONGEST_RECONNECT_MS = 1_000;
/** A connection that was given up is closed hard when the other side does not close it. */
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
  private problem = 'there is no connection';

  private constructor(
    settings: RedisSettings,
    private readonly observer: RedisObserver,
  ) {
    this.redis = new Redis(settings.url, {
      lazyConnect: true,
      connectTimeout: CONNECT_TIMEOUT_MS,
      commandTimeout: settings.timeoutMs,
      disconnectTimeout: DISCONNECT_MS,
      enableOfflineQueue: false,
      // While it loads its data Redis says so to each command: that is a failure like any other.
      enableReadyCheck: false,
      maxRetriesPerRequest: 0,
      autoResendUnfulfilledCommands: false,
      retryStrategy: (attempt) =>
        Math.min(50 * 2 ** attempt, LONGEST_RECONNECT_MS) * (0.5 + Math.random() / 2),
    });
    this.redis.on('error', (error: Error) => (this.problem = messageOf(error)));
    for (const event of ['ready', 'close']) this.redis.on(event, () => this.observe());
    this.breaker.onBreak((reason) => {
      if ('error' in reason) this.problem = messageOf(reason.error);
      // A connection that fell silent may be dead for good, and would answer old commands first.
      this.redis.disconnect(true);
    });
    this.breaker.onStateChange(() => this.observe());
  }

  /** Waits for the first attempt to connect, whatever comes of it. A Redis that is down is tried again and again. */
  static async open(settings: RedisSettings, observer: RedisObserver): Promise<RedisConnection> {
    const connection = new RedisConnection(settings, observer);
    await connection.redis.connect().catch(() => undefined);
    return connection;
  }

  /** Whether Redis answers, as far as is known. */
  get up(): boolean {
    return this.isUp;
  }

  /** The values of the keys, null for each that has none. Undefined: Redis can't say. */
  mget(keys: string[]): Promise<(string | null)[] | undefined> {
    return this.run(() => this.redis.mget(keys));
  }

  /** A script that is sent once per connection, and named by its hash from then on. */
  script<Answer>(name: string, lua: string): RedisScript<Answer> {
    this.redis.defineCommand(name, { lua });
    const commands = this.redis as unknown as Record<
      string,
      (...input: (string | number)[]) => Promise<Answer>
    >;
    return (keys, args) => this.run(() => commands[name]?.(keys.length, ...keys, ...args));
  }

  close(): void {
    this.isUp = false; // which is no loss to tell of
    this.redis.disconnect();
  }

  private async run<T>(command: () => Promise<T> | undefined): Promise<T | undefined> {
    // One command tries whether Redis is back; the others would have to wait for how that ends.
    if (this.breaker.state === CircuitState.HalfOpen) return undefined;
    try {
      return await this.breaker.execute(command);
    } catch (error) {
      if (!isBrokenCircuitError(error)) {
        this.observer.failed(messageOf(error) === TIMED_OUT ? 'timeout' : 'error');
      }
      return undefined;
    }
  }

  private observe(): void {
    const isUp = this.redis.status === 'ready' && this.breaker.state === CircuitState.Closed;
    if (isUp === this.isUp) return;
    this.isUp = isUp;
    if (isUp) this.observer.back();
    else this.observer.lost(this.problem);
  }
}

function messageOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  // Of a host with several addresses, none of which answers, Node says it by the code alone.
  return error.message || String((error as NodeJS.ErrnoException).code);
}
