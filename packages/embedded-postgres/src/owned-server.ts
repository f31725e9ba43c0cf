import { setTimeout as sleep } from 'node:timers/promises';
import type { Client } from 'pg';
import type { Cluster } from './cluster.js';
import { connectTo, type ServerAddress, superuserUrl, tryOwnerLock } from './connection.js';
import { inodeOf } from './data-folder.js';
import { EmbeddedPostgresError, messageOf } from './errors.js';
import type { FolderClaim } from './folder-claim.js';
import { type LogLevel, readLogLine } from './server-log.js';
import { freePort, PortTakenError, startServer } from './start-server.js';
import {
  FAST_STOP,
  IMMEDIATE_STOP,
  type StopSignals,
  type WatchedProcess,
  within,
} from './watched-process.js';

export interface OwnedServerOptions {
  readonly cluster: Cluster;
  readonly settings: Readonly<Record<string, string>>;
  readonly claim: FolderClaim;
  readonly log: (level: LogLevel, message: string) => void;
  readonly onLost: ((error: Error) => void) | undefined;
}

type State = 'starting' | 'running' | 'restarting' | 'ending';

const PORT_ATTEMPTS = 5;
const RESTARTS_AT_MOST = 5;
const RESTARTS_WITHIN_MS = 60_000;
const FIRST_BACKOFF_MS = 100;
const FOLDER_CHECK_MS = 1_000;
const LOCK_TIMEOUT_MS = 5_000;
const LOCK_POLL_MS = 100;
const DISCONNECT_TIMEOUT_MS = 1_000;
const REPAIR_TIMEOUT_MS = 2_000;

/** A server that this process starts, keeps running and stops. */
export class OwnedServer {
  private port = 0;
  private state: State = 'starting';
  private readonly ending = new AbortController();
  private server: WatchedProcess | undefined;
  private lock: Client | undefined;
  private restarts: number[] = [];
  /** The repair after a failure; settles soon after `ending` is aborted. */
  private repair: Promise<void> = Promise.resolve();
  private folderCheck: NodeJS.Timeout | undefined;
  /** Identifies the cluster's folder, which may be replaced by another one. */
  private inode: string | undefined;
  private ended: Promise<void> | undefined;

  private constructor(private readonly options: OwnedServerOptions) {}

  /** Does not change during the life of this object. */
  get address(): ServerAddress {
    return { ...this.options.cluster, port: this.port };
  }

  /** @throws EmbeddedPostgresError; nothing is left running then, but the claim is not released */
  static async start(options: OwnedServerOptions): Promise<OwnedServer> {
    const owned = new OwnedServer(options);
    try {
      owned.inode = await inodeOf(options.cluster.dir);
      await owned.startOnFreePort();
    } catch (error) {
      owned.state = 'ending';
      owned.lock?.end().catch(() => undefined);
      await owned.server?.stop();
      throw error;
    }
    owned.folderCheck = setInterval(() => void owned.checkFolder(), FOLDER_CHECK_MS).unref();
    return owned;
  }

  /** Stops the server and releases the folder. Takes up to 20 s if the server has to be killed. */
  close(): Promise<void> {
    this.ended ??= this.end(FAST_STOP);
    return this.ended;
  }

  private async startOnFreePort(): Promise<void> {
    for (let attempt = 1; ; attempt++) {
      this.port = await freePort();
      try {
        await this.startOnPort();
        return;
      } catch (error) {
        if (!(error instanceof PortTakenError) || attempt === PORT_ATTEMPTS) throw error;
      }
    }
  }

  private async startOnPort(): Promise<void> {
    const { cluster, settings } = this.options;
    const server = await startServer(cluster, {
      port: this.port,
      settings,
      onLine: (line) => this.forward(line),
      onProcess: (process) => (this.server = process),
      signal: this.ending.signal,
    });
    await this.takeLock();
    if (this.state !== 'ending') this.state = 'running';
    void server.ended.then((how) => this.onEnded(how));
  }

  private onEnded(how: string): void {
    if (this.state !== 'running') return;
    this.state = 'restarting';
    this.repair = this.repair.then(() => this.restart(`it ended unexpectedly (${how})`));
  }

  /** Restarts the server on the port that its clients know. */
  private async restart(why: string): Promise<void> {
    const { log } = this.options;
    for (let reason = why, failures = 0; !this.ending.signal.aborted; failures++) {
      if (await this.loseWithoutFolder()) return;
      const now = Date.now();
      this.restarts = this.restarts.filter((at) => now - at < RESTARTS_WITHIN_MS);
      if (this.restarts.length >= RESTARTS_AT_MOST) {
        this.lose(
          new EmbeddedPostgresError(
            `The embedded PostgreSQL was restarted ${RESTARTS_AT_MOST} times within a minute ` +
              `and does not stay up: ${reason}`,
          ),
        );
        return;
      }
      this.restarts.push(now);
      log('warn', `The embedded PostgreSQL is restarted: ${reason}`);
      try {
        await sleep(FIRST_BACKOFF_MS * 2 ** failures, undefined, { signal: this.ending.signal });
        await this.startOnPort();
        log('info', 'The embedded PostgreSQL runs again.');
        return;
      } catch (error) {
        reason = messageOf(error);
      }
    }
  }

  /** Takes the lock that shows others that the server has an owner, for as long as this process lives. */
  private async takeLock(): Promise<void> {
    const deadline = Date.now() + LOCK_TIMEOUT_MS;
    const client = await connectTo(superuserUrl(this.address));
    try {
      // The previous session may take a moment to end.
      while (!(await tryOwnerLock(client))) {
        if (Date.now() > deadline) {
          throw new EmbeddedPostgresError(
            `Another instance holds the lock of the database in ${this.options.cluster.dir}.`,
          );
        }
        await sleep(LOCK_POLL_MS);
      }
    } catch (error) {
      client.end().catch(() => undefined);
      throw error;
    }
    client.once('end', () => this.onLockLost(client));
    this.lock = client;
  }

  /** Somebody ended the session, or the server restarted its processes after one of them crashed. */
  private onLockLost(client: Client): void {
    if (this.lock !== client) return;
    this.lock = undefined;
    if (this.state === 'running') this.repair = this.retakeLock();
  }

  private async retakeLock(): Promise<void> {
    while (this.state === 'running' && this.server?.running) {
      try {
        await this.takeLock();
        return;
      } catch {
        await sleep(LOCK_POLL_MS);
      }
    }
  }

  private async checkFolder(): Promise<void> {
    if (this.state !== 'ending') await this.loseWithoutFolder();
  }

  /** Whatever a server commits after its files are gone is lost: it must stop, and not restart with an empty folder. */
  private async loseWithoutFolder(): Promise<boolean> {
    const { dir } = this.options.cluster;
    const found = await inodeOf(dir).catch(() => this.inode); // not readable: not known to be gone
    if (this.inode === undefined || found === this.inode) return false;
    this.lose(
      new EmbeddedPostgresError(
        `The folder with the data, ${dir}, is gone${found ? ' and another one is in its place' : ''}. ` +
          'Put it back (from a backup) and start again.',
      ),
    );
    return true;
  }

  private lose(error: EmbeddedPostgresError): void {
    if (this.state === 'ending') return;
    this.ended = this.end(IMMEDIATE_STOP);
    if (this.options.onLost) this.options.onLost(error);
    else this.options.log('error', error.message);
  }

  private async end(signals: StopSignals): Promise<void> {
    this.state = 'ending';
    this.ending.abort(new EmbeddedPostgresError('The embedded PostgreSQL was closed while it started.'));
    clearInterval(this.folderCheck);
    const stopped = this.server?.stop(signals);
    const lock = this.lock;
    this.lock = undefined;
    if (lock) await within(DISCONNECT_TIMEOUT_MS, lock.end());
    // Before the server has ended, so that a successor waits for that instead of giving up. If the claim can't be
    // removed, it is ignored once this process is gone.
    await this.options.claim.release().catch(() => undefined);
    await stopped;
    await within(REPAIR_TIMEOUT_MS, this.repair);
  }

  private forward(line: string): void {
    const read = readLogLine(line);
    if (read && (!read.routine || this.state === 'running')) this.options.log(read.level, read.message);
  }
}
