import { execFile } from 'node:child_process';
import { chown, mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { CHILD_ENVIRONMENT, isAlive, type RunAs } from '@scalable-banking/embedded-postgres';

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

/** What a server sees of our environment. */
export function environmentIn(folder: string): NodeJS.ProcessEnv {
  return { ...CHILD_ENVIRONMENT, HOME: folder };
}
