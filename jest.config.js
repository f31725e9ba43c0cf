/** Settings that every kind of test shares: TypeScript through swc, native ES modules. */
const shared = {
  rootDir: '.',
  testEnvironment: 'node',
  extensionsToTreatAsEsm: ['.ts'],
  moduleNameMapper: {
    '^(\\.{1,2}/.*)\\.js$': '$1',
    '^@scalable-banking/([^/]+)$': '<rootDir>/packages/$1/src/index.ts',
  },
  transform: { '^.+\\.ts$': '@swc/jest' },
};

/**
 * Run a second time, with PgBouncer before the database: what a pooler of transactions can change. Sessions are shared, so
 * nothing may be left on one or expected of it; statements are not prepared; and who connects reaches the pooler even
 * when the database is gone.
 */
const BEHIND_A_POOLER = [
  'accounts', // openings, and the keys of openings
  'transactions', // every kind of posting
  'between-shards', // every step of a transfer between shards
  'batch', // windows of work, and atomic batches
  'concurrency', // locks between sessions
  'pagination', // every query of a listing
  'proof', // a history that is read in pages
  'health-metrics', // a database that does not answer
  'keys-outage', // keys that can't be read
  'shards', // servers that die, hang and come back
];

export default {
  projects: [
    {
      ...shared,
      displayName: 'unit',
      testMatch: ['<rootDir>/{src,packages/*/src,tools}/**/*.spec.ts'],
    },
    {
      ...shared,
      displayName: 'integration',
      testMatch: ['<rootDir>/{test/integration,packages/*/test}/**/*.spec.ts'],
      globalSetup: '<rootDir>/test/support/global-setup.ts',
      globalTeardown: '<rootDir>/test/support/global-teardown.ts',
    },
    {
      ...shared,
      displayName: 'e2e',
      testMatch: ['<rootDir>/test/e2e/**/*.e2e-spec.ts'],
      globalSetup: '<rootDir>/test/support/global-setup.ts',
      globalTeardown: '<rootDir>/test/support/global-teardown.ts',
    },
    {
      ...shared,
      displayName: 'pgbouncer',
      testMatch: [`<rootDir>/test/e2e/{${BEHIND_A_POOLER.join()}}.e2e-spec.ts`],
      globals: { throughPgBouncer: true },
      globalSetup: '<rootDir>/test/support/pgbouncer-setup.ts',
      globalTeardown: '<rootDir>/test/support/pgbouncer-teardown.ts',
    },
  ],
  testTimeout: 30_000,
  testSequencer: '<rootDir>/test/support/sequencer.mjs',
  // More than two processors: while a file waits for a server, another one computes.
  maxWorkers: 3,
  // A worker is renewed before what it has loaded slows it down.
  workerIdleMemoryLimit: '700MB',
};
