import 'reflect-metadata';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { seedShard } from '../src/cli/seed.js';
import { verifyBank } from '../src/cli/verify.js';
import { loadConfig } from '../src/config.js';
import { EmbeddedPostgres } from '../src/database/embedded-postgres.js';
import { migrate } from '../src/database/migrate.js';
import { engine } from './engine.js';
import {
  ACCOUNTS,
  noteIn,
  printFigures,
  WARM_UP_SECONDS,
  type Figures,
  type Note,
  type Ratio,
} from './figures.js';
import { drain } from './relay.js';
import { SCALE_RATIOS, withScaleServers } from './scale.js';
import { startPostgres } from '../stack/servers/postgres.js';
import { startRabbitMq } from '../stack/servers/rabbitmq.js';
import { pgbench, startServer, wrk, type Accounts } from './tools.js';

/**
 * Measures the service against what the machine's PostgreSQL and HTTP can do, one after the other in one run, on the
 * same data, with fsync and synchronous_commit on. Needs pgbench and wrk. The books are checked at the end.
 * `--seconds S` per figure (default 5), `--rounds N` (default 3); `--scale` measures the parts of the scale-out
 * instead, on real servers of its own (which also need redis-server, rabbitmq-server and pgbouncer); `--relay`
 * measures how fast a backlog of events drains (`--events N`, default 1,000,000).
 */
const SECONDS = option('--seconds', 5);
const ROUNDS = option('--rounds', 3);

async function main(): Promise<void> {
  const figures: Figures = new Map();
  const note = noteIn(figures);
  const conditions = `${ACCOUNTS} accounts; ${ROUNDS} rounds of ${SECONDS} s; books verified`;
  if (process.argv.includes('--relay')) return measureRelay(option('--events', 1_000_000));
  if (process.argv.includes('--scale')) {
    await withScaleServers((measure) =>
      rounds(async () => {
        await measureBare(note);
        await measure(SECONDS, note);
      }),
    );
    return printFigures(figures, SCALE_RATIOS, conditions);
  }
  const transactions = await measureCore(note);
  printFigures(figures, RATIOS, `${conditions}: ${transactions} transactions`);
}

async function rounds(measure: () => Promise<void>): Promise<void> {
  for (let round = 1; round <= ROUNDS; round++) {
    console.error(`round ${round} of ${ROUNDS}`);
    await measure();
  }
}

/** @returns the transactions that were then in the books */
async function measureCore(note: Note): Promise<number> {
  const folder = mkdtempSync(join(tmpdir(), 'bank-bench-'));
  const server = await EmbeddedPostgres.open({ dataDir: folder, holder: 'bench', log: () => undefined });
  try {
    const shard = { url: server.url, schema: 'bank' };
    await migrate(shard, { index: 0, count: 1 });
    await seedShard(shard, ACCOUNTS, 100_000n);
    await rounds(() => measureRound(shard.url, note));
    const report = await verifyBank([shard]);
    if (!report.ok) throw new Error('the books are not clean');
    return report.transactions;
  } finally {
    await server.close();
    rmSync(folder, { recursive: true, force: true });
  }
}

async function measureRelay(events: number): Promise<void> {
  const postgres = await startPostgres();
  const broker = await startRabbitMq();
  try {
    const shard = { url: postgres.url, schema: 'bank' };
    await migrate(shard, { index: 0, count: 1 });
    const { eventsPerSecond, residentBytes } = await drain(shard, broker.url, events);
    const mebibytes = Math.round(residentBytes / 2 ** 20);
    console.log(
      `${events} events: ${Math.round(eventsPerSecond)} events/s, at most ${mebibytes} MiB resident`,
    );
  } finally {
    await broker.stop();
    await postgres.stop();
  }
}

const UNIFORM: Accounts = { first: 2, last: ACCOUNTS };
const HOT: Accounts = { first: 1, last: 1 };

/** What HTTP alone costs. */
async function measureBare(note: Note): Promise<void> {
  const bare = await startServer('bench/bare-fastify.js');
  await wrk(bare.url, 'get.lua', WARM_UP_SECONDS, UNIFORM);
  await note('R: bare Fastify GET', wrk(bare.url, 'get.lua', SECONDS, UNIFORM));
  await note('R: bare Fastify POST', wrk(bare.url, 'post.lua', SECONDS, UNIFORM));
  await bare.stop();
}

async function measureRound(url: string, note: Note): Promise<void> {
  const shard = { url, schema: 'bank' };
  const config = loadConfig({ DATABASE_URL: url });
  await note('U', pgbench(url, 16, SECONDS, UNIFORM));
  await note('H', pgbench(url, 16, SECONDS, HOT));
  await note('pgbench, one client', pgbench(url, 1, SECONDS, UNIFORM));
  await note('engine, 256 callers', engine(config, shard, 256, SECONDS, UNIFORM));
  await note('engine, 256 callers, one account', engine(config, shard, 256, SECONDS, HOT));
  await note('engine, one caller', engine(config, shard, 1, SECONDS, UNIFORM));

  await measureBare(note);

  const service = await startServer('src/main.js', { DATABASE_URL: url, BALANCE_CACHE: 'on' });
  await wrk(service.url, 'post.lua', WARM_UP_SECONDS, UNIFORM);
  await note('POST', wrk(service.url, 'post.lua', SECONDS, UNIFORM));
  await note('POST, one account', wrk(service.url, 'post.lua', SECONDS, HOT));
  await note('GET balance', wrk(service.url, 'get.lua', SECONDS, UNIFORM));
  await service.stop();

  const single = await startServer('src/main.js', { DATABASE_URL: url, LEDGER_BATCH: '1' });
  await wrk(single.url, 'post.lua', WARM_UP_SECONDS, UNIFORM);
  await note('POST, batches of one', wrk(single.url, 'post.lua', SECONDS, UNIFORM));
  await single.stop();
}

/** figure → what it is divided by, and the ratio to reach. */
const RATIOS: readonly Ratio[] = [
  ['engine, 256 callers', 'U', 4],
  ['engine, 256 callers, one account', 'H', 15],
  ['POST', 'U', 1.4],
  ['POST, one account', 'H', 5],
  ['POST', 'POST, batches of one', 1],
  ['GET balance', 'R: bare Fastify GET', 0.6],
];

function option(name: string, fallback: number): number {
  const index = process.argv.indexOf(name);
  const value = index === -1 ? fallback : Number(process.argv[index + 1]);
  if (!Number.isInteger(value) || value < 1) throw new Error(`${name} takes a whole number`);
  return value;
}

await main();
