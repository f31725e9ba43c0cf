import { execFile } from 'node:child_process';
import { rm, stat, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import {
  type Cluster,
  FAST_STOP,
  freePort,
  openCluster,
  startServer,
  superuserUrl,
} from '@scalable-banking/embedded-postgres';
import { EMBEDDED_NAMES } from '../../../src/app/embedded-bank.js';
import { removeFolder } from './private-folder.js';
import { newPlace, PlacedServer, type Place } from './server.js';

const run = promisify(execFile);

const FILL_TRIES = 20;
/** For a backend that is starting. */
const FORK_MS = 10;

/** A PostgreSQL from the programs of the embedded one. Unlike that, it stays down when it is killed. */
export class PostgresServer extends PlacedServer {
  protected override readonly stopSignals = FAST_STOP;

  constructor(
    place: Place,
    private readonly cluster: Cluster,
    port: number,
    private readonly settings: Readonly<Record<string, string>>,
    readonly disk?: SmallDisk,
  ) {
    super(place, port);
  }

  override async stop(): Promise<void> {
    await this.halt();
    await this.disk?.unmount();
    await super.stop();
  }

  get url(): string {
    return superuserUrl({ ...this.cluster, port: this.port });
  }

  override async start(): Promise<void> {
    this.process = await startServer(this.cluster, { port: this.port, settings: this.settings });
  }

  override async kill(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    if (this.process?.pid !== undefined) await signalPostgres(this.process.pid, signal);
    if (signal === 'SIGKILL') await this.process?.ended;
  }

  /** Like `pg_ctl stop -m immediate`: no checkpoint, every session cut. */
  async stopImmediately(): Promise<void> {
    this.process?.kill('SIGQUIT');
    await this.process?.ended;
  }
}

/** Signals a PostgreSQL server and all its processes, the postmaster first, so that it starts no new ones. */
export async function signalPostgres(pid: number, signal: NodeJS.Signals): Promise<void> {
  const children = await childrenOf(pid);
  sendSignal(pid, signal);
  await sleep(FORK_MS);
  for (const child of new Set([...children, ...(await childrenOf(pid))])) sendSignal(child, signal);
}

async function childrenOf(pid: number): Promise<number[]> {
  const { stdout } = await run('ps', ['--ppid', String(pid), '-o', 'pid=']).catch(() => ({ stdout: '' }));
  return stdout.split('\n').map(Number).filter(Boolean);
}

function sendSignal(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch {
    // It is gone already.
  }
}

/** A small in-memory disk for one server, which can be filled up. Only root may mount one. */
export class SmallDisk {
  private readonly filler: string;

  private constructor(private readonly folder: string) {
    this.filler = join(folder, 'filler');
  }

  static async mount(folder: string, bytes: number): Promise<SmallDisk> {
    const { uid, gid, mode } = await stat(folder);
    const rights = `uid=${uid},gid=${gid},mode=${(mode & 0o777).toString(8)}`;
    await run('mount', ['-t', 'tmpfs', '-o', `size=${bytes},${rights}`, 'tmpfs', folder]);
    return new SmallDisk(folder);
  }

  /** Fills the disk almost to the last byte. */
  async fill(): Promise<void> {
    for (let tries = 0; tries < FILL_TRIES; tries++) {
      const { bavail, bsize } = await statfs(this.folder);
      // The server may use some of the space meanwhile, so that this is too much.
      const filled = await run('fallocate', ['--length', String(bavail * bsize), this.filler]).catch(
        () => false,
      );
      if (filled) return;
    }
    throw new Error(`${this.folder} could not be filled`);
  }

  async free(): Promise<void> {
    await rm(this.filler, { force: true });
  }

  async unmount(): Promise<void> {
    await run('umount', ['--lazy', this.folder]);
  }
}

/**
 * Starts a new server.
 *
 * @param settings in addition to those of the embedded PostgreSQL
 * @param diskBytes the size of a separate small disk, which needs root; undefined: none
 */
export async function startPostgres(
  settings: Readonly<Record<string, string>> = {},
  diskBytes?: number,
): Promise<PostgresServer> {
  const place = await newPlace('postgres');
  const disk = diskBytes === undefined ? undefined : await SmallDisk.mount(place.folder, diskBytes);
  try {
    const cluster = await openCluster(place.folder, EMBEDDED_NAMES, { sync: settings['fsync'] !== 'off' });
    const server = new PostgresServer(place, cluster, await freePort(), settings, disk);
    await server.start();
    return server;
  } catch (error) {
    await disk?.unmount();
    await removeFolder(place.folder);
    throw error;
  }
}
