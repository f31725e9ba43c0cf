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
 * Makes the folder when it is absent.
 *
 * @returns its path without links, which is the path that PostgreSQL and /proc show
 * @throws EmbeddedPostgresError when it cannot be made, or this user may not write to it
 */
export async function prepareFolder(dataDir: string): Promise<string> {
  const { uid, username } = thisUser();
  try {
    const made = await makeFolder(resolve(dataDir), 0o700);
    // Root's server runs as another user, who must pass through; what lies inside has narrower rights of its own.
    if (made && uid === 0) await chmod(dataDir, 0o755);
  } catch (cause) {
    throw new EmbeddedPostgresError(
      `DATA_DIR ${dataDir} cannot be made by user ${username} (${messageOf(cause)}). Choose another DATA_DIR.`,
      { cause },
    );
  }
  const folder = await realpath(dataDir);
  try {
    await access(folder, constants.R_OK | constants.W_OK | constants.X_OK);
  } catch (cause) {
    throw new EmbeddedPostgresError(
      `DATA_DIR ${folder} is not writable by user ${username}. ` +
        'Run as the user who made it, give that user the right to write, or choose another DATA_DIR.',
      { cause },
    );
  }
  return folder;
}

/**
 * Not mkdir's own `recursive`: it tries for ever where the parent is there and a folder can't be made in it all the
 * same, as in /proc.
 *
 * @returns false when it was there
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

/** Whether an initialised cluster lies there. */
export async function hasCluster(clusterDir: string): Promise<boolean> {
  try {
    if (await exists(join(clusterDir, 'PG_VERSION'))) return true;
  } catch (error) {
    if (codeOf(error) === 'EACCES') return true; // another user's, as only a cluster's folder is closed
    throw error;
  }
  const entries = await readdir(clusterDir).catch(() => []);
  if (entries.length === 0) return false;
  throw new EmbeddedPostgresError(
    `${clusterDir} holds files, but is no PostgreSQL cluster (PG_VERSION is missing). ` +
      'Restore it from a backup, or move it away to start with an empty bank.',
  );
}

/** Tells a file or folder from another one that takes its place; undefined when it is gone. */
export async function inodeOf(path: string): Promise<string | undefined> {
  try {
    const { dev, ino } = await stat(path, { bigint: true });
    return `${dev}:${ino}`;
  } catch (error) {
    if (codeOf(error) === 'ENOENT' || codeOf(error) === 'ENOTDIR') return undefined;
    throw error;
  }
}

/** The password of the superuser, which is kept beside the cluster. */
export async function readPassword(folder: string): Promise<string> {
  const file = join(folder, 'password');
  let text: string;
  try {
    text = (await readFile(file, 'utf8')).trim();
  } catch (cause) {
    throw new EmbeddedPostgresError(
      `${file}, with which the database in DATA_DIR is opened, cannot be read ` +
        `(${messageOf(cause)}). Restore it.`,
      { cause },
    );
  }
  if (text === '') throw new EmbeddedPostgresError(`${file} is empty. Restore it, or move DATA_DIR away.`);
  return text;
}

/**
 * For the holder of the claim. Makes the password unless there is one, and has it on the disk before a cluster depends
 * on it.
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

/** Has the names in a folder on the disk, as renames leave to the file system's leisure. */
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
