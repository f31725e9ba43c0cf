import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { freePort } from '../src/database/embedded/start-server.js';

const run = promisify(execFile);

/** Sources that are not compiled (wrk's scripts) lie in bench/ of the checkout; this file runs from dist/bench/. */
export const BENCH_FOLDER = fileURLToPath(new URL('../../bench/', import.meta.url));
const DIST_FOLDER = fileURLToPath(new URL('../', import.meta.url));

/** A range of account ids: first … last, each or only every so many. */
export interface Accounts {
  readonly first: number;
  readonly last: number;
  readonly step?: number;
}

/** Transactions per second of pgbench: one transaction per commit, no HTTP. */
export async function pgbench(
  url: string,
  clients: number,
  seconds: number,
  accounts: Accounts,
): Promise<number> {
  const script = `${BENCH_FOLDER}conventional.sql`;
  const { stdout } = await run(findPgbench(), [
    ...[
      '--no-vacuum',
      '-f',
      script,
      '-c',
      String(clients),
      '-j',
      String(Math.min(2, clients)),
      '-T',
      String(seconds),
    ],
    ...['-D', `first=${accounts.first}`, '-D', `last=${accounts.last}`, url],
  ]);
  return numberIn(stdout, /tps = ([\d.]+)/);
}

/** Requests per second of wrk with 256 connections; fails if any answer was not a 2xx. */
export async function wrk(
  url: string,
  script: 'post.lua' | 'get.lua',
  seconds: number,
  accounts: Accounts,
): Promise<number> {
  const { stdout } = await run('wrk', [
    ...['-t2', '-c256', `-d${seconds}s`, '--timeout', '10s', '-s', `${BENCH_FOLDER}${script}`, url, '--'],
    ...[accounts.first, accounts.last, accounts.step ?? 1].map(String),
    `${process.pid}-${performance.now()}`,
  ]);
  if (/Non-2xx|Socket errors/.test(stdout)) throw new Error(`not every request was served:\n${stdout}`);
  return numberIn(stdout, /Requests\/sec:\s+([\d.]+)/);
}

/** Starts a compiled program on a free port and waits until it answers. */
export async function startServer(
  program: string,
  environment: Record<string, string> = {},
): Promise<{ url: string; pid: number; stop(): Promise<void> }> {
  const port = await freePort();
  const url = `http://127.0.0.1:${port}`;
  const child = spawn(process.execPath, [`${DIST_FOLDER}${program}`], {
    env: { ...process.env, PORT: String(port), LOG_LEVEL: 'warn', SLOW_REQUEST_MS: '60000', ...environment },
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

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? NaN;
}

async function stop(child: ChildProcess): Promise<void> {
  const exited = new Promise((resolve) => child.once('exit', resolve));
  child.kill('SIGTERM');
  await exited;
}

function findPgbench(): string {
  const folder = '/usr/lib/postgresql';
  const versions = existsSync(folder) ? readdirSync(folder) : [];
  const found = versions
    .map((version) => `${folder}/${version}/bin/pgbench`)
    .filter((path) => existsSync(path));
  return found.at(-1) ?? 'pgbench';
}

function numberIn(text: string, pattern: RegExp): number {
  const found = pattern.exec(text)?.[1];
  if (found === undefined) throw new Error(`no figure in:\n${text}`);
  return Number(found);
}
