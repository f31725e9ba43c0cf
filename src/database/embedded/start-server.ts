import { createServer } from 'node:net';
import { randomInt } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { PostgresBinaries } from './binaries.js';
import { ensureDatabase, isTransient } from './connection.js';
import { EmbeddedPostgresError, messageOf } from './errors.js';
import { endOldServer } from './old-server.js';
import { WatchedProcess, within } from './watched-process.js';
import type { RunAs } from './run-as.js';
import { LOG_LINE_PREFIX } from './server-log.js';

export interface ServerSpec {
  readonly binaries: PostgresBinaries;
  readonly runAs: RunAs;
  readonly clusterDir: string;
  readonly password: string;
  readonly port: number;
  readonly settings: Readonly<Record<string, string>>;
  readonly onLine: (line: string) => void;
  /** Called with each process as soon as it runs, so that it can be stopped before it is ready. */
  readonly onProcess: (process: WatchedProcess) => void;
  /** Ends the attempts. */
  readonly signal: AbortSignal;
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
  log_min_error_statement: 'panic', // statements may hold what is private
  log_line_prefix: LOG_LINE_PREFIX,
};

/** Recovery after a crash reads the log since the last checkpoint, which can take long. */
const READY_TIMEOUT_MS = 60_000;
const POLL_MS = 20;
const FOREIGN_ANSWER_WAIT_MS = 2_000;
/** How long leftovers of a killed server, which end by themselves, may keep a new one from starting. */
const LEFTOVERS_TIMEOUT_MS = 30_000;
const LEFTOVERS_POLL_MS = 100;
const LEFTOVERS = /pre-existing shared memory block|lock file "postmaster\.pid" already exists/;

/** The port was taken by another program between the choice and the start. */
export class PortTakenError extends EmbeddedPostgresError {}

/**
 * Starts a server on the cluster, for the holder of the folder's claim, and waits until it serves the bank's database.
 *
 * @throws PortTakenError, EmbeddedPostgresError with what the server said, or the signal's reason
 */
export async function startServer(spec: ServerSpec): Promise<WatchedProcess> {
  const deadline = Date.now() + LEFTOVERS_TIMEOUT_MS;
  for (;;) {
    await endOldServer(spec.clusterDir, spec.password);
    spec.signal.throwIfAborted();
    const server = new WatchedProcess(spec.runAs, 'INT', commandLine(spec), spec.onLine);
    spec.onProcess(server);
    const failure = await becomesReady(server, spec);
    if (!failure) return server;
    await server.stop();
    spec.signal.throwIfAborted();
    if (!LEFTOVERS.test(failure.message) || Date.now() > deadline) throw failure;
    await sleep(LEFTOVERS_POLL_MS, undefined, { signal: spec.signal });
  }
}

function commandLine({ binaries, clusterDir, port, settings }: ServerSpec): string[] {
  const all = { ...SETTINGS, ...settings, port: String(port) };
  return [
    binaries.postgres,
    '-D',
    clusterDir,
    ...Object.entries(all).flatMap(([name, value]) => ['-c', `${name}=${value}`]),
  ];
}

async function becomesReady(
  server: WatchedProcess,
  spec: ServerSpec,
): Promise<EmbeddedPostgresError | undefined> {
  const deadline = Date.now() + READY_TIMEOUT_MS;
  let problem = `is not ready after ${READY_TIMEOUT_MS / 1_000} s`;
  while (server.running && Date.now() < deadline && !spec.signal.aborted) {
    try {
      await ensureDatabase({ port: spec.port, password: spec.password });
      return undefined;
    } catch (error) {
      if (!isTransient(error)) {
        problem = `cannot be used: ${messageOf(error)}`;
        // The answer may be that of another program on the port: ours then ends by itself.
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
 * A free port of the loopback address, below those that systems give to outgoing connections: from there one of them
 * could take the port while the server restarts, a client's attempt to connect to the absent server even for itself.
 */
export async function freePort(): Promise<number> {
  const ATTEMPTS = 50;
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
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
