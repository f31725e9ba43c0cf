import { join } from 'node:path';
import type { ShardAddress } from '../../src/config/shard-address.js';
import { startPostgres } from '../stack/servers/postgres.js';
import { ALL, checkBooks } from './bank.js';
import { costName, type Figures, type Goal, type Rounds } from './figures.js';
import { databaseMeters, serviceMeter, type Meters } from './meters.js';
import { anyWrk, residentMebibytes, seed, startServer, wrk, type RunningServer } from './tools.js';

/** Until V8 has compiled the whole path of a request. */
const WARM_UP_SECONDS = 10;
const LOADS = [
  ['POST', 'post.lua'],
  ['GET balance', 'get.lua'],
] as const;
const METERS = ['service', 'PostgreSQL'] as const;
const MINUTE = 60;
/** Connections of each load in the mix. */
const MIX = [
  ['post.lua', 32],
  ['get.lua', 16],
  ['batch.lua', 1],
] as const;

/**
 * A service that runs beside another one, on a bank of its own: on the same bank, one would publish the other's events.
 */
interface Side {
  readonly name: string;
  readonly shard: ShardAddress;
  readonly service: RunningServer;
  readonly meters: Meters;
}

/**
 * This build and another one, running at the same time and measured in turn.
 *
 * @param build the folder of the other checkout, compiled
 */
export function measureAgainst(
  build: string,
  seconds: number,
  figures: Figures,
  rounds: Rounds,
): Promise<Goal[]> {
  return onPostgres(async (start) => {
    const sides = [await start('this'), await start('the other', join(build, 'dist'))] as const;
    return measurePair(sides, seconds, figures, rounds);
  });
}

/** A service after hours of mixed load and a freshly started one, measured in turn. */
export function measureSoak(
  minutes: number,
  seconds: number,
  figures: Figures,
  rounds: Rounds,
): Promise<Goal[]> {
  return onPostgres(async (start) => {
    const aged = await start('aged');
    const { url, pid } = aged.service;
    for (let minute = 1; minute <= minutes; minute++) {
      const run = { url, seconds: MINUTE, accounts: ALL };
      const loads = await Promise.all(
        MIX.map(([script, connections]) => anyWrk({ ...run, script, connections })),
      );
      const rates = loads.map(({ perSecond, unserved = '' }) => `${Math.round(perSecond)} /s ${unserved}`);
      console.error(`  minute ${minute}: POST, GET, batch items: ${rates.join(', ')}`);
      figures.note('resident memory, each minute of the mixed load', residentMebibytes(pid).now, 'MiB');
    }
    return measurePair([aged, await start('fresh')], seconds, figures, rounds, 1.1);
  });
}

async function onPostgres(
  work: (start: (name: string, build?: string) => Promise<Side>) => Promise<Goal[]>,
): Promise<Goal[]> {
  const postgres = await startPostgres();
  const sides: Side[] = [];
  try {
    const goals = await work(async (name, build) => {
      const side = await startSide(postgres.url, name, build);
      sides.push(side);
      return side;
    });
    for (const { shard } of sides) await checkBooks([shard]);
    return goals;
  } finally {
    for (const { service } of sides) await service.stop();
    await postgres.stop();
  }
}

async function startSide(url: string, name: string, build?: string): Promise<Side> {
  const shard = { url, schema: name.replace(' ', '_') };
  const environment = { DATABASE_URL: url, DATABASE_SCHEMA: shard.schema, BALANCE_CACHE: 'on' };
  const service = await startServer('src/main.js', environment, build);
  // By the build itself: another release may have another schema.
  await seed(environment, build);
  for (const [, script] of LOADS) {
    await wrk({ url: service.url, script, seconds: WARM_UP_SECONDS, accounts: ALL });
  }
  return { name, shard, service, meters: { ...serviceMeter(service.pid), ...(await databaseMeters(url)) } };
}

/** @param most how much the first may cost or use, as a multiple of the second; undefined: no target */
async function measurePair(
  sides: readonly [Side, Side],
  seconds: number,
  figures: Figures,
  rounds: Rounds,
  most?: number,
): Promise<Goal[]> {
  const order = [...sides];
  await rounds(async () => {
    for (const [load, script] of LOADS) {
      for (const { name, service, meters } of order) {
        await figures.noteLoad(`${load}, ${name}`, meters, () =>
          wrk({ url: service.url, script, seconds, accounts: ALL }),
        );
      }
    }
    for (const { name, service } of order) {
      figures.note(`resident memory, ${name}`, residentMebibytes(service.pid).now, 'MiB');
    }
    order.reverse();
  });
  const [first, second] = sides.map(({ name }) => name) as [string, string];
  const goal = (figureOf: (name: string) => string, least?: number): Goal => ({
    figure: figureOf(first),
    base: figureOf(second),
    least,
    small: true,
  });
  return [
    ...LOADS.flatMap(([load]) => [
      goal((name) => `${load}, ${name}`),
      ...METERS.map((meter) =>
        goal((name) => costName(`${load}, ${name}`, meter), meter === 'service' ? most : undefined),
      ),
    ]),
    goal((name) => `resident memory, ${name}`, most),
  ];
}
