import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { seedBank } from '../src/cli/seed.js';
import { verifyBank } from '../src/cli/verify.js';
import { settleShards } from '../src/database/bank-shards.js';
import { EmbeddedPostgres } from '../src/database/embedded-postgres.js';
import type { ShardAddress } from '../src/database/shard-address.js';
import { startServer, wrk, type Accounts } from './tools.js';

/** Takes a figure by its name and its value per second. */
export type Note = (name: string, rate: Promise<number>) => Promise<void>;

const ACCOUNTS = 10_000;
const WARM_UP_SECONDS = 3;
const EVERY: Accounts = { first: 1, last: ACCOUNTS };
/** Of two shards, the first one's. */
const HEALTHY: Accounts = { ...EVERY, step: 2 };

/** POST over HTTP: four shards and one on the same server; then two shards on two servers, of which one is stopped. */
export async function shards(seconds: number, rounds: number, note: Note): Promise<void> {
  const folders = [0, 1].map(() => mkdtempSync(join(tmpdir(), 'bank-bench-')));
  const [first, second] = await Promise.all(folders.map(openServer));
  if (!first || !second) throw new Error('two servers were to start');
  try {
    const single = await found([{ url: first.url, schema: 'single' }]);
    const four = await found([0, 1, 2, 3].map((index) => ({ url: first.url, schema: `four_${index}` })));
    for (let round = 0; round < rounds; round++) {
      await measure(single, seconds, 'POST, one shard', note);
      await measure(four, seconds, 'POST, 4 shards on one server', note);
    }
    await stopOneServer(first, second, seconds, note);
    for (const bank of [single, four]) await checkBooks(bank);
  } finally {
    await Promise.all([first.close(), second.close()]);
    for (const folder of folders) rmSync(folder, { recursive: true, force: true });
  }
}

async function measure(
  bank: readonly ShardAddress[],
  seconds: number,
  name: string,
  note: Note,
): Promise<void> {
  const service = await startServer('src/main.js', environment(bank));
  await wrk(service.url, 'post.lua', WARM_UP_SECONDS, EVERY);
  await note(name, wrk(service.url, 'post.lua', seconds, EVERY));
  await service.stop();
}

async function stopOneServer(
  first: EmbeddedPostgres,
  second: EmbeddedPostgres,
  seconds: number,
  note: Note,
): Promise<void> {
  const bank = await found([first, second].map(({ url }, index) => ({ url, schema: `two_${index}` })));
  const service = await startServer('src/main.js', environment(bank));
  await wrk(service.url, 'post.lua', WARM_UP_SECONDS, EVERY);
  await note('POST to one of two servers', wrk(service.url, 'post.lua', seconds, HEALTHY));
  await second.close();
  await note('the same, the other server stopped', wrk(service.url, 'post.lua', seconds, HEALTHY));
  await service.stop();
}

function openServer(dataDir: string): Promise<EmbeddedPostgres> {
  return EmbeddedPostgres.open({ dataDir, holder: 'bench', log: () => undefined });
}

async function found(bank: readonly ShardAddress[]): Promise<readonly ShardAddress[]> {
  await settleShards(bank);
  await seedBank(bank, { accounts: ACCOUNTS, balance: 100_000n });
  return bank;
}

async function checkBooks(bank: readonly ShardAddress[]): Promise<void> {
  const { ok } = await verifyBank(bank);
  if (!ok) throw new Error('the books are not clean');
}

function environment(bank: readonly ShardAddress[]): Record<string, string> {
  return { DATABASE_URL: '', SHARDS: bank.map(({ url, schema }) => `${url}?schema=${schema}`).join() };
}
