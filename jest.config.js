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

/** What concerns no database, or puts servers of its own before it, is not run a second time. */
const NOT_TWICE = [
  'swagger-ui',
  'security-headers',
  'cors',
  'jwt',
  'tls',
  'management',
  'this-machine',
  'access-matrix',
  'scopes',
  'rate-limit',
  'service',
  'workers',
  'pgbouncer',
  'stack',
  'chaos',
  'sabotage',
  'slow-clients',
  'overload',
  'batch-clients',
  'body-pieces',
  'fairness',
  'fuzz',
  'timing',
  'owasp',
  'secrets',
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
      testMatch: ['<rootDir>/test/e2e/**/*.e2e-spec.ts'],
      testPathIgnorePatterns: NOT_TWICE.map((name) => `/${name}\\.e2e-spec\\.ts$`),
      globals: { throughPgBouncer: true },
      globalSetup: '<rootDir>/test/support/pgbouncer-setup.ts',
      globalTeardown: '<rootDir>/test/support/pgbouncer-teardown.ts',
    },
  ],
  testTimeout: 30_000,
  // Files wait for servers more than they compute. A worker is renewed before what it has loaded slows it down.
  maxWorkers: 2,
  workerIdleMemoryLimit: '700MB',
};
