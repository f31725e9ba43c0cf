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
import { FAST_STOP } from '../../src/database/embedded/watched-process.js';
import { removeFolder } from './private-folder.js';
import { newPlace, PlacedServer, type Place } from './server.js';

const run = promisify(execFile);

/** For a backend that is just being started. */
const FORK_MS = 10;

/** A PostgreSQL of the embedded one's programs that, unlike it, stays down when it is killed. */
export class PostgresServer extends PlacedServer {
  protected override readonly stopSignals = FAST_STOP;

  constructor(
    place: Place,
    private readonly binaries: PostgresBinaries,
    private readonly password: string,
    port: number,
    private readonly settings: Readonly<Record<string, string>>,
  ) {
    super(place, port);
  }

  get url(): string {
    return `postgresql://${ROLE}:${this.password}@127.0.0.1:${this.port}/${DATABASE}`;
  }

  override async start(): Promise<void> {
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

  /** The server itself first, so that it starts no further backend. */
  override async kill(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    const pids = await this.pids();
    this.process?.kill(signal);
    await sleep(FORK_MS);
    await super.kill(signal, [...pids, ...(await this.pids())]);
  }

  protected override async pids(): Promise<number[]> {
    const own = await super.pids();
    const { stdout } = await run('ps', ['--ppid', String(own[0]), '-o', 'pid=']).catch(() => ({
      stdout: '',
    }));
    return [...own, ...stdout.split('\n').map(Number).filter(Boolean)];
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
