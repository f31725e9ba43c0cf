import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { locateBinaries } from '../../src/database/embedded/binaries.js';
import { createCluster } from '../../src/database/embedded/cluster.js';
import { prepareFolder, readPassword } from '../../src/database/embedded/data-folder.js';
import { IMMEDIATE_STOP, type PostgresProcess } from '../../src/database/embedded/postgres-process.js';
import { chooseRunAs, type RunAs } from '../../src/database/embedded/run-as.js';
import { freePort, startServer } from '../../src/database/embedded/start-server.js';
import { temporaryDataDir } from './service.js';

const run = promisify(execFile);

/** Durable enough to survive the crash of its processes, which is all that tests do to it. */
const SETTINGS = { fsync: 'off', shared_buffers: '32MB', autovacuum: 'off' };

/** A PostgreSQL of a test's own, to be killed, frozen and started again. Ends with the test's process. */
export class PostgresServer {
  /** Of the database `bank`; the same after each start. */
  readonly url: string;
  private server: PostgresProcess | undefined;

  private constructor(
    private readonly port: number,
    private readonly clusterDir: string,
    private readonly password: string,
    private readonly runAs: RunAs,
    private readonly removeFolder: () => void,
  ) {
    this.url = `postgresql://bank:${password}@127.0.0.1:${port}/bank`;
  }

  static async start(): Promise<PostgresServer> {
    const dataDir = temporaryDataDir();
    const folder = await prepareFolder(dataDir.path);
    const binaries = await locateBinaries();
    const runAs = await chooseRunAs(binaries, folder, undefined);
    const clusterDir = join(folder, 'postgres');
    await createCluster({ folder, clusterDir, binaries, runAs, sync: false });
    const password = await readPassword(folder);
    const server = new PostgresServer(await freePort(), clusterDir, password, runAs, () => dataDir.remove());
    await server.startAgain();
    return server;
  }

  async startAgain(): Promise<void> {
    const { runAs, clusterDir, password, port } = this;
    this.server = await startServer({
      ...{ binaries: await locateBinaries(), runAs, clusterDir, password, port, settings: SETTINGS },
      onLine: () => undefined,
      onProcess: (server) => (this.server = server),
      signal: new AbortController().signal,
    });
  }

  /** At once, as a crash would end it. */
  async kill(): Promise<void> {
    await this.server?.stop(IMMEDIATE_STOP);
  }

  /** Stops every one of its processes where it stands: connections stay open, and nothing answers. */
  async freeze(): Promise<void> {
    await this.signalAll('SIGSTOP');
  }

  async thaw(): Promise<void> {
    await this.signalAll('SIGCONT');
  }

  async close(): Promise<void> {
    await this.kill();
    this.removeFolder();
  }

  /** The first process comes first: stopped, it makes no others. */
  private async signalAll(signal: NodeJS.Signals): Promise<void> {
    const parent = this.server?.pid;
    if (parent === undefined) throw new Error('the server does not run');
    process.kill(parent, signal);
    await sleep(10);
    const { stdout } = await run('ps', ['-A', '-o', 'pid=,ppid=']);
    for (const line of stdout.split('\n')) {
      const [pid, ppid] = line.trim().split(/\s+/).map(Number);
      if (ppid === parent && pid !== undefined) signalIfThere(pid, signal);
    }
  }
}

/** A backend may have ended since it was seen. */
function signalIfThere(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}
