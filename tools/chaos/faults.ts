import { setTimeout as sleep } from 'node:timers/promises';
import { Client, escapeIdentifier } from 'pg';
import type { PostgresProxy } from '../stack/proxies/postgres-proxy.js';
import type { TcpProxy } from '../stack/proxies/tcp-proxy.js';
import type { Instance } from './instances.js';

/** Something that fails and is repaired again. */
export interface Fault {
  /** Like `postgres-kill`. */
  readonly name: string;
  /** What it strikes, like `postgres-a`: one fault at a time. */
  readonly target: string;
  /** What it may affect: one instance, one shard or, if undefined, everything. */
  readonly reach?: Reach;
  /** How often it is drawn, relative to the other faults. */
  readonly weight: number;
  /** The shortest that it lasts; 0.3 s, or the longest, if undefined. */
  readonly shortestMs?: number;
  /** The longest that it lasts; 2.5 s if undefined. */
  readonly longestMs?: number;
  /** How long healing may take. */
  readonly healingMs?: number;
  /** Makes it happen. @returns heals it, and resolves once the cause is gone */
  strike(): Promise<() => Promise<void>>;
}

export interface Reach {
  readonly instance?: string;
  readonly shard?: number;
}

/** A process that can be killed, stopped and restarted. */
interface Strikeable {
  kill(signal?: NodeJS.Signals): Promise<void>;
  start(): Promise<void>;
}

/** A shard over a direct connection. */
export interface DirectShard {
  readonly url: string;
  readonly schema: string;
}

const nothing = (): Promise<void> => Promise.resolve();

interface ServerFaultOptions {
  readonly reach?: Reach;
  readonly healingMs?: number;
  readonly longestMs?: number;
}

export function serverFaults(
  kind: string,
  target: string,
  server: Strikeable,
  { reach = {}, healingMs = 2_000, longestMs }: ServerFaultOptions = {},
): Fault[] {
  return [
    {
      ...{ name: `${kind}-kill`, target, reach, weight: 2, healingMs, longestMs },
      strike: async () => {
        await server.kill();
        return () => server.start();
      },
    },
    {
      ...{ name: `${kind}-hang`, target, reach, weight: 2, longestMs },
      strike: async () => {
        await server.kill('SIGSTOP');
        return () => server.kill('SIGCONT');
      },
    },
  ];
}

/** Longer than any client waits. */
export function outage(target: string, server: Strikeable, reach: Reach): Fault {
  const lastsMs = 10_000;
  return {
    ...{ name: 'postgres-outage', target, reach, weight: 1, shortestMs: lastsMs, longestMs: lastsMs },
    healingMs: 2_000,
    strike: async () => {
      await server.kill();
      return () => server.start();
    },
  };
}

/** `pg_ctl stop -m immediate`: no checkpoint, every session cut. */
export function immediateStop(
  target: string,
  server: Strikeable & { stopImmediately(): Promise<void> },
  reach: Reach,
): Fault {
  return {
    ...{ name: 'postgres-immediate-stop', target, reach, weight: 2, healingMs: 2_000 },
    strike: async () => {
      await server.stopImmediately();
      return () => server.start();
    },
  };
}

/** A file fills up the disk, which only this server uses. */
export function diskFull(
  target: string,
  server: Strikeable & { readonly running: boolean },
  disk: { fill(): Promise<void>; free(): Promise<void> },
  reachable: () => Promise<boolean>,
  reach: Reach,
): Fault {
  return {
    ...{ name: 'postgres-disk-full', target, reach, weight: 2, healingMs: 3_000 },
    strike: async () => {
      await disk.fill();
      return async () => {
        await disk.free();
        await comesBack(server, reachable);
      };
    },
  };
}

/** A server gives up when it can't write its log, either at once or only during its recovery. */
async function comesBack(
  server: Strikeable & { readonly running: boolean },
  reachable: () => Promise<boolean>,
): Promise<void> {
  for (let tries = 0; tries < 300; tries++) {
    if (!server.running) return server.start();
    if (await reachable()) return;
    await sleep(100);
  }
  throw new Error('PostgreSQL did not come back after its disk had room again');
}

/** Whether the server accepts a session. */
export async function answers(url: string): Promise<boolean> {
  try {
    await end(await session(url));
    return true;
  } catch {
    return false;
  }
}

export function instanceFaults(instance: Instance): Fault[] {
  const target = instance.name;
  const reach = { instance: target };
  return [
    {
      ...{ name: 'instance-kill', target, reach, weight: 3, healingMs: 5_000 },
      strike: async () => {
        await instance.kill();
        return () => instance.start();
      },
    },
    {
      ...{ name: 'instance-hang', target, reach, weight: 2 },
      strike: async () => {
        await instance.signal('SIGSTOP');
        return () => instance.signal('SIGCONT');
      },
    },
    {
      ...{ name: 'clock-step', target, reach, weight: 1 },
      strike: async () => {
        await instance.signal('SIGUSR2');
        return () => instance.signal('SIGUSR2');
      },
    },
  ];
}

/**
 * An instance is stopped, wherever it is in the steps of its transfers to other shards, for so long that its leases run
 * out and another instance has finished them. Then it goes on.
 */
export function takenOver(instance: Instance): Fault {
  const target = instance.name;
  return {
    ...{ name: 'instance-taken-over', target, reach: { instance: target }, weight: 2 },
    ...{ shortestMs: 5_000, longestMs: 7_000 },
    strike: async () => {
      await instance.signal('SIGSTOP');
      return () => instance.signal('SIGCONT');
    },
  };
}

/** Makes faults of a proxy, each of which its `heal` ends. */
const proxied =
  (prefix: string, about: Pick<Fault, 'target' | 'reach' | 'weight'>, proxy: TcpProxy) =>
  (name: string, longestMs: number, strike: () => void): Fault => ({
    ...{ ...about, name: `${prefix}-${name}`, longestMs },
    strike: () => {
      strike();
      return Promise.resolve(() => Promise.resolve(proxy.heal()));
    },
  });

/** What any connection may suffer. */
const connectionFaults = (fault: ReturnType<typeof proxied>, proxy: TcpProxy): Fault[] => [
  fault('delay', 2_500, () => (proxy.delayMs = 100)),
  fault('reset', 50, () => proxy.reset()),
  fault('down', 2_500, () => proxy.takeDown()),
  fault('silence', 2_500, () => proxy.silence()),
  fault('half-open', 50, () => proxy.halfOpen()),
];

/** Faults between an instance and a database. */
export function wireFaults(instance: string, shard: number, proxy: PostgresProxy): Fault[] {
  const target = `${instance}-shard-${shard}`;
  const reach = { instance, shard };
  const fault = proxied('wire', { target, reach, weight: 0.5 }, proxy);
  return [
    ...connectionFaults(fault, proxy),
    fault('cut-before-commit', 1_000, () => (proxy.atCommit = 'cut-before')),
    fault('cut-after-commit', 1_000, () => (proxy.atCommit = 'cut-after')),
    fault('abort-at-commit', 1_000, () => (proxy.atCommit = 'abort')),
    fault('cut-result', 1_000, () => (proxy.cutResults = true)),
  ];
}

/**
 * Faults between an instance and the broker. What its consumers have not acknowledged is delivered again, to them or to
 * those of another instance.
 */
export function brokerFaults(instance: Instance, proxy: TcpProxy): Fault[] {
  const target = `${instance.name}-rabbitmq`;
  const reach = { instance: instance.name };
  const fault = proxied('broker', { target, reach, weight: 0.7 }, proxy);
  return [
    // After half-open, the instance goes on with what it has, while another one has taken its place.
    ...connectionFaults(fault, proxy),
    {
      ...{ name: 'consumer-replaced', target: instance.name, reach, weight: 2 },
      strike: async () => {
        await instance.signal('SIGSTOP');
        proxy.halfOpen();
        return () => instance.signal('SIGCONT');
      },
    },
  ];
}

/** Faults that other users of the database server cause. */
export function foreignFaults(target: string, shard: DirectShard, reach: Reach = {}): Fault[] {
  return [
    {
      ...{ name: 'foreign-lock', target: `${target}-rows`, reach, weight: 2 },
      strike: async () => {
        const client = await session(shard.url);
        const hot = `SELECT FROM ${escapeIdentifier(shard.schema)}.accounts ORDER BY account_id LIMIT 1 FOR UPDATE`;
        await client.query(`BEGIN; ${hot}`).catch(() => undefined);
        return () => end(client);
      },
    },
    {
      ...{ name: 'backend-terminated', target: `${target}-backends`, reach, weight: 2, longestMs: 50 },
      strike: async () => {
        const client = await session(shard.url);
        await client.query(TERMINATE_ONE).catch(() => undefined);
        await end(client);
        return nothing;
      },
    },
    {
      ...{ name: 'connections-exhausted', target: `${target}-connections`, reach, weight: 1 },
      strike: async () => {
        const first = await session(shard.url);
        const others = await asManyAsThereAre(shard.url);
        await first.query(TERMINATE_ALL_BUT, [await pids([first, ...others])]).catch(() => undefined);
        others.push(...(await asManyAsThereAre(shard.url)));
        return async () => void (await Promise.all([first, ...others].map(end)));
      },
    },
  ];
}

/** Open transactions of a foreign client hold every connection that a pooler has to a database. */
export function poolHeld(target: string, pooledUrl: string, poolSize: number, reach: Reach): Fault {
  return {
    ...{ name: 'pool-held', target: `${target}-connections`, reach, weight: 1 },
    strike: async () => {
      const clients = await Promise.all(Array.from({ length: poolSize }, () => session(pooledUrl)));
      // A BEGIN that gets no connection does not matter: the pool is in use then.
      for (const client of clients) client.query('BEGIN').catch(() => undefined);
      return async () => void (await Promise.all(clients.map(end)));
    },
  };
}

/** Terminates a backend that runs a batch, if there is one. */
const TERMINATE_ONE = `
  SELECT pg_terminate_backend(pid) FROM pg_stat_activity
  WHERE pid <> pg_backend_pid() AND backend_type = 'client backend' AND datname = current_database()
  ORDER BY xact_start IS NULL, query ~ 'accounts' DESC LIMIT 1`;

const TERMINATE_ALL_BUT = `
  SELECT pg_terminate_backend(pid) FROM pg_stat_activity
  WHERE NOT pid = ANY($1) AND backend_type = 'client backend'`;

/** PostgreSQL's max_connections is 100 here. */
const MOST_CONNECTIONS = 120;
const CONNECT_TIMEOUT_MS = 2_000;

async function session(url: string): Promise<Client> {
  const client = new Client({ connectionString: url, connectionTimeoutMillis: CONNECT_TIMEOUT_MS });
  client.on('error', () => undefined);
  await client.connect();
  return client;
}

async function asManyAsThereAre(url: string): Promise<Client[]> {
  const clients: Client[] = [];
  while (clients.length < MOST_CONNECTIONS) {
    try {
      clients.push(await session(url));
    } catch {
      break;
    }
  }
  return clients;
}

async function pids(clients: readonly Client[]): Promise<number[]> {
  const answers = await Promise.all(
    clients.map((client) =>
      client.query<{ pid: number }>('SELECT pg_backend_pid() AS pid').catch(() => undefined),
    ),
  );
  return answers.flatMap((answer) => answer?.rows[0]?.pid ?? []);
}

/** Ends a client even if its server hangs and can't answer the goodbye. */
function end(client: Client): Promise<void> {
  const stream = (client as unknown as { connection: { stream: { destroy(): void } } }).connection.stream;
  stream.destroy();
  return nothing();
}
