import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { ClientBase } from 'pg';
import { openCluster } from './cluster.js';
import { connectTo, roleUrl, type ServerAddress, type ServerNames } from './connection.js';
import { prepareFolder, readPassword } from './data-folder.js';
import { codeOf, EmbeddedPostgresError, messageOf } from './errors.js';
import { claimFolder, type FolderClaim, type FolderHolder, isClaim } from './folder-claim.js';
import { readPostmasterFile } from './old-server.js';
import { OwnedServer } from './owned-server.js';
import { settleRole } from './role.js';
import type { LogLevel } from './server-log.js';

/** The names are stored in the data folder, so they must be the same at each start. */
export interface EmbeddedPostgresOptions extends ServerNames {
  /** Folder of the cluster; created if it does not exist. */
  readonly dataDir: string;
  /** What this process is ("service", "import"), shown to a process that finds the folder in use. */
  readonly holder: string;
  /** If another live process owns the folder, use its server instead of failing. */
  readonly shareRunning?: boolean;
  /** Server settings that override the defaults. Tests pass fsync=off. */
  readonly settings?: Readonly<Record<string, string>>;
  /**
   * Runs as the superuser at each start of the server, before anything connects as the role. It shares a transaction
   * with the creation of the role, so both take effect or neither does.
   */
  readonly prepare?: (client: ClientBase) => Promise<void>;
  readonly log: (level: LogLevel, message: string) => void;
  /** Called once when the server is lost for good: its folder was removed, or it fails again and again. */
  readonly onLost?: (error: Error) => void;
}

const SHARE_TIMEOUT_MS = 60_000;
const SHARE_POLL_MS = 50;

/** A PostgreSQL server that belongs to this process, with its data in a folder. */
export class EmbeddedPostgres {
  /** `postgresql://<role>:<password>@127.0.0.1:<port>/<database>`; does not change until `close`. */
  readonly url: string;

  private constructor(
    address: ServerAddress,
    /** Whether this call created the cluster. */
    readonly created: boolean,
    /** Undefined when another process owns the server. */
    private readonly server?: OwnedServer,
  ) {
    this.url = roleUrl(address);
  }

  /**
   * Starts the server of a data folder, or with `shareRunning` uses the one that is running. Takes a second or two for
   * a new folder, up to a minute if a crashed server has much to recover.
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
        const address = await runningServer(folder, options);
        if (address) return new EmbeddedPostgres(address, false);
        if (Date.now() > deadline) throw inUse(folder, claim);
        await sleep(SHARE_POLL_MS); // its owner is still starting it, or stopping it
      }
    } catch (error) {
      if (error instanceof EmbeddedPostgresError || codeOf(error) === undefined) throw error;
      throw new EmbeddedPostgresError(`The embedded PostgreSQL in ${options.dataDir}: ${messageOf(error)}`, {
        cause: error,
      });
    }
  }

  /** Stops the server, within 20 s, if this instance started it; another process's server keeps running. */
  async close(): Promise<void> {
    await this.server?.close();
  }

  private static async own(
    folder: string,
    claim: FolderClaim,
    options: EmbeddedPostgresOptions,
  ): Promise<EmbeddedPostgres> {
    const { settings = {}, log, onLost, prepare } = options;
    try {
      const cluster = await openCluster(folder, options, {
        sync: settings['fsync'] !== 'off',
        onCreate: () => log('info', `Making a new database in ${folder}`),
      });
      const server = await OwnedServer.start({ cluster, settings, claim, log, onLost });
      try {
        await settleRole(server.address, prepare);
      } catch (error) {
        await server.close();
        throw error;
      }
      return new EmbeddedPostgres(server.address, cluster.created, server);
    } catch (error) {
      await claim.release();
      throw error;
    }
  }
}

/** @returns undefined until it accepts connections */
async function runningServer(folder: string, names: ServerNames): Promise<ServerAddress | undefined> {
  const noted = await readPostmasterFile(join(folder, 'postgres'));
  if (noted?.port === undefined) return undefined;
  const address = { ...names, port: noted.port, password: await readPassword(folder) };
  try {
    await (await connectTo(roleUrl(address))).end();
    return address;
  } catch {
    return undefined;
  }
}

function inUse(folder: string, { pid, holder }: FolderHolder): EmbeddedPostgresError {
  const who = holder === undefined ? `process ${pid}` : `${holder}, process ${pid}`;
  return new EmbeddedPostgresError(
    `The data folder ${folder} is in use by another running instance (${who}). Stop it, or choose another folder.`,
  );
}
