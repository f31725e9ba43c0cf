import { connect } from 'amqplib';
import { seedBank } from '../../src/admin/seed.js';
import { verifyBank } from '../../src/admin/verify/verify.js';
import { bootstrapShards } from '../../src/sharding/bootstrap-shards.js';
import type { ShardAddress } from '../../src/config/shard-address.js';
import { startPgBouncer } from '../stack/servers/pgbouncer.js';
import { startPostgres } from '../stack/servers/postgres.js';
import { startRabbitMq } from '../stack/servers/rabbitmq.js';
import { startRedis } from '../stack/servers/redis.js';
import { ACCOUNTS, measureBare } from './core.js';
import type { Figures, Goal } from './figures.js';
import { withService, wrk, type Accounts } from './tools.js';

const WARM_UP_SECONDS = 3;

/** The bank of the main figures once more, with each part of the scale-out. */
export const SCALE_GOALS: readonly Goal[] = [
  { figure: 'GET balance, Redis', base: 'bare Fastify, GET', least: 0.35 },
  { figure: 'POST, Redis', base: 'POST, plain', least: 0.8 },
  { figure: 'POST, Redis and RabbitMQ', base: 'POST, plain', least: 0.8 },
  { figure: 'POST, rate limit over Redis', base: 'POST, plain', least: 0.8 },
  { figure: 'POST, PgBouncer', base: 'POST, plain', least: 0.8 },
  { figure: 'POST, 2 workers', base: 'POST, plain' },
  { figure: 'POST, 4 shards', base: 'POST, plain', least: 0.9 },
  { figure: 'POST to one shard, the other server stopped', base: 'POST to one shard of two', least: 0.9 },
];

/** Accounts that a load uses: a range, and of that every n-th. */
const ALL: Accounts = { first: 1, last: ACCOUNTS };
/** Of two shards the first holds the odd ids. */
const FIRST_SHARD: Accounts = { first: 1, last: ACCOUNTS - 1, step: 2 };

/** Everything that a round needs, on servers of its own. */
export async function withScaleServers<T>(
  work: (round: (seconds: number, figures: Figures) => Promise<void>) => Promise<T>,
): Promise<T> {
  const started: { stop(): Promise<void> }[] = [];
  const keep = async <S extends { stop(): Promise<void> }>(server: Promise<S>): Promise<S> => {
    started.unshift(await server);
    return started[0] as S;
  };
  try {
    const postgres = await keep(startPostgres());
    const other = await keep(startPostgres());
    const redis = await keep(startRedis());
    const broker = await keep(startRabbitMq());
    const pooler = await keep(startPgBouncer({ databases: { '*': postgres.url }, poolSize: 10 }));
    await bindQueue(broker.url);
    const one = await bank([{ url: postgres.url, schema: 'bank' }]);
    const four = await bank([0, 1, 2, 3].map((index) => ({ url: postgres.url, schema: `four_${index}` })));
    const two = await bank([postgres, other].map(({ url }, index) => ({ url, schema: `two_${index}` })));
    const plain = { DATABASE_URL: postgres.url, BALANCE_CACHE: 'on' };
    const shared = { DATABASE_URL: postgres.url, REDIS_URL: redis.url };
    const limit = { RATE_LIMIT_TRANSACTIONS_PER_SECOND: '1000000' };
    const pooled = { DATABASE_URL: pooler.url(postgres.url), MIGRATION_DATABASE_URL: postgres.url };
    const result = await work(async (seconds, figures) => {
      const note = (name: string, rate: Promise<number>) => figures.note(name, rate);
      await measureBare(figures, { seconds, warmUpSeconds: WARM_UP_SECONDS });
      await note('POST, plain', posting(plain, seconds));
      await note('POST, Redis', posting(shared, seconds));
      await note('POST, Redis and RabbitMQ', posting({ ...shared, RABBITMQ_URL: broker.url }, seconds));
      await note('POST, rate limit over Redis', posting({ ...shared, ...limit }, seconds));
      await note('POST, 2 workers', posting({ DATABASE_URL: postgres.url, WORKERS: '2' }, seconds));
      await note('POST, PgBouncer', posting({ ...pooled, BALANCE_CACHE: 'on' }, seconds));
      await note('POST, 4 shards', posting({ SHARDS: listOf(four), BALANCE_CACHE: 'on' }, seconds));
      await note('GET balance, Redis', reading(shared, seconds));
      await oneServerStopped(two, other, seconds, figures);
    });
    for (const shards of [one, four, two]) {
      if (!(await verifyBank(shards)).ok) throw new Error('the books are not clean');
    }
    return result;
  } finally {
    for (const server of started) await server.stop();
  }
}

/** A bank of {@link ACCOUNTS} accounts over these shards. */
async function bank(shards: readonly ShardAddress[]): Promise<readonly ShardAddress[]> {
  await bootstrapShards(shards);
  await seedBank(shards, { accounts: ACCOUNTS, balance: 100_000n });
  return shards;
}

function listOf(shards: readonly ShardAddress[]): string {
  return shards.map(({ url, schema }) => `${url}?schema=${schema}`).join(' ');
}

/** Somebody who takes events, and lets the oldest go: what a consumer does with them is not measured. */
async function bindQueue(url: string): Promise<void> {
  const connection = await connect(url);
  const channel = await connection.createChannel();
  await channel.assertExchange('bank', 'topic', { durable: true });
  await channel.assertQueue('bench', { durable: true, maxLength: 10_000 });
  await channel.bindQueue('bench', 'bank', 'transaction.posted.#');
  await connection.close();
}

function posting(environment: Record<string, string>, seconds: number): Promise<number> {
  return withService(environment, ({ url }) => measure(url, 'post.lua', seconds, ALL));
}

/** Warmed up for as long as it takes to read every balance once. */
function reading(environment: Record<string, string>, seconds: number): Promise<number> {
  return withService(environment, ({ url }) => measure(url, 'get.lua', seconds, ALL));
}

async function measure(
  url: string,
  script: 'post.lua' | 'get.lua',
  seconds: number,
  accounts: Accounts,
): Promise<number> {
  await wrk({ url, script, seconds: WARM_UP_SECONDS, accounts });
  return (await wrk({ url, script, seconds, accounts })).perSecond;
}

async function oneServerStopped(
  shards: readonly ShardAddress[],
  other: { halt(): Promise<void>; start(): Promise<void> },
  seconds: number,
  figures: Figures,
): Promise<void> {
  await withService({ SHARDS: listOf(shards), BALANCE_CACHE: 'on' }, async ({ url }) => {
    await figures.note('POST to one shard of two', measure(url, 'post.lua', seconds, FIRST_SHARD));
    await other.halt();
    const rest = wrk({ url, script: 'post.lua', seconds, accounts: FIRST_SHARD });
    await figures.note(
      'POST to one shard, the other server stopped',
      rest.then(({ perSecond }) => perSecond),
    );
    await other.start();
  });
}
