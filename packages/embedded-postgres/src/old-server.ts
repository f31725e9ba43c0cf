import { readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Cluster } from './cluster.js';
import { connectTo, type ServerAddress, superuserUrl, tryOwnerLock } from './connection.js';
import { codeOf, EmbeddedPostgresError } from './errors.js';
import { isAlive, servesCluster } from './process-identity.js';

/** What a running server notes in its cluster. */
export interface PostmasterFile {
  readonly pid: number;
  /** Undefined while it has only begun to start. */
  readonly port: number | undefined;
}

const POLL_MS = 20;
const OWNER_GONE_WITHIN_MS = 2_000;
/** Signals for a server without an owner, each with the milliseconds after which it is sent. */
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
 * Makes sure that no server runs on the cluster: stops one that a killed owner left behind, and waits for its end.
 * Removes a postmaster.pid whose process id now belongs to another program (after a reboot, in a new container),
 * because PostgreSQL would mistake that program for a server. Only the holder of the folder's claim may call it.
 *
 * @throws EmbeddedPostgresError when a server with another owner runs, or the old one does not end in time
 */
export async function endOldServer(cluster: Cluster): Promise<void> {
  const startedAt = Date.now();
  const signals = [...SIGNALS];
  for (let seen: PostmasterFile | undefined; ;) {
    // A server removes its file shortly before it ends.
    const noted = (await readPostmasterFile(cluster.dir)) ?? seen;
    if (!noted || !isAlive(noted.pid)) return;
    if (!(await servesCluster(noted.pid, cluster.dir))) {
      await removePostmasterFile(cluster.dir, noted.pid);
      return;
    }
    if (!seen) signal(noted.pid, 'SIGCONT'); // a stopped one can neither answer nor end
    if (!seen && noted.port !== undefined) {
      await refuseOwned(cluster.dir, noted.pid, { ...cluster, port: noted.port });
    }
    seen = noted;
    const waitedMs = Date.now() - startedAt;
    if (waitedMs > OLD_SERVER_TIMEOUT_MS) {
      throw new EmbeddedPostgresError(
        `An old PostgreSQL server (process ${noted.pid}) still runs on ${cluster.dir} and does not end. ` +
          `End it: kill -9 ${noted.pid}`,
      );
    }
    if (signals[0] && waitedMs >= signals[0][1]) signal(noted.pid, signals.shift()?.[0] ?? 'SIGINT');
    await sleep(POLL_MS);
  }
}

/** A killed owner's lock disappears at once. If it stays, its owner is alive, although we can't see the claim. */
async function refuseOwned(clusterDir: string, pid: number, address: ServerAddress): Promise<void> {
  const deadline = Date.now() + OWNER_GONE_WITHIN_MS;
  for (;;) {
    const client = await connectTo(superuserUrl(address)).catch(() => undefined);
    if (!client) return; // it is ending or starting: nobody uses it
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
          'Stop it, or choose another folder.',
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

/** Only if it still names the process that was inspected. */
async function removePostmasterFile(clusterDir: string, pid: number): Promise<void> {
  if ((await readPostmasterFile(clusterDir))?.pid !== pid) return;
  await rm(join(clusterDir, 'postmaster.pid'), { force: true });
}
