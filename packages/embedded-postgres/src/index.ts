export { EmbeddedPostgres, type EmbeddedPostgresOptions } from './embedded-postgres.js';
export { EmbeddedPostgresError } from './errors.js';
export { sharedBuffers } from './memory.js';

// The building blocks, for servers that are run in another way.
export { openCluster, type Cluster } from './cluster.js';
export { freePort, startServer } from './start-server.js';
export { roleUrl, type ServerAddress, superuserUrl } from './connection.js';
export { settleRole } from './role.js';
export { readPassword, syncFolder } from './data-folder.js';
export { parsePostmasterFile } from './old-server.js';
export { FAST_STOP, WatchedProcess, type StopSignals } from './watched-process.js';
export { CHILD_ENVIRONMENT, unprivileged, type RunAs } from './run-as.js';
export { isAlive } from './process-identity.js';
