import { readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { connectTo, DATABASE, tryOwnerLock } from './connection.js';
import { codeOf, EmbeddedPostgresError } from './errors.js';
import { isAlive, servesCluster } from './process-identity.js';

/** What a server notes about itself in its cluster. */
export interface PostmasterFile {
  readonly pid: number;
  /** Undefined while it has only begun to start. */
  readonly port: number | undefined;
}

const POLL_MS = 20;
/** Signals for a server that nobody owns, each with the time after which it is sent. */
const SIGNALS = [
  ['SIGINT', 0],
  ['SIGQUIT', 15_000],
  ['SIGKILL', 25_000],
] as const;
const OLD_SERVER_TIMEOUT_MS = 30_000;

export async function readPostmasterFile(clusterDir: string): Promise<PostmasterFile | undefined> {
  try {
    return parsePostmasterFile(await readFile(join(clusterDir, 'postmaster.pid'), 'utf8'));
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return undefined;
    throw error;
  }
}

/** Lines: pid, folder, start time, port, socket folder, address, shared memory, state. */
export function parsePostmasterFile(text: string): PostmasterFile | undefined {
  const lines = text.split('\n');
  const pid = Number.parseInt(lines[0] ?? '', 10);
  const port = Number.parseInt(lines[3] ?? '', 10);
  return pid > 0 ? { pid, port: port > 0 ? port : undefined } : undefined;
}

/**
 * Sees to it that no server runs on the cluster, for the holder of the folder's claim: one that a killed owner left
 * behind is asked to end, and waited for. A note whose process number now belongs to something else (after a reboot, in
 * a new container) is removed, because PostgreSQL itself would take that process for a server.
 *
 * @throws EmbeddedPostgresError when a server with another owner runs, or the old one does not end in time
 */
export async function endOldServer(clusterDir: string, password: string): Promise<void> {
  const startedAt = Date.now();
  const signals = [...SIGNALS];
  for (let seen: PostmasterFile | undefined; ;) {
    // A server removes its note shortly before it ends.
    const noted = (await readPostmasterFile(clusterDir)) ?? seen;
    if (!noted || !isAlive(noted.pid)) return;
    if (!(await servesCluster(noted.pid, clusterDir))) {
      await removeNote(clusterDir, noted.pid);
      return;
    }
    if (!seen) signal(noted.pid, 'SIGCONT'); // a stopped one can neither answer nor end
    if (!seen && noted.port !== undefined) await refuseOwned(clusterDir, noted.pid, noted.port, password);
    seen = noted;
    const waitedMs = Date.now() - startedAt;
    if (waitedMs > OLD_SERVER_TIMEOUT_MS) {
      throw new EmbeddedPostgresError(
        `An old PostgreSQL server (process ${noted.pid}) still runs on ${clusterDir} and does not end. ` +
          `End it: kill -9 ${noted.pid}`,
      );
    }
    if (signals[0] && waitedMs >= signals[0][1]) signal(noted.pid, signals.shift()?.[0] ?? 'SIGINT');
    await sleep(POLL_MS);
  }
}

/** The lock of an owner that was killed is gone at once; one that stays has an owner who made no claim that we see. */
async function refuseOwned(clusterDir: string, pid: number, port: number, password: string): Promise<void> {
  const OWNER_GONE_WITHIN_MS = 2_000;
  const deadline = Date.now() + OWNER_GONE_WITHIN_MS;
  for (;;) {
    const client = await connectTo({ port, password }, DATABASE).catch(() => undefined);
    if (!client) return; // it is ending or starting: nobody works with it
    try {
      if (await tryOwnerLock(client)) return;
    } catch {
      return;
    } finally {
      await client.end().catch(() => undefined);
    }
    if (Date.now() > deadline) {
      throw new EmbeddedPostgresError(
        `The PostgreSQL server on ${clusterDir} (process ${pid}) is in use by another running instance. ` +
          'Stop it, or choose another DATA_DIR.',
      );
    }
    await sleep(POLL_MS);
  }
}

function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
    process.kill(pid, 'SIGCONT');
  } catch (error) {
    if (codeOf(error) !== 'ESRCH') throw error;
  }
}

/** Only if it is still the note that was judged. */
async function removeNote(clusterDir: string, pid: number): Promise<void> {
  if ((await readPostmasterFile(clusterDir))?.pid === pid)
    await rm(join(clusterDir, 'postmaster.pid'), { force: true });
}
