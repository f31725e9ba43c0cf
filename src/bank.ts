import { setTimeout as sleep } from 'node:timers/promises';
import { Client } from 'pg';
import type { Logger } from 'pino';
import type { Config } from './config.js';
import type { ShardAddress } from './database/shard-address.js';
import { EmbeddedPostgres } from './database/embedded-postgres.js';
import { migrate } from './database/migrate.js';

/** The bank's databases, up and migrated. */
export interface Bank {
  readonly shards: readonly ShardAddress[];
  /** The names of the migrations that opening it applied. */
  readonly migrations: readonly string[];
  /** True when the data folder's own PostgreSQL serves it. */
  readonly embedded: boolean;
  /** Stops the embedded PostgreSQL, if this process started it. */
  close(): Promise<void>;
}

export interface OpenBankOptions {
  /** Who opens it, for the message that another instance shows. */
  readonly holder: string;
  /** Use the server of a running instance on the same data folder, instead of refusing. */
  readonly shareRunning?: boolean;
  /** The embedded server is lost for good. */
  readonly onLost?: (error: Error) => void;
}

/** A problem that the user can mend; shown without a stack. */
export class StartError extends Error {}

const OLDEST_SERVER = 140_000;

/** Finds or starts the bank's PostgreSQL and brings its schema up to date. */
export async function openBank(config: Config, logger: Logger, options: OpenBankOptions): Promise<Bank> {
  const [configured] = config.shards ?? [];
  const server = configured
    ? { url: configured.url, close: () => Promise.resolve() }
    : await openEmbedded(config, logger, options);
  const shard = configured ?? { url: server.url, schema: config.databaseSchema };
  try {
    await waitForServer(shard.url, config.databaseStartTimeoutMs, logger);
    const { applied } = await migrate(shard, { index: 0, count: 1 });
    if (applied.length > 0) logger.info({ migrations: applied }, 'the schema was brought up to date');
    return {
      shards: [shard],
      migrations: applied,
      embedded: configured === undefined,
      close: () => server.close(),
    };
  } catch (error) {
    await server.close();
    throw error;
  }
}

function openEmbedded(config: Config, logger: Logger, options: OpenBankOptions): Promise<EmbeddedPostgres> {
  return EmbeddedPostgres.open({
    dataDir: config.dataDir,
    holder: options.holder,
    shareRunning: options.shareRunning,
    onLost: options.onLost,
    log: (level, message) => logger[level]({ context: 'PostgreSQL' }, message),
  });
}

/** A server that starts together with the service may need a moment. */
async function waitForServer(url: string, timeoutMs: number, logger: Logger): Promise<void> {
  const giveUpAt = performance.now() + timeoutMs;
  for (let attempt = 0; ; attempt++) {
    try {
      const version = await serverVersion(url);
      if (version >= OLDEST_SERVER) return;
      throw new StartError(`PostgreSQL 14 or later is needed; the server is ${Math.floor(version / 10_000)}`);
    } catch (error) {
      if (error instanceof StartError || performance.now() >= giveUpAt || isHopeless(error)) {
        throw error instanceof StartError
          ? error
          : new StartError(`the database can't be used: ${messageOf(error)}`);
      }
      if (attempt === 0) logger.warn(`waiting for the database: ${messageOf(error)}`);
      await sleep(500);
    }
  }
}

async function serverVersion(url: string): Promise<number> {
  const client = new Client({ connectionString: url, connectionTimeoutMillis: 5_000 });
  client.on('error', () => undefined);
  try {
    await client.connect();
    const { rows } = await client.query<{ version: string }>(
      `SELECT current_setting('server_version_num') AS version`,
    );
    return Number(rows[0]?.version);
  } finally {
    await client.end().catch(() => undefined);
  }
}

/** Wrong credentials or a database that does not exist: waiting does not help. */
function isHopeless(error: unknown): boolean {
  return error instanceof Error && 'code' in error && /^(28|3D)/.test(String(error.code));
}

function messageOf(error: unknown): string {
  if (error instanceof AggregateError) return error.errors.map(messageOf).join('; ');
  return error instanceof Error ? error.message : String(error);
}
