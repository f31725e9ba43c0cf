import 'reflect-metadata';
import type { NestFastifyApplication } from '@nestjs/platform-fastify';
import request from 'supertest';
import { createApp } from '../../src/app/create-app.js';
import type { Config } from '../../src/config/config.js';
import { bootstrapShards } from '../../src/sharding/bootstrap-shards.js';
import type { ShardAddress } from '../../src/config/shard-address.js';
import { createLogger } from '../../src/observability/logging.js';
import { configWith, type Overrides } from './config.js';
import { createTestDatabase, serviceUrl } from './postgres.js';

export interface TestApp {
  readonly app: NestFastifyApplication;
  /** http://127.0.0.1:port */
  readonly url: string;
  /** A direct connection to the first shard. */
  readonly databaseUrl: string;
  /** supertest for the listening server. */
  readonly http: ReturnType<typeof request>;
  close(): Promise<void>;
}

/** Default settings of the service under test; each test file may override them. */
const DEFAULTS = {
  HOST: '127.0.0.1',
  PORT: '0',
  LOG_LEVEL: 'silent',
  AUTH: 'off',
  BALANCE_CACHE: 'on',
};
/** Events are polled often, and the single address of all tests may send any number of malformed credentials. */
const DEFAULT_OVERRIDES: Overrides = { outbox: { pollMs: 50 }, auth: { failuresPerMinute: 100_000 } };

/**
 * Starts one instance of the service.
 *
 * @param place a migrated database, or all shards of a bank, some of which may be down
 */
export async function startInstance(
  place: string | readonly ShardAddress[],
  environment: Record<string, string> = {},
  overrides: Overrides = {},
): Promise<TestApp> {
  const where: Record<string, string> =
    typeof place === 'string'
      ? { DATABASE_URL: serviceUrl(place), MIGRATION_DATABASE_URL: place }
      : { SHARDS: shardList(place.map(throughPooler)), MIGRATION_SHARDS: shardList(place) };
  const config = configWith({ ...DEFAULTS, ...where, ...environment }, DEFAULT_OVERRIDES, overrides);
  return listen(
    config,
    config.database.shards ?? [],
    typeof place === 'string' ? place : (place[0]?.url ?? ''),
  );
}

/**
 * Starts the service as it is with the embedded PostgreSQL, of which its settings say nothing, on a migrated database.
 */
export function startUnconfigured(databaseUrl: string): Promise<TestApp> {
  const config = configWith({ ...DEFAULTS, AUTH: '' }, DEFAULT_OVERRIDES);
  return listen(config, [{ url: databaseUrl, schema: 'bank' }], databaseUrl);
}

async function listen(
  config: Config,
  shards: readonly ShardAddress[],
  databaseUrl: string,
): Promise<TestApp> {
  const bank = await bootstrapShards(shards, { allowDown: true });
  const app = await createApp(config, bank, createLogger(config.log));
  await app.listen({ host: config.http.host, port: config.http.port });
  const url = await app.getUrl();
  return { app, url, databaseUrl, http: request(url), close: () => app.close() };
}

/** Starts the service on a database of its own. */
export async function startApp(
  environment: Record<string, string> = {},
  overrides: Overrides = {},
): Promise<TestApp> {
  const database = await createTestDatabase();
  const instance = await startInstance(database.url, environment, overrides);
  return {
    ...instance,
    close: async () => {
      await instance.close();
      await database.drop();
    },
  };
}

function throughPooler({ url, schema }: ShardAddress): ShardAddress {
  return { url: serviceUrl(url), schema };
}

/** The shards in the form of SHARDS. */
export function shardList(shards: readonly ShardAddress[]): string {
  return shards.map(({ url, schema }) => `${url}?schema=${schema}`).join();
}

/** Opens an account over HTTP and returns its id. */
export async function openAccount(app: TestApp, openingDeposit?: string): Promise<number> {
  const response = await app.http
    .post('/accounts')
    .send(openingDeposit === undefined ? {} : { openingDeposit });
  if (response.status !== 201) throw new Error(`could not open an account: ${response.text}`);
  return (JSON.parse(response.text) as { accountId: number }).accountId;
}
