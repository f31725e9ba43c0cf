import { Client } from 'pg';
import type { Logger } from 'pino';
import type { Config } from '../config/config.js';
import type { BankShards } from '../sharding/bootstrap-shards.js';
import { tablesOf } from '../storage/tables.js';
import { StartError } from './open-databases.js';
import { SCOPES_VERSION } from '../access/principal.js';

const CONNECT_TIMEOUT_MS = 5_000;
/** How many keys the log names; the others are only counted. */
const MAX_NAMED = 10;

const GOOD = 'revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())';

/**
 * With authentication on, the service starts only if there is a key or an identity provider. The log names keys that allow
 * less than they did when they were made.
 *
 * @throws StartError that says what to do
 */
export async function checkCredentials(
  { auth, jwt }: Config,
  bank: BankShards,
  logger: Logger,
): Promise<void> {
  const [shard] = bank.shards;
  // Nothing can be said about a shard that is down; the request for a key will tell.
  if (!auth.enabled || !shard || bank.down.has(0)) return;
  const client = new Client({
    connectionString: shard.url,
    connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
    application_name: 'bank-start',
  });
  client.on('error', () => undefined);
  try {
    await client.connect();
    const { apiKeys } = tablesOf(shard.schema);
    if (!jwt) await requireKey(client, apiKeys);
    await warnOfNarrowedKeys(client, apiKeys, logger);
  } finally {
    await client.end().catch(() => undefined);
  }
}

/** @throws StartError when there is no valid one */
async function requireKey(client: Client, apiKeys: string): Promise<void> {
  const { rows } = await client.query<{ any: boolean }>(
    `SELECT EXISTS (SELECT FROM ${apiKeys} WHERE ${GOOD}) AS any`,
  );
  if (rows[0]?.any) return;
  throw new StartError(
    'requests need a credential here, and there is none yet. Do one of these:\n' +
      '  - make a key: npm run -s cli -- keys create --name first --scopes admin\n' +
      '  - let an identity provider make tokens: JWT_ISSUER, JWT_AUDIENCE, JWT_JWKS_URL\n' +
      '  - let everybody in who reaches the address: AUTH=off (never with NODE_ENV=production)',
  );
}

/** Names keys with an owner that were made before deposits had a scope of their own, and can no longer deposit. */
async function warnOfNarrowedKeys(client: Client, apiKeys: string, logger: Logger): Promise<void> {
  const { rows } = await client.query<{ id: string; name: string; total: string }>(
    `SELECT key_id AS id, name, count(*) OVER () AS total FROM ${apiKeys}
     WHERE ${GOOD} AND owner IS NOT NULL AND scopes_version < $1
       AND scopes && ARRAY['transactions:write', 'accounts:write'] AND NOT 'deposits:write' = ANY (scopes)
     ORDER BY key_id LIMIT $2`,
    [SCOPES_VERSION, MAX_NAMED],
  );
  const [first] = rows;
  if (!first) return;
  const unnamed = Number(first.total) - rows.length;
  const keys =
    rows.map(({ id, name }) => `${id} (${name})`).join(', ') + (unnamed ? ` and ${unnamed} more` : '');
  logger.warn(
    `Deposits now need the scope deposits:write: for a key with an owner, transactions:write allows withdrawals only, and ` +
      `accounts:write no opening deposit. These keys allow less than when they were made: ${keys}. Replace each with a new ` +
      'key that has the scopes it needs (docs/security.md), then revoke it.',
  );
}
