/**
 * The layers of ARCHITECTURE.md, checked by `npm run check`. Each line is a rank, the lowest first. A file imports from
 * its own folder and from lower ranks only, so no circle of folders can arise.
 */
const RANKS = [
  ['packages/embedded-postgres/src', 'packages/sdk/src'],
  ['packages/embedded-postgres/test', 'src/domain'],
  ['src/config', 'src/concurrency', 'migrations'],
  ['src/storage'],
  ['src/observability', 'src/audit'],
  ['src/redis', 'src/sharding'],
  ['src/cache', 'src/access'],
  ['src/messaging'],
  ['src/messaging/webhooks'],
  ['src/ledger/write', 'src/ledger/read'],
  ['src/ledger'],
  ['src/http/schema'],
  ['src/http/validation'],
  ['src/http/errors'],
  ['src/http/server'],
  ['src/http/access'],
  ['src/http/openapi'],
  ['src/http'],
  ['src/transfers'],
  ['src/holds'],
  [
    ...['src/accounts', 'src/transactions', 'src/statements', 'src/summaries', 'src/live-events'],
    ...['src/webhooks', 'src/health'],
  ],
  ['src/batches'],
  ['src/submissions'],
  ['src/app'],
  ['src/app/workers', 'src/admin'],
  ['src/cli'],
  ['src'],
  ['tools/stack/servers', 'tools/stack/proxies', 'tools/checks', 'tools/collection'],
  ['tools/stack', 'tools/bench/load', 'tools/chaos/checker', 'tools/fuzz', 'tools/concurrency'],
  ['tools/bench', 'tools/chaos'],
  ['tools/bench/overload'],
  ['test/support', 'test/sabotage'],
  ['test/integration', 'test/e2e', 'packages/sdk/test'],
];

/** Folders that are one room: their subfolders only sort their files. */
const ROOMS = ['src/admin', 'src/storage', 'src/access', 'src/redis', 'migrations', 'src/statements'];

/** The files of a folder, without those of its subfolders that have a rank of their own. */
const filesOf = (folder) => (ROOMS.includes(folder) ? `^${folder}/` : `^${folder}/[^/]+$`);

/** Two features, for instance, share a rank and know nothing of each other, except in the module that joins them. */
const rankRules = RANKS.flatMap((folders, rank) =>
  folders.map((folder) => ({
    name: `${folder} imports lower ranks only`,
    severity: 'error',
    from: { path: filesOf(folder) },
    to: {
      path: '^(src|migrations|tools|test|packages)/',
      pathNot: [folder, ...RANKS.slice(0, rank).flat()].map(filesOf),
    },
  })),
);

module.exports = {
  forbidden: [
    { name: 'no-cycles', severity: 'error', from: {}, to: { circular: true } },
    { name: 'no-cycles-of-folders', severity: 'error', scope: 'folder', from: {}, to: { circular: true } },
    ...rankRules,
    {
      name: 'every-file-has-a-rank',
      comment: 'A new folder is given its place in RANKS.',
      severity: 'error',
      from: { path: '^(src|packages|migrations|tools|test)/', pathNot: RANKS.flat().map(filesOf) },
      to: {},
    },
    {
      name: 'domain-is-plain-typescript',
      comment: 'No framework, no library. Hashing is computation, too.',
      severity: 'error',
      from: { path: '^src/domain/', pathNot: '\\.spec\\.ts$' },
      to: { pathNot: '^src/domain/|^crypto$' },
    },
    {
      name: 'one-file-knows-open-telemetry',
      severity: 'error',
      from: {
        path: '^(src|packages|migrations|tools|test)/',
        pathNot: '^src/observability/open-telemetry\\.ts$',
      },
      to: { path: '^node_modules/@opentelemetry/' },
    },
    {
      name: 'open-telemetry-is-loaded-only-where-it-is-wanted',
      severity: 'error',
      from: {},
      to: { path: '^src/observability/open-telemetry\\.ts$', dynamic: false },
    },
    {
      name: 'only-http-and-the-features-know-http',
      severity: 'error',
      from: {
        path: '^src/(domain|config|concurrency|storage|audit|redis|sharding|cache|access|messaging|ledger|admin|cli)/',
        pathNot: '\\.spec\\.ts$',
      },
      to: { path: '^node_modules/(fastify|@fastify|@nestjs/(swagger|platform-fastify))' },
    },
    {
      name: 'commands-know-no-http',
      comment: 'Administration and the command line work on the databases, not through the API.',
      severity: 'error',
      from: { path: '^src/(admin|cli)/' },
      to: { path: '^src/(http|accounts|transactions|transfers|holds|batches|health)/' },
    },
    {
      name: 'packages-declare-their-libraries',
      severity: 'error',
      from: { path: '^packages/', pathNot: '\\.spec\\.ts$' },
      to: { dependencyTypes: ['npm-no-pkg', 'npm-unknown'] },
    },
    {
      name: 'packages-through-their-index',
      severity: 'error',
      from: { pathNot: '^packages/' },
      to: { path: '^packages/', pathNot: '^packages/[^/]+/src/index\\.ts$' },
    },
    {
      name: 'no-orphans',
      severity: 'error',
      from: { orphan: true, path: '^src/', pathNot: '\\.d\\.ts$' },
      to: {},
    },
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    exclude: '^packages/sdk/(dist|src/generated)/',
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.json' },
    enhancedResolveOptions: {
      exportsFields: ['exports'],
      conditionNames: ['@scalable-banking/source', 'import', 'require', 'node', 'default'],
    },
  },
};
