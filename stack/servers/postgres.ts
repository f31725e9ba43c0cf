import { chown } from 'node:fs/promises';
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { locateBinaries, type PostgresBinaries } from '../../src/database/embedded/binaries.js';
import { createCluster } from '../../src/database/embedded/cluster.js';
import { DATABASE, ROLE } from '../../src/database/embedded/connection.js';
import { readPassword } from '../../src/database/embedded/data-folder.js';
import { chooseRunAs } from '../../src/database/embedded/run-as.js';
import { freePort, startServer } from '../../src/database/embedded/start-server.js';
import { FAST_STOP, type WatchedProcess } from '../../src/database/embedded/watched-process.js';
import { removeFolder } from './private-folder.js';
import { newPlace, type Place } from './server.js';

const run = promisify(execFile);

/** A PostgreSQL of the embedded one's programs that, unlike it, stays down when it is killed. */
export class PostgresServer {
  private process: WatchedProcess | undefined;

  constructor(
    private readonly place: Place,
    private readonly binaries: PostgresBinaries,
    private readonly password: string,
    readonly port: number,
    private readonly settings: Readonly<Record<string, string>>,
  ) {}

  get url(): string {
    return `postgresql://${ROLE}:${this.password}@127.0.0.1:${this.port}/${DATABASE}`;
  }

  async start(): Promise<void> {
    this.process = await startServer({
      binaries: this.binaries,
      runAs: this.place.runAs,
      clusterDir: join(this.place.folder, 'postgres'),
      password: this.password,
      port: this.port,
      settings: this.settings,
      onLine: () => undefined,
      onProcess: () => undefined,
      signal: new AbortController().signal,
    });
  }

  /** To the server and all its backends: SIGKILL for a crash, SIGSTOP for a server that hangs, SIGCONT to go on. */
  async kill(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    const parent = this.process?.pid;
    if (parent === undefined) return;
    // The parent first, so that it starts no further backend.
    this.process?.kill(signal);
    await sleep(10);
    const { stdout } = await run('ps', ['--ppid', String(parent), '-o', 'pid=']).catch(() => ({
      stdout: '',
    }));
    for (const pid of stdout.split('\n').map(Number).filter(Boolean)) {
      try {
        process.kill(pid, signal);
      } catch {
        // It is gone already.
      }
    }
    if (signal === 'SIGKILL') await this.process?.ended;
  }

  /** In order; it can be started again. */
  async halt(): Promise<void> {
    await this.kill('SIGCONT');
    await this.process?.stop(FAST_STOP);
  }

  /** For good: its folder goes too. */
  async stop(): Promise<void> {
    await this.halt();
    await removeFolder(this.place.folder);
  }
}

/** Starts a new server. @param settings besides those of the embedded PostgreSQL */
export async function startPostgres(
  settings: Readonly<Record<string, string>> = {},
): Promise<PostgresServer> {
  const { folder } = await newPlace('postgres');
  const binaries = await locateBinaries();
  const runAs = await chooseRunAs(binaries, folder, undefined);
  if (runAs.owner) await chown(folder, runAs.owner.uid, runAs.owner.gid);
  const place = { folder, runAs };
  try {
    const clusterDir = join(folder, 'postgres');
    await createCluster({ folder, clusterDir, binaries, runAs, sync: settings['fsync'] !== 'off' });
    const server = new PostgresServer(
      place,
      binaries,
      await readPassword(folder),
      await freePort(),
      settings,
    );
    await server.start();
    return server;
  } catch (error) {
    await removeFolder(folder);
    throw error;
  }
}
