import { once } from 'node:events';
import { get, type IncomingMessage } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { startPostgres } from '../stack/servers/postgres.js';
import { checkBooks, foundBank } from './bank.js';
import { percentile, type Figures, type Goal, type Rounds } from './figures.js';
import { postSteadily } from './load/steady.js';
import { residentMebibytes, withService } from './tools.js';

const LISTENERS = 1_000;
const POSTINGS_PER_SECOND = 100;
/** Until what an earlier step has left in memory is collected. */
const SETTLE_MS = 5_000;

const LOAD = { accounts: LISTENERS, perSecond: POSTINGS_PER_SECOND };

/**
 * Listeners on as many accounts: the memory that each takes, and how long after the 201 of a posting its event arrives.
 * Each round has a service of its own, since a process does not give back all memory.
 */
export async function measureLive(
  seconds: number,
  figures: Figures,
  rounds: Rounds,
): Promise<readonly Goal[]> {
  const postgres = await startPostgres();
  try {
    const [shard] = await foundBank([{ url: postgres.url, schema: 'bank' }]);
    await rounds(() =>
      withService({ DATABASE_URL: postgres.url }, async ({ url, pid }) => {
        const listeners = new Listeners(url);
        await postSteadily(url, seconds, LOAD);
        await sleep(SETTLE_MS);
        const before = residentMebibytes(pid).now;
        await listeners.open();
        await sleep(SETTLE_MS);
        const idle = residentMebibytes(pid).now;
        figures.note('memory per listener', ((idle - before) * 1024 * 1024) / LISTENERS, 'B');
        const answeredMs = await postSteadily(url, seconds, LOAD);
        await sleep(SETTLE_MS);
        const delays = listeners.delaysAfter(answeredMs);
        figures.note('event after its 201, p50', percentile(delays, 0.5), 'ms');
        figures.note('event after its 201, p99', percentile(delays, 0.99), 'ms');
        listeners.close();
      }),
    );
    await checkBooks([shard]);
    return [];
  } finally {
    await postgres.stop();
  }
}

/** One for each of the first accounts. */
class Listeners {
  private readonly answers: IncomingMessage[] = [];
  private readonly arrivedMs = new Map<string, number>();

  constructor(private readonly url: string) {}

  async open(): Promise<void> {
    for (let accountId = 1; accountId <= LISTENERS; accountId++) {
      const [answer] = (await once(
        get(`${this.url}/accounts/${accountId}/events`, { agent: false }),
        'response',
      )) as [IncomingMessage];
      if (answer.statusCode !== 200) throw new Error(`a listener was answered with ${answer.statusCode}`);
      answer.on('data', (data: Buffer) => {
        for (const [, id = ''] of data.toString().matchAll(/"id":"(txn\d+)"/g))
          this.arrivedMs.set(id, performance.now());
      });
      this.answers.push(answer);
    }
  }

  /** @param answeredMs when each transaction was answered */
  delaysAfter(answeredMs: ReadonlyMap<string, number>): number[] {
    return [...answeredMs].map(([id, ms]) => {
      const arrivedMs = this.arrivedMs.get(id);
      if (arrivedMs === undefined) throw new Error(`the event of ${id} did not arrive`);
      return arrivedMs - ms;
    });
  }

  close(): void {
    for (const answer of this.answers) answer.destroy();
  }
}
