import 'reflect-metadata';
import { once } from 'node:events';
import { enableCompileCache } from 'node:module';
import { createServer } from 'node:net';
import { join } from 'node:path';
import type { Logger } from 'pino';
import { openDatabases, type Bank } from './app/open-databases.js';
import { loadConfig, type Config } from './config/config.js';
import { variableWarnings } from './config/former-variables.js';
import { checkCredentials } from './app/credentials-check.js';
import { userMessage } from './app/user-message.js';
import { keyFileProblem, readTls } from './http/server/tls.js';
import { createLogger } from './observability/logging.js';
import { openFilesProblem } from './http/server/open-files.js';
import { listenProblem } from './app/listen-problem.js';
import { die, dieOnDefects, leaveOnSignals, stopOnSignals } from './app/shutdown.js';
import { Workers } from './app/workers/workers.js';

// For the modules loaded below: V8 compiles them once, and later starts read the result.
enableCompileCache(join(import.meta.dirname, '../.compile-cache'));

/** The story that every bank with DEMO=alive tells. */
const FIRST_STORY = 1;

async function main(): Promise<void> {
  const config = loadConfig();
  const logger = createLogger(config.log);
  const fewFiles = openFilesProblem(config);
  if (fewFiles !== undefined) logger.warn(fewFiles);
  for (const warning of variableWarnings(config)) logger.warn(warning);
  dieOnDefects(logger);
  leaveOnSignals();
  readTls(config.http);
  const openKeyFile = keyFileProblem(config.http);
  if (openKeyFile !== undefined) logger.warn(openKeyFile);
  await checkPorts(config);
  const alone = config.operation.workers === 1;
  // Loaded while the database starts. It is awaited below; until then its failure must not count as unhandled.
  const loading = alone ? import('./app/serve.js') : undefined;
  loading?.catch(() => undefined);
  const bank = await openDatabases(config, logger, {
    holder: 'service',
    allowDown: true,
    onLost: (error) => die(logger, error, 'the database is lost'),
  });
  let start: typeof serveWithWorkers;
  try {
    await checkCredentials(config, bank, logger);
    if (bank.embedded && config.operation.demo === 'alive') await bringToLife(bank, config, logger);
    start = (await loading)?.serveAlone ?? serveWithWorkers;
  } catch (error) {
    await bank.close();
    throw error;
  }
  announce(await start(config, bank, logger), config, bank, logger);
}

/** Before the service takes requests: only an empty bank can be filled with a history. */
async function bringToLife(bank: Bank, config: Config, logger: Logger): Promise<void> {
  const { isEmptyBank, seedAlive } = await import('./admin/alive/import-story.js');
  if (!(await isEmptyBank(bank.shards))) return;
  logger.info('the bank is empty: makes up a year of its history');
  const report = await seedAlive(bank.shards, FIRST_STORY, config.currency);
  logger.info(report, 'the bank has a history now');
}

/**
 * Before a database is made for nothing, like the look at the files for TLS. That the port stays free is for `listen` to
 * find out.
 */
async function checkPorts(config: Config): Promise<void> {
  for (const place of [config.http, config.management]) {
    if (!place) continue;
    const probe = createServer().listen(place.port, place.host);
    await once(probe, 'listening').catch((error: unknown) => {
      throw listenProblem(error, config);
    });
    probe.close();
    await once(probe, 'close');
  }
}

/** This process then serves no request itself: it holds the bank's database and looks after the workers. */
async function serveWithWorkers(config: Config, bank: Bank, logger: Logger): Promise<string> {
  const workers = new Workers(config, bank, logger);
  try {
    if (bank.embedded) {
      const { createDemoAccountAhead } = await import('./app/demo-account.js');
      await createDemoAccountAhead(config, bank, logger);
    }
    const stopGracefully = async (): Promise<void> => {
      const problem = await workers.stop();
      await bank.close();
      if (problem !== undefined) throw new Error(problem);
    };
    const giveUp = stopOnSignals({ stopGracefully, timeoutMs: config.operation.shutdownTimeoutMs, logger });
    return await workers.start(giveUp);
  } catch (error) {
    await workers.stop();
    await bank.close();
    throw error;
  }
}

function announce(url: string, config: Config, bank: Bank, logger: Logger): void {
  const { http, management, auth } = config;
  const api = url.replace('[::1]', 'localhost');
  logger.info(`API:        ${api}`);
  if (http.swaggerUi) logger.info(`Swagger UI: ${api}/docs`);
  if (management)
    logger.info(`Management: /metrics and /health on ${management.host}, port ${management.port}`);
  const path = bank.embedded ? '/accounts/1/balance' : '/accounts';
  const header = auth.enabled ? '-H "Authorization: Bearer $KEY" ' : '';
  logger.info(`Try:        curl ${header}${api}${path}`);
  announceAccess(config, logger);
}

function announceAccess({ auth, jwt }: Config, logger: Logger): void {
  const tokens = jwt ? `, or with a token of ${jwt.issuer}` : '';
  if (auth.enabled) {
    logger.info(`Access:     with an API key (npm run -s cli -- keys create --help)${tokens}`);
  } else if (auth.onlyThisMachine) {
    logger.info('Access:     no credentials are needed: only this machine can send');
  } else {
    logger.warn('Access:     no credentials are needed: whoever reaches the address may do everything');
  }
}

main().catch((error: unknown) => {
  console.error(`Can't start. ${userMessage(error)}`);
  process.exit(1);
});
