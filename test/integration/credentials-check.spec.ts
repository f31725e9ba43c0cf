import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { pino } from 'pino';
import { Client } from 'pg';
import { checkCredentials } from '../../src/app/credentials-check.js';
import type { Scope } from '../../src/access/principal.js';
import { createKey, revokeKey, rotateKey, type KeyCreated } from '../../src/admin/keys.js';
import { loadConfig } from '../../src/config/config.js';
import { bootstrapShards } from '../../src/sharding/bootstrap-shards.js';
import { createTestDatabase, type TestDatabase } from '../support/postgres.js';

let database: TestDatabase;
let client: Client;

beforeEach(async () => {
  database = await createTestDatabase('credentials_check');
  client = new Client({ connectionString: database.url });
  await client.connect();
});

afterEach(async () => {
  await client.end();
  await database.drop();
});

const shards = () => [{ url: database.url, schema: 'bank' }];

const makeKey = (name: string, scopes: readonly Scope[], owner?: string): Promise<KeyCreated> =>
  createKey(shards(), { name, scopes, owner });

/** Turns all keys into what they were before deposits had a scope of their own. */
const age = () => client.query('UPDATE bank.api_keys SET scopes_version = 1');

/** What a start says of the keys. */
async function warnings(settings: Record<string, string> = {}): Promise<string[]> {
  const lines: string[] = [];
  const logger = pino({}, { write: (line) => void lines.push(line) });
  const config = loadConfig({ DATABASE_URL: database.url, ...settings });
  await checkCredentials(config, await bootstrapShards(shards()), logger);
  return lines.map((line) => (JSON.parse(line) as { msg: string }).msg);
}

describe('a start', () => {
  it('fails without a valid key', async () => {
    await expect(warnings()).rejects.toThrow('there is none yet');
    const { keyId } = await makeKey('gone', ['admin']);
    await revokeKey(shards(), keyId);
    await expect(warnings()).rejects.toThrow('there is none yet');
    expect(await warnings({ AUTH: 'off' })).toEqual([]);
  });

  it('names exactly the keys that can no longer deposit', async () => {
    const posting = await makeKey('till', ['accounts:read', 'transactions:write'], 'ada');
    const opening = await makeKey('branch', ['accounts:write'], 'bob');
    await makeKey('service', ['accounts:write', 'transactions:write']);
    await makeKey('reader', ['accounts:read', 'transactions:read'], 'ada');
    await makeKey('depositor', ['transactions:write', 'deposits:write'], 'ada');
    const revoked = await makeKey('revoked', ['transactions:write'], 'ada');
    await revokeKey(shards(), revoked.keyId);
    await age();
    await makeKey('made since', ['accounts:write', 'transactions:write'], 'ada');
    const [warning, ...others] = await warnings();
    expect(others).toEqual([]);
    expect(warning).toContain(
      `allow less than when they were made: ${posting.keyId} (till), ${opening.keyId} (branch). `,
    );
    // With an identity provider, too.
    const provider = {
      JWT_ISSUER: 'https://idp.example.com',
      JWT_AUDIENCE: 'bank',
      JWT_JWKS_URL: 'https://idp.example.com/jwks',
    };
    expect(await warnings(provider)).toEqual([warning]);
    for (const { keyId } of [posting, opening]) await revokeKey(shards(), keyId);
    expect(await warnings()).toEqual([]);
  });

  it('also names the replacement of an old key, which allows the same', async () => {
    const old = await makeKey('till', ['transactions:write'], 'ada');
    await age();
    const { keyId } = await rotateKey(shards(), old.keyId, { overlapMs: 0 });
    const [warning] = await warnings();
    expect(warning).toContain(`made: ${keyId} (till). `);
  });

  it('names ten keys, and says how many more there are', async () => {
    for (let made = 0; made < 13; made++) await makeKey(`k${made}`, ['transactions:write'], 'ada');
    await age();
    const [warning] = await warnings();
    expect(warning).toMatch(/: 1 \(k0\), .*, 10 \(k9\) and 3 more\. /);
  });
});
