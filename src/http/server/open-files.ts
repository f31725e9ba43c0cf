import { connectionsTo, type Config } from '../../config/config.js';
import { SURPLUS_CONNECTIONS } from './connections.js';
import { MANAGEMENT_CONNECTIONS } from './management.js';

/** For Node itself, the log, the listening socket, Redis, RabbitMQ and probes of databases, with room to spare. */
const OTHER_FILES = 100;

/** How many open files the service, or each of its workers, may need at once; each connection is one. */
export function openFilesNeeded(config: Config): number {
  const toDatabases = connectionsTo(config.database.shards?.length ?? 1, config);
  const forManagement = config.management ? MANAGEMENT_CONNECTIONS + SURPLUS_CONNECTIONS : 0;
  return config.http.maxConnections + SURPLUS_CONNECTIONS + forManagement + toDatabases + OTHER_FILES;
}

/** What is wrong with the limit of open files (ulimit -n); undefined: it suffices, or is unknown. */
export function openFilesProblem(config: Config, limit = openFilesLimit()): string | undefined {
  const needed = openFilesNeeded(config);
  if (limit === undefined || limit >= needed) return undefined;
  return (
    `the limit of open files (ulimit -n) is ${limit}, but HTTP_MAX_CONNECTIONS and the database connections may need ` +
    `${needed}: raise the one or lower the other, or clients will be refused without an answer`
  );
}

/** Node raises its soft limit to the hard one. Undefined: unlimited, or unknown on this system. */
function openFilesLimit(): number | undefined {
  // Otherwise the report would look up the names of peers. (Not in the types yet.)
  const report = process.report as typeof process.report & { excludeNetwork?: boolean };
  report.excludeNetwork = true;
  const { userLimits } = report.getReport() as { userLimits?: { open_files?: { soft: number | string } } };
  const soft = userLimits?.open_files?.soft;
  return typeof soft === 'number' ? soft : undefined;
}
