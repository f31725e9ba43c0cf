import { setTimeout as sleep } from 'node:timers/promises';
import {
  type RunAs,
  type StopSignals,
  unprivileged,
  WatchedProcess,
} from '@scalable-banking/embedded-postgres';
import { environmentIn, makePrivateFolder, removeFolder } from './private-folder.js';

/** The folder of a server, and the user that it runs as. */
export interface Place {
  readonly folder: string;
  readonly runAs: RunAs;
}

/** RabbitMQ takes minutes on a machine that is busy with other things. */
const READY_TIMEOUT_MS = 180_000;
const POLL_MS = 20;
const ORDERLY_STOP: StopSignals = [
  ['SIGTERM', 15_000],
  ['SIGKILL', 5_000],
];

/** A process in a private place that can be killed, stopped by a signal, halted and, by its subclass, restarted. */
export abstract class PlacedServer {
  protected process: WatchedProcess | undefined;
  protected readonly stopSignals: StopSignals = ORDERLY_STOP;

  protected constructor(
    protected readonly place: Place,
    readonly port: number,
  ) {}

  /** Starts it and waits until it serves. */
  abstract start(): Promise<void>;

  get running(): boolean {
    return this.process?.running ?? false;
  }

  /** Its processes, including child processes. */
  protected pids(): Promise<number[]> {
    const pid = this.process?.pid;
    return Promise.resolve(pid === undefined ? [] : [pid]);
  }

  /** Signals all its processes: SIGKILL for a crash, SIGSTOP to make it hang, SIGCONT to let it continue. */
  async kill(signal: NodeJS.Signals = 'SIGKILL', pids?: readonly number[]): Promise<void> {
    for (const pid of pids ?? (await this.pids())) {
      try {
        process.kill(pid, signal);
      } catch {
        // It is gone already.
      }
    }
    if (signal === 'SIGKILL') await this.process?.ended;
  }

  /** Stops it gracefully; it can be started again. */
  async halt(): Promise<void> {
    await this.kill('SIGCONT');
    await this.process?.stop(this.stopSignals);
  }

  /** Stops it for good and removes its folder. */
  async stop(): Promise<void> {
    await this.halt();
    await removeFolder(this.place.folder);
  }
}

/**
 * A real server for tests and for `npm run stack`, on its own loopback port, with its own folder, as an unprivileged
 * user. It ends with this process, even after kill -9. It can be killed, halted and restarted with the same port and
 * data.
 */
export abstract class Server extends PlacedServer {
  /** Called with every line that it writes. */
  protected readonly onLine?: (line: string) => void;

  /** The program and its arguments. */
  protected abstract command(): readonly string[];

  /** Whether it is ready; may throw while it is not. */
  protected abstract isReady(): Promise<boolean>;

  protected environment(): NodeJS.ProcessEnv {
    return environmentIn(this.place.folder);
  }

  override async start(): Promise<void> {
    const server = new WatchedProcess(
      this.place.runAs,
      'TERM',
      this.command(),
      this.onLine,
      this.environment(),
    );
    this.process = server;
    for (const giveUpAt = Date.now() + READY_TIMEOUT_MS; !(await this.isReady().catch(() => false));) {
      if (server.running && Date.now() < giveUpAt) await sleep(POLL_MS);
      else {
        const said = (await server.lastLines()).join('\n');
        await server.stop(ORDERLY_STOP);
        throw new Error(`${this.command()[0]} did not come up (${await server.ended}). It said:\n${said}`);
      }
    }
  }
}

/** The place for a new server. */
export async function newPlace(kind: string): Promise<Place> {
  const runAs = await unprivileged();
  return { folder: await makePrivateFolder(kind, runAs), runAs };
}

/** Starts a new server. One that does not come up leaves nothing behind. */
export async function started<T extends PlacedServer>(server: T): Promise<T> {
  try {
    await server.start();
    return server;
  } catch (error) {
    await server.stop();
    throw error;
  }
}
