import type { Client } from 'pg';
import { PooledClient } from '../storage/connection.js';
import { sqlStateOf } from '../storage/database-errors.js';
import { UNLIMITED } from '../storage/durability.js';
import { describeShard, type ShardAddress } from '../config/shard-address.js';
import { tablesOf, type SchemaTables } from '../storage/tables.js';
import { CommandError } from '../app/user-message.js';

/** A shard, and a session in it over its direct connection, where there is one. */
export interface ShardSession {
  readonly index: number;
  readonly address: ShardAddress;
  readonly tables: SchemaTables;
  readonly client: Client;
}

/** Shards that are worked on at the same time; the others wait. */
const AT_ONCE = 4;
const CONNECT_TIMEOUT_MS = 10_000;
const LOCK_TIMEOUT_MS = 60_000;

/** Opens a session in every shard; they end with the work. */
export async function withSessions<T>(
  addresses: readonly ShardAddress[],
  name: string,
  work: (sessions: readonly ShardSession[]) => Promise<T>,
): Promise<T> {
  const sessions = addresses.map((address, index) => ({
    index,
    address,
    tables: tablesOf(address.schema),
    client: new PooledClient({
      connectionString: address.migrationUrl ?? address.url,
      application_name: name,
      connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
      // A session waits for the others' work, which a firewall may take for a dead one.
      keepAlive: true,
    }),
  }));
  try {
    await Promise.all(sessions.map(({ client }) => client.connect()));
    return await work(sessions);
  } finally {
    await Promise.allSettled(sessions.map(({ client }) => client.end()));
  }
}

/**
 * Works in a transaction on the bank's first shard, which holds the keys and the audit log.
 *
 * @throws CommandError when the COMMIT did not take effect
 */
export async function inFirstShard<T>(
  addresses: readonly ShardAddress[],
  name: string,
  work: (session: ShardSession) => Promise<T>,
): Promise<T> {
  return withSessions(addresses.slice(0, 1), name, async ([session]) => {
    const { client } = session as ShardSession;
    await client.query('BEGIN');
    const result = await work(session as ShardSession);
    const { command } = await client.query('COMMIT');
    if (command !== 'COMMIT') throw new CommandError(`the database answered ${command}: nothing was done`);
    return result;
  });
}

/**
 * Begins a transaction that may take long, and locks the shard's tables before its snapshot is taken, so that nobody
 * migrates or moves them meanwhile. Texts of values are the same whatever is set on the server.
 */
export async function beginLocked(
  session: ShardSession,
  begin: string,
  mode: 'ACCESS SHARE' | 'ACCESS EXCLUSIVE',
): Promise<void> {
  const { client, address } = session;
  const { accounts, accountOpenings, outbox, shardIdentity, transactions } = session.tables;
  const { archivedTransactions, apiKeys, auditEvents } = session.tables;
  // In the order in which a batch, and then the relay, takes them.
  const inOrder = [accounts, accountOpenings, outbox, shardIdentity, transactions];
  const locked: string[] = [];
  for (const table of [...inOrder, archivedTransactions, apiKeys, auditEvents])
    if (await hasTable(session, table)) locked.push(table);
  await client.query(
    `${begin}; SET LOCAL lock_timeout = ${LOCK_TIMEOUT_MS}; SET LOCAL jit = off; SET LOCAL TimeZone = 'UTC'; SET LOCAL DateStyle = 'ISO'`,
  );
  try {
    await client.query(`LOCK TABLE ${locked.join(', ')} IN ${mode} MODE`);
  } catch (error) {
    if (sqlStateOf(error) !== '55P03') throw error;
    throw new CommandError(
      `the tables of ${describeShard(address)} are held by another session; try again later`,
    );
  }
  await client.query(UNLIMITED);
}

/** The schema of an older release does not have them all. */
export async function hasTable({ client }: ShardSession, table: string): Promise<boolean> {
  const { rows } = await client.query<{ exists: boolean }>('SELECT to_regclass($1) IS NOT NULL AS exists', [
    table,
  ]);
  return rows[0]?.exists === true;
}

/**
 * Works on some of the items at a time. The first failure stops the others; it is thrown when all have ended.
 *
 * @param work given a signal that is aborted by a failure of its neighbours, too
 */
export async function someAtOnce<T, R>(
  items: readonly T[],
  signal: AbortSignal | undefined,
  work: (item: T, signal: AbortSignal) => Promise<R>,
): Promise<R[]> {
  const failure = new AbortController();
  const stop = AbortSignal.any([failure.signal, ...(signal ? [signal] : [])]);
  const results: R[] = [];
  const waiting = items.entries();
  const takeFromThem = async () => {
    for (const [index, item] of waiting) {
      stop.throwIfAborted();
      results[index] = await work(item, stop);
    }
  };
  const workers = Array.from({ length: AT_ONCE }, () =>
    takeFromThem().catch((error: unknown) => failure.abort(error)),
  );
  await Promise.all(workers);
  stop.throwIfAborted();
  return results;
}
