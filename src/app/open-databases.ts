import { setTimeout as sleep } from 'node:timers/promises';
import { EmbeddedPostgres, sharedBuffers } from '@scalable-banking/embedded-postgres';
import type { Logger } from 'pino';
import { connectionsTo, type Config } from '../config/config.js';
import {
  bootstrapShards,
  ShardsDownError,
  ShardUnusableError,
  type BootstrappedShards,
} from '../sharding/bootstrap-shards.js';
import { EMBEDDED_NAMES, handOver } from './embedded-bank.js';
import type { ShardAddress } from '../config/shard-address.js';
import { UserError } from '../domain/user-error.js';

/** The bank's databases, up and migrated. */
export interface Bank extends BootstrappedShards {
  /** True for the PostgreSQL on the data folder. */
  readonly embedded: boolean;
  /** Stops the embedded PostgreSQL, if this process started it. */
  close(): Promise<void>;
}

export interface OpenDatabasesOptions {
  /** Who opens it; another instance names it in its message. */
  readonly holder: string;
  /** Use the server of an instance that runs on the same data folder, instead of failing. */
  readonly shareRunning?: boolean;
  /** Go on without shards that are down, as long as another shard identifies the bank. */
  readonly allowDown?: boolean;
  /** Called when the embedded server is lost for good. */
  readonly onLost?: (error: Error) => void;
}

/** Why the service or a command can't start. */
export class StartError extends UserError {}

const RETRY_MS = 500;

/** Finds or starts the bank's PostgreSQL and brings its schemas up to date. */
export async function openDatabases(
  config: Config,
  logger: Logger,
  options: OpenDatabasesOptions,
): Promise<Bank> {
  const servers = await openServers(config, logger, options);
  try {
    const settled = await bootstrapInTime(servers.shards, config, logger, options);
    if (settled.migrations.length > 0) {
      logger.info({ migrations: settled.migrations }, 'the schema was brought up to date');
    }
    return { ...servers, ...settled };
  } catch (error) {
    await servers.close();
    throw error;
  }
}

/** The configured shards, not connected to yet; or the embedded PostgreSQL, started unless it runs already. */
export async function openServers(
  config: Config,
  logger: Logger,
  options: OpenDatabasesOptions,
): Promise<Pick<Bank, 'shards' | 'embedded' | 'close'>> {
  const { shards, schema } = config.database;
  if (shards) return { shards, embedded: false, close: () => Promise.resolve() };
  const server = await openEmbedded(config, logger, options);
  return { shards: [{ url: server.url, schema }], embedded: true, close: () => server.close() };
}

/** Connections to the embedded server for probes, migrations and several simultaneous commands. */
const OTHER_CONNECTIONS = 50;
const LEAST_CONNECTIONS = 100;

const MOST_CONNECTIONS = 2_000;

/** The connections that the embedded server must allow: they grow with the workers and their pools. @throws StartError */
export function embeddedConnections(config: Config): number {
  const needed = config.operation.workers * connectionsTo(1, config) + OTHER_CONNECTIONS;
  if (needed <= MOST_CONNECTIONS) return Math.max(LEAST_CONNECTIONS, needed);
  const { lockWaiters, atomicBatches } = config.ledger;
  throw new StartError(
    `WORKERS × (LEDGER_BATCH_WRITERS + DATABASE_READ_POOL + ${lockWaiters + atomicBatches}) must not be more than ` +
      `${MOST_CONNECTIONS - OTHER_CONNECTIONS} connections with the embedded PostgreSQL. Lower one, or set DATABASE_URL.`,
  );
}

async function openEmbedded(
  config: Config,
  logger: Logger,
  options: OpenDatabasesOptions,
): Promise<EmbeddedPostgres> {
  let handedOver = false;
  const server = await EmbeddedPostgres.open({
    ...EMBEDDED_NAMES,
    dataDir: config.database.dataDir,
    holder: options.holder,
    shareRunning: options.shareRunning,
    onLost: options.onLost,
    settings: { max_connections: String(embeddedConnections(config)), shared_buffers: sharedBuffers() },
    prepare: async (client) => {
      handedOver = await handOver(client);
    },
    log: (level, message) => logger[level]({ context: 'PostgreSQL' }, message),
  });
  if (handedOver) logger.info(`The bank in ${config.database.dataDir} no longer belongs to a superuser`);
  return server;
}

/** Retries for a while: a server that starts together with the service may need a moment. */
async function bootstrapInTime(
  shards: readonly ShardAddress[],
  { database, currency }: Config,
  logger: Logger,
  { allowDown }: OpenDatabasesOptions,
): Promise<BootstrappedShards> {
  const giveUpAt = performance.now() + database.startTimeoutMs;
  for (let attempt = 0; ; attempt++) {
    try {
      return await bootstrapShards(shards, { allowDown, currency });
    } catch (error) {
      const waitingHelps = error instanceof ShardsDownError;
      if (!waitingHelps && !(error instanceof ShardUnusableError)) throw error;
      if (!waitingHelps || performance.now() >= giveUpAt) {
        throw new StartError(`the database can't be used: ${error.message}`);
      }
      if (attempt === 0) logger.warn(`waiting for the database: ${error.message}`);
      await sleep(RETRY_MS);
    }
  }
}
