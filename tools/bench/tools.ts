import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { globSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { freePort } from '@scalable-banking/embedded-postgres';
import { Client } from 'pg';

const run = promisify(execFile);

/** Uncompiled sources (wrk's scripts) are in tools/bench/ of the checkout; this file runs from dist/tools/bench/. */
const BENCH_FOLDER = fileURLToPath(new URL('../../../tools/bench/', import.meta.url));
const DIST_FOLDER = fileURLToPath(new URL('../../', import.meta.url));

/** A range of account ids from first to last, in steps. */
export interface Accounts {
  readonly first: number;
  readonly last: number;
  readonly step?: number;
}

/** Items per request to the batch endpoint; wrk/batch.lua has the same number. */
export const BATCH_ITEMS = 1_000;

/** What a load achieved. Each item of a batch counts as a request. */
export interface Load {
  readonly perSecond: number;
  readonly requests: number;
}

/** pgbench: one transaction per commit, without HTTP. @returns also each transaction's latency, in milliseconds */
export async function pgbench(
  url: string,
  clients: number,
  seconds: number,
  { first, last }: Accounts,
): Promise<Load & { readonly latencies: readonly number[] }> {
  const folder = mkdtempSync(join(tmpdir(), 'bank-pgbench-'));
  try {
    const { stdout } = await run(
      findPgbench(),
      [
        ...['--no-vacuum', '--log', '-f', `${BENCH_FOLDER}conventional.sql`],
        ...['-c', String(clients), '-j', String(Math.min(2, clients)), '-T', String(seconds)],
        ...['-D', `first=${first}`, '-D', `last=${last}`, url],
      ],
      { cwd: folder },
    );
    // One line per transaction; its third number is the latency in microseconds.
    const latencies = readdirSync(folder).flatMap((name) =>
      Array.from(
        readFileSync(join(folder, name), 'utf8').matchAll(/^\d+ \d+ (\d+) /gm),
        ([, microseconds]) => Number(microseconds) / 1_000,
      ),
    );
    return { perSecond: numberIn(stdout, /tps = ([\d.]+)/), requests: latencies.length, latencies };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

export interface WrkRun {
  readonly url: string;
  readonly script: 'post.lua' | 'get.lua' | 'batch.lua' | 'path.lua' | 'transfer.lua' | 'hold.lua';
  readonly seconds: number;
  readonly accounts: Accounts;
  /** Default 256. */
  readonly connections?: number;
  /** For path.lua: the requested path. */
  readonly path?: string;
  /** The credential of each request (of post.lua, get.lua and batch.lua). */
  readonly credential?: string;
  /** For post.lua: a preference (RFC 7240). */
  readonly prefer?: string;
  /** For transfer.lua: the account from which all money comes, or to which it goes. */
  readonly from?: number;
  readonly to?: number;
  /** For transfer.lua: always to the other one of two shards. */
  readonly across?: boolean;
}

/** wrk, a closed loop. @throws when any answer was not a 2xx */
export async function wrk(options: WrkRun): Promise<Load> {
  const { unserved, ...load } = await anyWrk(options);
  if (unserved !== undefined) throw new Error(`not every request was served: ${unserved}`);
  return load;
}

/** wrk, a closed loop. @returns also how many answers were not a 2xx, as wrk counts them */
export async function anyWrk({
  url,
  script,
  seconds,
  accounts,
  connections = 256,
  path,
  credential,
  prefer,
  from,
  to,
  across = false,
}: WrkRun): Promise<Load & { readonly unserved: string | undefined }> {
  const args = [
    ...[`-t${Math.min(2, connections)}`, `-c${connections}`, `-d${seconds}s`, '--timeout', '20s'],
    ...['-s', `${BENCH_FOLDER}wrk/${script}`, url, '--'],
    ...(path === undefined
      ? [
          ...[accounts.first, accounts.last, accounts.step ?? 1].map(String),
          `${process.pid}-${performance.now()}`,
        ]
      : [path]),
  ];
  const authorization = credential === undefined ? {} : { BENCH_AUTHORIZATION: `Bearer ${credential}` };
  const ends = {
    ...(prefer !== undefined && { BENCH_PREFER: prefer }),
    ...(from !== undefined && { BENCH_FROM: String(from) }),
    ...(to !== undefined && { BENCH_TO: String(to) }),
    ...(across && { BENCH_ACROSS: '1' }),
  };
  const { stdout } = await run('wrk', args, { env: { ...process.env, ...authorization, ...ends } });
  const items = script === 'batch.lua' ? BATCH_ITEMS : 1;
  return {
    perSecond: items * numberIn(stdout, /Requests\/sec:\s+([\d.]+)/),
    requests: items * numberIn(stdout, /(\d+) requests in/),
    unserved: /^ *((?:Non-2xx|Socket errors).*)$/m.exec(stdout)?.[1],
  };
}

export interface RunningServer {
  readonly url: string;
  readonly pid: number;
  stop(): Promise<void>;
}

/**
 * Starts a compiled program on a free port and waits until it answers.
 *
 * @param build its dist/ folder; default: this build's
 */
export async function startServer(
  program: string,
  environment: Record<string, string> = {},
  build = DIST_FOLDER,
): Promise<RunningServer> {
  const port = await freePort();
  const url = `http://127.0.0.1:${port}`;
  const child = spawn(process.execPath, [...startFlags(build), join(build, program)], {
    env: {
      ...process.env,
      AUTH: 'off',
      PORT: String(port),
      LOG_LEVEL: 'warn',
      SLOW_REQUEST_MS: '60000',
      ...environment,
    },
    stdio: ['ignore', 'inherit', 'inherit'],
  });
  for (let tries = 0; ; tries++) {
    try {
      await fetch(url);
      return { url, pid: child.pid ?? 0, stop: () => stop(child) };
    } catch (error) {
      if (tries > 300 || child.exitCode !== null) throw error;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }
}

/** Seeds the bank of a build with its own command, in the schema of its release. */
export async function seed(environment: Record<string, string>, build = DIST_FOLDER): Promise<void> {
  const command = [join(build, 'src/cli.js'), 'seed', '--accounts', '10000', '--balance', '1000.00'];
  await run(process.execPath, command, { env: { ...process.env, ...environment } });
}

/** V8's flags in a build's `npm start`. */
function startFlags(build: string): string[] {
  const { scripts } = JSON.parse(readFileSync(join(build, '../package.json'), 'utf8')) as {
    scripts: { start: string };
  };
  return scripts.start.split(' ').filter((word) => /^--(max|heap)-/.test(word));
}

/** Runs work against a service of its own. */
export async function withService<T>(
  environment: Record<string, string>,
  work: (service: RunningServer) => Promise<T>,
  build?: string,
): Promise<T> {
  const service = await startServer('src/main.js', environment, build);
  try {
    return await work(service);
  } finally {
    await service.stop();
  }
}

/** Resident memory of a process, in MiB, now and at its peak; from Linux's /proc. */
export function residentMebibytes(pid: number): { readonly now: number; readonly peak: number } {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  return {
    now: numberIn(status, /VmRSS:\s+(\d+) kB/) / 1024,
    peak: numberIn(status, /VmHWM:\s+(\d+) kB/) / 1024,
  };
}

/**
 * Processor time used by a process and its children, including those that have ended, in seconds; from Linux's /proc,
 * where a tick is a hundredth of a second.
 */
export function processorSeconds(pid: number): number {
  const [, ...own] = statOf(pid);
  const children = readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map((name) => statOf(Number(name)))
    .filter(([parent]) => parent === pid);
  const ticks = [...own, ...children.flatMap(([, ...times]) => times)];
  return ticks.reduce((sum, each) => sum + each, 0) / 100;
}

/** The process that started all other processes of a PostgreSQL server. */
export function postmasterOf(url: string): Promise<number> {
  return withClient(url, async (client) => {
    const { rows } = await client.query<{ pid: number }>('SELECT pg_backend_pid() AS pid');
    return statOf(rows[0]?.pid ?? 0)[0] ?? 0;
  });
}

export async function withClient<T>(url: string, work: (client: Client) => Promise<T>): Promise<T> {
  const client = new Client({ connectionString: url });
  await client.connect();
  try {
    return await work(client);
  } finally {
    await client.end();
  }
}

/** The parent, and the ticks of the process itself and of its ended children, in user and in kernel mode. */
function statOf(pid: number): number[] {
  try {
    // The second field, a name in parentheses, may contain anything.
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8')
      .replace(/^.*\) /s, '')
      .split(' ')
      .map(Number);
    return [1, 11, 12, 13, 14].map((place) => fields[place] ?? 0);
  } catch {
    return []; // it has just ended
  }
}

async function stop(child: ChildProcess): Promise<void> {
  const exited = new Promise((resolve) => child.once('exit', resolve));
  child.kill('SIGTERM');
  await exited;
}

function findPgbench(): string {
  return globSync('/usr/lib/postgresql/*/bin/pgbench').sort().at(-1) ?? 'pgbench';
}

function numberIn(text: string, pattern: RegExp): number {
  const found = pattern.exec(text)?.[1];
  if (found === undefined) throw new Error(`no figure in:\n${text}`);
  return Number(found);
}
