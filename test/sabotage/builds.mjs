/**
 * Builds of the service with one mistake each, all of them made by somebody before; some also take their time, so that a
 * short run meets the mistake. Each file of dist/src has its edits: [what stands there, what the mistake is]. What stands
 * there must be found exactly once, so that no sabotage becomes void unnoticed when the code changes.
 */
/** Time for another instance to get the lock first. */
const A_WHILE = 'await new Promise((resolve) => setTimeout(resolve, 100 * Math.random()));';

/** What others then have to finish; the right build bears it. */
const HALF_GIVE_UP =
  "if (decision?.rejection && Math.random() < 0.5) throw new Error('the driver gives up');";

export const BUILDS = {
  'the tag of the answer to COMMIT is ignored': {
    'storage/transaction-runner.js': [
      ["if (tag === 'ROLLBACK')", 'if (false)'],
      ["if (tag !== 'COMMIT' || written.status === 'rejected')", 'if (false)'],
    ],
  },
  'keys are looked up before the lock': {
    'ledger/write/batch-statements.js': [
      [
        'const [locked, keyed, ',
        `const early = await this.lookups.keys(client, commands);
        ${A_WHILE}
        const [locked, keyed, `,
      ],
      ['this.lookups.keys(client, commands),', 'early,'],
    ],
  },
  'the cache is deleted from by writers and filled by readers': {
    'cache/redis-balance-cache.js': [
      ['if tonumber(version) > held or tonumber(version) == held and ttl > 0 then', 'do'],
      ['if ttl < 1 then', "if ttl < 1 or string.match(entry, 'written') then"],
      [
        'const { ttlMs } = this.settings;\n',
        "const { ttlMs } = this.settings;\n        const by = new Error().stack.includes('BatchWriter') ? ' written' : '';\n",
      ],
      ['`:${decimals}`}`', '`:${decimals}`}${by}`'],
    ],
  },
  'the relay goes on from the last id that it saw': {
    'messaging/outbox.js': [
      [
        "await headOf(client, this.tables.outbox, 'outbox_id', 0, maxEvents)",
        "await headOf(client, this.tables.outbox, 'outbox_id', this.lastSeen ?? 0, maxEvents)",
      ],
      [
        'const unknown = head.filter(',
        'this.lastSeen = Number(head.at(-1)?.id ?? this.lastSeen);\n            const unknown = head.filter(',
      ],
      // It looks again at once, so that it more often sees an id while a lower one is still to be committed.
      ['                more,', '                more: true,'],
    ],
  },
  '408 is answered without a look at what became of the COMMIT': {
    'ledger/write/batch-writer.js': [
      [
        'const outcome = await this.runner.resolve(',
        'const outcome = await (async () => ({ applied: false, accounts: new Map() }))(',
      ],
    ],
  },
  'the version is compared before the lock': {
    'ledger/write/batch-statements.js': [
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
    'storage/transaction-runner.js': [
      ['await commit(client, value, write);', 'void commit(client, value, write).catch(() => undefined);'],
    ],
  },
  'a key is believed no longer because it can not be read': {
    'access/api-keys.js': [
      ['this.reads.unreadable ? Math.max(this.staleMs, VALID_MS) : VALID_MS', 'VALID_MS'],
    ],
  },
  'a batch is run again after a COMMIT whose outcome is unknown': {
    'storage/transaction-runner.js': [
      [
        "const again = !(error instanceof CommitOutcomeUnknownError) && classifyFailure(error) === 'retryable';",
        "const again = error instanceof CommitOutcomeUnknownError || classifyFailure(error) === 'retryable';",
      ],
    ],
  },
  'a leg of a transfer is posted twice': {
    'domain/decide-movement.js': [
      ['for (const leg of legs){', 'for (const leg of legs.length === 2 ? [...legs, legs[1]] : legs){'],
    ],
    'domain/command.js': [['return command.legs.length;', 'return command.legs.length + 1;']],
  },
  'a debit ignores what is on hold': {
    'domain/account.js': [['return balance - held + overdraftLimit;', 'return balance + overdraftLimit;']],
  },
  'a hold that has expired can be captured until it is swept': {
    'domain/hold.js': [
      ["statusAt(hold, now) === 'expired'", 'hold.expiresAt !== undefined && hold.expiresAt <= now'],
      [
        "return status === 'active' && expiresAt !== undefined && expiresAt <= now ? 'expired' : status;",
        'return status;',
      ],
    ],
    'ledger/expiry-sweeper.js': [['this.sweep(), this.pollMs)', 'this.sweep(), 60_000)']],
  },
  'holds are looked up before the lock': {
    'ledger/write/batch-statements.js': [
      [
        'const [locked, keyed, ',
        `const early = await this.lookups.holds(client, commands);
        ${A_WHILE}
        const [locked, keyed, `,
      ],
      ['this.lookups.holds(client, commands),', 'early,'],
    ],
  },
  'how much was reversed is looked up before the lock': {
    'ledger/write/batch-statements.js': [
      [
        'const [locked, keyed, ',
        `const early = await this.lookups.originals(client, commands);
        ${A_WHILE}
        const [locked, keyed, `,
      ],
      ['this.lookups.originals(client, commands),', 'early,'],
    ],
  },
  'a command passes another one on its account': {
    'ledger/write/command-queue.js': [
      [
        'if (line) line.commands.push(command);',
        `const last = line?.commands.at(-1);
            const passes = line && line.next < line.commands.length && !isOverSeveral(command) && !isOverSeveral(last);
            if (passes) line.commands.splice(-1, 0, command);
            else if (line) line.commands.push(command);`,
      ],
    ],
  },
};

/** Builds that move a shard and lose events of accounts that happen meanwhile. */
export const MOVES = {
  'events of accounts are copied in the first round only': {
    'admin/relocation/copy.js': [
      [
        'for (const table of followed(source)){',
        "for (const table of followed(source).filter((one) => one.name !== 'account_events' || !isBegun(since, one))){",
      ],
    ],
  },
  'an account that only an event has changed is not copied again': {
    'admin/relocation/copy.js': [
      [
        'SELECT account_id FROM ${accountEvents} WHERE event_id >',
        'SELECT account_id FROM ${accountEvents} WHERE false AND event_id >',
      ],
    ],
  },
};

/** Builds that break a transfer between shards. */
export const TRANSFERS = {
  'the refusal of a transfer by its target is not recorded': {
    'domain/decide-batch.js': [
      [
        'if (transfer !== known.incoming.get(transferKey(transfer)))',
        'if (transfer.credit && transfer !== known.incoming.get(transferKey(transfer)))',
      ],
    ],
  },
  'the last step of a transfer is lost': {
    'ledger/transfer-coordinator.js': [
      [
        'const { outgoing } = await this.submit({',
        'const { outgoing } = await (async () => ({ outgoing: [transfer] }))({',
      ],
    ],
  },
  'the last step of a transfer does not look at the decision': {
    'domain/decide-between-shards.js': [
      [
        'const { credit, rejection } = decision;',
        `const { rejection } = decision;
    const credit = decision.credit ?? { transactionId: transfer.transferId, timestamp: books.now, balanceAfter: 0n, versionAfter: 1 };`,
      ],
    ],
  },
  // Then whoever takes over what was refused tries to decide it again.
  'a decision is looked for among the credits only': {
    'storage/rows.js': [['{incomingTransfers} i LEFT JOIN LATERAL', '{incomingTransfers} i JOIN LATERAL']],
    'ledger/transfer-coordinator.js': [
      [
        'const [decision] = (await this.submit(command, origin)).incoming;',
        `const [decision] = (await this.submit(command, origin)).incoming;
        ${HALF_GIVE_UP}`,
      ],
    ],
  },
};

/** Builds that lose, repeat or reorder submissions. */
export const SUBMISSIONS = {
  'a submission is acknowledged before its commit': {
    'submissions/submission-consumer.js': [
      [
        'outcomes = await this.poster.decide(chunk.map(({ request })=>request));',
        `channel.ack(chunk.at(-1).message, true);
                    this.waiting = this.waiting.slice(chunk.length);
                    await this.poster.decide(chunk.map(({ request })=>request));
                    continue;`,
      ],
    ],
  },
  'the refusal of a submission is not recorded': {
    'domain/decide-batch.js': [['command.submitted === true ? refusalToRecord(', 'false ? refusalToRecord(']],
  },
  'a submission that can not be decided is requeued': {
    'submissions/submission-consumer.js': [
      [
        'limit = Math.max(1, Math.floor(chunk.length / 2));',
        `for (const message of new Set(this.waiting.splice(0).map((taken)=>taken.message))) channel.nack(message, false, true);
                    limit = Math.max(1, Math.floor(chunk.length / 2));`,
      ],
    ],
  },
};
