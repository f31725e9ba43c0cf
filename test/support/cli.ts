import { spawn, type ChildProcess } from 'node:child_process';
import { existsSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export interface CliRun {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Tests run hundreds of commands: a cache lets V8 compile the code only once. */
const COMPILE_CACHE = join(process.cwd(), 'dist/.compile-cache');

interface Started {
  readonly child: ChildProcess;
  readonly ended: Promise<CliRun>;
  output(): Omit<CliRun, 'code'>;
}

/**
 * Starts the built command line in a process of its own.
 *
 * @param uid the user and group id to run it as; only for root
 */
export const startCli = (
  args: readonly string[],
  environment: Readonly<Record<string, string>>,
  uid?: number,
): Started => startProgram('src/cli.js', args, environment, uid);

/** Starts a file of dist/. See {@link startCli}. */
export function startProgram(
  file: string,
  args: readonly string[],
  environment: Readonly<Record<string, string>>,
  uid?: number,
): Started {
  const path = join(process.cwd(), 'dist', file);
  if (!existsSync(path)) throw new Error('dist/ is missing: run `npm run build` first');
  const child = spawn(process.execPath, [path, ...args], {
    env: { PATH: process.env.PATH, HOME: tmpdir(), NODE_COMPILE_CACHE: COMPILE_CACHE, ...environment },
    stdio: ['ignore', 'pipe', 'pipe'],
    ...(uid !== undefined && { uid, gid: uid }),
  });
  const output = { stdout: '', stderr: '' };
  child.stdout.on('data', (data: Buffer) => (output.stdout += data.toString()));
  child.stderr.on('data', (data: Buffer) => (output.stderr += data.toString()));
  const ended = new Promise<CliRun>((resolve) => child.once('close', (code) => resolve({ code, ...output })));
  return { child, ended, output: () => output };
}
