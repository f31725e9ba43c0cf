import { setTimeout as sleep } from 'node:timers/promises';
import type { NestFastifyApplication } from '@nestjs/platform-fastify';
import type { Logger } from 'pino';
import type { Config } from '../config/config.js';
import { Lifecycle } from '../observability/lifecycle.js';
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
  const inOrder = async (): Promise<void> => {
    app.get(Lifecycle, { strict: false }).stop();
    await sleep(Math.max(config.shutdownDelayMs, DRAIN_MS));
    await app.close();
    await afterwards();
  };
  stopOnSignals({ inOrder, timeoutMs: config.shutdownTimeoutMs, logger });
  await app.listen({ host: config.host, port: config.port });
  return app.getUrl();
}
