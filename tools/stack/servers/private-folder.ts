import { execFile } from 'node:child_process';
import { chown, mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { CHILD_ENVIRONMENT, isAlive, type RunAs } from '@scalable-banking/embedded-postgres';

const run = promisify(execFile);

/** `bank-<kind>-<process id>-<random>`: a folder whose process is gone is a leftover. */
const PREFIX = 'bank-';

/** A new folder for a server's data, owned by the user that the server runs as; undefined: the current user. */
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
    // A killed run has left a small disk mounted there.
    await run('umount', ['--lazy', folder]);
    await remove();
  }
}

/** A killed run leaves its folders behind, although its servers end by themselves. */
async function removeLeftovers(kind: string): Promise<void> {
  for (const name of await readdir(tmpdir())) {
    const pid = new RegExp(`^${PREFIX}${kind}-(\\d+)-`).exec(name)?.[1];
    if (pid === undefined || isAlive(Number(pid))) continue;
    await removeFolder(join(tmpdir(), name)).catch(() => undefined); // another user's
  }
}

/** The environment of a server. */
export function environmentIn(folder: string): NodeJS.ProcessEnv {
  return { ...CHILD_ENVIRONMENT, HOME: folder };
}
