import { setTimeout as sleep } from 'node:timers/promises';
import { connect } from 'amqplib';
import { startPostgres } from '../stack/servers/postgres.js';
import { startRabbitMq } from '../stack/servers/rabbitmq.js';
import { ACCOUNTS, checkBooks, foundBank } from './bank.js';
import type { Figures, Goal, Rounds } from './figures.js';
import { serviceMeter } from './meters.js';
import { withService, wrk, type Accounts, type Load } from './tools.js';

const UNIFORM: Accounts = { first: 1, last: ACCOUNTS };
const WARM_UP_SECONDS = 3;
const POLL_MS = 50;
/** A queue that drains more slowly is not worth a figure. */
const LONGEST_MS = 300_000;

const [SYNCHRONOUS, ACCEPTED, DRAINED] = ['deposits', 'deposits accepted', 'deposits accepted and posted'];

const GOALS: readonly Goal[] = [
  { figure: ACCEPTED, base: SYNCHRONOUS, least: 1, aim: 1 },
  { figure: DRAINED, base: SYNCHRONOUS, least: 0.8, aim: 0.8 },
];

/**
 * Deposits with keys that are answered when they are posted, and such that are answered when they are queued: how fast
 * these are accepted, and how fast they are posted, counted from the first request until the queue is empty.
 */
export async function measureAsync(
  seconds: number,
  figures: Figures,
  rounds: Rounds,
): Promise<readonly Goal[]> {
  const postgres = await startPostgres();
  const broker = await startRabbitMq();
  try {
    const [shard] = await foundBank([{ url: postgres.url, schema: 'bank' }]);
    const settings = { DATABASE_URL: postgres.url, RABBITMQ_URL: broker.url, BALANCE_CACHE: 'on' };
    await withService(settings, async ({ url, pid }) => {
      const run = { url, script: 'post.lua', accounts: UNIFORM } as const;
      await bindQueue(broker.url);
      const measure = async (
        forSeconds: number,
        note: (name: string, load: () => Promise<Load>) => Promise<Load>,
      ) => {
        await note(SYNCHRONOUS, () => wrk({ ...run, seconds: forSeconds }));
        await untilRelayed(url);
        const before = await settled(url);
        const startedMs = performance.now();
        const { requests } = await note(ACCEPTED, () =>
          wrk({ ...run, seconds: forSeconds, prefer: 'respond-async' }),
        );
        await note(DRAINED, async () => {
          await untilSettled(url, before + requests);
          return { perSecond: requests / ((performance.now() - startedMs) / 1000), requests };
        });
        await untilRelayed(url);
      };
      await measure(WARM_UP_SECONDS, (_, load) => load());
      const meters = serviceMeter(pid);
      await rounds(() => measure(seconds, (name, load) => figures.noteLoad(name, meters, load)));
    });
    await checkBooks([shard]);
    return GOALS;
  } finally {
    await broker.stop();
    await postgres.stop();
  }
}

/** Where the events of the postings go, as in a bank whose events are wanted. */
async function bindQueue(brokerUrl: string): Promise<void> {
  const connection = await connect(brokerUrl);
  const channel = await connection.createChannel();
  await channel.assertQueue('events', { arguments: { 'x-max-length': 10_000 } });
  await channel.bindQueue('events', 'bank', '#');
  await connection.close();
}

const settled = (url: string) => counted(url, 'bank_submissions_settled_total{shard="0",outcome="posted"}');

const untilSettled = (url: string, submissions: number) =>
  until(async () => (await settled(url)) >= submissions);

/** So that no load pays for the events of the one before. */
const untilRelayed = (url: string) =>
  until(async () => (await counted(url, 'bank_rabbitmq_backlog_rows{shard="0"}')) === 0);

/** A sample of /metrics; 0: there is none yet. */
async function counted(url: string, sample: string): Promise<number> {
  const lines = (await (await fetch(`${url}/metrics`)).text()).split('\n');
  return Number(lines.find((line) => line.startsWith(`${sample} `))?.slice(sample.length) ?? 0);
}

async function until(holds: () => Promise<boolean>): Promise<void> {
  const giveUpAt = performance.now() + LONGEST_MS;
  while (!(await holds())) {
    if (performance.now() > giveUpAt) throw new Error('a queue was not drained in time');
    await sleep(POLL_MS);
  }
}
