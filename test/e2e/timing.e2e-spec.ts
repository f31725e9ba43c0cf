import { Agent, request, type RequestOptions } from 'node:http';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { Client } from 'pg';
import { seedBank } from '../../src/admin/seed.js';
import { startInstance, type TestApp } from '../support/app.js';
import { createTestDatabase, type TestDatabase } from '../support/postgres.js';
import { Wallet } from '../support/wallet.js';
import { JSON_TYPE, withdrawal } from '../support/requests.js';

/*
 * Tests whether response times distinguish another owner's account from a missing one. The two are requested
 * alternately in random order, so that a slow machine affects both, and compared by rank, so that a few very slow
 * answers do not dominate. The control is an own account that was not requested before: it needs one more query, and
 * the same measure must find it slower.
 */

const SAMPLES = 300;
const WARM_UP = 60;
/**
 * How far from a half the share of pairs may be in which the other one is slower. By chance it deviates by about
 * √((n + m + 1) / 12nm) = 0.024, and practically never by five times that.
 */
const INDISTINCT = 0.12;

/** Accounts from 1 on: first those of bob, the sender, then those of ada; there are no others. */
const BOBS = 3 * (SAMPLES + WARM_UP);
const ACCOUNTS = BOBS + 10;
const ADAS = ACCOUNTS;
const ABSENT = 1_000_000;

let database: TestDatabase;
let app: TestApp;
let as: (owner: string | undefined) => Record<string, string>;
const agent = new Agent({ keepAlive: true, maxSockets: 1 });

beforeAll(async () => {
  database = await createTestDatabase('timing');
  await seedBank([{ url: database.url, schema: 'bank' }], { accounts: ACCOUNTS, balance: 10_000n });
  const client = new Client({ connectionString: database.url });
  await client.connect();
  await client.query(
    `UPDATE bank.accounts SET owner = CASE WHEN account_id <= $1 THEN 'bob' ELSE 'ada' END`,
    [BOBS],
  );
  await client.query('VACUUM ANALYZE bank.accounts');
  await client.end();
  const wallet = Wallet.of(database.url);
  as = await wallet.senders(['ada', 'bob']);
  app = await startInstance(database.url, wallet.settings);
  // In use, and in every cache.
  await app.http.get(`/accounts/${ADAS}/balance`).set(as('ada')).expect(200);
});

afterAll(async () => {
  agent.destroy();
  await app.close();
  await database.drop();
});

type Ask = (id: number) => Promise<{ readonly status: number; readonly tookMs: number }>;

function ask(options: RequestOptions, body?: string): ReturnType<Ask> {
  const headers = { ...as('bob'), ...options.headers };
  return new Promise((resolve, reject) => {
    const sentMs = performance.now();
    const sent = request(app.url, { ...options, agent, headers }, (response) => {
      response.resume();
      response.once('end', () =>
        resolve({ status: response.statusCode ?? 0, tookMs: performance.now() - sentMs }),
      );
    });
    sent.once('error', reject);
    sent.end(body);
  });
}

/** Of each the time of {@link SAMPLES} answers with the status, in ms. */
async function race(
  runners: readonly { readonly run: () => ReturnType<Ask>; readonly status: number }[],
): Promise<number[][]> {
  const times: number[][] = runners.map(() => []);
  for (let turn = 0; turn < WARM_UP + SAMPLES; turn++) {
    const order = runners.map((_, index) => index).sort(() => Math.random() - 0.5);
    for (const index of order) {
      const { run, status } = runners[index] as (typeof runners)[number];
      const answer = await run();
      expect(answer.status).toBe(status);
      if (turn >= WARM_UP) times[index]?.push(answer.tookMs);
    }
  }
  return times;
}

/** The share of pairs in which the first took longer; of equals a half (Mann and Whitney's U, over n·m). */
function slowerShare(first: readonly number[], second: readonly number[]): number {
  let longer = 0;
  for (const a of first) for (const b of second) longer += a > b ? 1 : a === b ? 0.5 : 0;
  return longer / (first.length * second.length);
}

const KINDS: readonly {
  readonly name: string;
  readonly ask: Ask;
  readonly theirs: number;
  readonly control: { readonly ask: Ask; readonly status: number };
}[] = [
  {
    name: 'a balance',
    ask: (id) => ask({ path: `/accounts/${id}/balance` }),
    theirs: ADAS,
    control: { ask: (id) => ask({ path: `/accounts/${id}` }), status: 200 },
  },
  {
    name: 'a transaction',
    ask: (id) => ask({ path: `/transactions/txn${id}` }),
    theirs: ADAS,
    // A transaction is looked up in one query, whosever it is. What a second one would cost is that of an account.
    control: { ask: (id) => ask({ path: `/accounts/${id}` }), status: 200 },
  },
  {
    name: 'a posting',
    ask: (id) => postTo(id),
    theirs: ADAS,
    control: { ask: (id) => postTo(id), status: 422 },
  },
];

function postTo(id: number): ReturnType<Ask> {
  const body = JSON.stringify(withdrawal('9999.00'));
  const headers = { 'content-type': JSON_TYPE, 'content-length': Buffer.byteLength(body) };
  return ask({ method: 'POST', path: `/accounts/${id}/transactions`, headers }, body);
}

describe('how long an answer takes', () => {
  let next = 1;

  it.each(KINDS)(
    'does not distinguish another owner’s from a missing one: $name',
    async ({ ask, theirs, control }) => {
      const [foreign = [], absent = [], own = []] = await race([
        { run: () => ask(theirs), status: 404 },
        { run: () => ask(ABSENT), status: 404 },
        { run: () => control.ask(next++), status: control.status },
      ]);
      expect(slowerShare(own, absent)).toBeGreaterThan(0.5 + INDISTINCT);
      expect(Math.abs(slowerShare(foreign, absent) - 0.5)).toBeLessThan(INDISTINCT);
    },
  );
});
