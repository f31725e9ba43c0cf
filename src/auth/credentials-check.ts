import { Client } from 'pg';
import type { Config } from '../config.js';
import type { BankShards } from '../database/bank-shards.js';
import { tablesOf } from '../database/tables.js';
import { StartError } from '../bank.js';

const CONNECT_TIMEOUT_MS = 5_000;

/**
 * A service that nobody can use is not started: with authentication on, there must be a key or an identity provider.
 *
 * @throws StartError that says what to do
 */
export async function requireCredentials({ auth }: Config, bank: BankShards): Promise<void> {
  const [shard] = bank.shards;
  // Of a shard that is down nothing can be said. It will tell.
  if (!auth.enabled || auth.jwt || !shard || bank.down.has(0)) return;
  const client = new Client({
    connectionString: shard.url,
    connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
    application_name: 'bank-start',
  });
  client.on('error', () => undefined);
  try {
    await client.connect();
    const { rows } = await client.query<{ any: boolean }>(
      `SELECT EXISTS (SELECT FROM ${tablesOf(shard.schema).apiKeys}
                      WHERE revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())) AS any`,
    );
    if (rows[0]?.any) return;
  } finally {
    await client.end().catch(() => undefined);
  }
  throw new StartError(
    'requests need a credential here, and there is none yet. Do one of these:\n' +
      '  - make a key: npm run -s cli -- keys create --name first --scopes admin\n' +
      '  - let an identity provider make tokens: JWT_ISSUER, JWT_AUDIENCE, JWT_JWKS_URL\n' +
      '  - let everybody in who reaches the address: AUTH=off (never with NODE_ENV=production)',
  );
}
