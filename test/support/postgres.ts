import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { readPassword } from '@scalable-banking/embedded-postgres';
import { Client, escapeIdentifier } from 'pg';
import { EMBEDDED_NAMES } from '../../src/app/embedded-bank.js';

export interface TestDatabase {
  readonly url: string;
  /** Drops the database and ends its sessions. */
  drop(): Promise<void>;
}

const TEMPLATE = 'bank_template';
const OBJECT_IN_USE = '55006';
const UNDEFINED_DATABASE = '3D000';
const COPY_TIMEOUT_MS = 20_000;

declare global {
  /** Set for the project `pgbouncer` in jest.config.js. */
  var throughPgBouncer: boolean | undefined;
}

/**
 * The URL by which the service under test reaches a database: in one project through PgBouncer, if it is on the run's
 * server.
 */
export function serviceUrl(databaseUrl: string): string {
  if (!globalThis.throughPgBouncer) return databaseUrl;
  const { TEST_POSTGRES_URL: serverUrl, TEST_PGBOUNCER_PORT: port } = process.env;
  if (serverUrl === undefined || port === undefined) {
    throw new Error('TEST_PGBOUNCER_PORT is not set: is pgbouncer-setup configured?');
  }
  const url = new URL(databaseUrl);
  if (url.host === new URL(serverUrl).host) url.port = port;
  return url.href;
}

/**
 * Creates a migrated database without data.
 *
 * @param name a prefix of its unique name
 */
export function createTestDatabase(name = 'test'): Promise<TestDatabase> {
  return createDatabase(name, TEMPLATE);
}

/** Creates a database that is not migrated. */
export function createEmptyTestDatabase(name = 'empty'): Promise<TestDatabase> {
  return createDatabase(name, 'template0');
}

/** Creates and migrates the database that all others are copied from. */
export async function buildTemplate(serverUrl: string): Promise<void> {
  const { migrate } = await import('../../src/storage/migrate.js');
  await query(serverUrl, `CREATE DATABASE ${TEMPLATE}`);
  await migrate({ url: urlOf(serverUrl, TEMPLATE), schema: 'bank' }, { index: 0, count: 1 });
  // A template with a session can't be copied, so none is allowed.
  await query(serverUrl, `ALTER DATABASE ${TEMPLATE} IS_TEMPLATE true ALLOW_CONNECTIONS false`);
}

/** Creates a database with what another one holds, in which there must be no session. */
export function copyTestDatabase({ url }: TestDatabase, name = 'copy'): Promise<TestDatabase> {
  return createDatabase(name, new URL(url).pathname.slice(1));
}

async function createDatabase(name: string, template: string): Promise<TestDatabase> {
  const serverUrl = testServerUrl();
  const database = `${name
    .toLowerCase()
    .replaceAll(/[^a-z0-9]+/g, '_')
    .slice(0, 40)}_${randomBytes(6).toString('hex')}`;
  await withClient(serverUrl, (client) => copyDatabase(client, database, template));
  return {
    url: urlOf(serverUrl, database),
    drop: async () => {
      await query(serverUrl, `DROP DATABASE IF EXISTS ${escapeIdentifier(database)} WITH (FORCE)`);
    },
  };
}

/** Several test files copy at the same time, and the server rejects some of them for a moment. */
async function copyDatabase(client: Client, database: string, template: string): Promise<void> {
  const deadline = Date.now() + COPY_TIMEOUT_MS;
  for (;;) {
    try {
      // FILE_COPY needs a checkpoint, which is cheap without fsync; the default strategy logs every page.
      await client.query(
        `CREATE DATABASE ${escapeIdentifier(database)} TEMPLATE ${template} STRATEGY FILE_COPY`,
      );
      return;
    } catch (error) {
      const { code } = error as { code?: string };
      if (code === UNDEFINED_DATABASE && template === TEMPLATE) template = 'template0';
      else if (code !== OBJECT_IN_USE || Date.now() > deadline) throw error;
      await sleep(20 + Math.random() * 50);
    }
  }
}

/** Runs SQL over a connection of its own. */
export async function query<Row extends object = Record<string, unknown>>(
  url: string,
  sql: string,
  parameters: unknown[] = [],
): Promise<Row[]> {
  return withClient(url, async (client) => (await client.query<Row>(sql, parameters)).rows);
}

/** Runs SQL as the superuser of the run's server. */
export const onTestServer = (sql: string) => query(testServerUrl(), sql);

async function withClient<T>(url: string, work: (client: Client) => Promise<T>): Promise<T> {
  const client = new Client({ connectionString: url });
  await client.connect();
  try {
    return await work(client);
  } finally {
    await client.end();
  }
}

function testServerUrl(): string {
  const url = process.env['TEST_POSTGRES_URL'];
  if (url === undefined) throw new Error('TEST_POSTGRES_URL is not set: is globalSetup configured?');
  return url;
}

/** The URL of an embedded server for its superuser, which only tests use. @param url the service's URL */
export async function superuserUrl(url: string, dataDir: string): Promise<string> {
  const as = new URL(url);
  [as.username, as.password] = [EMBEDDED_NAMES.superuser, await readPassword(dataDir)];
  return as.href;
}

function urlOf(serverUrl: string, database: string): string {
  const url = new URL(serverUrl);
  url.pathname = `/${database}`;
  return url.href;
}
