import { connect } from 'amqplib';
import type { ShardAddress } from '../../src/config/shard-address.js';
import { startPgBouncer } from '../stack/servers/pgbouncer.js';
import { startPostgres } from '../stack/servers/postgres.js';
import { startRabbitMq } from '../stack/servers/rabbitmq.js';
import { startRedis } from '../stack/servers/redis.js';
import { ACCOUNTS, ALL, checkBooks, foundBank } from './bank.js';
import { measureBare } from './core.js';
import type { Figures, Goal, Rounds } from './figures.js';
import { databaseMeters, serviceMeter } from './meters.js';
import { withService, wrk, type Accounts } from './tools.js';

const WARM_UP_SECONDS = 3;

/** The bank of the main figures again, with each part of the scale-out. */
const SCALE_GOALS: readonly Goal[] = [
  { figure: 'GET balance, Redis', base: 'bare Fastify, GET', least: 0.35 },
  { figure: 'POST, Redis', base: 'POST, plain', least: 0.8 },
  { figure: 'POST, Redis and RabbitMQ', base: 'POST, plain', least: 0.8 },
  { figure: 'POST, rate limit over Redis', base: 'POST, plain', least: 0.8 },
  { figure: 'POST, PgBouncer', base: 'POST, plain', least: 0.8 },
  { figure: 'POST, 2 workers', base: 'POST, plain' },
  { figure: 'POST, 4 shards', base: 'POST, plain', least: 0.9 },
  { figure: 'POST to one shard, the other server stopped', base: 'POST to one shard of two', least: 0.9 },
];

/** The first of two shards holds the odd ids. */
const FIRST_SHARD: Accounts = { first: 1, last: ACCOUNTS - 1, step: 2 };

type Script = 'post.lua' | 'get.lua';

/** Measures the service with each part of the scale-out, on servers of its own. */
export async function measureScale(
  seconds: number,
  figures: Figures,
  rounds: Rounds,
): Promise<readonly Goal[]> {
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
    const one = await foundBank([{ url: postgres.url, schema: 'bank' }]);
    const four = await foundBank(
      [0, 1, 2, 3].map((index) => ({ url: postgres.url, schema: `four_${index}` })),
    );
    const two = await foundBank([postgres, other].map(({ url }, index) => ({ url, schema: `two_${index}` })));
    const plain = { DATABASE_URL: postgres.url, BALANCE_CACHE: 'on' };
    const shared = { DATABASE_URL: postgres.url, REDIS_URL: redis.url };
    const limit = { RATE_LIMIT_TRANSACTIONS_PER_SECOND: '1000000' };
    const pooled = { DATABASE_URL: pooler.url(postgres.url), MIGRATION_DATABASE_URL: postgres.url };
    const database = await databaseMeters(postgres.url);
    await rounds(async () => {
      const note = (name: string, environment: Record<string, string>, script: Script = 'post.lua') =>
        withService(environment, async ({ url, pid }) => {
          const run = { url, script, accounts: ALL };
          // Long enough to read every balance once.
          await wrk({ ...run, seconds: WARM_UP_SECONDS });
          const meters = { ...serviceMeter(pid), ...database };
          await figures.noteLoad(name, meters, () => wrk({ ...run, seconds }));
        });
      await measureBare(figures, { seconds, warmUpSeconds: WARM_UP_SECONDS });
      await note('POST, plain', plain);
      await note('POST, Redis', shared);
      await note('POST, Redis and RabbitMQ', { ...shared, RABBITMQ_URL: broker.url });
      await note('POST, rate limit over Redis', { ...shared, ...limit });
      await note('POST, 2 workers', { DATABASE_URL: postgres.url, WORKERS: '2' });
      await note('POST, PgBouncer', { ...pooled, BALANCE_CACHE: 'on' });
      await note('POST, 4 shards', { SHARDS: listOf(four), BALANCE_CACHE: 'on' });
      await note('GET balance, Redis', shared, 'get.lua');
      await oneServerStopped(two, other, seconds, figures);
    });
    for (const shards of [one, four, two]) await checkBooks(shards);
    return SCALE_GOALS;
  } finally {
    for (const server of started) await server.stop();
  }
}

function listOf(shards: readonly ShardAddress[]): string {
  return shards.map(({ url, schema }) => `${url}?schema=${schema}`).join(' ');
}

/** Stands for a consumer, in a queue that drops its oldest events: what a consumer does with them is not measured. */
async function bindQueue(url: string): Promise<void> {
  const connection = await connect(url);
  const channel = await connection.createChannel();
  await channel.assertExchange('bank', 'topic', { durable: true });
  await channel.assertQueue('bench', { durable: true, maxLength: 10_000 });
  await channel.bindQueue('bench', 'bank', 'transaction.posted.#');
  await connection.close();
}

async function oneServerStopped(
  shards: readonly ShardAddress[],
  other: { halt(): Promise<void>; start(): Promise<void> },
  seconds: number,
  figures: Figures,
): Promise<void> {
  await withService({ SHARDS: listOf(shards), BALANCE_CACHE: 'on' }, async ({ url, pid }) => {
    const run = { url, script: 'post.lua', accounts: FIRST_SHARD } as const;
    const load = () => wrk({ ...run, seconds });
    await wrk({ ...run, seconds: WARM_UP_SECONDS });
    await figures.noteLoad('POST to one shard of two', serviceMeter(pid), load);
    await other.halt();
    await figures.noteLoad('POST to one shard, the other server stopped', serviceMeter(pid), load);
    await other.start();
  });
}
