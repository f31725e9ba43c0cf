import 'reflect-metadata';
import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { sharedBuffers } from '@scalable-banking/embedded-postgres';
import { startPostgres } from '../stack/servers/postgres.js';
import { measureAccess } from './access.js';
import { measureAsync } from './async.js';
import { measureBetweenShards } from './between-shards.js';
import { ACCOUNTS, checkBooks, foundBank } from './bank.js';
import { CORE_GOALS, foundConventional, measureCore } from './core.js';
import { Figures, type Goal } from './figures.js';
import { measureKinds } from './kinds.js';
import { buildBanks, growthGoals, lengthen, measureGrowth, measureListings, type Size } from './growth.js';
import { measureLive } from './live.js';
import { measureWebhooks } from './webhooks.js';
import { measureAgainst, measureSoak } from './pair.js';
import { measureRelay } from './relay.js';
import { tables, writeReport } from './report.js';
import { measureScale } from './scale.js';
import { withClient } from './tools.js';

const USAGE = `npm run bench -- [options]

Measures the service against what this machine's PostgreSQL and HTTP can do, in turn within one run, with fsync and
synchronous_commit on, and checks the books after each round. Writes docs/bench/.

--quick          takes less than three minutes: short measurements, one round, little history; writes dist/bench-quick/
--seconds S      length of each measurement (5)
--rounds N       number of rounds (3)
--transactions N size of the largest history (5,000,000; an account has five)
--warm-up S      load before each measurement of a history (as long as the measurement)
--out FOLDER     where to write
--scale          only the parts of the scale-out, to the terminal; needs redis-server, rabbitmq-server and pgbouncer
--access         only what credentials cost, to the terminal
--against FOLDER only POST and GET of this build and of the one compiled in that checkout, to the terminal (5 rounds)
--soak MINUTES   only a service after this much mixed load and a fresh one, to the terminal (5 rounds)
--kinds          only transfers and holds compared with deposits, to the terminal (5 rounds)
--async          only postings that are queued compared with postings, to the terminal (5 rounds)
--between        only transfers between shards compared with deposits, to the terminal (5 rounds)
--live           only streams of live events: memory per listener and delay, to the terminal (5 rounds)
--webhooks       only how late events arrive at webhooks, also beside one that hangs, to the terminal (5 rounds)
--relay          only how fast a backlog of events drains to RabbitMQ, to the terminal
--events N       size of that backlog (1,000,000)
`;

const FULL = {
  seconds: '5',
  rounds: '3',
  transactions: '5000000',
  events: '1000000',
  out: fileURLToPath(new URL('../../../docs/bench/', import.meta.url)),
};
const QUICK = {
  ...FULL,
  // On a slow disk, the requests that a warm-up leaves in the queue take almost two seconds.
  seconds: '3',
  rounds: '1',
  transactions: '100000',
  out: fileURLToPath(new URL('../../bench-quick/', import.meta.url)),
};
/** Rounds when two services, or kinds of requests, are compared. */
const PAIR_ROUNDS = 5;
const CORE_WARM_UP_SECONDS = 3;
const TRANSACTIONS_PER_ACCOUNT = 5;
/** Each history is this many times as long as the one before. */
const GROWTH_FACTOR = 10;

const { values: given } = parseArgs({
  options: {
    quick: { type: 'boolean' },
    scale: { type: 'boolean' },
    access: { type: 'boolean' },
    kinds: { type: 'boolean' },
    async: { type: 'boolean' },
    between: { type: 'boolean' },
    live: { type: 'boolean' },
    webhooks: { type: 'boolean' },
    relay: { type: 'boolean' },
    against: { type: 'string' },
    soak: { type: 'string' },
    help: { type: 'boolean' },
    seconds: { type: 'string' },
    rounds: { type: 'string' },
    transactions: { type: 'string' },
    'warm-up': { type: 'string' },
    events: { type: 'string' },
    out: { type: 'string' },
  },
});
const pair =
  given.against ?? given.soak ?? given.kinds ?? given.async ?? given.between ?? given.live ?? given.webhooks;
const defaults = {
  ...(given.quick ? QUICK : FULL),
  ...(pair === undefined ? {} : { rounds: String(PAIR_ROUNDS) }),
  soak: undefined,
};
const SECONDS = count('seconds');
const ROUNDS = count('rounds');

async function main(): Promise<void> {
  if (given.help) return console.log(USAGE);
  const figures = new Figures();
  const part = measurePart(figures);
  if (part) return console.log(tables(figures, await part));
  const sizes = growthSizes(count('transactions'));
  // With the same setting as the service's own.
  const postgres = await startPostgres({ shared_buffers: sharedBuffers() });
  try {
    const [shard] = await foundBank([{ url: postgres.url, schema: 'bank' }]);
    await foundConventional(shard);
    const lengths = { seconds: SECONDS, warmUpSeconds: Math.min(SECONDS, CORE_WARM_UP_SECONDS) };
    await rounds(() => measureCore(shard, figures, lengths));
    await measureHistories(postgres.url, sizes, figures);
    const goals = [...CORE_GOALS, ...growthGoals(sizes)];
    const out = given.out ?? defaults.out;
    writeReport(out, figures, goals, {
      command: ['npm run bench', ...(process.argv.length > 2 ? ['--'] : []), ...process.argv.slice(2)].join(
        ' ',
      ),
      rounds: ROUNDS,
      seconds: SECONDS,
      sizes,
      postgres: await versionOf(postgres.url),
      commit: commit(),
    });
    console.log(`${tables(figures, goals)}\n\nThe books are clean. Written to ${out}`);
  } finally {
    await postgres.stop();
  }
}

/** Measures a single part, if only one is requested. @returns its targets */
function measurePart(figures: Figures): Promise<readonly Goal[]> | undefined {
  if (given.relay) return measureRelay(count('events'), figures);
  if (given.scale) return measureScale(SECONDS, figures, rounds);
  if (given.kinds) return measureKinds(SECONDS, figures, rounds);
  if (given.async) return measureAsync(SECONDS, figures, rounds);
  if (given.between) return measureBetweenShards(SECONDS, figures, rounds);
  if (given.live) return measureLive(SECONDS, figures, rounds);
  if (given.webhooks) return measureWebhooks(SECONDS, figures, rounds);
  if (given.access) return measureAccess(SECONDS, figures, rounds);
  if (given.against !== undefined) return measureAgainst(given.against, SECONDS, figures, rounds);
  if (given.soak !== undefined) return measureSoak(count('soak'), SECONDS, figures, rounds);
  return undefined;
}

async function rounds(measure: () => Promise<void>): Promise<void> {
  for (let round = 1; round <= ROUNDS; round++) {
    console.error(`round ${round} of ${ROUNDS}`);
    await measure();
  }
}

async function measureHistories(url: string, sizes: readonly Size[], figures: Figures): Promise<void> {
  const shards = await buildBanks(url, sizes);
  const warmUpSeconds = given['warm-up'] === undefined ? SECONDS : Number(given['warm-up']);
  await rounds(() => measureGrowth(shards, sizes, figures, { seconds: SECONDS, warmUpSeconds }));
  const [largest, history] = [shards.at(-1), Math.min(1_000_000, sizes.at(-1)?.transactions ?? 0)];
  if (largest) {
    await lengthen(largest, history);
    await rounds(() => measureListings(largest, history, figures, SECONDS));
  }
  for (const shard of shards) await checkBooks([shard]);
}

/** From 10,000 accounts without history, step by step, to the largest. */
function growthSizes(transactions: number): Size[] {
  const accounts = Math.ceil(transactions / TRANSACTIONS_PER_ACCOUNT);
  const sizes: Size[] = [];
  for (let each = accounts; each > ACCOUNTS; each = Math.ceil(each / GROWTH_FACTOR)) {
    sizes.unshift({ accounts: each, transactions: each * TRANSACTIONS_PER_ACCOUNT });
  }
  return [{ accounts: ACCOUNTS, transactions: 0 }, ...sizes];
}

function versionOf(url: string): Promise<string> {
  return withClient(url, async (client) => {
    const { rows } = await client.query<{ server_version: string }>('SHOW server_version');
    return `PostgreSQL ${rows[0]?.server_version}`;
  });
}

function commit(): string {
  try {
    const run = (...words: string[]) => execFileSync('git', words, { encoding: 'utf8' }).trim();
    return run('rev-parse', '--short', 'HEAD') + (run('status', '--porcelain') === '' ? '' : ' and changes');
  } catch {
    return 'unknown';
  }
}

function count(name: 'seconds' | 'rounds' | 'transactions' | 'events' | 'soak'): number {
  const value = Number(given[name] ?? defaults[name]);
  if (!Number.isInteger(value) || value < 1) throw new Error(`--${name} takes a whole number\n\n${USAGE}`);
  return value;
}

await main();
