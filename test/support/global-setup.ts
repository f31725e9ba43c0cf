import './register-typescript.mjs';
import { rm } from 'node:fs/promises';
import type { EmbeddedPostgres } from '@scalable-banking/embedded-postgres';

/** The server of a run, for its teardown. All projects share it: jest sets them up one after the other. */
export interface TestServer {
  readonly postgres: EmbeddedPostgres | undefined;
  readonly folder: string;
}

declare global {
  var testServer: TestServer | undefined;
}

/** Fast, but not durable. */
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
  // Imported here, because the loader for the sources is installed only now.
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
    await removeTestServer(); // after a failed setup jest calls no teardown
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
