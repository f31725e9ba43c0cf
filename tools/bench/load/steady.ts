import { once } from 'node:events';
import { Agent, request, type IncomingMessage } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';

const BODY = '{"amount":"0.01","type":"Deposit"}';

export interface SteadyLoad {
  /** The first so many accounts get postings in turn. */
  readonly accounts: number;
  readonly perSecond: number;
}

/**
 * Posts at a steady rate, whatever the answers take.
 *
 * @returns when each transaction was answered, by performance.now()
 * @throws when one is not answered with 201
 */
export async function postSteadily(
  url: string,
  seconds: number,
  { accounts, perSecond }: SteadyLoad,
): Promise<ReadonlyMap<string, number>> {
  const agent = new Agent({ keepAlive: true });
  const answeredMs = new Map<string, number>();
  const startedMs = performance.now();
  const posted: Promise<void>[] = [];
  for (let number = 0; number < seconds * perSecond; number++) {
    const waitMs = startedMs + (number * 1_000) / perSecond - performance.now();
    if (waitMs > 0) await sleep(waitMs);
    const accountId = 1 + ((number * 7) % accounts);
    posted.push(
      postOne(`${url}/accounts/${accountId}/transactions`, agent).then(
        (id) => void answeredMs.set(id, performance.now()),
      ),
    );
  }
  await Promise.all(posted);
  agent.destroy();
  return answeredMs;
}

async function postOne(url: string, agent: Agent): Promise<string> {
  const headers = { 'content-type': 'application/json', 'content-length': BODY.length };
  const asked = request(url, { method: 'POST', agent, headers });
  asked.end(BODY);
  const [answer] = (await once(asked, 'response')) as [IncomingMessage];
  let text = '';
  for await (const part of answer) text += String(part);
  if (answer.statusCode !== 201) throw new Error(`a posting was answered with ${answer.statusCode}: ${text}`);
  return (JSON.parse(text) as { id: string }).id;
}
