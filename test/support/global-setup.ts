import './register-typescript.mjs';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { EmbeddedPostgres } from '../../src/database/embedded-postgres.js';

/** What the teardown needs; one for all projects of a run, which jest sets up one after the other. */
export interface TestServer {
  readonly postgres: EmbeddedPostgres | undefined;
  readonly folder: string;
}

declare global {
  var testServer: TestServer | undefined;
}

const FOLDER_PREFIX = 'bank-test-postgres-';

/** Fast, and worth nothing after a crash. */
const SETTINGS = {
  fsync: 'off',
  synchronous_commit: 'off',
  full_page_writes: 'off',
  shared_buffers: '64MB',
  max_connections: '200',
  autovacuum: 'off',
};

/** Starts one PostgreSQL for the whole run. */
export default async function globalSetup(): Promise<void> {
  if (globalThis.testServer) return;
  await removeLeftovers();
  // Imported here, when the loader that understands the sources is in place.
  const { EmbeddedPostgres } = await import('../../src/database/embedded-postgres.js');
  const { buildTemplate } = await import('./postgres.js');
  const folder = await mkdtemp(join(tmpdir(), `${FOLDER_PREFIX}${process.pid}-`));
  globalThis.testServer = { postgres: undefined, folder };
  try {
    const postgres = await EmbeddedPostgres.open({
      dataDir: folder,
      holder: 'tests',
      settings: SETTINGS,
      log: (level, message) => {
        if (level === 'error') console.error(message);
      },
    });
    globalThis.testServer = { postgres, folder };
    process.env['TEST_POSTGRES_URL'] = postgres.url;
    await buildTemplate(postgres.url);
  } catch (error) {
    await removeTestServer(); // jest calls no teardown after a setup that failed
    throw error;
  }
}

export async function removeTestServer(): Promise<void> {
  const server = globalThis.testServer;
  globalThis.testServer = undefined;
  if (!server) return;
  await server.postgres?.close();
  await rm(server.folder, { recursive: true, force: true });
}

/** A run that was killed leaves its folder behind; its server ended by itself. */
async function removeLeftovers(): Promise<void> {
  for (const name of await readdir(tmpdir())) {
    const pid = new RegExp(`^${FOLDER_PREFIX}(\\d+)-`).exec(name)?.[1];
    if (pid === undefined || isAlive(Number(pid))) continue;
    await rm(join(tmpdir(), name), { recursive: true, force: true }).catch(() => undefined); // another user's
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}
