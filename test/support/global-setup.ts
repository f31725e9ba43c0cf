import './register-typescript.mjs';
import { rm } from 'node:fs/promises';
import type { EmbeddedPostgres } from '@scalable-banking/embedded-postgres';

/** What the teardown needs; one for all projects of a run, which jest sets up one after the other. */
export interface TestServer {
  readonly postgres: EmbeddedPostgres | undefined;
  readonly folder: string;
}

declare global {
  var testServer: TestServer | undefined;
}

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
  // Imported here, when the loader that understands the sources is in place.
  const { EmbeddedPostgres } = await import('@scalable-banking/embedded-postgres');
  const { EMBEDDED_NAMES } = await import('../../src/app/embedded-bank.js');
  const { newPlace } = await import('../../tools/stack/servers/server.js');
  const { buildTemplate, superuserUrl } = await import('./postgres.js');
  const { folder } = await newPlace('test-postgres');
  globalThis.testServer = { postgres: undefined, folder };
  try {
    const postgres = await EmbeddedPostgres.open({
      ...EMBEDDED_NAMES,
      dataDir: folder,
      holder: 'tests',
      settings: SETTINGS,
      log: (level, message) => {
        if (level === 'error') console.error(message);
      },
    });
    globalThis.testServer = { postgres, folder };
    const url = await superuserUrl(postgres.url, folder);
    process.env['TEST_POSTGRES_URL'] = url;
    await buildTemplate(url);
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
