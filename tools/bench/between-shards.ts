import { setTimeout as sleep } from 'node:timers/promises';
import type { ShardAddress } from '../../src/config/shard-address.js';
import { startPostgres } from '../stack/servers/postgres.js';
import { ACCOUNTS, ALL, checkBooks, foundBank } from './bank.js';
import type { Figures, Goal, Rounds } from './figures.js';
import { databaseMeters, serviceMeter } from './meters.js';
import { anyWrk, withService, wrk, type Accounts } from './tools.js';

const WARM_UP_SECONDS = 3;
/** The first of two shards holds the odd ids. */
const FIRST_SHARD: Accounts = { first: 1, last: ACCOUNTS - 1, step: 2 };
const HUNG_TRANSFERS = 256;
/** Until the requests to the hung server have taken what they can. */
const HUNG_MS = 3_000;

const [DEPOSITS, TRANSFERS] = ['deposits', 'transfers between shards'];
const [SOURCE, HUNG] = [
  'deposits to one shard',
  'deposits to one shard, transfers to the other, which hangs',
];

const GOALS: readonly Goal[] = [
  { figure: TRANSFERS, base: DEPOSITS, least: 0.25 },
  { figure: HUNG, base: SOURCE, least: 0.9 },
];

/** What transfers between two shards of a server cost, and whether a target that hangs slows down their source. */
export async function measureBetweenShards(
  seconds: number,
  figures: Figures,
  rounds: Rounds,
): Promise<readonly Goal[]> {
  const [postgres, other] = await Promise.all([startPostgres(), startPostgres()]);
  try {
    const schemas = ['bank_0', 'bank_1'] as const;
    const near = await foundBank(schemas.map((schema) => ({ url: postgres.url, schema })));
    const far = await foundBank([
      { url: postgres.url, schema: 'far_0' },
      { url: other.url, schema: 'far_1' },
    ]);
    await inService(near, async (url, pid) => {
      const meters = { ...serviceMeter(pid), ...(await databaseMeters(postgres.url)) };
      const run = { url, accounts: ALL } as const;
      const deposit = (length: number) => wrk({ ...run, script: 'post.lua', seconds: length });
      const transfer = (length: number) =>
        wrk({ ...run, script: 'transfer.lua', across: true, seconds: length });
      await deposit(WARM_UP_SECONDS);
      await transfer(WARM_UP_SECONDS);
      await rounds(async () => {
        await figures.noteLoad(DEPOSITS, meters, () => deposit(seconds));
        await figures.noteLoad(TRANSFERS, meters, () => transfer(seconds));
      });
    });
    await checkBooks(near);
    await inService(far, async (url, pid) => {
      const meters = serviceMeter(pid);
      const deposit = (length: number) =>
        wrk({ url, accounts: FIRST_SHARD, script: 'post.lua', seconds: length });
      await deposit(WARM_UP_SECONDS);
      await rounds(async () => {
        await figures.noteLoad(SOURCE, meters, () => deposit(seconds));
        await other.kill('SIGSTOP');
        const hung = anyWrk({
          ...{ url, accounts: FIRST_SHARD, script: 'transfer.lua', to: 2, connections: HUNG_TRANSFERS },
          seconds: seconds + HUNG_MS / 1_000,
        });
        await sleep(HUNG_MS);
        await figures.noteLoad(HUNG, meters, () => deposit(seconds));
        await hung;
        await other.kill('SIGCONT');
      });
    });
    await checkBooks(far);
    return GOALS;
  } finally {
    await Promise.all([postgres.stop(), other.stop()]);
  }
}

function inService(
  shards: readonly ShardAddress[],
  work: (url: string, pid: number) => Promise<void>,
): Promise<void> {
  const list = shards.map(({ url, schema }) => `${url}?schema=${schema}`).join();
  return withService({ SHARDS: list, BALANCE_CACHE: 'on' }, ({ url, pid }) => work(url, pid));
}
