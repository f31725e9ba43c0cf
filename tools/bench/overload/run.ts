import { Client } from 'pg';
import { verifyBank } from '../../../src/admin/verify/verify.js';
import type { ShardAddress } from '../../../src/config/shard-address.js';
import { tablesOf } from '../../../src/storage/tables.js';
import type { Acknowledged, Second } from '../load/generator.js';
import { LoadProcess } from '../load/load-process.js';
import { residentMebibytes } from '../tools.js';

export interface OverloadSettings {
  readonly service: { readonly url: string; readonly pid: number };
  /** The only shard of the service. */
  readonly shard: ShardAddress;
  /** Account ids from 1 on. */
  readonly accounts: number;
  /** Idle connections, held from beginning to end. */
  readonly idle: number;
  readonly connections: number;
  readonly capacitySeconds: number;
  readonly calmSeconds: number;
  readonly overloadSeconds: number;
  /** Load offered during the overload, as a multiple of the capacity. */
  readonly factor: number;
}

export interface OverloadReport {
  /** Requests accepted per second in a closed loop. */
  readonly capacity: number;
  readonly before: readonly Second[];
  readonly overload: readonly Second[];
  readonly after: readonly Second[];
  /** Resident memory of the service, in MiB. */
  readonly resident: { readonly before: number; readonly max: number; readonly after: number };
  /** What is wrong with the books; empty: every acknowledged transaction is there exactly once, and no other. */
  readonly faults: readonly string[];
  readonly transactions: number;
}

const CAPACITY_CONNECTIONS = 256;
const WARM_UP_SECONDS = 3;
/** Share of the capacity offered before and after the overload. */
const CALM = 0.4;
const SAMPLE_MS = 100;

/** Measures the capacity, then loads the service at fixed rates: calm, overload, calm, without a pause in between. */
export async function runOverload(settings: OverloadSettings): Promise<OverloadReport> {
  const { service, accounts, connections } = settings;
  const load = new LoadProcess(service.url, accounts);
  try {
    if (settings.idle > 0) await load.idle(settings.idle);
    await load.closed(CAPACITY_CONNECTIONS, WARM_UP_SECONDS);
    const measured = await load.closed(CAPACITY_CONNECTIONS, settings.capacitySeconds);
    const capacity = measured.accepted.length / settings.capacitySeconds;
    const calm = { perSecond: Math.ceil(capacity * CALM), seconds: settings.calmSeconds };
    const peak = { perSecond: Math.ceil(capacity * settings.factor), seconds: settings.overloadSeconds };
    const memory = watchMemory(service.pid);
    const seconds = await load.open(connections, [calm, peak, calm]);
    const peakEnds = settings.calmSeconds + settings.overloadSeconds;
    return {
      capacity,
      before: seconds.slice(0, settings.calmSeconds),
      overload: seconds.slice(settings.calmSeconds, peakEnds),
      after: seconds.slice(peakEnds),
      resident: memory.stop(),
      ...(await checkBooks(settings.shard, await load.acknowledged())),
    };
  } finally {
    load.stop();
  }
}

function watchMemory(pid: number): { stop(): OverloadReport['resident'] } {
  const before = residentMebibytes(pid).now;
  let max = before;
  const timer = setInterval(() => (max = Math.max(max, residentMebibytes(pid).now)), SAMPLE_MS);
  return {
    stop: () => {
      clearInterval(timer);
      return { before, max, after: residentMebibytes(pid).now };
    },
  };
}

/**
 * Every acknowledged transaction must be there once, with the id in its answer; beyond them only unanswered ones may
 * be.
 */
async function checkBooks(
  shard: ShardAddress,
  { ids, keyPrefix }: Acknowledged,
): Promise<Pick<OverloadReport, 'faults' | 'transactions'>> {
  const report = await verifyBank([shard]);
  const faults = report.faults.map((fault) => JSON.stringify(fault));
  const client = new Client({ connectionString: shard.url });
  await client.connect();
  try {
    const { rows } = await client.query<{ id: string; key: string }>(
      `SELECT transaction_id AS id, idempotency_key AS key FROM ${tablesOf(shard.schema).transactions}
       WHERE starts_with(idempotency_key, $1)`,
      [keyPrefix],
    );
    const stored = new Map<number, number>();
    for (const { id, key } of rows) {
      const number = Number(key.slice(keyPrefix.length));
      if (stored.has(number)) faults.push(`${key} is there twice`);
      stored.set(number, Number(id));
    }
    ids.forEach((acknowledged, index) => {
      const id = stored.get(index + 1) ?? 0;
      if (acknowledged !== -1 && id !== acknowledged) {
        faults.push(`request ${index + 1}: told txn${acknowledged}, there is txn${id} (0: none)`);
      }
    });
  } finally {
    await client.end();
  }
  return { faults, transactions: report.transactions };
}
