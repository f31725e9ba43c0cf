import { setTimeout as sleep } from 'node:timers/promises';
import type { NestFastifyApplication } from '@nestjs/platform-fastify';
import type { Logger } from 'pino';
import type { Config } from '../config/config.js';
import { Lifecycle } from '../observability/lifecycle.js';
import { createApp } from './create-app.js';
import { createDemoAccount } from './demo-account.js';
import { listenProblem } from './listen-problem.js';
import type { Bank } from './open-databases.js';
import { stopOnSignals } from './shutdown.js';

/** Time for clients with open connections to send once more, and to be told to close. */
const DRAIN_MS = 250;

/**
 * Listens until a signal arrives. Then readiness fails, no new connection is accepted, every open request is answered,
 * and the process exits with 0.
 *
 * @param afterwards closes what the requests needed, once the last one is answered
 * @returns its URL
 */
export async function serve(
  app: NestFastifyApplication,
  config: Config,
  logger: Logger,
  afterwards: () => Promise<void> = () => Promise.resolve(),
): Promise<string> {
  const stopGracefully = async (): Promise<void> => {
    app.get(Lifecycle, { strict: false }).stop();
    await sleep(Math.max(config.operation.shutdownDelayMs, DRAIN_MS));
    await app.close();
    await afterwards();
  };
  stopOnSignals({ stopGracefully, timeoutMs: config.operation.shutdownTimeoutMs, logger });
  const { host, port } = config.http;
  await app.listen({ host, port }).catch((error: unknown) => {
    throw listenProblem(error, config);
  });
  return app.getUrl();
}

/** Serves the bank from this process, and closes it at the end. @returns the service's URL, as soon as it listens */
export async function serveAlone(config: Config, bank: Bank, logger: Logger): Promise<string> {
  let app: NestFastifyApplication | undefined;
  try {
    app = await createApp(config, bank, logger);
    if (bank.embedded) await createDemoAccount(app, bank, logger);
    return await serve(app, config, logger, () => bank.close());
  } catch (error) {
    await app?.close();
    await bank.close();
    throw error;
  }
}
