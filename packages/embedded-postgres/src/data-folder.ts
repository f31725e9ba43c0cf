import { randomBytes } from 'node:crypto';
import {
  access,
  chmod,
  constants,
  mkdir,
  open,
  readdir,
  readFile,
  realpath,
  rename,
  rm,
  stat,
} from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { codeOf, EmbeddedPostgresError, messageOf } from './errors.js';
import { thisUser } from './run-as.js';

/**
 * Creates the folder if it does not exist.
 *
 * @returns its path without symbolic links, as PostgreSQL and /proc show it
 * @throws EmbeddedPostgresError when it can't be created, or this user may not write to it
 */
export async function prepareFolder(dataDir: string): Promise<string> {
  const { uid, username } = thisUser();
  try {
    const made = await makeFolder(resolve(dataDir), 0o700);
    // Under root the server runs as another user, who must be able to enter; the contents have narrower permissions.
    if (made && uid === 0) await chmod(dataDir, 0o755);
  } catch (cause) {
    throw new EmbeddedPostgresError(
      `The data folder ${dataDir} cannot be created by user ${username} (${messageOf(cause)}). Choose another folder.`,
      { cause },
    );
  }
  const folder = await realpath(dataDir);
  try {
    await access(folder, constants.R_OK | constants.W_OK | constants.X_OK);
  } catch (cause) {
    throw new EmbeddedPostgresError(
      `The data folder ${folder} is not writable by user ${username}. ` +
        'Run as the user who created it, make it writable for this one, or choose another folder.',
      { cause },
    );
  }
  return folder;
}

/**
 * mkdir's own `recursive` would try for ever if the parent exists but no folder can be created in it, as in /proc.
 *
 * @returns false when it already existed
 */
async function makeFolder(path: string, mode?: number): Promise<boolean> {
  try {
    await mkdir(path, { mode });
    return true;
  } catch (error) {
    if (codeOf(error) === 'EEXIST' && (await stat(path)).isDirectory()) return false;
    if (codeOf(error) !== 'ENOENT' || (await exists(dirname(path)))) throw error;
  }
  await makeFolder(dirname(path));
  return makeFolder(path, mode);
}

/** Whether the folder holds an initialised cluster. */
export async function hasCluster(clusterDir: string): Promise<boolean> {
  try {
    if (await exists(join(clusterDir, 'PG_VERSION'))) return true;
  } catch (error) {
    if (codeOf(error) === 'EACCES') return true; // another user's: only a cluster's folder is closed to us
    throw error;
  }
  const entries = await readdir(clusterDir).catch(() => []);
  if (entries.length === 0) return false;
  throw new EmbeddedPostgresError(
    `${clusterDir} holds files, but is no PostgreSQL cluster (PG_VERSION is missing). ` +
      'Restore it from a backup, or move it away to start with an empty database.',
  );
}

/** Identifies a file or folder, so that a replacement is noticed; undefined when it is gone. */
export async function inodeOf(path: string): Promise<string | undefined> {
  try {
    const { dev, ino } = await stat(path, { bigint: true });
    return `${dev}:${ino}`;
  } catch (error) {
    if (codeOf(error) === 'ENOENT' || codeOf(error) === 'ENOTDIR') return undefined;
    throw error;
  }
}

/** The superuser's password, kept next to the cluster. */
export async function readPassword(folder: string): Promise<string> {
  const file = join(folder, 'password');
  let text: string;
  try {
    text = (await readFile(file, 'utf8')).trim();
  } catch (cause) {
    throw new EmbeddedPostgresError(
      `${file}, with which the database is opened, cannot be read (${messageOf(cause)}). Restore it.`,
      { cause },
    );
  }
  if (text === '') throw new EmbeddedPostgresError(`${file} is empty. Restore it, or move ${folder} away.`);
  return text;
}

/**
 * Creates the password if there is none, and syncs it to disk before a cluster depends on it. Only the holder of the
 * folder's claim may call it.
 */
export async function makePassword(folder: string): Promise<void> {
  const file = join(folder, 'password');
  if (await exists(file)) return;
  const draft = `${file}.${process.pid}`;
  await rm(draft, { force: true });
  const handle = await open(draft, 'wx', 0o600);
  try {
    await handle.writeFile(`${randomBytes(24).toString('base64url')}\n`);
    await handle.sync();
  } finally {
    await handle.close();
  }
  await rename(draft, file);
  await syncFolder(folder);
}

/** Syncs a folder's entries to disk: a rename alone may be lost if the machine fails. */
export async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

async function exists(path: string): Promise<boolean> {
  return (await inodeOf(path)) !== undefined;
}
