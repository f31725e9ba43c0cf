import { createServer } from 'node:net';
import { randomInt } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Cluster } from './cluster.js';
import { ensureDatabase, isTransient } from './connection.js';
import { EmbeddedPostgresError, messageOf } from './errors.js';
import { endOldServer } from './old-server.js';
import { LOG_LINE_PREFIX } from './server-log.js';
import { WatchedProcess, within } from './watched-process.js';

export interface ServerOptions {
  readonly port: number;
  /** Server settings that override the defaults. */
  readonly settings?: Readonly<Record<string, string>>;
  /** Called with every line that the server writes. */
  readonly onLine?: (line: string) => void;
  /** Called with each process as soon as it runs, so that it can be stopped before it is ready. */
  readonly onProcess?: (process: WatchedProcess) => void;
  /** Aborts the attempts. */
  readonly signal?: AbortSignal;
}

const SETTINGS = {
  listen_addresses: '127.0.0.1',
  unix_socket_directories: '',
  max_connections: '100',
  shared_buffers: '128MB',
  max_wal_size: '4GB',
  checkpoint_timeout: '15min',
  wal_compression: 'pglz', // these builds lack lz4
  jit: 'off',
  timezone: 'UTC',
  log_timezone: 'UTC',
  log_destination: 'stderr',
  logging_collector: 'off',
  log_checkpoints: 'off',
  log_min_error_statement: 'panic', // statements may contain private data
  log_line_prefix: LOG_LINE_PREFIX,
};

/** After a crash the server replays its log since the last checkpoint, which can take long. */
const READY_TIMEOUT_MS = 60_000;
const POLL_MS = 20;
const FOREIGN_ANSWER_WAIT_MS = 2_000;
/** How long the leftovers of a killed server, which end by themselves, may keep a new one from starting. */
const LEFTOVERS_TIMEOUT_MS = 30_000;
const LEFTOVERS_POLL_MS = 100;
const PORT_ATTEMPTS = 50;
const LEFTOVERS = /pre-existing shared memory block|lock file "postmaster\.pid" already exists/;

/** Another program took the port after it was chosen. */
export class PortTakenError extends EmbeddedPostgresError {}

/**
 * Starts a server on the cluster and waits until it serves the database, which it creates if necessary. Only the holder
 * of the folder's claim may call it.
 *
 * @throws PortTakenError, EmbeddedPostgresError with what the server said, or the signal's reason
 */
export async function startServer(cluster: Cluster, options: ServerOptions): Promise<WatchedProcess> {
  const { signal } = options;
  const deadline = Date.now() + LEFTOVERS_TIMEOUT_MS;
  for (;;) {
    await endOldServer(cluster);
    signal?.throwIfAborted();
    const server = new WatchedProcess(cluster.runAs, 'INT', commandLine(cluster, options), options.onLine);
    options.onProcess?.(server);
    const failure = await becomesReady(server, cluster, options);
    if (!failure) return server;
    await server.stop();
    signal?.throwIfAborted();
    if (!LEFTOVERS.test(failure.message) || Date.now() > deadline) throw failure;
    await sleep(LEFTOVERS_POLL_MS, undefined, { signal });
  }
}

function commandLine({ binaries, dir }: Cluster, { settings, port }: ServerOptions): string[] {
  const all = Object.entries({ ...SETTINGS, ...settings, port: String(port) });
  return [binaries.postgres, '-D', dir, ...all.flatMap(([name, value]) => ['-c', `${name}=${value}`])];
}

/** @returns what went wrong; undefined once the server is ready */
async function becomesReady(
  server: WatchedProcess,
  cluster: Cluster,
  { port, signal }: ServerOptions,
): Promise<EmbeddedPostgresError | undefined> {
  const deadline = Date.now() + READY_TIMEOUT_MS;
  let problem = `is not ready after ${READY_TIMEOUT_MS / 1_000} s`;
  while (server.running && Date.now() < deadline && !signal?.aborted) {
    try {
      await ensureDatabase({ ...cluster, port });
      return undefined;
    } catch (error) {
      if (!isTransient(error)) {
        problem = `cannot be used: ${messageOf(error)}`;
        // Another program may have answered on this port: our server then ends by itself.
        await within(FOREIGN_ANSWER_WAIT_MS, server.ended);
        break;
      }
    }
    await within(POLL_MS, server.ended);
  }
  const said = (await server.lastLines()).join('\n');
  const how = server.running ? problem : `ended (${await server.ended})`;
  const message = `The embedded PostgreSQL ${how}. It said:\n${said}`;
  return /could not create any TCP\/IP sockets/.test(said)
    ? new PortTakenError(message)
    : new EmbeddedPostgresError(message);
}

/**
 * A free port of the loopback address, below the range that systems use for outgoing connections. Otherwise such a
 * connection, even a client's own attempt to connect, could take the port while the server restarts.
 */
export async function freePort(): Promise<number> {
  for (let attempt = 0; attempt < PORT_ATTEMPTS; attempt++) {
    const port = randomInt(20_000, 32_768);
    if (await isFree(port)) return port;
  }
  throw new EmbeddedPostgresError('No free port between 20000 and 32767 was found on 127.0.0.1.');
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer()
      .once('error', () => resolve(false))
      .once('listening', () => server.close(() => resolve(true)))
      .listen(port, '127.0.0.1');
  });
}
