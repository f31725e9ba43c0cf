import { setTimeout as sleep } from 'node:timers/promises';
import type { NestFastifyApplication } from '@nestjs/platform-fastify';
import type { Logger } from 'pino';
import type { Config } from '../config/config.js';
import { Lifecycle } from '../observability/lifecycle.js';
import { StartError } from './open-databases.js';
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
    await sleep(Math.max(config.operation.shutdownDelayMs, DRAIN_MS));
    await app.close();
    await afterwards();
  };
  stopOnSignals({ inOrder, timeoutMs: config.operation.shutdownTimeoutMs, logger });
  const { host, port } = config.http;
  await app.listen({ host, port }).catch((error: unknown) => {
    throw listenProblem(error, config);
  });
  return app.getUrl();
}

/** A port that can't be had is said in a sentence that names the variables; any other error is left as it is. */
export function listenProblem(error: unknown, { management }: Config): unknown {
  if (!(error instanceof Error && 'code' in error)) return error;
  const port = 'port' in error ? Number(error.port) : undefined;
  const prefix = management !== undefined && management.port === port ? 'MANAGEMENT_' : '';
  switch (error.code) {
    case 'EADDRINUSE':
      return new StartError(
        `${prefix}PORT ${port} is in use by another program. Stop it, or choose another ${prefix}PORT.`,
      );
    case 'EADDRNOTAVAIL':
    case 'EACCES':
      return new StartError(`${prefix}HOST and ${prefix}PORT can't be listened on: ${error.message}`);
    default:
      return error;
  }
}
