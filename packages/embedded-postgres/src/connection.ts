import { createHmac } from 'node:crypto';
import { Client, escapeIdentifier } from 'pg';
import { codeOf } from './errors.js';

/** The names that the caller gives to the server's contents. */
export interface ServerNames {
  /**
   * Creates the database and the role, and holds the owner's lock. Nothing else should connect as the superuser, who
   * may run programs and read files.
   */
  readonly superuser: string;
  /** What everything else connects as: it owns the database and has no other rights. */
  readonly role: string;
  readonly database: string;
}

export interface ServerAddress extends ServerNames {
  readonly port: number;
  /** The superuser's; the role's is derived from it. */
  readonly password: string;
}

/** Must never change: different releases on one folder have to take the same lock. Migrations use one-part keys. */
const OWNER_LOCK = [0x62616e6b, 1] as const;
const CONNECT_TIMEOUT_MS = 5_000;

export function superuserUrl({ superuser, password, port, database }: ServerAddress): string {
  return urlOf(superuser, password, port, database);
}

export function roleUrl(address: ServerAddress): string {
  return urlOf(address.role, rolePassword(address), address.port, address.database);
}

/** Derived, so that there is no second file to lose; it does not reveal the superuser's. */
export function rolePassword({ role, password }: ServerAddress): string {
  return createHmac('sha256', password).update(role).digest('base64url');
}

function urlOf(user: string, password: string, port: number, database: string): string {
  const [name, secret, path] = [user, password, database].map(encodeURIComponent);
  return `postgresql://${name}:${secret}@127.0.0.1:${port}/${path}`;
}

export async function connectTo(url: string): Promise<Client> {
  const client = new Client({
    connectionString: url,
    // Set here, so that PGSSLMODE and PGOPTIONS from the user's shell have no effect.
    ssl: false,
    options: '-c statement_timeout=0',
    application_name: 'embedded-postgres',
    connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
    keepAlive: true,
  });
  client.on('error', () => undefined); // 'end' follows; without a listener the error would end the process
  try {
    await client.connect();
    return client;
  } catch (error) {
    client.end().catch(() => undefined);
    throw error;
  }
}

/** Whether a connection failure will pass by itself, for example while a server starts or recovers. */
export function isTransient(error: unknown): boolean {
  const CANNOT_CONNECT_NOW = '57P03';
  const code = codeOf(error);
  // The server's codes have five characters; the system's (ECONNREFUSED) have more, and a timeout has none.
  return code === undefined || code === CANNOT_CONNECT_NOW || !/^[0-9A-Z]{5}$/.test(code);
}

/** Takes the lock, which lasts as long as this connection. */
export async function tryOwnerLock(client: Client): Promise<boolean> {
  const { rows } = await client.query<{ taken: boolean }>('SELECT pg_try_advisory_lock($1, $2) AS taken', [
    ...OWNER_LOCK,
  ]);
  return rows[0]?.taken === true;
}

/** Creates the database if it does not exist. */
export async function ensureDatabase(address: ServerAddress): Promise<void> {
  const client = await connectTo(superuserUrl({ ...address, database: 'postgres' }));
  try {
    const { rowCount } = await client.query('SELECT FROM pg_database WHERE datname = $1', [address.database]);
    if (rowCount === 0) await client.query(`CREATE DATABASE ${escapeIdentifier(address.database)}`);
  } finally {
    await client.end();
  }
}
