import 'reflect-metadata';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import type { NestFastifyApplication } from '@nestjs/platform-fastify';
import type { Logger } from 'pino';
import { createApp } from './app.js';
import { openBank, type Bank } from './bank.js';
import { loadConfig, type Config } from './config.js';
import { parseMoney } from './domain/money.js';
import { Ledger } from './domain/ports.js';
import { explain } from './explain.js';
import { LedgerReader } from './ledger/ledger-reader.js';
import { Lifecycle } from './observability/lifecycle.js';
import { createLogger } from './observability/logging.js';
import { openFilesProblem } from './observability/open-files.js';

const SIGNALS = ['SIGTERM', 'SIGINT'] as const;
/** Time for clients that keep their connections to send once more, and to be told to close. */
const DRAIN_MS = 250;
const DEMO_BALANCE = parseMoney('1000.00');

async function main(): Promise<void> {
  const config = loadConfig();
  const logger = createLogger(config.log);
  const fewFiles = openFilesProblem(config);
  if (fewFiles !== undefined) logger.warn(fewFiles);
  dieOnDefects(logger);
  // Until there is something to stop in order. (A process that is a container's first has no default for signals.)
  for (const signal of SIGNALS) process.once(signal, leave);
  await checkPort(config);
  const bank = await openBank(config, logger, {
    holder: 'service',
    allowDown: true,
    onLost: (error) => die(logger, error, 'the database is lost'),
  });
  let app: NestFastifyApplication | undefined;
  try {
    app = await createApp(config, bank, logger);
    if (bank.embedded) await createDemoAccount(app, logger);
    stopOnSignals(app, bank, config, logger);
    await app.listen({ host: config.host, port: config.port });
  } catch (error) {
    await app?.close();
    await bank.close();
    throw error;
  }
  announce(await app.getUrl(), bank, logger);
}

/** Before a database is made for nothing. That the port stays free is for `listen` to find out. */
async function checkPort({ host, port }: Config): Promise<void> {
  const probe = createServer().listen(port, host);
  await once(probe, 'listening');
  probe.close();
  await once(probe, 'close');
}

function leave(): void {
  process.exit(0);
}

/** The embedded bank is there to be tried, so it starts with an account to try. */
async function createDemoAccount(app: NestFastifyApplication, logger: Logger): Promise<void> {
  const [any] = await app.get(LedgerReader, { strict: false }).accountsAfter(0, 1);
  if (any) return;
  const { accountId } = await app.get(Ledger, { strict: false }).openAccount(DEMO_BALANCE);
  logger.info({ accountId }, 'the bank was empty: created a demo account with 1000.00');
}

function announce(url: string, bank: Bank, logger: Logger): void {
  const api = url.replace('[::1]', 'localhost');
  logger.info(`API:        ${api}`);
  logger.info(`Swagger UI: ${api}/docs`);
  logger.info(`Try:        curl ${api}${bank.embedded ? '/accounts/1/balance' : '/accounts'}`);
}

/** SIGTERM and SIGINT: not ready any more, then no new connections, then every open request is answered, then exit 0. */
function stopOnSignals(app: NestFastifyApplication, bank: Bank, config: Config, logger: Logger): void {
  let stopping = false;
  const stop = async (signal: string): Promise<void> => {
    if (stopping) return;
    stopping = true;
    logger.info({ signal }, 'stopping: open requests are still answered');
    setTimeout(
      () => die(logger, new Error('SHUTDOWN_TIMEOUT_MS is over'), 'stopped hard'),
      config.shutdownTimeoutMs,
    ).unref();
    app.get(Lifecycle, { strict: false }).stop();
    await sleep(Math.max(config.shutdownDelayMs, DRAIN_MS));
    await app.close();
    await bank.close();
    logger.info('stopped');
    process.exit(0);
  };
  for (const signal of SIGNALS) {
    process.off(signal, leave);
    process.on(signal, () => {
      stop(signal).catch((error: unknown) => die(logger, error, 'could not stop in order'));
    });
  }
}

/** After a defect nobody knows what still works: a dead process is restarted, a half-dead one lies. */
function dieOnDefects(logger: Logger): void {
  process.on('uncaughtException', (error) => die(logger, error, 'uncaught exception'));
  process.on('unhandledRejection', (error) => die(logger, error, 'unhandled rejection'));
}

function die(logger: Logger, error: unknown, message: string): never {
  logger.fatal({ err: error }, message);
  process.exit(1);
}

/** A port that can't be had is the one failure that only the service meets. */
function explainStart(error: unknown): string {
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  if (code === 'EADDRINUSE') {
    return `PORT ${process.env.PORT ?? '3000'} is in use by another program. Stop it, or choose another PORT.`;
  }
  if (code === 'EADDRNOTAVAIL' || code === 'EACCES') {
    return `HOST and PORT can't be listened on: ${(error as Error).message}`;
  }
  return explain(error);
}

main().catch((error: unknown) => {
  console.error(`Can't start. ${explainStart(error)}`);
  process.exit(1);
});
