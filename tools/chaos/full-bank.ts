import { PostgresProxy } from '../stack/proxies/postgres-proxy.js';
import { TcpProxy } from '../stack/proxies/tcp-proxy.js';
import { startPgBouncer, type PgBouncerServer } from '../stack/servers/pgbouncer.js';
import { startPostgres, type PostgresServer } from '../stack/servers/postgres.js';
import { startRabbitMq, type RabbitMqServer } from '../stack/servers/rabbitmq.js';
import { startRedis, type RedisServer } from '../stack/servers/redis.js';
import { startReplica } from '../stack/servers/replica.js';
import { Parts } from '../stack/stack.js';
import { SETTINGS, withSteppedClock, type BankOptions, type BankUnderTest } from './bank.js';
import {
  answers,
  brokerFaults,
  diskFull,
  foreignFaults,
  immediateStop,
  instanceFaults,
  outage,
  poolHeld,
  serverFaults,
  takenOver,
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
  /** False: without a broker. */
  readonly rabbitMq?: boolean;
  /** Undefined: servers of its own, which are stopped with it. */
  readonly servers?: BankServers;
  /** Undefined: two. */
  readonly instances?: 1 | 2;
}

/** What a bank runs on. Several banks may share it: each has its own schemas, exchange and id. */
export interface BankServers {
  readonly redis: RedisServer;
  /** Slow to start; undefined: there is none. */
  readonly rabbitMq: RabbitMqServer | undefined;
  readonly postgres: readonly [first: PostgresServer, second: PostgresServer];
  /** Before the first PostgreSQL server. */
  readonly pgbouncer: PgBouncerServer;
  stop(): Promise<void>;
}

/**
 * Two instances, two shards on two PostgreSQL servers, the first behind PgBouncer, with Redis and RabbitMQ. Each
 * instance reaches each shard and the broker through proxies of its own.
 */
export function startFullBank(options: FullBankOptions): Promise<BankUnderTest> {
  return Parts.start((parts) => assemble(parts, options));
}

export function startServers(withRabbitMq = true): Promise<BankServers> {
  return Parts.start(async (parts) => {
    const [redis, rabbitMq, ...postgres] = await Promise.all([
      parts.add(startRedis()),
      withRabbitMq ? parts.add(startRabbitMq()) : undefined,
      parts.add(startPostgres()),
      parts.add(startPostgres({ max_wal_size: '256MB' }, isRoot() ? DISK_BYTES : undefined)),
    ]);
    const databases = { '*': postgres[0].url };
    const pgbouncer = await parts.add(startPgBouncer({ databases, poolSize: POOL_SIZE }));
    return { redis, rabbitMq, postgres, pgbouncer, stop: () => parts.stop() };
  });
}

/** Banks started so far, for the names of their schemas and exchanges. */
let banks = 0;

async function assemble(parts: Parts, options: FullBankOptions): Promise<BankUnderTest> {
  const servers = options.servers ?? (await parts.add(startServers(options.rabbitMq)));
  const { redis, pgbouncer } = servers;
  const rabbitMq = options.rabbitMq === false ? undefined : servers.rabbitMq;
  const [first, second] = servers.postgres;
  const pooledUrl = pgbouncer.url(first.url);
  const bank = ++banks;
  const exchange = `bank_${bank}`;
  const shardsAt = (urls: readonly string[]) =>
    urls.map((url, shard) => ({ url, schema: `bank_${bank}_${shard}` }));
  const shards = shardsAt([first.url, second.url]);
  const { clients, operator } = await foundBank({ SHARDS: shardList(shards) });
  const started = await Promise.all(
    INSTANCES.slice(0, options.instances).map(async (name) => {
      const wires = await Promise.all([pooledUrl, second.url].map((url) => parts.add(startWire(url))));
      const broker = rabbitMq && (await parts.add(startBrokerWire(rabbitMq.url)));
      const settings = {
        ...SETTINGS,
        ...options.settings,
        SHARDS: shardList(shardsAt(wires.map(({ url }) => url))),
        MIGRATION_SHARDS: shardList(shards),
        REDIS_URL: redis.url,
        RABBITMQ_URL: broker?.url ?? '',
        RABBITMQ_EXCHANGE: exchange,
      };
      const nodeOptions = [...withSteppedClock(), ...(options.nodeOptions ?? [])];
      const onLine = (line: string) => options.onLine(name, line);
      const replica = await parts.add(startReplica({ settings, nodeOptions, onLine }));
      const instance = new Instance(name, replica, operator);
      const faults = wires.flatMap(({ proxy }, shard) => wireFaults(name, shard, proxy));
      if (broker) faults.push(...brokerFaults(instance, broker.proxy));
      if (options.instances !== 1) faults.push(takenOver(instance));
      return { instance, faults: [...faults, ...instanceFaults(instance)] };
    }),
  );
  const faults: Fault[] = [
    ...serverFaults('redis', 'redis', redis),
    ...serverFaults('pgbouncer', 'pgbouncer', pgbouncer, { reach: { shard: 0 } }),
    ...(rabbitMq ? serverFaults('rabbitmq', 'rabbitmq', rabbitMq, { healingMs: RABBITMQ_RESTART_MS }) : []),
    ...postgresFaults('postgres-a', first, shards[0] as DirectShard, { shard: 0 }),
    ...postgresFaults('postgres-b', second, shards[1] as DirectShard, { shard: 1 }),
    poolHeld('pgbouncer', pooledUrl, POOL_SIZE, { shard: 0 }),
    ...started.flatMap(({ faults }) => faults),
  ];
  return {
    ...{ instances: started.map(({ instance }) => instance), senders: clients, shards, faults },
    ownAccounts: [],
    events: rabbitMq && { url: rabbitMq.url, exchange },
    leftOut: isRoot() ? [] : ['postgres-disk-full: only root may mount a small disk'],
    stop: () => parts.stop(),
  };
}

const isRoot = () => process.getuid?.() === 0;

function postgresFaults(target: string, server: PostgresServer, shard: DirectShard, reach: Reach): Fault[] {
  return [
    ...serverFaults('postgres', target, server, { reach, longestMs: POSTGRES_LONGEST_MS }),
    outage(target, server, reach),
    immediateStop(target, server, reach),
    ...(server.disk ? [diskFull(target, server, server.disk, () => answers(shard.url), reach)] : []),
    ...foreignFaults(target, shard, reach),
  ];
}

async function startWire(url: string): Promise<{ proxy: PostgresProxy; url: string; stop(): Promise<void> }> {
  const wire = await PostgresProxy.start(url);
  return { ...wire, stop: () => wire.proxy.stop() };
}

async function startBrokerWire(
  url: string,
): Promise<{ proxy: TcpProxy; url: string; stop(): Promise<void> }> {
  const wire = await TcpProxy.start(url);
  return { ...wire, stop: () => wire.proxy.stop() };
}

function shardList(shards: readonly DirectShard[]): string {
  return shards.map(({ url, schema }) => `${url}?schema=${schema}`).join(' ');
}
