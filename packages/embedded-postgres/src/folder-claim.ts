import { randomBytes } from 'node:crypto';
import { readdir, readFile, rename, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { codeOf } from './errors.js';
import { identityOf, processSpace } from './process-identity.js';

/** Who uses a data folder. */
export interface FolderHolder {
  readonly pid: number;
  /** What it is ("service", "import"); undefined while it is still starting. */
  readonly holder: string | undefined;
}

export interface FolderClaim {
  /** Gives up the folder. Safe to call again. */
  release(): Promise<void>;
}

interface OwnerFile {
  readonly pid: number;
  readonly holder: string;
  readonly startedAt: string;
  /** The claim that this owner made. */
  readonly claim: string;
}

interface Claim {
  readonly name: string;
  readonly pid: number;
  readonly space: string;
  readonly identity: string;
}

const UNDECIDED_LIMIT_MS = 10_000;
const POLL_MS = 10;
/** How often a claim's file is touched, and how long after the last touch a claim of another container is dead. */
const BEAT_MS = 1_000;
const SILENT_AFTER_MS = 5_000;

/**
 * Makes this process the only one that may run a server on the folder, or says which process already is.
 *
 * Node has no file lock that the kernel releases with the process. So every candidate first puts a file of its own into
 * the folder and then looks for others: the later of two always sees the earlier, so two never both find themselves
 * alone. If both see each other, the lesser name waits until the other has given way. A file whose process is gone is
 * ignored, and any candidate may remove it. Processes in other containers are invisible: their files must keep being
 * touched.
 */
export async function claimFolder(dataDir: string, holder: string): Promise<FolderClaim | FolderHolder> {
  const identity = (await identityOf(process.pid)) ?? 'unknown';
  const name = ['claim', process.pid, await processSpace(), identity, randomBytes(6).toString('hex')].join(
    '.',
  );
  const file = join(dataDir, name);
  await writeFile(file, '', { flag: 'wx', mode: 0o600 });
  const beat = setInterval(
    () => void utimes(file, new Date(), new Date()).catch(() => undefined),
    BEAT_MS,
  ).unref();
  let won = false;
  try {
    const rival = await strongestRival(dataDir, name);
    if (rival) return rival;
    await writeOwner(dataDir, { pid: process.pid, holder, startedAt: new Date().toISOString(), claim: name });
    won = true;
  } finally {
    if (!won) {
      clearInterval(beat);
      await rm(file, { force: true });
    }
  }
  const release = async () => {
    clearInterval(beat);
    if ((await readOwner(dataDir))?.claim === name) await rm(join(dataDir, 'owner.json'), { force: true });
    await rm(file, { force: true });
  };
  return { release };
}

export function isClaim(result: FolderClaim | FolderHolder): result is FolderClaim {
  return 'release' in result;
}

/** @returns undefined when the folder is ours; bounded by UNDECIDED_LIMIT_MS */
async function strongestRival(dataDir: string, mine: string): Promise<FolderHolder | undefined> {
  const deadline = Date.now() + UNDECIDED_LIMIT_MS;
  for (;;) {
    const [rival, ...more] = await liveRivals(dataDir, mine);
    if (!rival) return undefined;
    const owner = await readOwner(dataDir);
    if ([rival, ...more].some(({ name }) => name === owner?.claim)) return owner;
    const outranked = [rival, ...more].some(({ name }) => name < mine);
    if (outranked || Date.now() > deadline) return { pid: rival.pid, holder: undefined };
    await sleep(POLL_MS);
  }
}

async function liveRivals(dataDir: string, mine: string): Promise<Claim[]> {
  const space = await processSpace();
  const rivals: Claim[] = [];
  for (const name of await readdir(dataDir)) {
    const claim = parseClaim(name);
    if (!claim || name === mine) continue;
    const file = join(dataDir, name);
    if (claim.space === space ? await isRunning(claim) : await isTouched(file)) rivals.push(claim);
    else await rm(file, { force: true });
  }
  return rivals;
}

async function isRunning(claim: Claim): Promise<boolean> {
  const identity = await identityOf(claim.pid);
  if (identity === undefined) return false;
  return identity === claim.identity || identity === 'unknown' || claim.identity === 'unknown';
}

/** Waits until the file is touched again, or has not been touched for SILENT_AFTER_MS. */
async function isTouched(file: string): Promise<boolean> {
  const deadline = Date.now() + SILENT_AFTER_MS;
  try {
    const { mtimeMs: first } = await stat(file);
    while (Date.now() < Math.min(deadline, first + SILENT_AFTER_MS)) {
      await sleep(BEAT_MS / 10);
      if ((await stat(file)).mtimeMs !== first) return true;
    }
  } catch (error) {
    if (codeOf(error) !== 'ENOENT') throw error;
  }
  return false;
}

export function parseClaim(name: string): Claim | undefined {
  const match = /^claim\.(\d+)\.(\w+)\.(\w+)\.[0-9a-f]+$/.exec(name);
  if (!match) return undefined;
  const [, pid = '', space = '', identity = ''] = match;
  return { name, pid: Number(pid), space, identity };
}

async function readOwner(dataDir: string): Promise<OwnerFile | undefined> {
  try {
    return JSON.parse(await readFile(join(dataDir, 'owner.json'), 'utf8')) as OwnerFile;
  } catch (error) {
    // It is only used in messages: one that can't be parsed is treated as missing.
    if (codeOf(error) === 'ENOENT' || error instanceof SyntaxError) return undefined;
    throw error;
  }
}

async function writeOwner(dataDir: string, owner: OwnerFile): Promise<void> {
  const draft = join(dataDir, `owner.json.${process.pid}`);
  await writeFile(draft, `${JSON.stringify(owner, null, 2)}\n`, { mode: 0o644 });
  await rename(draft, join(dataDir, 'owner.json'));
}
