import { execFile } from 'node:child_process';
import { chown, mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { isAlive } from '../../../src/database/embedded/process-identity.js';
import { CHILD_ENVIRONMENT, idsOf, thisUser, type RunAs } from '../../../src/database/embedded/run-as.js';

const run = promisify(execFile);

/** `bank-<kind>-<process id>-<random>`: whose process is gone, that folder is nobody's. */
const PREFIX = 'bank-';

/** A new folder for a server's data, given to the user as whom the server runs; ours if not given. */
export async function makePrivateFolder(kind: string, runAs?: RunAs): Promise<string> {
  await removeLeftovers(kind);
  const folder = await mkdtemp(join(tmpdir(), `${PREFIX}${kind}-${process.pid}-`));
  if (runAs?.owner) await chown(folder, runAs.owner.uid, runAs.owner.gid);
  return folder;
}

export async function removeFolder(folder: string): Promise<void> {
  const remove = () => rm(folder, { recursive: true, force: true, maxRetries: 5 });
  try {
    await remove();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EBUSY') throw error;
    // A small disk is mounted there: a run that was killed left it.
    await run('umount', ['--lazy', folder]);
    await remove();
  }
}

/** A run that was killed leaves its folders behind; its servers ended by themselves. */
async function removeLeftovers(kind: string): Promise<void> {
  for (const name of await readdir(tmpdir())) {
    const pid = new RegExp(`^${PREFIX}${kind}-(\\d+)-`).exec(name)?.[1];
    if (pid === undefined || isAlive(Number(pid))) continue;
    await removeFolder(join(tmpdir(), name)).catch(() => undefined); // another user's
  }
}

/** Ourselves, or nobody where we are root: servers like these must not run as root. */
export async function unprivileged(): Promise<RunAs> {
  const { uid, username } = thisUser();
  if (uid !== 0) return { user: username, owner: undefined, ids: undefined, prefix: [] };
  const ids = idsOf(await readFile('/etc/passwd', 'utf8'), 'nobody') ?? { uid: 65_534, gid: 65_534 };
  return { user: 'nobody', owner: ids, ids, prefix: [] };
}

/** What a server sees of our environment. */
export function environmentIn(folder: string): NodeJS.ProcessEnv {
  return { ...CHILD_ENVIRONMENT, HOME: folder };
}
