import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { startPostgres } from '../stack/servers/postgres.js';
import { checkBooks, foundBank } from './bank.js';
import { percentile, type Figures, type Goal, type Rounds } from './figures.js';
import { postSteadily } from './load/steady.js';
import { withService } from './tools.js';

const LOAD = { accounts: 1_000, perSecond: 1_000 };
const WARM_UP = { accounts: 1_000, perSecond: 200 };
const WARM_UP_SECONDS = 3;
/** Endpoints of the bank are known to the service after two seconds. */
const KNOWN_MS = 4_000;
const PATIENCE_MS = 60_000;

/**
 * Two webhooks that take every event of 1,000 postings per second, and a third one that takes them, too, and then
 * hangs: how long after the 201 of its posting an event arrives at the first two. Nothing may be missing.
 */
export async function measureWebhooks(
  seconds: number,
  figures: Figures,
  rounds: Rounds,
): Promise<readonly Goal[]> {
  const postgres = await startPostgres();
  const [one, other, third] = [await Endpoint.start(), await Endpoint.start(), await Endpoint.start()];
  const settings = {
    DATABASE_URL: postgres.url,
    WEBHOOK_PRIVATE_ADDRESSES: 'on',
    WEBHOOK_KEYS: Buffer.alloc(32, 1).toString('base64'),
  };
  try {
    const [shard] = await foundBank([{ url: postgres.url, schema: 'bank' }]);
    await withService(settings, async ({ url }) => {
      for (const endpoint of [one, other, third]) await create(url, endpoint);
      await sleep(KNOWN_MS);
      await postSteadily(url, WARM_UP_SECONDS, WARM_UP);
      await rounds(async () => {
        const lags = async () => {
          const answeredMs = await postSteadily(url, seconds, LOAD);
          const each = [await one.lagsAfter(answeredMs), await other.lagsAfter(answeredMs)];
          return each.flat();
        };
        third.hangs = false;
        const before = await lags();
        third.hangs = true;
        const beside = await lags();
        for (const [name, part] of [
          ['p50', 0.5],
          ['p99', 0.99],
        ] as const) {
          figures.note(`event after its 201, ${name}`, percentile(before, part), 'ms');
          figures.note(`the same while a third endpoint hangs, ${name}`, percentile(beside, part), 'ms');
        }
      });
    });
    await checkBooks([shard]);
    return [];
  } finally {
    await Promise.all([one, other, third].map((endpoint) => endpoint.stop()));
    await postgres.stop();
  }
}

async function create(url: string, { url: to }: Endpoint): Promise<void> {
  const response = await fetch(`${url}/webhooks`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ url: to, eventTypes: ['transaction.posted'] }),
  });
  if (response.status !== 201) throw new Error(`a webhook was answered with ${response.status}`);
}

class Endpoint {
  hangs = false;
  private readonly arrivedMs = new Map<string, number>();
  private readonly server: Server = createServer((request, response) => {
    request.resume().on('end', () => {
      if (this.hangs) return;
      this.arrivedMs.set(String(request.headers['webhook-id']), performance.now());
      response.writeHead(204).end();
    });
  });

  static async start(): Promise<Endpoint> {
    const endpoint = new Endpoint();
    endpoint.server.listen(0, '127.0.0.1');
    await once(endpoint.server, 'listening');
    return endpoint;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.server.address() as { port: number }).port}/`;
  }

  /** @throws when an event is missing after a minute */
  async lagsAfter(answeredMs: ReadonlyMap<string, number>): Promise<number[]> {
    const giveUpMs = performance.now() + PATIENCE_MS;
    const missing = () => [...answeredMs.keys()].filter((id) => !this.arrivedMs.has(id));
    while (missing().length > 0 && performance.now() < giveUpMs) await sleep(100);
    const left = missing();
    if (left.length > 0) throw new Error(`${left.length} events did not arrive, ${left[0]} among them`);
    return [...answeredMs].map(([id, ms]) => (this.arrivedMs.get(id) ?? 0) - ms);
  }

  async stop(): Promise<void> {
    this.server.closeAllConnections();
    this.server.close();
    await once(this.server, 'close');
  }
}
