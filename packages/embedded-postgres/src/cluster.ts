import { chown, mkdtemp, readdir, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { locateBinaries, type PostgresBinaries } from './binaries.js';
import type { ServerNames } from './connection.js';
import { hasCluster, makePassword, readPassword, syncFolder } from './data-folder.js';
import { EmbeddedPostgresError } from './errors.js';
import { chooseRunAs, type RunAs } from './run-as.js';
import { WatchedProcess, within } from './watched-process.js';

const INITDB_TIMEOUT_MS = 120_000;

/** The files of a server, and everything needed to run it. */
export interface Cluster extends ServerNames {
  /** PostgreSQL's data directory: `postgres` in the data folder. */
  readonly dir: string;
  /** The superuser's, kept in `password` next to it. */
  readonly password: string;
  readonly binaries: PostgresBinaries;
  readonly runAs: RunAs;
  /** Whether it has just been created. */
  readonly created: boolean;
}

type NewCluster = Omit<Cluster, 'password'>;

export interface OpenClusterOptions {
  /** False leaves new files in the system's cache, for tests. */
  readonly sync?: boolean;
  /** Called before a new cluster is created, which takes a second or two. */
  readonly onCreate?: () => void;
}

/**
 * Finds the cluster of a data folder, or creates it. Only the holder of the folder's claim may call it.
 *
 * @throws EmbeddedPostgresError whose message tells the user what to do
 */
export async function openCluster(
  folder: string,
  { superuser, role, database }: ServerNames,
  { sync = true, onCreate }: OpenClusterOptions = {},
): Promise<Cluster> {
  const dir = join(folder, 'postgres');
  const binaries = await locateBinaries();
  const created = !(await hasCluster(dir));
  const runAs = await chooseRunAs(binaries, folder, created ? undefined : dir);
  const found = { superuser, role, database, dir, binaries, runAs, created };
  if (created) {
    onCreate?.();
    await createCluster(folder, found, sync);
  }
  return { ...found, password: await readPassword(folder) };
}

/**
 * The cluster gets its name only once it is complete and on disk. An interrupted attempt leaves only a folder, which
 * the next attempt removes.
 */
async function createCluster(folder: string, cluster: NewCluster, sync: boolean): Promise<void> {
  for (const name of await readdir(folder)) {
    if (name.startsWith('postgres.new')) await rm(join(folder, name), { recursive: true, force: true });
  }
  await makePassword(folder);
  // A unique name: an interrupted initdb may still be writing to its own folder.
  const work = await mkdtemp(join(folder, 'postgres.new-'));
  try {
    const passwordFile = join(work, 'password');
    await writeFile(passwordFile, await readPassword(folder), { mode: 0o600 });
    const { owner } = cluster.runAs;
    if (owner) for (const path of [work, passwordFile]) await chown(path, owner.uid, owner.gid);
    await runInitdb(cluster, join(work, 'cluster'), passwordFile, sync);
    await rename(join(work, 'cluster'), cluster.dir);
    await syncFolder(folder);
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

async function runInitdb(
  { binaries, runAs, superuser }: NewCluster,
  into: string,
  passwordFile: string,
  sync: boolean,
): Promise<void> {
  const initdb = new WatchedProcess(runAs, 'TERM', [
    binaries.initdb,
    ...['-D', into, `--username=${superuser}`, `--pwfile=${passwordFile}`, '--auth=scram-sha-256'],
    ...['--encoding=UTF8', '--locale=C', '--no-instructions', ...(sync ? [] : ['--no-sync'])],
  ]);
  const inTime = await within(INITDB_TIMEOUT_MS, initdb.ended);
  if (!inTime) await initdb.stop([['SIGKILL', 5_000]]);
  const outcome = inTime ? await initdb.ended : `no end within ${INITDB_TIMEOUT_MS / 1_000} s`;
  if (outcome === 'exit code 0') return;
  throw new EmbeddedPostgresError(
    `The database could not be created (initdb: ${outcome}):\n${(await initdb.lastLines()).join('\n')}`,
  );
}
