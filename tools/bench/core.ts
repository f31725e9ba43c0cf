import { loadConfig } from '../../src/config/config.js';
import type { ShardAddress } from '../../src/config/shard-address.js';
import { tablesOf } from '../../src/storage/tables.js';
import { ACCOUNTS, checkBooks, foundBank } from './bank.js';
import { engine } from './engine.js';
import { costName, percentile, type Figures, type Goal } from './figures.js';
import { LoadProcess } from './load/load-process.js';
import { databaseMeters, serviceMeter, type Meters } from './meters.js';
import {
  BATCH_ITEMS,
  pgbench,
  residentMebibytes,
  startServer,
  withClient,
  withService,
  wrk,
  type Accounts,
  type Load,
  type RunningServer,
  type WrkRun,
} from './tools.js';

/** Account 1 is reserved for the hot load. */
const UNIFORM: Accounts = { first: 2, last: ACCOUNTS };
const HOT: Accounts = { first: 1, last: 1 };

export interface Lengths {
  /** Of each measurement. */
  readonly seconds: number;
  /** Load before the first measurement, until the compiler has optimised the hot path. */
  readonly warmUpSeconds: number;
}

/** Numbers of connections of the closed loops, each with its own figure. The other figures use 256. */
export const CONNECTIONS = [1, 4, 16, 64, 256, 1_024] as const;
const FULL = 256;
const BATCH_CONNECTIONS = 8;
const PGBENCH_CLIENTS = 16;
export const PERCENTILES = [0.5, 0.75, 0.9, 0.95, 0.99, 0.999] as const;
/** More than are ever in use at half the rate, so that no request waits for a connection. */
const OPEN_LOOP_CONNECTIONS = 1_024;
const HALF = 'POST at half the rate';
const SENT_LATE = `${HALF}, sent late`;
const NOT_SENT = `${HALF}, not sent`;

export function postName(connections: number): string {
  if (connections === FULL) return 'POST';
  return connections === 1 ? 'POST, one caller' : `POST, ${connections} connections`;
}

export function latencyName(what: typeof HALF | typeof SENT_LATE | 'pgbench', share: number): string {
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
    figure: costName('POST', 'service'),
    base: costName('bare Fastify, POST', 'service'),
    least: 2.9,
    aim: 2.4,
    small: true,
  },
  {
    figure: costName('GET balance', 'service'),
    base: costName('bare Fastify, GET', 'service'),
    least: 2.6,
    aim: 2.2,
    small: true,
  },
  { figure: latencyName(HALF, 0.99), base: latencyName('pgbench', 0.5), least: 8, aim: 4, small: true },
  { figure: latencyName(HALF, 0.5), least: 5, small: true },
  { figure: latencyName(HALF, 0.99), least: 30, small: true },
  { figure: NOT_SENT, least: 0, small: true },
  // 300 and 350 MB.
  { figure: 'resident memory at full load', least: 286, small: true },
  { figure: 'resident memory after batches too', least: 334, small: true },
  { figure: 'POST', base: 'POST, batches of one', least: 3, aim: 6 },
];

/** One round: the baselines and the service in turn, on the same data. @throws when the books are wrong afterwards */
export async function measureCore(shard: ShardAddress, figures: Figures, lengths: Lengths): Promise<void> {
  const database = await databaseMeters(shard.url);
  await measureDatabase(shard, database, figures, lengths);
  await measureEngine(shard, database, figures, lengths);
  await measureBare(figures, lengths);
  await withService({ DATABASE_URL: shard.url, BALANCE_CACHE: 'on' }, (service) =>
    booked(shard, (posts) => measureService(service, database, figures, lengths, posts)),
  );
  await withService({ DATABASE_URL: shard.url, LEDGER_BATCH: '1' }, ({ url, pid }) =>
    booked(shard, async (posts) => {
      const run = { url, script: 'post.lua', accounts: UNIFORM } as const;
      const meters = { ...serviceMeter(pid), ...database };
      await posts.wrk({ ...run, seconds: lengths.warmUpSeconds });
      await figures.noteLoad('POST, batches of one', meters, () =>
        posts.wrk({ ...run, seconds: lengths.seconds }),
      );
    }),
  );
  await checkBooks([shard]);
}

/** For conventional.sql: the same accounts in their own schema, without hashes, as in a conventional design. */
export async function foundConventional({ url }: ShardAddress): Promise<void> {
  const [{ schema }] = await foundBank([{ url, schema: 'conventional' }]);
  const { accounts, transactions } = tablesOf(schema);
  await withClient(url, (client) =>
    client.query(
      `ALTER TABLE ${accounts} DROP COLUMN head_hash; ALTER TABLE ${transactions} DROP COLUMN hash`,
    ),
  );
}

/** U and H: what the best conventional design could reach without HTTP. */
async function measureDatabase(
  { url }: ShardAddress,
  database: Meters,
  figures: Figures,
  { seconds }: Lengths,
): Promise<void> {
  const { latencies } = await figures.noteLoad('U', database, () =>
    pgbench(url, PGBENCH_CLIENTS, seconds, UNIFORM),
  );
  notePercentiles(figures, 'pgbench', latencies);
  await figures.noteLoad('H', database, () => pgbench(url, PGBENCH_CLIENTS, seconds, HOT));
  await figures.noteLoad('pgbench, one client', database, () => pgbench(url, 1, seconds, UNIFORM));
}

async function measureEngine(
  shard: ShardAddress,
  database: Meters,
  figures: Figures,
  { seconds }: Lengths,
): Promise<void> {
  const config = loadConfig({ DATABASE_URL: shard.url });
  const meters = { ...serviceMeter(process.pid), ...database };
  const note = (name: string, callers: number, accounts: Accounts) =>
    figures.noteLoad(name, meters, () => engine(config, shard, callers, seconds, accounts));
  await note('engine', FULL, UNIFORM);
  await note('engine, one account', FULL, HOT);
  await note('engine, one caller', 1, UNIFORM);
}

/** Measures the cost of HTTP alone. */
export async function measureBare(figures: Figures, { seconds, warmUpSeconds }: Lengths): Promise<void> {
  const bare = await startServer('tools/bench/bare-fastify.js');
  for (const [name, script] of [
    ['bare Fastify, GET', 'get.lua'],
    ['bare Fastify, POST', 'post.lua'],
  ] as const) {
    const run = { url: bare.url, script, accounts: UNIFORM };
    await wrk({ ...run, seconds: warmUpSeconds });
    await figures.noteLoad(name, serviceMeter(bare.pid), () => wrk({ ...run, seconds }));
  }
  await bare.stop();
}

/** Loads whose transactions are counted. */
interface Posts {
  wrk(run: WrkRun): Promise<Load>;
  /** Adds the transactions that another load saw acknowledged. */
  count(transactions: number): void;
}

/** Rates of the service, and the cost of each transaction or request. */
async function measureService(
  { url, pid }: RunningServer,
  database: Meters,
  figures: Figures,
  { seconds, warmUpSeconds }: Lengths,
  posts: Posts,
): Promise<void> {
  const run = { url, script: 'post.lua', seconds, accounts: UNIFORM } as const;
  const meters = { ...serviceMeter(pid), ...database };
  const note = (name: string, load: () => Promise<Load>) => figures.noteLoad(name, meters, load);
  figures.note('resident memory, fresh', residentMebibytes(pid).now, 'MiB');
  await posts.wrk({ ...run, seconds: warmUpSeconds });
  const { perSecond } = await note(postName(FULL), () => posts.wrk(run));
  await note('POST, one account', () => posts.wrk({ ...run, accounts: HOT }));
  figures.note('resident memory at full load', residentMebibytes(pid).peak, 'MiB');
  for (const connections of CONNECTIONS.filter((each) => each !== FULL)) {
    await note(postName(connections), () => posts.wrk({ ...run, connections }));
  }
  posts.count(await measureLatency(url, figures, Math.max(1, Math.floor(perSecond / 2)), seconds));
  const batches = { ...run, script: 'batch.lua', connections: BATCH_CONNECTIONS } as const;
  await posts.wrk({ ...batches, seconds: warmUpSeconds });
  await note('batch items', () => posts.wrk(batches));
  figures.note('resident memory after batches too', residentMebibytes(pid).peak, 'MiB');
  const reads = { ...run, script: 'get.lua' } as const;
  await wrk({ ...reads, seconds: warmUpSeconds });
  await note('GET balance', () => wrk(reads));
}

/**
 * An open loop: a request is sent when it is due, whatever happened to the one before; its latency counts from then.
 * The generator's own delay, which the latencies include, is noted beside them, and so are the requests it could not
 * send.
 *
 * @returns how many were acknowledged
 */
async function measureLatency(
  url: string,
  figures: Figures,
  perSecond: number,
  seconds: number,
): Promise<number> {
  const generator = new LoadProcess(url, ACCOUNTS);
  try {
    const done = await generator.open(OPEN_LOOP_CONNECTIONS, [{ perSecond, seconds }]);
    const latencies = done.flatMap((second) => second.accepted);
    const unsent = done.reduce((sum, second) => sum + second.unsent, 0);
    if (latencies.length + unsent < perSecond * seconds) {
      throw new Error('not every request at half the rate was accepted');
    }
    notePercentiles(figures, HALF, latencies);
    notePercentiles(
      figures,
      SENT_LATE,
      done.flatMap((second) => second.sentLate),
      [0.5, 0.99],
    );
    figures.note(NOT_SENT, (100 * unsent) / (perSecond * seconds), '%');
    return latencies.length;
  } finally {
    generator.stop();
  }
}

function notePercentiles(
  figures: Figures,
  what: Parameters<typeof latencyName>[0],
  milliseconds: readonly number[],
  shares: readonly number[] = PERCENTILES,
): void {
  for (const share of shares) figures.note(latencyName(what, share), percentile(milliseconds, share), 'ms');
}

/** Does work, then compares what the loads saw acknowledged with what is stored. */
async function booked(shard: ShardAddress, work: (posts: Posts) => Promise<void>): Promise<void> {
  const before = await countTransactions(shard);
  let acknowledged = 0;
  /** Requests that the service may have carried out after wrk stopped listening. */
  let unheard = 0;
  await work({
    wrk: async (run) => {
      const load = await wrk(run);
      acknowledged += load.requests;
      unheard += (run.connections ?? FULL) * (run.script === 'batch.lua' ? BATCH_ITEMS : 1);
      return load;
    },
    count: (transactions) => (acknowledged += transactions),
  });
  const stored = (await countTransactions(shard)) - before;
  if (stored < acknowledged || stored > acknowledged + unheard) {
    throw new Error(`${acknowledged} transactions were acknowledged, ${stored} are stored`);
  }
}

function countTransactions({ url, schema }: ShardAddress): Promise<number> {
  return withClient(url, async (client) => {
    const { rows } = await client.query<{ count: string }>(
      `SELECT count(*) FROM ${tablesOf(schema).transactions}`,
    );
    return Number(rows[0]?.count);
  });
}
