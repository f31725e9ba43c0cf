import { connect } from 'amqplib';
import { startPostgres } from '../stack/servers/postgres.js';
import { startRabbitMq } from '../stack/servers/rabbitmq.js';
import { foundBank } from './bank.js';
import type { Figures, Goal } from './figures.js';
import { databaseMeters, serviceMeter } from './meters.js';
import { residentMebibytes, withService, type Load } from './tools.js';

const EXCHANGE = 'bench';
const QUEUE = 'bench';
const POLL_MS = 500;
/** A relay slower than this is not worth a figure. */
const LONGEST_MS = 900_000;

/** How fast the service drains a backlog of events to RabbitMQ, into a durable queue that nobody reads. */
export async function measureRelay(events: number, figures: Figures): Promise<Goal[]> {
  const postgres = await startPostgres();
  const broker = await startRabbitMq();
  try {
    // One event for each account.
    const [{ url, schema }] = await foundBank([{ url: postgres.url, schema: 'bank' }], { accounts: events });
    await bindQueue(broker.url);
    const database = await databaseMeters(url);
    const settings = { RABBITMQ_URL: broker.url, RABBITMQ_EXCHANGE: EXCHANGE };
    await withService({ DATABASE_URL: url, DATABASE_SCHEMA: schema, ...settings }, async (service) => {
      const meters = { ...serviceMeter(service.pid), ...database };
      await figures.noteLoad('events to RabbitMQ', meters, () => drain(service.url, events));
      figures.note('resident memory', residentMebibytes(service.pid).peak, 'MiB');
    });
    return [];
  } finally {
    await broker.stop();
    await postgres.stop();
  }
}

async function drain(url: string, events: number): Promise<Load> {
  const startedMs = performance.now();
  for (;;) {
    const metrics = await (await fetch(`${url}/metrics`)).text();
    const published = /^bank_rabbitmq_events_published_total\{shard="0"\} (\d+)/m.exec(metrics)?.[1];
    const tookMs = performance.now() - startedMs;
    if (Number(published) >= events) return { perSecond: events / (tookMs / 1000), requests: events };
    if (tookMs > LONGEST_MS) throw new Error('the backlog was not drained in time');
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}

/** Lazy: unread events are kept on disk, as a broker's backlog should be. */
async function bindQueue(rabbitUrl: string): Promise<void> {
  const connection = await connect(rabbitUrl);
  const channel = await connection.createChannel();
  await channel.assertExchange(EXCHANGE, 'topic', { durable: true });
  await channel.assertQueue(QUEUE, { durable: true, arguments: { 'x-queue-mode': 'lazy' } });
  await channel.bindQueue(QUEUE, EXCHANGE, 'transaction.posted.*');
  await connection.close();
}
