import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { startFullBank, startServers, type BankServers } from '../../tools/chaos/full-bank.js';
import type { Fault } from '../../tools/chaos/faults.js';
import type { Rule } from '../../tools/chaos/checker/rules.js';
import { runChaos, type RunOptions, type RunReport } from '../../tools/chaos/run.js';
import { BUILDS, SUBMISSIONS, TRANSFERS } from '../sabotage/builds.mjs';

/** How long a round of faults lasts. There are as many rounds as it takes to make the transactions of a trial. */
const ROUND_MS = 1_000;
const STRIKE_MS = 600;
/** A build that goes on answering 500 is never done, nor is a relay that forgets an event. */
const DRAIN_MS = 10_000;
const PATIENCE_MS = 5_000;
const TRANSACTIONS = 100;
const TRANSACTIONS_OF_A_RACE = 300;

/** The conditions that expose a mistake, and the rules of which at least one must be violated. */
interface Trial {
  readonly fault?: string;
  /** Milliseconds for which it is to last, once; otherwise it strikes again and again, briefly. */
  readonly lastsMs?: number;
  readonly mix?: RunOptions['mix'];
  readonly kinds?: RunOptions['kinds'];
  readonly betweenShards?: RunOptions['betweenShards'];
  /** Whether it needs two instances, which race. A start costs more than all the rest. */
  readonly races?: boolean;
  /** Whether it needs a broker. */
  readonly events?: boolean;
  /** Whether it has to wait for transfers that another process has left pending. */
  readonly transfers?: boolean;
  /** How many a run has at least, so that a busy machine takes longer instead of seeing less. */
  readonly transactions?: number;
  readonly rules: readonly Rule[];
}

/** Short runs in which a mistake must be found. */
const MAX_RUNS = 3;

const MANY_TRANSFERS = { transfer: 300 };
const ONLY_POSTS = { transfer: 0, hold: 0, capture: 0, void: 0, reverse: 0 };

const TRIALS: Readonly<Record<string, Trial>> = {
  'the tag of the answer to COMMIT is ignored': {
    fault: 'wire-abort-at-commit',
    rules: ['acknowledged-lost'],
  },
  'keys are looked up before the lock': {
    // Deposits and withdrawals only: they meet the fewest refusals, which use no key.
    ...{ races: true, mix: { commandTwice: 300 }, kinds: ONLY_POSTS },
    rules: ['applied-twice', 'unexpected-answer'],
  },
  'the cache is deleted from by writers and filled by readers': {
    // Writes, too: after each, the next reader fills the cache again.
    ...{ races: true, fault: 'wire-delay', mix: { command: 200, readBalance: 200 }, kinds: ONLY_POSTS },
    ...{ transactions: 600, rules: ['stale-read'] },
  },
  'the relay goes on from the last id that it saw': {
    ...{ races: true, fault: 'wire-delay', events: true, transactions: 600, rules: ['event-missing'] },
  },
  '408 is answered without a look at what became of the COMMIT': {
    ...{ fault: 'wire-cut-after-commit', rules: ['refused-but-applied'] },
  },
  'the version is compared before the lock': { races: true, rules: ['version-check'] },
  'callers are answered before the COMMIT': { fault: 'wire-cut-before-commit', rules: ['acknowledged-lost'] },
  'a key is believed no longer because it can not be read': {
    ...{ fault: 'wire-silence', lastsMs: 6_000, transactions: 0, rules: ['credential-forgotten'] },
  },
  'a batch is run again after a COMMIT whose outcome is unknown': {
    // One that has a key then meets itself, and is told that it is a duplicate.
    ...{ fault: 'wire-cut-after-commit', rules: ['applied-twice', 'refused-but-applied'] },
  },
  'a leg of a transfer is posted twice': { kinds: { transfer: 100 }, rules: ['applied-twice'] },
  // A CHECK of the database refuses it, so the answer is none of the contract.
  'a debit ignores what is on hold': {
    ...{ kinds: { hold: 100, capture: 0, void: 0 }, rules: ['overdrawn', 'unexpected-answer'] },
  },
  'a hold that has expired can be captured until it is swept': {
    ...{ kinds: { hold: 100, capture: 200 }, rules: ['hold-broken'] },
  },
  'holds are looked up before the lock': {
    races: true,
    // Deposits, too: most holds would find no money.
    mix: { command: 300 },
    kinds: { post: 150, hold: 60, capture: 150, void: 20 },
    rules: ['hold-broken', 'unexpected-answer'],
  },
  'how much was reversed is looked up before the lock': {
    races: true,
    // Nor is much left to reverse without new transactions.
    mix: { command: 300 },
    kinds: { post: 150, reverse: 300 },
    rules: ['over-reversed'],
  },
  'a command passes another one on its account': {
    ...{ mix: { batch: 100 }, transactions: 300, rules: ['wrong-order'] },
  },
  'a submission is acknowledged before its commit': {
    ...{ fault: 'wire-down', events: true, mix: { submit: 300 }, transactions: 20, rules: ['never-decided'] },
  },
  'the refusal of a submission is not recorded': {
    ...{ events: true, mix: { submit: 300 }, rules: ['never-decided'] },
  },
  'a submission that can not be decided is requeued': {
    // While a decision hangs, later submissions arrive, which then pass.
    ...{ fault: 'wire-silence', lastsMs: 8_000, events: true, mix: { submit: 600 }, transactions: 10 },
    rules: ['wrong-order'],
  },
  'the refusal of a transfer by its target is not recorded': {
    ...{ mix: { freezeTarget: 300 }, transactions: 300, rules: ['sides-differ'] },
  },
  'the last step of a transfer is lost': {
    ...{ kinds: MANY_TRANSFERS, betweenShards: 0.8, transfers: true, rules: ['transfer-undecided'] },
  },
  'the last step of a transfer does not look at the decision': {
    ...{ mix: { freezeTarget: 300 }, transactions: 300, rules: ['sides-differ'] },
  },
  'a decision is looked for among the credits only': {
    ...{ mix: { freezeTarget: 300 }, transactions: 300, transfers: true, rules: ['transfer-undecided'] },
  },
};

/** The faults at both wires of the first instance, one after the other. */
function strikeInTurn(names: readonly string[], forMs = STRIKE_MS) {
  return (faults: readonly Fault[]) =>
    faults
      .filter(({ name, target }) => names.includes(name) && target.startsWith('api-1'))
      .map((fault) => ({ atMs: names.indexOf(fault.name) * ROUND_MS, forMs, fault }));
}

describe('the checker, on sabotaged builds of the service', () => {
  let folder: string;
  let servers: BankServers;

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'bank-sabotage-'));
    servers = await startServers();
  }, 200_000);

  afterAll(async () => {
    await servers.stop();
    await rm(folder, { recursive: true, force: true });
  });

  async function run(
    sabotage: string | undefined,
    faults: readonly string[],
    { mix, kinds, betweenShards, lastsMs, races, events = false, transfers, transactions }: Partial<Trial>,
    seed = 1,
  ): Promise<RunReport> {
    const preload = join(process.cwd(), 'test/sabotage/preload.mjs');
    return runChaos({
      ...{ seed, durationMs: ROUND_MS, folder: await mkdtemp(join(folder, 'run-')) },
      ...{ mix, kinds, betweenShards },
      transactions: transactions ?? (races ? TRANSACTIONS_OF_A_RACE : TRANSACTIONS),
      clientsPerPair: races ? 5 : 10,
      ...(sabotage !== undefined && {
        drainMs: DRAIN_MS,
        // Without events, the mistake shows in what was answered and stored.
        patienceMs: events || transfers ? PATIENCE_MS : 0,
        finalReads: false,
      }),
      startBank: (options) =>
        startFullBank({
          ...{ ...options, servers, rabbitMq: events },
          instances: races ? 2 : 1,
        }),
      schedule: strikeInTurn(faults, lastsMs),
      // A busy machine must not be taken for a Redis that can't be reached, which would excuse an old balance.
      settings: { REDIS_TIMEOUT_MS: '1000', ...(sabotage !== undefined && { SABOTAGE: sabotage }) },
      nodeOptions: sabotage === undefined ? [] : ['--import', preload],
    });
  }

  it('has a case for each of them', () => {
    expect(Object.keys(TRIALS)).toEqual(Object.keys({ ...BUILDS, ...SUBMISSIONS, ...TRANSFERS }));
  });

  it('finds nothing in the original build under the same faults', async () => {
    const faults = Object.values(TRIALS).flatMap(({ fault }) => fault ?? []);
    const { violations, tally } = await run(undefined, [...new Set(faults)], { races: true, events: true });
    expect(violations.kept).toEqual([]);
    expect(tally.acknowledged).toBeGreaterThan(20);
  }, 600_000);

  it.each(Object.entries(TRIALS))(
    'finds that %s',
    async (sabotage, trial) => {
      const { fault, rules } = trial;
      const found: string[] = [];
      const isFound = () => rules.some((rule) => found.includes(rule));
      // Most mistakes need two things to happen in the wrong order, which may take several runs on a busy machine.
      for (let seed = 1; seed <= MAX_RUNS && !isFound(); seed++) {
        const { violations } = await run(sabotage, fault === undefined ? [] : [fault], trial, seed);
        found.push(...violations.byRule.keys());
      }
      expect({ found, ofThese: isFound() }).toEqual({ found, ofThese: true });
    },
    600_000,
  );
});
