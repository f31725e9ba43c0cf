import { Client } from 'pg';
import { seedShard } from '../../src/admin/seed.js';
import { verifyBank } from '../../src/admin/verify/verify.js';
import { loadConfig } from '../../src/config/config.js';
import { migrate } from '../../src/storage/migrate.js';
import type { ShardAddress } from '../../src/config/shard-address.js';
import { tablesOf } from '../../src/storage/tables.js';
import { engine } from './engine.js';
import { percentile, type Figures, type Goal } from './figures.js';
import { LoadProcess } from './load/load-process.js';
import {
  BATCH_ITEMS,
  parentOf,
  peakResidentMebibytes,
  pgbench,
  processorSeconds,
  startServer,
  withService,
  wrk,
  type Accounts,
  type RunningServer,
  type WrkRun,
} from './tools.js';

/** Accounts of the bank that is measured. */
export const ACCOUNTS = 10_000;
export const UNIFORM: Accounts = { first: 2, last: ACCOUNTS };
const HOT: Accounts = { first: 1, last: 1 };

export interface Lengths {
  /** Of each measurement. */
  readonly seconds: number;
  /** Of a load before the first measurement: until the compiler has seen the hot path. */
  readonly warmUpSeconds: number;
}

/** Of the closed loops, each with a figure of its own. 256 is what the other figures use. */
export const CONNECTIONS = [1, 4, 16, 64, 256, 1_024] as const;
const FULL = 256;
const BATCH_CONNECTIONS = 8;
const PGBENCH_CLIENTS = 16;
export const PERCENTILES = [0.5, 0.75, 0.9, 0.95, 0.99, 0.999] as const;

export function postName(connections: number): string {
  if (connections === FULL) return 'POST';
  return connections === 1 ? 'POST, one caller' : `POST, ${connections} connections`;
}

export function latencyName(what: 'POST at half the rate' | 'pgbench', share: number): string {
  return `${what}, p${Number((share * 100).toPrecision(4))}`;
}

export const CORE_GOALS: readonly Goal[] = [
  { figure: 'POST', base: 'U', least: 2, aim: 4 },
  { figure: 'POST, one caller', base: 'pgbench, one client', least: 0.4, aim: 0.7 },
  { figure: 'POST, one account', base: 'H', least: 8, aim: 25 },
  { figure: 'batch items', base: 'U', least: 6, aim: 12 },
  { figure: 'engine', base: 'U' },
  { figure: 'engine, one account', base: 'H', least: 30, aim: 60 },
  { figure: 'GET balance', base: 'bare Fastify, GET', least: 0.7, aim: 0.9 },
  { figure: 'POST', base: 'bare Fastify, POST' },
  {
    figure: latencyName('POST at half the rate', 0.99),
    base: latencyName('pgbench', 0.5),
    least: 8,
    aim: 4,
    small: true,
  },
  // 350 and 200 MB.
  { figure: 'resident memory at full load', least: 334, aim: 191, small: true },
  { figure: 'POST', base: 'POST, batches of one', least: 3, aim: 6 },
];

/** One round: the baselines and the service in turn, on the same data. Throws when the books are wrong afterwards. */
export async function measureCore(shard: ShardAddress, figures: Figures, lengths: Lengths): Promise<void> {
  await measureDatabase(shard, figures, lengths);
  await measureEngine(shard, figures, lengths);
  await measureBare(figures, lengths);
  await withService({ DATABASE_URL: shard.url, BALANCE_CACHE: 'on' }, (service) =>
    booked(shard, (posts) => measureService(shard, service, figures, lengths, posts)),
  );
  await withService({ DATABASE_URL: shard.url, LEDGER_BATCH: '1' }, ({ url }) =>
    booked(shard, async (posts) => {
      const run = { url, script: 'post.lua', accounts: UNIFORM } as const;
      await posts.wrk({ ...run, seconds: lengths.warmUpSeconds });
      await figures.note('POST, batches of one', posts.wrk({ ...run, seconds: lengths.seconds }));
    }),
  );
  if (!(await verifyBank([shard])).ok) throw new Error('the books are not clean');
}

/** The same accounts in a schema of their own, without hashes: a conventional design has none. For conventional.sql. */
export async function foundConventional({ url }: ShardAddress): Promise<void> {
  const conventional = { url, schema: 'conventional' };
  await migrate(conventional, { index: 0, count: 1 });
  await seedShard(conventional, ACCOUNTS, 100_000n);
  const { accounts, transactions } = tablesOf(conventional.schema);
  await withClient(conventional, (client) =>
    client.query(
      `ALTER TABLE ${accounts} DROP COLUMN head_hash; ALTER TABLE ${transactions} DROP COLUMN hash`,
    ),
  );
}

/** U and H: what the best conventional design could reach with no HTTP at all. */
async function measureDatabase({ url }: ShardAddress, figures: Figures, { seconds }: Lengths): Promise<void> {
  const uniform = await pgbench(url, PGBENCH_CLIENTS, seconds, UNIFORM);
  await figures.note('U', uniform.perSecond);
  for (const share of PERCENTILES) {
    await figures.note(latencyName('pgbench', share), percentile(uniform.latencies, share), 'ms');
  }
  await figures.note('H', (await pgbench(url, PGBENCH_CLIENTS, seconds, HOT)).perSecond);
  await figures.note('pgbench, one client', (await pgbench(url, 1, seconds, UNIFORM)).perSecond);
}

async function measureEngine(shard: ShardAddress, figures: Figures, { seconds }: Lengths): Promise<void> {
  const config = loadConfig({ DATABASE_URL: shard.url });
  await figures.note('engine', engine(config, shard, FULL, seconds, UNIFORM));
  await figures.note('engine, one account', engine(config, shard, FULL, seconds, HOT));
  await figures.note('engine, one caller', engine(config, shard, 1, seconds, UNIFORM));
}

/** What HTTP alone costs. */
export async function measureBare(figures: Figures, { seconds, warmUpSeconds }: Lengths): Promise<void> {
  const bare = await startServer('tools/bench/bare-fastify.js');
  const run = { url: bare.url, seconds, accounts: UNIFORM };
  await wrk({ ...run, script: 'get.lua', seconds: warmUpSeconds });
  await figures.note('bare Fastify, GET', rateOf(wrk({ ...run, script: 'get.lua' })));
  await wrk({ ...run, script: 'post.lua', seconds: warmUpSeconds });
  await figures.note('bare Fastify, POST', rateOf(wrk({ ...run, script: 'post.lua' })));
  await bare.stop();
}

/** Loads whose transactions are counted. */
interface Posts {
  /** wrk; transactions per second. */
  wrk(run: WrkRun): Promise<number>;
  /** What another load has seen acknowledged. */
  count(transactions: number): void;
}

/** Rates of the service, and what each of its transactions or requests costs. */
async function measureService(
  shard: ShardAddress,
  { url, pid }: RunningServer,
  figures: Figures,
  { seconds, warmUpSeconds }: Lengths,
  posts: Posts,
): Promise<void> {
  const run = { url, script: 'post.lua', seconds, accounts: UNIFORM } as const;
  const postmaster = await postmasterOf(shard);
  const noteWithCost = async (name: string, measure: () => Promise<number>): Promise<number> => {
    const costs = async () => [processorSeconds(pid), processorSeconds(postmaster), await walBytes(shard)];
    const before = await costs();
    const rate = await figures.note(name, measure());
    const each = (await costs()).map((after, index) => (after - (before[index] ?? NaN)) / (rate * seconds));
    await figures.note(`${name}: service`, (each[0] ?? NaN) * 1e6, 'µs');
    await figures.note(`${name}: PostgreSQL`, (each[1] ?? NaN) * 1e6, 'µs');
    await figures.note(`${name}: WAL`, each[2] ?? NaN, 'B');
    return rate;
  };
  await posts.wrk({ ...run, seconds: warmUpSeconds });
  const rate = await noteWithCost(postName(FULL), () => posts.wrk(run));
  await figures.note('POST, one account', posts.wrk({ ...run, accounts: HOT }));
  await figures.note('resident memory at full load', peakResidentMebibytes(pid), 'MiB');
  for (const connections of CONNECTIONS.filter((each) => each !== FULL)) {
    await figures.note(postName(connections), posts.wrk({ ...run, connections }));
  }
  const batches = { ...run, script: 'batch.lua', connections: BATCH_CONNECTIONS } as const;
  await posts.wrk({ ...batches, seconds: warmUpSeconds });
  await noteWithCost('batch items', () => posts.wrk(batches));
  await figures.note('resident memory after batches too', peakResidentMebibytes(pid), 'MiB');
  await wrk({ ...run, script: 'get.lua', seconds: warmUpSeconds });
  await noteWithCost('GET balance', () => rateOf(wrk({ ...run, script: 'get.lua' })));
  posts.count(await measureLatency(url, figures, Math.max(1, Math.floor(rate / 2)), seconds));
}

/**
 * An open loop: a request is sent when it is due, whatever became of the one before; its latency runs from then.
 *
 * @returns how many were acknowledged
 */
async function measureLatency(
  url: string,
  figures: Figures,
  perSecond: number,
  seconds: number,
): Promise<number> {
  const load = new LoadProcess(url, ACCOUNTS);
  try {
    const done = await load.open(FULL, [{ perSecond, seconds }]);
    if (done.some(({ lost, unknown, overloaded }) => lost + unknown + overloaded > 0)) {
      throw new Error('not every request at half the rate was accepted');
    }
    const latencies = done.flatMap((second) => second.accepted);
    for (const share of PERCENTILES) {
      const name = latencyName('POST at half the rate', share);
      await figures.note(name, percentile(latencies, share), 'ms');
    }
    return latencies.length;
  } finally {
    load.stop();
  }
}

/** Does work, and holds what wrk has seen acknowledged against what is stored afterwards. */
async function booked(shard: ShardAddress, work: (posts: Posts) => Promise<void>): Promise<void> {
  const before = await countTransactions(shard);
  let acknowledged = 0;
  /** What the service may have done when wrk stopped listening. */
  let unheard = 0;
  await work({
    wrk: async (run) => {
      const items = run.script === 'batch.lua' ? BATCH_ITEMS : 1;
      const { perSecond, requests } = await wrk(run);
      acknowledged += requests * items;
      unheard += (run.connections ?? FULL) * items;
      return perSecond * items;
    },
    count: (transactions) => (acknowledged += transactions),
  });
  const stored = (await countTransactions(shard)) - before;
  if (stored < acknowledged || stored > acknowledged + unheard) {
    throw new Error(`${acknowledged} transactions were acknowledged, ${stored} are stored`);
  }
}

/** The process that has started all of a PostgreSQL server's others. */
function postmasterOf(shard: ShardAddress): Promise<number> {
  return withClient(shard, async (client) => {
    const { rows } = await client.query<{ pid: number }>('SELECT pg_backend_pid() AS pid');
    return parentOf(rows[0]?.pid ?? 0);
  });
}

/** What the server has written to its write-ahead log so far. */
function walBytes(shard: ShardAddress): Promise<number> {
  return withClient(shard, async (client) => {
    const { rows } = await client.query<{ bytes: string }>(
      `SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn AS bytes`,
    );
    return Number(rows[0]?.bytes);
  });
}

function countTransactions(shard: ShardAddress): Promise<number> {
  return withClient(shard, async (client) => {
    const { rows } = await client.query<{ count: string }>(
      `SELECT count(*) FROM ${tablesOf(shard.schema).transactions}`,
    );
    return Number(rows[0]?.count);
  });
}

async function withClient<T>({ url }: ShardAddress, work: (client: Client) => Promise<T>): Promise<T> {
  const client = new Client({ connectionString: url });
  await client.connect();
  try {
    return await work(client);
  } finally {
    await client.end();
  }
}

async function rateOf(run: ReturnType<typeof wrk>): Promise<number> {
  return (await run).perSecond;
}
