import { connect, type Channel } from 'amqplib';
import { seedShard } from '../../src/admin/seed.js';
import type { ShardAddress } from '../../src/config/shard-address.js';
import { startServer } from './tools.js';

export interface DrainFigures {
  readonly eventsPerSecond: number;
  /** The largest that the service's resident memory was meanwhile. */
  readonly residentBytes: number;
}

const EXCHANGE = 'bench';
const QUEUE = 'bench';
const POLL_MS = 500;
/** So slow a relay has no figure worth having. */
const LONGEST_MS = 900_000;

/**
 * How fast the service drains a backlog of events to RabbitMQ, into a durable queue that nobody reads.
 *
 * @param shard migrated, on a server with fsync on; gets one account per event
 */
export async function drain(shard: ShardAddress, rabbitUrl: string, events: number): Promise<DrainFigures> {
  await seedShard(shard, events, 100_000n);
  await bindQueue(rabbitUrl);
  const service = await startServer('src/main.js', {
    DATABASE_URL: shard.url,
    DATABASE_SCHEMA: shard.schema,
    RABBITMQ_URL: rabbitUrl,
    RABBITMQ_EXCHANGE: EXCHANGE,
  });
  try {
    return await watch(service.url, events);
  } finally {
    await service.stop();
    await deleteQueue(rabbitUrl);
  }
}

async function watch(url: string, events: number): Promise<DrainFigures> {
  const startedMs = performance.now();
  let residentBytes = 0;
  for (;;) {
    const metrics = await (await fetch(`${url}/metrics`)).text();
    residentBytes = Math.max(residentBytes, sample(metrics, 'process_resident_memory_bytes'));
    if (sample(metrics, 'bank_outbox_events_published_total{shard="0"}') >= events) {
      return { eventsPerSecond: events / ((performance.now() - startedMs) / 1000), residentBytes };
    }
    if (performance.now() - startedMs > LONGEST_MS) throw new Error('the backlog was not drained in time');
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}

function sample(metrics: string, name: string): number {
  const line = metrics.split('\n').find((each) => each.startsWith(`${name} `));
  return Number(line?.slice(name.length) ?? 0);
}

/** Lazy: what nobody reads is kept on disk, as a backlog of the broker should be. */
async function bindQueue(rabbitUrl: string): Promise<void> {
  await onChannel(rabbitUrl, async (channel) => {
    await channel.assertExchange(EXCHANGE, 'topic', { durable: true });
    await channel.assertQueue(QUEUE, { durable: true, arguments: { 'x-queue-mode': 'lazy' } });
    await channel.bindQueue(QUEUE, EXCHANGE, 'transaction.posted.*');
  });
}

async function deleteQueue(rabbitUrl: string): Promise<void> {
  await onChannel(rabbitUrl, (channel) => channel.deleteQueue(QUEUE));
}

async function onChannel(rabbitUrl: string, work: (channel: Channel) => Promise<unknown>): Promise<void> {
  const connection = await connect(rabbitUrl);
  try {
    await work(await connection.createChannel());
  } finally {
    await connection.close();
  }
}
