import type { Socket } from 'node:net';
import { Client, type ClientConfig, type PoolClient, type QueryResult, type QueryResultRow } from 'pg';
import { QueryFailedError, type QueryRunner } from 'typeorm';
import { DatabaseUnreachableError } from './database-errors.js';

const END_MS = 2_000;
const PROBE_MS = 5_000;
/** Short, so that a shard is open again within 10 seconds of its server's return. */
export const MAX_SILENCE_MS = 7_000;

/**
 * A connection whose failure can't end the process. The pool and TypeORM each listen for errors while they hold it, but
 * nobody does while one hands it to the other. An error that arrives then is ignored; the next query reports it.
 */
export class PooledClient extends Client {
  constructor(config?: string | ClientConfig) {
    super(config);
    this.on('error', () => undefined);
  }

  /** Ends gracefully if the server answers in time, by force if not: closing a pool waits for this. */
  override end = ((...given: unknown[]) => {
    setTimeout(() => streamOf(this).destroy(), END_MS).unref();
    return (super.end.bind(this) as (...parameters: unknown[]) => unknown)(...given);
  }) as Client['end'];
}

/**
 * How pg's pool makes and keeps connections. In pipeline mode a statement does not wait for the one before it, but pg
 * does not allow COPY.
 */
export function poolExtras(preparedStatements: boolean, pipeline = true, silence?: SilenceLimit) {
  const Base = preparedStatements ? PreparingClient : PooledClient;
  const Client = class extends Base {
    constructor(config?: string | ClientConfig) {
      super(config);
      silence?.watch(this);
    }
  };
  return { keepAlive: true, pipeline, Client };
}

/**
 * Cuts the connections that pools make while they are opened, when nothing comes of it for too long: TypeORM's own
 * queries have no time limit, and a connection whose other end is gone may never report it.
 */
export class SilenceLimit {
  private watched = new Set<Client>();
  private timer: NodeJS.Timeout | undefined;

  constructor(private readonly ms: number) {
    this.renew();
  }

  watch(client: Client): void {
    if (this.timer) this.watched.add(client);
  }

  /** Restarts the time limit after a step. */
  renew(): void {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.watched.forEach((client) => streamOf(client).destroy()), this.ms);
  }

  /** Sets no limit until the next step. */
  suspend(): void {
    clearTimeout(this.timer);
  }

  /** Stops watching: later connections are not limited. */
  end(): void {
    clearTimeout(this.timer);
    this.timer = undefined;
    this.watched.clear();
  }
}

/** One connection outside of any pool. */
export interface ClientOptions {
  /** The application_name in the server's pg_stat_activity. */
  readonly name?: string;
  readonly connectTimeoutMs: number;
  /** For all the work. A server that hangs answers no query; ending the connection makes the pending one fail. */
  readonly timeoutMs?: number;
}

/** Connects, runs work, and ends the connection. */
export async function withClient<T>(
  url: string,
  { name, connectTimeoutMs, timeoutMs }: ClientOptions,
  work: (client: Client) => Promise<T>,
): Promise<T> {
  const client = new PooledClient({
    connectionString: url,
    application_name: name,
    connectionTimeoutMillis: connectTimeoutMs,
  });
  const end = () => client.end().catch(() => undefined);
  const deadline = timeoutMs === undefined ? undefined : setTimeout(() => void end(), timeoutMs);
  try {
    await client.connect();
    return await work(client);
  } finally {
    clearTimeout(deadline);
    await end();
  }
}

/**
 * Whether a URL leads to the server itself. A pooler invents a process id for each client to cancel with; the server's
 * own matches its pg_backend_pid().
 */
export function isDirect(url: string): Promise<boolean> {
  return withClient(url, { connectTimeoutMs: PROBE_MS, timeoutMs: PROBE_MS }, async (client) => {
    const { rows } = await client.query<{ pid: number }>('SELECT pg_backend_pid() AS pid');
    return rows[0]?.pid === (client as unknown as { processID: number }).processID;
  });
}

/** The most distinct statements that are prepared; later ones are not. Ours are fixed texts, and far fewer. */
const MAX_PREPARED = 500;
const prepared = new Map<string, string>();

/**
 * Prepares each statement that is {@link send sent} with parameters once per connection, so that the server parses and
 * plans it once. Some poolers do not allow it. Queries that TypeORM builds are not prepared: it writes LIMIT into the
 * text, so the number of different texts has no bound.
 */
class PreparingClient extends PooledClient {}

function nameOf(text: string): string | undefined {
  const known = prepared.get(text);
  if (known !== undefined || prepared.size >= MAX_PREPARED) return known;
  const name = `bank-${prepared.size}`;
  prepared.set(text, name);
  return name;
}

/** Work on one connection, through TypeORM's entities or by our own SQL, which is {@link send sent}. */
export type Work<T> = (queryRunner: QueryRunner, client: PoolClient) => Promise<T>;

/**
 * Takes the QueryRunner's connection from the pool.
 *
 * @throws DatabaseUnreachableError when the pool has none within its connect timeout
 */
export async function connect(queryRunner: QueryRunner): Promise<PoolClient> {
  try {
    return (await queryRunner.connect()) as PoolClient;
  } catch (error) {
    throw new DatabaseUnreachableError(error);
  }
}

/**
 * Sends a statement at once, even if earlier ones have no answer yet. The server runs them in the order in which they
 * were sent; when one fails, it rejects the later ones of the transaction.
 *
 * @throws QueryFailedError, as a QueryRunner does
 */
export async function send<Row extends QueryResultRow>(
  client: PoolClient,
  sql: string,
  parameters?: unknown[],
): Promise<QueryResult<Row>> {
  try {
    const name = parameters && client instanceof PreparingClient ? nameOf(sql) : undefined;
    return await (name === undefined
      ? client.query<Row>(sql, parameters)
      : client.query<Row>({ name, text: sql, values: parameters }));
  } catch (error) {
    throw new QueryFailedError(sql, parameters, error as Error);
  }
}

/**
 * Waits for the answers to statements that were sent one after the other.
 *
 * @throws the first failure in their order: the later ones only follow from it
 */
export async function allInOrder<T extends readonly unknown[]>(answers: {
  readonly [K in keyof T]: Promise<T[K]>;
}): Promise<T> {
  const settled = await Promise.allSettled(answers);
  for (const answer of settled) if (answer.status === 'rejected') throw answer.reason;
  return settled.map((answer) => (answer as PromiseFulfilledResult<unknown>).value) as unknown as T;
}

/** Puts the statements that `sendAll` sends into as few packets as possible: each packet costs a system call. */
export function together<T>(client: PoolClient, sendAll: () => T): T {
  const stream = streamOf(client);
  stream.cork();
  try {
    return sendAll();
  } finally {
    stream.uncork();
  }
}

/**
 * Cuts a connection whose server has fallen silent: pending queries then fail, and no further COMMIT can be sent on it.
 * (pg's own query_timeout would leave the connection looking healthy, and its `end` would wait for those queries.) The
 * caller clears the timer.
 */
export function cutWhenLate(client: PoolClient, afterMs: number): NodeJS.Timeout {
  return setTimeout(() => streamOf(client).destroy(), afterMs);
}

/** pg's types do not show it. */
function streamOf(client: Client | PoolClient): Socket {
  return (client as unknown as { connection: { stream: Socket } }).connection.stream;
}
