import { PostgresProxy } from '../stack/proxies/postgres-proxy.js';
import { startPgBouncer } from '../stack/servers/pgbouncer.js';
import { startPostgres, type PostgresServer } from '../stack/servers/postgres.js';
import { startRabbitMq } from '../stack/servers/rabbitmq.js';
import { startRedis } from '../stack/servers/redis.js';
import { startReplica } from '../stack/servers/replica.js';
import { Parts } from '../stack/stack.js';
import { SETTINGS, withSteppedClock, type BankOptions, type BankUnderTest } from './bank.js';
import {
  answers,
  diskFull,
  foreignFaults,
  immediateStop,
  instanceFaults,
  poolHeld,
  serverFaults,
  wireFaults,
  type DirectShard,
  type Fault,
  type Reach,
} from './faults.js';
import { Instance } from './instances.js';
import { foundBank } from './senders.js';

const INSTANCES = ['api-1', 'api-2'];
const POOL_SIZE = 12;
/** Enough for a run of some minutes, and small enough to fill quickly. */
const DISK_BYTES = 1024 * 1024 * 1024;
const RABBITMQ_RESTART_MS = 15_000;
/** Longer than a credential is trusted without being read again. */
const POSTGRES_LONGEST_MS = 8_000;

export interface FullBankOptions extends BankOptions {
  /** False: without the broker, which is slow to start. */
  readonly rabbitMq?: boolean;
}

/**
 * Two instances, two shards on two PostgreSQL servers, the first behind PgBouncer, with Redis and RabbitMQ. Each
 * instance reaches each shard through a proxy of its own.
 */
export async function startFullBank(options: FullBankOptions): Promise<BankUnderTest> {
  const parts = new Parts();
  try {
    return await assemble(parts, options);
  } catch (error) {
    await parts.stop();
    throw error;
  }
}

async function assemble(parts: Parts, options: FullBankOptions): Promise<BankUnderTest> {
  const isRoot = process.getuid?.() === 0;
  const [redis, rabbitMq, first, second] = await Promise.all([
    parts.add(startRedis()),
    options.rabbitMq === false ? undefined : parts.add(startRabbitMq()),
    parts.add(startPostgres()),
    parts.add(startPostgres({ max_wal_size: '256MB' }, isRoot ? DISK_BYTES : undefined)),
  ]);
  const pgbouncer = await parts.add(startPgBouncer({ databases: { '*': first.url }, poolSize: POOL_SIZE }));
  const pooledUrl = pgbouncer.url(first.url);
  const shards = [first, second].map(({ url }, index) => ({ url, schema: `bank_${index}` }));
  const faults: Fault[] = [
    ...serverFaults('redis', 'redis', redis),
    ...serverFaults('pgbouncer', 'pgbouncer', pgbouncer, { reach: { shard: 0 } }),
    ...(rabbitMq ? serverFaults('rabbitmq', 'rabbitmq', rabbitMq, { healingMs: RABBITMQ_RESTART_MS }) : []),
    ...postgresFaults('postgres-a', first, shards[0] as DirectShard, { shard: 0 }),
    ...postgresFaults('postgres-b', second, shards[1] as DirectShard, { shard: 1 }),
    poolHeld('pgbouncer', pooledUrl, POOL_SIZE, { shard: 0 }),
  ];
  const { clients, operator } = await foundBank({ SHARDS: shardList(shards) });
  const instances: Instance[] = [];
  for (const name of INSTANCES) {
    const wires = await Promise.all([pooledUrl, second.url].map((url) => parts.add(startWire(url))));
    wires.forEach(({ proxy }, shard) => faults.push(...wireFaults(name, shard, proxy)));
    const settings = {
      ...SETTINGS,
      ...options.settings,
      SHARDS: shardList(wires.map(({ url }, shard) => ({ url, schema: `bank_${shard}` }))),
      MIGRATION_SHARDS: shardList(shards),
      REDIS_URL: redis.url,
      RABBITMQ_URL: rabbitMq?.url ?? '',
    };
    const nodeOptions = [...withSteppedClock(), ...(options.nodeOptions ?? [])];
    const onLine = (line: string) => options.onLine(name, line);
    const replica = await parts.add(startReplica({ settings, nodeOptions, onLine }));
    const instance = new Instance(name, replica, operator);
    instances.push(instance);
    faults.push(...instanceFaults(instance));
  }
  return {
    ...{ instances, senders: clients, shards, faults, ownAccounts: [] },
    events: rabbitMq && { url: rabbitMq.url, exchange: 'bank' },
    leftOut: isRoot ? [] : ['postgres-disk-full: only root may mount a small disk'],
    stop: () => parts.stop(),
  };
}

function postgresFaults(target: string, server: PostgresServer, shard: DirectShard, reach: Reach): Fault[] {
  return [
    ...serverFaults('postgres', target, server, { reach, longestMs: POSTGRES_LONGEST_MS }),
    immediateStop(target, server, reach),
    ...(server.disk ? [diskFull(target, server, server.disk, () => answers(shard.url), reach)] : []),
    ...foreignFaults(target, shard, reach),
  ];
}

async function startWire(url: string): Promise<{ proxy: PostgresProxy; url: string; stop(): Promise<void> }> {
  const wire = await PostgresProxy.start(url);
  return { ...wire, stop: () => wire.proxy.stop() };
}

function shardList(shards: readonly DirectShard[]): string {
  return shards.map(({ url, schema }) => `${url}?schema=${schema}`).join(' ');
}
