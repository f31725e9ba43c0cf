import { createHmac } from 'node:crypto';
import { Client } from 'pg';
import { codeOf } from './errors.js';

export interface ServerAddress {
  readonly port: number;
  /** The superuser's; the password of {@link ROLE} is derived from it. */
  readonly password: string;
}

/**
 * The superuser of the cluster. The process that owns the server connects as it to make the database, to take the lock and
 * to hand the bank over. What serves requests or runs commands never does: a superuser may run programs and read files.
 */
export const SUPERUSER = 'bank';
/** The role that everything else connects as. It owns the bank's database and all that is in it, and may do nothing else. */
export const ROLE = 'bank_service';
export const DATABASE = 'bank';

/** Names the lock of a server's owner. Two-part keys cannot meet those of one part, which migrations take. */
const OWNER_LOCK = [0x62616e6b, 1] as const;
const CONNECT_TIMEOUT_MS = 5_000;

/** Derived, so that there is no second file to lose; the superuser's password can't be found from it. */
export function rolePassword(superuserPassword: string): string {
  return createHmac('sha256', superuserPassword).update(ROLE).digest('base64url');
}

export async function connectTo(
  { port, password }: ServerAddress,
  database: string,
  user: typeof SUPERUSER | typeof ROLE = SUPERUSER,
): Promise<Client> {
  const client = new Client({
    host: '127.0.0.1',
    port,
    user,
    password: user === ROLE ? rolePassword(password) : password,
    database,
    // Named, so that PGSSLMODE and PGOPTIONS of the user's shell do not count.
    ssl: false,
    options: '-c statement_timeout=0',
    application_name: 'bank-owner',
    connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
    keepAlive: true,
  });
  client.on('error', () => undefined); // reported by 'end' as well; without a listener it would end the process
  try {
    await client.connect();
    return client;
  } catch (error) {
    client.end().catch(() => undefined);
    throw error;
  }
}

/** Whether a failure to connect is one that a server which starts or recovers ends by itself. */
export function isTransient(error: unknown): boolean {
  const CANNOT_CONNECT_NOW = '57P03';
  const code = codeOf(error);
  // Errors of the server have codes of five signs; those of the system (ECONNREFUSED) do not, and a timeout has none.
  return code === undefined || code === CANNOT_CONNECT_NOW || !/^[0-9A-Z]{5}$/.test(code);
}

/** Takes the lock that lasts as long as this connection. */
export async function tryOwnerLock(client: Client): Promise<boolean> {
  const { rows } = await client.query<{ taken: boolean }>('SELECT pg_try_advisory_lock($1, $2) AS taken', [
    ...OWNER_LOCK,
  ]);
  return rows[0]?.taken === true;
}

/** Makes the database unless it is there. */
export async function ensureDatabase(address: ServerAddress): Promise<void> {
  const client = await connectTo(address, 'postgres');
  try {
    const { rowCount } = await client.query('SELECT FROM pg_database WHERE datname = $1', [DATABASE]);
    if (rowCount === 0) await client.query(`CREATE DATABASE ${DATABASE}`);
  } finally {
    await client.end();
  }
}
