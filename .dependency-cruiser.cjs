/** The import rules of ARCHITECTURE.md, checked by `npm run check`. */
module.exports = {
  forbidden: [
    { name: 'no-cycles', severity: 'error', from: {}, to: { circular: true } },
    {
      name: 'domain-imports-only-itself',
      comment: 'domain/ is plain TypeScript: no framework, no library, no other folder.',
      severity: 'error',
      from: { path: '^src/domain/', pathNot: '\\.spec\\.ts$' },
      // Hashing is computation, too.
      to: { pathNot: '^src/domain/|^crypto$' },
    },
    {
      name: 'features-meet-in-modules-only',
      comment: 'accounts/ and transactions/ know each other through their *.module.ts files alone.',
      severity: 'error',
      from: { path: '^src/(accounts|transactions)/', pathNot: '\\.module\\.ts$' },
      to: { path: '^src/(accounts|transactions)/', pathNot: '^src/$1/' },
    },
    {
      name: 'ledger-knows-no-http',
      severity: 'error',
      from: { path: '^src/(ledger|database|cache|events|domain)/' },
      to: {
        path: '^src/(http|accounts|transactions)/|^node_modules/(fastify|@nestjs/(swagger|platform-fastify))',
      },
    },
    {
      name: 'sources-import-no-tests',
      severity: 'error',
      from: { path: '^(src|migrations)/' },
      to: { path: '^(test|bench|stack|fuzz)/' },
    },
    {
      name: 'no-orphans',
      severity: 'error',
      from: { orphan: true, path: '^src/', pathNot: '(main|cli)\\.ts$|\\.d\\.ts$' },
      to: {},
    },
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.json' },
    enhancedResolveOptions: {
      exportsFields: ['exports'],
      conditionNames: ['import', 'require', 'node', 'default'],
    },
  },
};
