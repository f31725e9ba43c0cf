import type { Socket } from 'node:net';
import { Client, type ClientConfig, type PoolClient, type QueryResult, type QueryResultRow } from 'pg';
import { QueryFailedError, type QueryRunner } from 'typeorm';
import { DatabaseUnreachableError } from './database-errors.js';

const END_MS = 2_000;
const PROBE_MS = 5_000;

/**
 * A connection whose failure can't end the process. The pool and TypeORM each listen while they hold it, but not while
 * the one hands it to the other; the server's last word may arrive right then. The next query reports what happened.
 */
export class PooledClient extends Client {
  constructor(config?: string | ClientConfig) {
    super(config);
    this.on('error', () => undefined);
  }

  /** In order if the server answers, soon in any case: who closes a pool waits for this. */
  override end = ((...given: unknown[]) => {
    setTimeout(() => streamOf(this).destroy(), END_MS).unref();
    return (super.end.bind(this) as (...parameters: unknown[]) => unknown)(...given);
  }) as Client['end'];
}

/** How pg's pool is to make and keep connections. In pipeline mode a statement need not wait for the one before it. */
export function poolExtras(preparedStatements: boolean) {
  return { keepAlive: true, pipeline: true, Client: preparedStatements ? PreparingClient : PooledClient };
}

/**
 * Whether a URL leads to the server itself. A pooler that shares its connections gives each client a process id of its own
 * making, for cancelling; the server gives the one that it also answers with.
 */
export async function isDirect(url: string): Promise<boolean> {
  const client = new PooledClient({ connectionString: url, connectionTimeoutMillis: PROBE_MS });
  const deadline = setTimeout(() => void client.end(), PROBE_MS);
  try {
    await client.connect();
    const { rows } = await client.query<{ pid: number }>('SELECT pg_backend_pid() AS pid');
    return rows[0]?.pid === (client as unknown as { processID: number }).processID;
  } finally {
    clearTimeout(deadline);
    await client.end().catch(() => undefined);
  }
}

/** Distinct statements that are prepared at most; ours are fixed texts, far fewer. Later ones are not prepared. */
const MAX_PREPARED = 500;
const prepared = new Map<string, string>();

/**
 * The server parses and plans each statement that is {@link send sent} with parameters once per connection. Not for every
 * pooler. What TypeORM builds is not prepared: it writes the LIMIT of a page into the text, so its texts have no bound.
 */
export class PreparingClient extends PooledClient {}

function nameOf(text: string): string | undefined {
  const known = prepared.get(text);
  if (known !== undefined || prepared.size >= MAX_PREPARED) return known;
  const name = `bank-${prepared.size}`;
  prepared.set(text, name);
  return name;
}

/** What is done on one connection: through TypeORM's entities, or by SQL of our own that is {@link send sent}. */
export type Work<T> = (queryRunner: QueryRunner, client: PoolClient) => Promise<T>;

/**
 * Takes the QueryRunner's connection from the pool.
 *
 * @throws DatabaseUnreachableError when none can be had within the pool's connect timeout
 */
export async function connect(queryRunner: QueryRunner): Promise<PoolClient> {
  try {
    return (await queryRunner.connect()) as PoolClient;
  } catch (error) {
    throw new DatabaseUnreachableError(error);
  }
}

/**
 * Sends a statement at once, behind those that were sent before it and whose answers may not have come yet. The server
 * carries them out in this order; when one fails, it refuses the later ones of the transaction.
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
 * Waits for the answers to statements that were sent one behind the other.
 *
 * @throws the first failure in their order: the later ones are but its consequences
 */
export async function inOrder<T extends readonly unknown[]>(answers: {
  readonly [K in keyof T]: Promise<T[K]>;
}): Promise<T> {
  const settled = await Promise.allSettled(answers);
  for (const answer of settled) if (answer.status === 'rejected') throw answer.reason;
  return settled.map((answer) => (answer as PromiseFulfilledResult<unknown>).value) as unknown as T;
}

/** Statements that are sent meanwhile travel in as few packets as they fit in: each costs the system's attention. */
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
 * Cuts a connection whose server has fallen silent: the pending queries then fail, and no COMMIT can follow that was not
 * sent already. (pg's own query_timeout would leave the connection looking healthy, and its `end` would wait for those
 * queries.) The caller clears the timer.
 */
export function cutWhenLate(client: PoolClient, afterMs: number): NodeJS.Timeout {
  return setTimeout(() => streamOf(client).destroy(), afterMs);
}

/** pg's types do not show it. */
function streamOf(client: Client | PoolClient): Socket {
  return (client as unknown as { connection: { stream: Socket } }).connection.stream;
}
