import { spawn, type ChildProcess } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { freePort } from '@scalable-banking/embedded-postgres';

const MAIN = join(process.cwd(), 'dist/src/main.js');

/** The built service in a process of its own, as users run it. */
export interface ServiceProcess {
  readonly child: ChildProcess;
  readonly url: string;
  /** Everything that it has written so far. */
  output(): string;
  /** Resolves with the exit code, or the signal that ended it. */
  readonly exited: Promise<number | NodeJS.Signals | null>;
}

export interface ServiceSettings {
  readonly environment: Record<string, string>;
  /** The user to run it as; only for root. */
  readonly uid?: number;
  /** How long the service may take to become ready. */
  readonly startTimeoutMs?: number;
}

/** Starts the service on a free port, without waiting for it. */
export async function spawnService(settings: ServiceSettings): Promise<ServiceProcess> {
  if (!existsSync(MAIN)) throw new Error('dist/ is missing: run `npm run build` first');
  const port = settings.environment.PORT ?? String(await freePort());
  const child = spawn(process.execPath, [MAIN], {
    env: { PATH: process.env.PATH, HOME: tmpdir(), LOG_FORMAT: 'json', ...settings.environment, PORT: port },
    stdio: ['ignore', 'pipe', 'pipe'],
    ...(settings.uid !== undefined && { uid: settings.uid, gid: settings.uid }),
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', (data: Buffer) => (output += data.toString()));
  const exited = new Promise<number | NodeJS.Signals | null>((resolve) =>
    child.once('exit', (code, signal) => resolve(signal ?? code)),
  );
  return { child, url: `http://127.0.0.1:${port}`, output: () => output, exited };
}

/** Starts the service and waits until it is ready. */
export async function startService(settings: ServiceSettings): Promise<ServiceProcess> {
  const service = await spawnService(settings);
  try {
    await waitUntil(async () => {
      if (service.child.exitCode !== null) throw new Error('the service ended');
      return (await fetch(`${service.url}/health/ready`)).ok;
    }, settings.startTimeoutMs ?? 30_000);
    return service;
  } catch (error) {
    service.child.kill('SIGKILL');
    throw new Error(`the service did not become ready:\n${service.output()}`, { cause: error });
  }
}

export async function stopService(service: ServiceProcess): Promise<void> {
  service.child.kill('SIGTERM');
  await service.exited;
}

/** Most checks ask the service, which has to work for each answer. */
const POLL_MS = 50;

/** Repeats a check, which may throw network errors, until it returns true. */
export async function waitUntil(check: () => Promise<boolean>, timeoutMs: number): Promise<void> {
  const giveUpAt = performance.now() + timeoutMs;
  for (;;) {
    let problem: unknown;
    try {
      if (await check()) return;
    } catch (error) {
      // Not instanceof, because fetch throws the TypeError of another realm than jest's.
      if ((error as Error).name !== 'TypeError') throw error;
      problem = error;
    }
    if (performance.now() > giveUpAt)
      throw new Error('the condition did not hold in time', { cause: problem });
    await sleep(POLL_MS);
  }
}

/** A new data folder that a PostgreSQL under another user can reach. */
export function temporaryDataDir(): { path: string; remove(): void } {
  const path = mkdtempSync(join(tmpdir(), 'bank-data-'));
  return { path, remove: () => rmSync(path, { recursive: true, force: true }) };
}

/** The value of one sample of the metrics, labels included; NaN: there is none. */
export async function metric({ url }: { readonly url: string }, sample: string): Promise<number> {
  const text = await (await fetch(`${url}/metrics`)).text();
  const line = text.split('\n').find((each) => each.startsWith(`${sample} `));
  return Number(line?.slice(sample.length));
}
