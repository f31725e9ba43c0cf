import { Client } from 'pg';

export interface ServerAddress {
  readonly port: number;
  readonly password: string;
}

export const ROLE = 'bank';
export const DATABASE = 'bank';

/** Names the lock of a server's owner. Two-part keys cannot meet those of one part, which migrations take. */
const OWNER_LOCK = [0x62616e6b, 1] as const;
const CONNECT_TIMEOUT_MS = 5_000;

export async function connectTo({ port, password }: ServerAddress, database: string): Promise<Client> {
  const client = new Client({
    host: '127.0.0.1',
    port,
    user: ROLE,
    password,
    database,
    // Named, so that PGSSLMODE and the like of the user's shell do not count.
    ssl: false,
    options: '',
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
