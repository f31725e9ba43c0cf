import 'reflect-metadata';
import { mkdtempSync, rmSync } from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { seedShard } from '../src/cli/seed.js';
import { verifyBank } from '../src/cli/verify.js';
import { loadConfig } from '../src/config.js';
import { EmbeddedPostgres } from '../src/database/embedded-postgres.js';
import { migrate } from '../src/database/migrate.js';
import { engine } from './engine.js';
import { median, pgbench, startServer, wrk, type Accounts } from './tools.js';

/**
 * Measures the service against what the machine's PostgreSQL and HTTP can do, one after the other in one run, on the
 * same data, with fsync and synchronous_commit on. Needs pgbench and wrk. The books are checked at the end.
 * `--seconds S` per figure (default 5), `--rounds N` (default 3).
 */
const SECONDS = option('--seconds', 5);
const ROUNDS = option('--rounds', 3);
const ACCOUNTS = 10_000;
/** Until the compiler has seen the hot path. */
const WARM_UP_SECONDS = 3;

type Figures = Map<string, number[]>;

async function main(): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'bank-bench-'));
  const server = await EmbeddedPostgres.open({ dataDir: folder, holder: 'bench', log: () => undefined });
  try {
    const shard = { url: server.url, schema: 'bank' };
    await migrate(shard, { index: 0, count: 1 });
    await seedShard(shard, ACCOUNTS, 100_000n);
    const figures: Figures = new Map();
    for (let round = 1; round <= ROUNDS; round++) {
      console.error(`round ${round} of ${ROUNDS}`);
      await measureRound(shard.url, figures);
    }
    const report = await verifyBank([shard]);
    print(figures, report.transactions);
    if (!report.ok) throw new Error('the books are not clean');
  } finally {
    await server.close();
    rmSync(folder, { recursive: true, force: true });
  }
}

async function measureRound(url: string, figures: Figures): Promise<void> {
  const uniform: Accounts = { first: 2, last: ACCOUNTS };
  const hot: Accounts = { first: 1, last: 1 };
  const shard = { url, schema: 'bank' };
  const config = loadConfig({ DATABASE_URL: url });
  const note = async (name: string, rate: Promise<number>) => {
    const value = await rate;
    figures.set(name, [...(figures.get(name) ?? []), value]);
    console.error(`  ${name}: ${Math.round(value)}/s`);
  };
  await note('U', pgbench(url, 16, SECONDS, uniform));
  await note('H', pgbench(url, 16, SECONDS, hot));
  await note('pgbench, one client', pgbench(url, 1, SECONDS, uniform));
  await note('engine, 256 callers', engine(config, shard, 256, SECONDS, uniform));
  await note('engine, 256 callers, one account', engine(config, shard, 256, SECONDS, hot));
  await note('engine, one caller', engine(config, shard, 1, SECONDS, uniform));

  const bare = await startServer('bench/bare-fastify.js');
  await wrk(bare.url, 'get.lua', WARM_UP_SECONDS, uniform);
  await note('R: bare Fastify GET', wrk(bare.url, 'get.lua', SECONDS, uniform));
  await note('R: bare Fastify POST', wrk(bare.url, 'post.lua', SECONDS, uniform));
  await bare.stop();

  const service = await startServer('src/main.js', { DATABASE_URL: url, BALANCE_CACHE: 'on' });
  await wrk(service.url, 'post.lua', WARM_UP_SECONDS, uniform);
  await note('POST', wrk(service.url, 'post.lua', SECONDS, uniform));
  await note('POST, one account', wrk(service.url, 'post.lua', SECONDS, hot));
  await note('GET balance', wrk(service.url, 'get.lua', SECONDS, uniform));
  await service.stop();

  const single = await startServer('src/main.js', { DATABASE_URL: url, LEDGER_BATCH: '1' });
  await wrk(single.url, 'post.lua', WARM_UP_SECONDS, uniform);
  await note('POST, batches of one', wrk(single.url, 'post.lua', SECONDS, uniform));
  await single.stop();
}

/** figure → what it is divided by, and the ratio to reach. */
const RATIOS: readonly (readonly [string, string, number])[] = [
  ['engine, 256 callers', 'U', 4],
  ['engine, 256 callers, one account', 'H', 15],
  ['POST', 'U', 1.4],
  ['POST, one account', 'H', 5],
  ['POST', 'POST, batches of one', 1],
  ['GET balance', 'R: bare Fastify GET', 0.3],
];

function print(figures: Figures, transactions: number): void {
  const of = (name: string) => figures.get(name) ?? [];
  const processor = cpus()[0]?.model ?? 'unknown processor';
  console.log(
    `${cpus().length} cores (${processor}), Node ${process.version}, ${new Date().toISOString().slice(0, 10)}`,
  );
  console.log(
    `${ACCOUNTS} accounts; ${ROUNDS} rounds of ${SECONDS} s; books verified: ${transactions} transactions\n`,
  );
  console.log('| figure | per second (median) | min – max |\n|---|---|---|');
  for (const [name, values] of figures) {
    const range = `${Math.round(Math.min(...values))} – ${Math.round(Math.max(...values))}`;
    console.log(`| ${name} | ${Math.round(median(values))} | ${range} |`);
  }
  console.log('\n| ratio | median | to reach |\n|---|---|---|');
  for (const [name, base, goal] of RATIOS) {
    const ratios = of(name).map((value, round) => value / (of(base)[round] ?? NaN));
    console.log(`| ${name} ÷ ${base} | ${median(ratios).toFixed(2)} | ${goal} |`);
  }
}

function option(name: string, fallback: number): number {
  const index = process.argv.indexOf(name);
  const value = index === -1 ? fallback : Number(process.argv[index + 1]);
  if (!Number.isInteger(value) || value < 1) throw new Error(`${name} takes a whole number`);
  return value;
}

await main();
