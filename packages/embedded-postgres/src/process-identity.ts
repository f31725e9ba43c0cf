import { execFile } from 'node:child_process';
import { readFile, readlink, stat } from 'node:fs/promises';
import { promisify } from 'node:util';
import { codeOf } from './errors.js';

const run = promisify(execFile);

/** Names the scope of process ids: this boot of the machine and this container. Letters and digits only. */
export async function processSpace(): Promise<string> {
  if (process.platform !== 'linux') return 'host';
  try {
    const boot = await readFile('/proc/sys/kernel/random/boot_id', 'utf8');
    return `${boot.slice(0, 8)}n${(await readlink('/proc/self/ns/pid')).replaceAll(/\D/g, '')}`;
  } catch {
    return 'host';
  }
}

/**
 * When a process started, to tell it from a later one with the same id. Letters and digits only.
 *
 * @returns undefined when there is no such process; 'unknown' when it can't be inspected
 */
export async function identityOf(pid: number): Promise<string | undefined> {
  if (!isAlive(pid)) return undefined;
  if (process.platform !== 'linux') {
    const began = await ps(pid, 'lstart');
    return began === '' ? 'unknown' : began.replaceAll(/[^A-Za-z0-9]/g, '');
  }
  try {
    return beginningFromStat(await readFile(`/proc/${pid}/stat`, 'utf8'));
  } catch {
    return isAlive(pid) ? 'unknown' : undefined;
  }
}

/** @returns undefined for a zombie, which has ended and only waits for its parent to notice */
export function beginningFromStat(stat: string): string | undefined {
  // The second field, the program's name in brackets, may itself contain spaces and brackets.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const [state, began] = [fields[0], fields[19]];
  if (state === 'Z' || state === 'X') return undefined;
  return began;
}

export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return codeOf(error) === 'EPERM'; // it exists, but belongs to another user
  }
}

/**
 * Whether a process is the PostgreSQL server of this cluster. A server's working directory is its cluster, which Linux
 * shows to the same user, and to root if it may trace; otherwise the command line names the folder.
 */
export async function servesCluster(pid: number, clusterDir: string): Promise<boolean> {
  if (process.platform !== 'linux') return (await ps(pid, 'command')).includes(`-D ${clusterDir} `);
  try {
    if ((await readFile(`/proc/${pid}/comm`, 'utf8')).trim() !== 'postgres') return false;
    return await worksIn(pid, clusterDir);
  } catch (error) {
    if (codeOf(error) === 'ENOENT' || codeOf(error) === 'ESRCH') return false; // it has just ended
    throw error;
  }
}

async function worksIn(pid: number, clusterDir: string): Promise<boolean> {
  try {
    const cwd = await stat(`/proc/${pid}/cwd`, { bigint: true });
    const cluster = await stat(clusterDir, { bigint: true });
    return cwd.dev === cluster.dev && cwd.ino === cluster.ino;
  } catch (error) {
    if (codeOf(error) !== 'EACCES' && codeOf(error) !== 'EPERM') throw error;
    return (await readFile(`/proc/${pid}/cmdline`, 'utf8')).includes(`\0-D\0${clusterDir}\0`);
  }
}

async function ps(pid: number, column: string): Promise<string> {
  try {
    const { stdout } = await run('/bin/ps', ['-ww', '-o', `${column}=`, '-p', String(pid)], {
      env: { LC_ALL: 'C' },
    });
    return stdout.trim();
  } catch {
    return '';
  }
}
