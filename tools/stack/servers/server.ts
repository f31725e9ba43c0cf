import { setTimeout as sleep } from 'node:timers/promises';
import {
  type RunAs,
  type StopSignals,
  unprivileged,
  WatchedProcess,
} from '@scalable-banking/embedded-postgres';
import { environmentIn, makePrivateFolder, removeFolder } from './private-folder.js';

/** Where a server keeps what it has, and as whom it runs. */
export interface Place {
  readonly folder: string;
  readonly runAs: RunAs;
}

const READY_TIMEOUT_MS = 60_000;
const POLL_MS = 20;
const ORDERLY_STOP: StopSignals = [
  ['SIGTERM', 15_000],
  ['SIGKILL', 5_000],
];

/** A process that runs in a private place: it can be killed, hung, halted and, by who knows how, started again. */
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

  /** Its processes, those of its own children included. */
  protected pids(): Promise<number[]> {
    const pid = this.process?.pid;
    return Promise.resolve(pid === undefined ? [] : [pid]);
  }

  /** To all its processes: SIGKILL for a crash, SIGSTOP for a server that hangs, SIGCONT to let it go on. */
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

  /** In order; it can be started again. */
  async halt(): Promise<void> {
    await this.kill('SIGCONT');
    await this.process?.stop(this.stopSignals);
  }

  /** For good: its folder goes too. */
  async stop(): Promise<void> {
    await this.halt();
    await removeFolder(this.place.folder);
  }
}

/**
 * A real server for tests and for `npm run stack`: on a private port of the loopback address, with a private folder, as
 * an unprivileged user; it ends with this process, even by kill -9. It can be killed, halted and started again, on the
 * same port with the same data.
 */
export abstract class Server extends PlacedServer {
  /** Called with every line that it writes. */
  protected readonly onLine?: (line: string) => void;

  /** The program and its arguments. */
  protected abstract command(): readonly string[];

  /** Whether it serves; may throw as long as it does not. */
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

/** Starts a new server; one that does not come up leaves nothing. */
export async function started<T extends PlacedServer>(server: T): Promise<T> {
  try {
    await server.start();
    return server;
  } catch (error) {
    await server.stop();
    throw error;
  }
}
