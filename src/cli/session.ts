import 'reflect-metadata';
import type { Logger } from 'pino';
import type { Control } from '../admin/control.js';
import type { Bank } from '../app/open-databases.js';
import type { Config } from '../config/config.js';
import type { ShardAddress } from '../config/shard-address.js';
import { InterruptedError } from './interrupted.js';
import { createProgress } from './progress.js';

export interface Session {
  readonly config: Config;
  readonly logger: Logger;
  /** Aborted by SIGINT and SIGTERM, with an InterruptedError. */
  readonly signal: AbortSignal;
}

/** Runs a command on the bank, after opening it and migrating its schema. */
export async function withBank(
  command: string,
  work: (session: Session & { readonly bank: Bank }) => Promise<void>,
): Promise<void> {
  const { openDatabases } = await import('../app/open-databases.js');
  await withOpened(command, openDatabases, (bank, session) => work({ ...session, bank }));
}

/** Runs a command on single shards, whether or not the others are up. */
export async function withServers(
  command: string,
  work: (session: Session & { readonly shards: readonly ShardAddress[] }) => Promise<void>,
): Promise<void> {
  const { openServers } = await import('../app/open-databases.js');
  await withOpened(command, openServers, ({ shards }, session) => work({ ...session, shards }));
}

/** Loads what a command needs only now: showing help or rejecting a command line needs none of it. */
async function withOpened<T extends { close(): Promise<void> }>(
  command: string,
  open: (config: Config, logger: Logger, options: { holder: string; shareRunning: true }) => Promise<T>,
  work: (opened: T, session: Session) => Promise<void>,
): Promise<void> {
  const { config, logger } = await readSettings();
  const opened = await open(config, logger, { holder: `cli ${command}`, shareRunning: true });
  try {
    await work(opened, { config, logger, signal: onInterrupt() });
  } finally {
    await opened.close();
  }
}

/** Warns of variables without effect: if DATABASE_URL is misspelt, a command works on the wrong bank. */
export async function readSettings(): Promise<Pick<Session, 'config' | 'logger'>> {
  const [{ loadConfig }, { variableWarnings }] = await Promise.all([
    import('../config/config.js'),
    import('../config/former-variables.js'),
  ]);
  const config = loadConfig(undefined, { LOG_LEVEL: 'warn' });
  const logger = await createCliLogger(config);
  for (const warning of variableWarnings(config)) logger.warn(warning);
  return { config, logger };
}

/** Shows the progress of a use case on the terminal. */
export async function withProgress<T>(
  label: string,
  signal: AbortSignal,
  work: (control: Control) => Promise<T>,
): Promise<T> {
  const progress = createProgress(label);
  try {
    return await work({ onProgress: (done, total) => progress.update(done, total), signal });
  } finally {
    progress.stop();
  }
}

/** To stderr: stdout is for results. */
export function showStep(step: string): void {
  console.error(step);
}

/** The first signal asks the work to stop at a consistent point; the second one ends the process. */
export function onInterrupt(): AbortSignal {
  const controller = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.once(signal, () => controller.abort(new InterruptedError(signal)));
  }
  return controller.signal;
}

/** Logs to stderr: stdout is for results. Leaves out the service's routine messages. */
async function createCliLogger({ log }: Config): Promise<Logger> {
  const { createLogger, STDERR } = await import('../observability/logging.js');
  const format = log.format === 'json' ? 'json' : 'pretty';
  return createLogger({ ...log, format }, STDERR);
}
