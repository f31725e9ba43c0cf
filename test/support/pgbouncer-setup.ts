import './register-typescript.mjs';
import type { PgBouncerServer } from '../../tools/stack/servers/pgbouncer.js';
import globalSetup, { removeTestServer } from './global-setup.js';

declare global {
  var testPooler: PgBouncerServer | undefined;
}

/** Fewer than the service's own pools ask for, so they have to share. */
const POOL_SIZE = 4;

/** Puts one PgBouncer in front of the run's PostgreSQL. */
export default async function pgBouncerSetup(): Promise<void> {
  await globalSetup();
  try {
    const { startPgBouncer } = await import('../../tools/stack/servers/pgbouncer.js');
    const databases = { '*': process.env['TEST_POSTGRES_URL'] ?? '' };
    globalThis.testPooler = await startPgBouncer({ databases, poolSize: POOL_SIZE });
    process.env['TEST_PGBOUNCER_PORT'] = String(globalThis.testPooler.port);
  } catch (error) {
    await removeTestServer(); // after a failed setup jest calls no teardown
    throw error;
  }
}
