import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { locateBinaries } from './embedded/binaries.js';
import { createCluster } from './embedded/cluster.js';
import { connectTo, DATABASE, ROLE, rolePassword, type ServerAddress } from './embedded/connection.js';
import { hasCluster, prepareFolder, readPassword } from './embedded/data-folder.js';
import { codeOf, EmbeddedPostgresError, messageOf } from './embedded/errors.js';
import { claimFolder, type FolderClaim, type FolderHolder, isClaim } from './embedded/folder-claim.js';
import { handOver } from './embedded/hand-over.js';
import { readPostmasterFile } from './embedded/old-server.js';
import { OwnedServer } from './embedded/owned-server.js';
import { chooseRunAs } from './embedded/run-as.js';
import { freePort } from './embedded/start-server.js';

export { EmbeddedPostgresError };

export interface EmbeddedPostgresOptions {
  /** Folder that keeps the cluster; made when absent. */
  readonly dataDir: string;
  /** Who holds it, for the message that another instance shows: "service", "cli seed". */
  readonly holder: string;
  /** When another live process serves this folder, use its server instead of failing. */
  readonly shareRunning?: boolean;
  /** Further settings of the server, which win over ours. Tests pass fsync=off. */
  readonly settings?: Readonly<Record<string, string>>;
  readonly log: (level: 'info' | 'warn' | 'error', message: string) => void;
  /** Called once when the server is lost for good: its folder was removed, or it fails again and again. */
  readonly onLost?: (error: Error) => void;
}

const SHARE_TIMEOUT_MS = 60_000;
const SHARE_POLL_MS = 50;

/** A PostgreSQL server of this process's own, whose data stays in a folder. */
export class EmbeddedPostgres {
  /** `postgresql://bank_service:<password>@127.0.0.1:<port>/bank`; the same until `close`. */
  readonly url: string;
  /** Whether the cluster was made now. */
  readonly created: boolean;
  private readonly server: OwnedServer | undefined;

  private constructor(address: ServerAddress, created: boolean, server: OwnedServer | undefined) {
    this.url = `postgresql://${ROLE}:${rolePassword(address.password)}@127.0.0.1:${address.port}/${DATABASE}`;
    this.created = created;
    this.server = server;
  }

  /**
   * Starts the server of a data folder, or with `shareRunning` finds the one that runs. Takes a second or two for a new
   * folder, as long as a minute when a crashed server has much to recover.
   *
   * @throws EmbeddedPostgresError whose message tells the user what to do
   */
  static async open(options: EmbeddedPostgresOptions): Promise<EmbeddedPostgres> {
    try {
      const folder = await prepareFolder(options.dataDir);
      const deadline = Date.now() + SHARE_TIMEOUT_MS;
      for (;;) {
        const claim = await claimFolder(folder, options.holder);
        if (isClaim(claim)) return await EmbeddedPostgres.own(folder, claim, options);
        if (!options.shareRunning) throw inUse(folder, claim);
        const address = await runningServer(folder);
        if (address) return new EmbeddedPostgres(address, false, undefined);
        if (Date.now() > deadline) throw inUse(folder, claim);
        await sleep(SHARE_POLL_MS); // its owner has only begun to start it, or to stop it
      }
    } catch (error) {
      if (error instanceof EmbeddedPostgresError || codeOf(error) === undefined) throw error;
      throw new EmbeddedPostgresError(`The embedded PostgreSQL in ${options.dataDir}: ${messageOf(error)}`, {
        cause: error,
      });
    }
  }

  /** Stops the server, at most 20 s later, if this instance started it; one that another process runs stays. */
  async close(): Promise<void> {
    await this.server?.close();
  }

  private static async own(
    folder: string,
    claim: FolderClaim,
    { log, onLost, settings = {} }: EmbeddedPostgresOptions,
  ): Promise<EmbeddedPostgres> {
    try {
      const clusterDir = join(folder, 'postgres');
      const binaries = await locateBinaries();
      const created = !(await hasCluster(clusterDir));
      const runAs = await chooseRunAs(binaries, folder, created ? undefined : clusterDir);
      if (created) {
        log('info', `Making a new database in ${folder}`);
        await createCluster({ folder, clusterDir, binaries, runAs, sync: settings['fsync'] !== 'off' });
      }
      const password = await readPassword(folder);
      const spec = { binaries, runAs, clusterDir, password, settings };
      const server = await OwnedServer.start({ spec, claim, freePort, log, onLost });
      const address = { port: server.port, password };
      try {
        if (await handOver(address)) log('info', `The bank in ${folder} no longer belongs to a superuser`);
      } catch (error) {
        await server.close();
        throw error;
      }
      return new EmbeddedPostgres(address, created, server);
    } catch (error) {
      await claim.release();
      throw error;
    }
  }
}

/** @returns undefined while nobody can connect to it */
async function runningServer(folder: string): Promise<ServerAddress | undefined> {
  const noted = await readPostmasterFile(join(folder, 'postgres'));
  if (noted?.port === undefined) return undefined;
  const address = { port: noted.port, password: await readPassword(folder) };
  try {
    await (await connectTo(address, DATABASE, ROLE)).end();
    return address;
  } catch {
    return undefined;
  }
}

function inUse(folder: string, { pid, holder }: FolderHolder): EmbeddedPostgresError {
  const who = holder === undefined ? `process ${pid}` : `${holder}, process ${pid}`;
  return new EmbeddedPostgresError(
    `DATA_DIR ${folder} is in use by another running instance (${who}). Stop it, or choose another DATA_DIR.`,
  );
}
