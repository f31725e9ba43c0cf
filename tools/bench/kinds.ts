import { startPostgres } from '../stack/servers/postgres.js';
import { ACCOUNTS, checkBooks, foundBank } from './bank.js';
import type { Figures, Goal, Rounds } from './figures.js';
import { databaseMeters, serviceMeter } from './meters.js';
import { withService, wrk, type Accounts, type Load, type WrkRun } from './tools.js';

const WARM_UP_SECONDS = 3;
const HOT = 1;
const UNIFORM: Accounts = { first: HOT + 1, last: ACCOUNTS };

type Kind = Pick<WrkRun, 'script'> & Partial<Pick<WrkRun, 'accounts' | 'from' | 'to'>>;

const KINDS: Readonly<Record<string, Kind>> = {
  deposits: { script: 'post.lua' },
  transfers: { script: 'transfer.lua' },
  'hold and capture pairs': { script: 'hold.lua' },
  'deposits, one account': { script: 'post.lua', accounts: { first: HOT, last: HOT } },
  'transfers from one account': { script: 'transfer.lua', from: HOT },
  'transfers to one account': { script: 'transfer.lua', to: HOT },
};

const GOALS: readonly Goal[] = [
  { figure: 'transfers', base: 'deposits', least: 0.6, aim: 0.75 },
  { figure: 'hold and capture pairs', base: 'deposits', least: 0.3, aim: 0.45 },
  { figure: 'transfers from one account', base: 'deposits, one account', least: 0.5, aim: 0.7 },
  { figure: 'transfers to one account', base: 'deposits, one account', least: 0.5, aim: 0.7 },
];

/** What transfers and holds cost compared with deposits: all kinds in turn within each round, on one bank. */
export async function measureKinds(
  seconds: number,
  figures: Figures,
  rounds: Rounds,
): Promise<readonly Goal[]> {
  const postgres = await startPostgres();
  try {
    const [shard] = await foundBank([{ url: postgres.url, schema: 'bank' }]);
    const database = await databaseMeters(postgres.url);
    await withService({ DATABASE_URL: postgres.url, BALANCE_CACHE: 'on' }, async ({ url, pid }) => {
      const meters = { ...serviceMeter(pid), ...database };
      const load = async (kind: Kind, forSeconds: number): Promise<Load> => {
        const done = await wrk({ url, seconds: forSeconds, accounts: UNIFORM, ...kind });
        if (kind.script !== 'hold.lua') return done;
        return { perSecond: done.perSecond / 2, requests: done.requests / 2 };
      };
      for (const kind of Object.values(KINDS)) await load(kind, WARM_UP_SECONDS);
      await rounds(async () => {
        for (const [name, kind] of Object.entries(KINDS))
          await figures.noteLoad(name, meters, () => load(kind, seconds));
      });
    });
    await checkBooks([shard]);
    return GOALS;
  } finally {
    await postgres.stop();
  }
}
