import 'reflect-metadata';
import { randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client, escapeIdentifier } from 'pg';
import { pino } from 'pino';
import { openDatabases } from '../../src/app/open-databases.js';
import { userMessage } from '../../src/app/user-message.js';
import { loadConfig } from '../../src/config/config.js';
import type { ShardAddress } from '../../src/config/shard-address.js';
import { findDrift } from '../../src/storage/drift.js';

/**
 * Part of `npm run check`: migrates a temporary schema, on DATABASE_URL or on an embedded PostgreSQL in a temporary
 * folder, and fails if the entities do not match the migrated schema.
 */
async function main(): Promise<void> {
  const dataDir = await mkdtemp(join(tmpdir(), 'bank-drift-'));
  const databaseSchema = `bank_drift_${randomBytes(6).toString('hex')}`;
  try {
    const drift = await migrateAndCompare(dataDir, databaseSchema);
    if (drift.length === 0) return console.log('The migrations make what the entities describe.');
    console.error(['The entities describe something else than the migrations make:', ...drift].join('\n  '));
    process.exitCode = 1;
  } finally {
    await rm(dataDir, { recursive: true, force: true });
  }
}

async function migrateAndCompare(dataDir: string, databaseSchema: string): Promise<string[]> {
  const config = loadConfig({
    ...process.env,
    SHARDS: '',
    DATA_DIR: dataDir,
    DATABASE_SCHEMA: databaseSchema,
  });
  const bank = await openDatabases(config, pino({ level: 'silent' }), { holder: 'check of the migrations' });
  try {
    const drift: string[] = [];
    for (const shard of bank.shards) drift.push(...(await findDrift(shard)));
    return drift;
  } finally {
    for (const shard of bank.shards) await dropSchema(shard);
    await bank.close();
  }
}

async function dropSchema({ url, schema }: ShardAddress): Promise<void> {
  const client = new Client({ connectionString: url });
  await client.connect();
  try {
    await client.query(`DROP SCHEMA ${escapeIdentifier(schema)} CASCADE`);
  } finally {
    await client.end();
  }
}

try {
  await main();
} catch (error) {
  console.error(`error: ${userMessage(error)}`);
  process.exitCode = 1;
}
