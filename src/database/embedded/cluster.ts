import { chown, mkdtemp, readdir, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { PostgresBinaries } from './binaries.js';
import { SUPERUSER } from './connection.js';
import { makePassword, readPassword, syncFolder } from './data-folder.js';
import { EmbeddedPostgresError } from './errors.js';
import { WatchedProcess, within } from './watched-process.js';
import type { RunAs } from './run-as.js';

const INITDB_TIMEOUT_MS = 120_000;

export interface NewCluster {
  readonly folder: string;
  readonly clusterDir: string;
  readonly binaries: PostgresBinaries;
  readonly runAs: RunAs;
  /** False leaves the new files to the system's cache: for tests. */
  readonly sync: boolean;
}

/**
 * Makes the cluster, for the holder of the folder's claim. It appears under its name only when it is complete and on
 * the disk, so one that was interrupted leaves nothing but a folder that the next attempt removes.
 */
export async function createCluster(options: NewCluster): Promise<void> {
  const { folder, clusterDir, runAs } = options;
  for (const name of await readdir(folder)) {
    if (name.startsWith('postgres.new')) await rm(join(folder, name), { recursive: true, force: true });
  }
  await makePassword(folder);
  // A name of its own: an initdb that is still ending must not meet ours.
  const work = await mkdtemp(join(folder, 'postgres.new-'));
  try {
    const passwordFile = join(work, 'password');
    await writeFile(passwordFile, await readPassword(folder), { mode: 0o600 });
    const owner = runAs.owner;
    if (owner) for (const path of [work, passwordFile]) await chown(path, owner.uid, owner.gid);
    await runInitdb(options, join(work, 'cluster'), passwordFile);
    await rename(join(work, 'cluster'), clusterDir);
    await syncFolder(folder);
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

async function runInitdb(
  { binaries, runAs, sync }: NewCluster,
  into: string,
  passwordFile: string,
): Promise<void> {
  const initdb = new WatchedProcess(runAs, 'TERM', [
    binaries.initdb,
    ...['-D', into, `--username=${SUPERUSER}`, `--pwfile=${passwordFile}`, '--auth=scram-sha-256'],
    ...['--encoding=UTF8', '--locale=C', '--no-instructions', ...(sync ? [] : ['--no-sync'])],
  ]);
  const inTime = await within(INITDB_TIMEOUT_MS, initdb.ended);
  if (!inTime) await initdb.stop([['SIGKILL', 5_000]]);
  const outcome = inTime ? await initdb.ended : `no end within ${INITDB_TIMEOUT_MS / 1_000} s`;
  if (outcome === 'exit code 0') return;
  throw new EmbeddedPostgresError(
    `The database could not be made (initdb: ${outcome}):\n${(await initdb.lastLines()).join('\n')}`,
  );
}
