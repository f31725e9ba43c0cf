import 'reflect-metadata';
import type { NestFastifyApplication } from '@nestjs/platform-fastify';
import request from 'supertest';
import { createApp } from '../../src/app.js';
import { loadConfig } from '../../src/config.js';
import { settleShards } from '../../src/database/bank-shards.js';
import { createLogger } from '../../src/observability/logging.js';
import { createTestDatabase, serviceUrl } from './postgres.js';

export interface TestApp {
  readonly app: NestFastifyApplication;
  /** http://127.0.0.1:port */
  readonly url: string;
  /** Of a direct connection. */
  readonly databaseUrl: string;
  /** supertest on the listening server. */
  readonly http: ReturnType<typeof request>;
  close(): Promise<void>;
}

/** Settings of the service under test; each test file may override them. */
const DEFAULTS = {
  HOST: '127.0.0.1',
  PORT: '0',
  LOG_LEVEL: 'silent',
  BALANCE_CACHE: 'on',
  OUTBOX_POLL_MS: '50',
};

/** Starts one instance of the service on a migrated database. */
export async function startInstance(
  databaseUrl: string,
  overrides: Record<string, string> = {},
): Promise<TestApp> {
  const database = { DATABASE_URL: serviceUrl(databaseUrl), MIGRATION_DATABASE_URL: databaseUrl };
  const config = loadConfig({ ...DEFAULTS, ...database, ...overrides });
  const bank = await settleShards(config.shards ?? []);
  const app = await createApp(config, bank, createLogger(config.log));
  await app.listen({ host: config.host, port: config.port });
  const url = await app.getUrl();
  return { app, url, databaseUrl, http: request(url), close: () => app.close() };
}

/** Starts the service on a database of its own. */
export async function startApp(overrides: Record<string, string> = {}): Promise<TestApp> {
  const database = await createTestDatabase();
  const instance = await startInstance(database.url, overrides);
  return {
    ...instance,
    close: async () => {
      await instance.close();
      await database.drop();
    },
  };
}

/** Opens an account over HTTP and returns its id. */
export async function openAccount(app: TestApp, openingDeposit?: string): Promise<number> {
  const response = await app.http
    .post('/accounts')
    .send(openingDeposit === undefined ? {} : { openingDeposit });
  if (response.status !== 201) throw new Error(`could not open an account: ${response.text}`);
  return (JSON.parse(response.text) as { accountId: number }).accountId;
}
