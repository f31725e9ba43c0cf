import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile, stat } from 'node:fs/promises';
import { userInfo } from 'node:os';
import { dirname, join } from 'node:path';
import type { PostgresBinaries } from './binaries.js';
import { EmbeddedPostgresError, messageOf } from './errors.js';

/** The user that a program runs as, and how to start it as that user. */
export interface RunAs {
  readonly user: string;
  /** The required owner of the program's files; undefined when it runs as this process's own user. */
  readonly owner: Ids | undefined;
  /** For `spawn`. */
  readonly ids: Ids | undefined;
  /** A command in front of the program that switches the user itself. */
  readonly prefix: readonly string[];
}

interface Ids {
  readonly uid: number;
  readonly gid: number;
}

/**
 * All that a server sees of our environment: PGDATA, PGOPTIONS and the like from the user's shell must not reach it.
 */
export const CHILD_ENVIRONMENT = {
  PATH: process.env['PATH'] ?? '/usr/sbin:/usr/bin:/sbin:/bin',
  HOME: '/',
  LC_ALL: 'C',
};

const PROBE_TIMEOUT_MS = 10_000;
/** Exits with 11 if the user can't enter the folder, with 12 if it can't run PostgreSQL. */
const PROBE = 'cd "$1" || exit 11; "$2" --version || exit 12; test -r "$3" || exit 12';

/**
 * Chooses the user: our own; under root the owner of the cluster, or nobody for a new cluster.
 *
 * @param clusterDir undefined when there is no cluster yet
 * @throws EmbeddedPostgresError when that user can't reach both the programs and the folder, or another user owns the
 *   cluster
 */
export async function chooseRunAs(
  binaries: PostgresBinaries,
  dataDir: string,
  clusterDir: string | undefined,
): Promise<RunAs> {
  const owner = clusterDir === undefined ? undefined : await ownerOf(clusterDir);
  const candidates =
    process.getuid?.() === 0 ? await rootsChoices(owner, dataDir) : [ourselves(owner, dataDir)];
  let first: Probe | undefined;
  for (const runAs of candidates) {
    const result = await probe(runAs, binaries, dataDir);
    if (result.code === 0) return runAs;
    first ??= result;
  }
  throw unreachable(first, candidates[0]?.user ?? '', binaries, dataDir);
}

function ourselves(owner: Ids | undefined, dataDir: string): RunAs {
  const { uid, username } = thisUser();
  if (owner && owner.uid !== uid) {
    throw new EmbeddedPostgresError(
      `The data folder ${dataDir} holds a database of the user with id ${owner.uid}, and this is user ${username}. ` +
        'Run as that user or as root, or choose another folder.',
    );
  }
  return asUser(username);
}

/** Our own user, or nobody under root: for servers that refuse to run as root, or should not. */
export async function unprivileged(): Promise<RunAs> {
  const { uid, username } = thisUser();
  return uid === 0 ? asUser('nobody', nobodyIn(await readPasswd())) : asUser(username);
}

/** @param ids undefined for our own user */
function asUser(user: string, ids?: Ids): RunAs {
  return { user, owner: ids, ids, prefix: [] };
}

async function rootsChoices(owner: Ids | undefined, dataDir: string): Promise<RunAs[]> {
  if (owner?.uid === 0) {
    throw new EmbeddedPostgresError(
      `The database in ${dataDir} belongs to root, and PostgreSQL refuses to run as root. ` +
        `Give it back to its former owner, e.g.: chown -R nobody ${join(dataDir, 'postgres')}`,
    );
  }
  const passwd = await readPasswd();
  const ids = owner ?? nobodyIn(passwd);
  const user = nameOf(passwd, ids.uid) ?? `with id ${ids.uid}`;
  // Folders above the programs or the data may be closed to all but root (/root, mktemp -d). PostgreSQL then needs a
  // capability to pass through them: dac_read_search suffices, but a container often has only the stronger
  // dac_override. access(2), which initdb calls, respects either only with no_setuid_fixup.
  const passing = ['dac_read_search', 'dac_override'].map((right) => [
    ...['setpriv', '--reuid', String(ids.uid), '--regid', String(ids.gid), '--clear-groups'],
    ...['--inh-caps', `+${right}`, '--ambient-caps', `+${right}`, '--securebits', '+no_setuid_fixup'],
  ]);
  return [asUser(user, ids), ...passing.map((prefix) => ({ user, owner: ids, ids: undefined, prefix }))];
}

interface Probe {
  readonly code: number | null;
  readonly output: string;
}

async function probe(runAs: RunAs, binaries: PostgresBinaries, dataDir: string): Promise<Probe> {
  const bootstrapFile = join(dirname(dirname(binaries.postgres)), 'share/postgresql/postgres.bki');
  const [program = '', ...args] = [
    ...runAs.prefix,
    ...['/bin/sh', '-c', PROBE, 'sh', dataDir, binaries.postgres, bootstrapFile],
  ];
  try {
    const child = spawn(program, args, {
      ...runAs.ids,
      cwd: '/',
      env: CHILD_ENVIRONMENT,
      stdio: ['ignore', 'ignore', 'pipe'],
      timeout: PROBE_TIMEOUT_MS,
    });
    let output = '';
    child.stderr.setEncoding('utf8').on('data', (text: string) => (output += text));
    const [code] = (await once(child, 'close')) as [number | null];
    return { code, output: output.trim() };
  } catch (error) {
    return { code: null, output: messageOf(error) }; // no setpriv, or no right to switch the user
  }
}

function unreachable(
  first: Probe | undefined,
  user: string,
  binaries: PostgresBinaries,
  dataDir: string,
): EmbeddedPostgresError {
  const [what, remedy] =
    first?.code === 11
      ? [`enter the data folder ${dataDir}`, 'Choose another one below folders that everyone may enter']
      : first?.code === null
        ? ['be switched to', 'Start as that user, or any other than root']
        : [`run ${binaries.postgres}`, 'Install the packages below folders that everyone may enter'];
  const detail = first?.output ? ` (${first.output.split('\n').at(-1)})` : '';
  return new EmbeddedPostgresError(
    `The embedded PostgreSQL cannot start: the user ${user}, which it runs as, cannot ${what}${detail}. ` +
      `${remedy}, or use a PostgreSQL server of your own.`,
  );
}

async function ownerOf(path: string): Promise<Ids> {
  const { uid, gid } = await stat(path);
  return { uid, gid };
}

function readPasswd(): Promise<string> {
  return readFile('/etc/passwd', 'utf8').catch(() => '');
}

function nobodyIn(passwd: string): Ids {
  return idsOf(passwd, 'nobody') ?? { uid: 65_534, gid: 65_534 };
}

/** A user's ids in the text of /etc/passwd (`name:password:uid:gid:…`). */
export function idsOf(passwd: string, name: string): Ids | undefined {
  const [, , uid, gid] = passwdLine(passwd, (fields) => fields[0] === name) ?? [];
  if (uid === undefined || gid === undefined) return undefined;
  // macOS writes nobody's ids as -2.
  return { uid: Number(uid) >>> 0, gid: Number(gid) >>> 0 };
}

function nameOf(passwd: string, uid: number): string | undefined {
  return passwdLine(passwd, (fields) => fields[2] === String(uid))?.[0];
}

function passwdLine(passwd: string, matches: (fields: string[]) => boolean): string[] | undefined {
  return passwd
    .split('\n')
    .map((line) => line.split(':'))
    .find(matches);
}

/** A container may run under a user id that has no name. */
export function thisUser(): { uid: number; username: string } {
  const uid = process.getuid?.() ?? -1;
  try {
    return { uid, username: userInfo().username };
  } catch {
    return { uid, username: `with id ${uid}` };
  }
}
