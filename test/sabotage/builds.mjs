/**
 * Builds of the service with one mistake each, all of them made by somebody before; some also take their time, so that a
 * short run meets the mistake. `edits` are [what stands there, what the mistake is] in a file of dist/src; what stands
 * there must be found exactly once, so that no sabotage becomes void unnoticed when the code changes.
 */
export const BUILDS = {
  'the tag of the answer to COMMIT is ignored': {
    file: 'storage/transaction-runner.js',
    edits: [
      ["if (tag === 'ROLLBACK')", 'if (false)'],
      ["if (tag !== 'COMMIT' || written.status === 'rejected')", 'if (false)'],
    ],
  },
  'keys are looked up before the lock': {
    file: 'ledger/write/batch-statements.js',
    edits: [
      [
        'const [opening, earlier, ',
        `const early = await this.findKeys(client, commands);
        await new Promise((resolve) => setTimeout(resolve, 100 * Math.random()));
        const [opening, earlier, `,
      ],
      ['this.findKeys(client, commands),', 'early,'],
    ],
  },
  'the cache is deleted from by writers and filled by readers': {
    file: 'cache/redis-balance-cache.js',
    edits: [
      ['if tonumber(version) > held or tonumber(version) == held and ttl > 0 then', 'do'],
      ['if ttl < 1 then', "if ttl < 1 or string.match(entry, 'written') then"],
      [
        'const { ttlMs } = this.settings;\n',
        "const { ttlMs } = this.settings;\n        const by = new Error().stack.includes('BatchWriter') ? ' written' : '';\n",
      ],
      ['`${version}:${balance}`', '`${version}:${balance}${by}`'],
    ],
  },
  'the relay goes on from the last id that it saw': {
    file: 'messaging/outbox.js',
    edits: [
      [
        '(SELECT * FROM ${this.tables.outbox} ORDER BY outbox_id LIMIT ${CHUNK_ROWS}) head',
        '(SELECT * FROM ${this.tables.outbox} WHERE outbox_id > ${this.lastSeen ?? 0} ORDER BY outbox_id LIMIT ${CHUNK_ROWS}) head',
      ],
      [
        'const unknown = head.filter(',
        'this.lastSeen = head.at(-1)?.outbox_id ?? this.lastSeen;\n            const unknown = head.filter(',
      ],
      // It looks again at once, so that it more often sees an id while a lower one is still to be committed.
      ['more: (head[0]?.waiting ?? 0) === CHUNK_ROWS ||', 'more: true ||'],
    ],
  },
  '408 is answered without a look at what became of the COMMIT': {
    file: 'ledger/write/batch-writer.js',
    edits: [
      [
        'const outcome = await this.runner.resolve(',
        'const outcome = await (async () => ({ applied: false, accounts: new Map() }))(',
      ],
    ],
  },
  'the version is compared before the lock': {
    file: 'ledger/write/batch-statements.js',
    edits: [
      [
        'const accountIds = ascending(',
        `const before = await this.versions(client, commands.map((command) => command.accountId));
        commands = commands.map((command) =>
            command.expectedVersion === before.get(command.accountId) ? { ...command, expectedVersion: undefined } : command);
        const accountIds = ascending(`,
      ],
    ],
  },
  'callers are answered before the COMMIT': {
    file: 'storage/transaction-runner.js',
    edits: [
      ['await commit(client, value, write);', 'void commit(client, value, write).catch(() => undefined);'],
    ],
  },
  'a key is believed no longer because it can not be read': {
    file: 'access/api-keys.js',
    edits: [['this.reads.unreadable ? Math.max(this.staleMs, VALID_MS) : VALID_MS', 'VALID_MS']],
  },
  'a batch is run again after a COMMIT whose outcome is unknown': {
    file: 'storage/transaction-runner.js',
    edits: [
      [
        "const again = !(error instanceof CommitOutcomeUnknownError) && classifyFailure(error) === 'retryable';",
        "const again = error instanceof CommitOutcomeUnknownError || classifyFailure(error) === 'retryable';",
      ],
    ],
  },
};
