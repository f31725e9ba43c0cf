import type { Config } from '../config/config.js';
import { StartError } from './open-databases.js';

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
