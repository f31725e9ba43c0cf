import { connect } from 'amqplib';
import { startPgBouncer, type PgBouncerServer } from './servers/pgbouncer.js';
import { startPostgres, type PostgresServer } from './servers/postgres.js';
import { startRabbitMq, type RabbitMqServer } from './servers/rabbitmq.js';
import { startRedis, type RedisServer } from './servers/redis.js';
import { startReplica, type Replica } from './servers/replica.js';

export interface StackOptions {
  /** Settings of the replicas, other than the addresses of the parts of the bank. */
  readonly settings?: NodeJS.ProcessEnv;
  /** Called with every line that a replica writes. */
  readonly onLine?: (replica: string, line: string) => void;
}

/** The topology of docker/compose.yml, run from installed programs. */
export interface Stack {
  readonly replicas: readonly Replica[];
  readonly postgres: readonly PostgresServer[];
  readonly pgbouncer: PgBouncerServer;
  readonly redis: RedisServer;
  readonly rabbitMq: RabbitMqServer;
  /** Where the replicas find the parts of the bank: SHARDS, MIGRATION_SHARDS, REDIS_URL, RABBITMQ_URL. */
  readonly addresses: Readonly<Record<string, string>>;
  /** Stops everything and deletes the bank's data. */
  stop(): Promise<void>;
}

/** RABBITMQ_EXCHANGE's default. */
const EXCHANGE = 'bank';
const QUEUE = 'bank-events';
const QUEUE_LENGTH = 100_000;
const REPLICAS = ['api-1', 'api-2'];
/** PgBouncer's name for the database of each PostgreSQL server. */
const DATABASES = ['bank_a', 'bank_b'];
const SHARDS = 4;
/** Connections to each PostgreSQL server; the pools of the replicas may ask for several times as many. */
const POOL_SIZE = 20;

/**
 * Takes about ten seconds.
 *
 * @throws Error when a part does not come up; then nothing is left running
 */
export function startStack({ settings, onLine }: StackOptions = {}): Promise<Stack> {
  return Parts.start(async (parts) => {
    const [redis, rabbitMq, ...postgres] = await Promise.all([
      parts.add(startRedis()),
      parts.add(startRabbitMq()),
      ...DATABASES.map(() => parts.add(startPostgres())),
    ]);
    await bindQueue(rabbitMq.url);
    const direct = postgres.map(({ url }) => url);
    const databases = Object.fromEntries(DATABASES.map((name, index) => [name, direct[index] ?? '']));
    const pgbouncer = await parts.add(startPgBouncer({ databases, poolSize: POOL_SIZE }));
    const pooled = direct.map((url, index) => withDatabase(pgbouncer.url(url), DATABASES[index] ?? ''));
    const addresses = {
      SHARDS: shardList(pooled),
      MIGRATION_SHARDS: shardList(direct),
      REDIS_URL: redis.url,
      RABBITMQ_URL: rabbitMq.url,
    };
    const replicas = await Promise.all(
      REPLICAS.map((name) =>
        parts.add(
          startReplica({
            settings: { ...settings, ...addresses },
            onLine: (line) => onLine?.(name, line),
          }),
        ),
      ),
    );
    return { replicas, postgres, pgbouncer, redis, rabbitMq, addresses, stop: () => parts.stop() };
  });
}

/**
 * Binds a queue, because events without one would stay in the outbox. It keeps the newest events that nobody fetches.
 */
async function bindQueue(rabbitUrl: string): Promise<void> {
  const connection = await connect(rabbitUrl);
  const channel = await connection.createChannel();
  await channel.assertExchange(EXCHANGE, 'topic', { durable: true });
  await channel.assertQueue(QUEUE, { durable: true, maxLength: QUEUE_LENGTH });
  await channel.bindQueue(QUEUE, EXCHANGE, 'transaction.posted.#');
  await connection.close();
}

/** The parts that are started or starting, to be stopped in reverse order. */
export class Parts {
  private readonly parts: Promise<{ stop(): Promise<void> }>[] = [];

  /** When a part does not come up, nothing is left running. */
  static async start<T>(assemble: (parts: Parts) => Promise<T>): Promise<T> {
    const parts = new Parts();
    try {
      return await assemble(parts);
    } catch (error) {
      await parts.stop();
      throw error;
    }
  }

  add<T extends { stop(): Promise<void> }>(part: Promise<T>): Promise<T> {
    this.parts.unshift(part);
    return part;
  }

  async stop(): Promise<void> {
    for (const part of this.parts.splice(0)) {
      const running = await part.catch(() => undefined); // its starter gets the error
      await running?.stop();
    }
  }
}

/** Distributes the shards over the databases in turn. */
function shardList(databaseUrls: readonly string[]): string {
  const shards = Array.from({ length: SHARDS }, (_, index) => {
    const url = new URL(databaseUrls[index % databaseUrls.length] ?? '');
    url.searchParams.set('schema', `bank_${index}`);
    return url.href;
  });
  return shards.join(' ');
}

function withDatabase(databaseUrl: string, name: string): string {
  const url = new URL(databaseUrl);
  url.pathname = `/${name}`;
  return url.href;
}
