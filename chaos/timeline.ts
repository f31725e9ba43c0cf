import { readHistory, type Operation } from './history.js';

export interface StruckFault {
  readonly name: string;
  readonly target: string;
  readonly beganMs: number;
  readonly healedMs: number;
  /**
   * From when the cause was gone until every instance had posted to every shard again; undefined when another fault was
   * in the way of that.
   */
  readonly recoveryMs: number | undefined;
}

/** What happened when, for the picture and the figures. */
export interface Timeline {
  readonly endMs: number;
  readonly faults: readonly StruckFault[];
  /** Postings in each interval of {@link BUCKET_MS}. */
  readonly accepted: readonly number[];
  readonly refused: readonly number[];
  readonly failed: readonly number[];
}

export const BUCKET_MS = 250;

interface Posted {
  readonly atMs: number;
  /** An instance and a shard. */
  readonly pair: string;
}

type OpenFault = Omit<StruckFault, 'recoveryMs' | 'healedMs'> & { healedMs?: number };

/** @param shards how many */
export async function readTimeline(history: string, shards: number): Promise<Timeline> {
  const operations = new Map<number, Operation>();
  const instances = new Map<number, string>();
  const faults = new Map<number, OpenFault>();
  const posted: Posted[] = [];
  const counts = { accepted: [] as number[], refused: [] as number[], failed: [] as number[] };
  let endMs = 0;
  for await (const entry of readHistory(history)) {
    if (entry.entry === 'intent') operations.set(entry.op, entry.operation);
    if (entry.entry === 'attempt') instances.set(entry.attempt, entry.instance.replace(/#.*/, ''));
    if (entry.entry === 'fault') faults.set(entry.fault, { ...entry, beganMs: entry.at });
    if (entry.entry === 'healed') {
      const fault = faults.get(entry.fault);
      if (fault) fault.healedMs = entry.at;
    }
    if (entry.entry !== 'answer') continue;
    const operation = operations.get(entry.op);
    const instance = instances.get(entry.attempt) ?? '';
    instances.delete(entry.attempt);
    if (operation?.kind !== 'post') continue;
    endMs = entry.at;
    if (entry.status === 201)
      posted.push({ atMs: entry.at, pair: `${instance} ${(operation.accountId - 1) % shards}` });
    const kind =
      entry.status === 201 ? 'accepted' : BY_THE_LEDGER.includes(entry.status) ? 'refused' : 'failed';
    const bucket = Math.floor(entry.at / BUCKET_MS);
    counts[kind][bucket] = (counts[kind][bucket] ?? 0) + 1;
  }
  const buckets = Math.ceil((endMs + 1) / BUCKET_MS);
  const filled = (list: readonly number[]) => Array.from({ length: buckets }, (_, index) => list[index] ?? 0);
  return {
    endMs,
    faults: withRecovery([...faults.values()], posted, endMs),
    accepted: filled(counts.accepted),
    refused: filled(counts.refused),
    failed: filled(counts.failed),
  };
}

/** The account or its keys said no; everything else that is not a 201 is a failure. */
const BY_THE_LEDGER: readonly number[] = [409, 412, 422];

function withRecovery(open: readonly OpenFault[], posted: readonly Posted[], endMs: number): StruckFault[] {
  const pairs = new Set(posted.map(({ pair }) => pair)).size;
  const faults = open.map((fault) => ({ ...fault, healedMs: fault.healedMs ?? endMs }));
  return faults.map((fault) => {
    const recoveredMs = recoveredAt(posted, pairs, fault.healedMs);
    const disturbed = faults.some(
      (other) => other !== fault && other.beganMs < (recoveredMs ?? endMs) && other.healedMs > fault.healedMs,
    );
    const known = recoveredMs !== undefined && !disturbed;
    return { ...fault, recoveryMs: known ? recoveredMs - fault.healedMs : undefined };
  });
}

/** When every pair has posted again. */
function recoveredAt(posted: readonly Posted[], pairs: number, healedMs: number): number | undefined {
  const back = new Set<string>();
  for (let index = firstAfter(posted, healedMs); index < posted.length; index++) {
    const { atMs, pair } = posted[index] as Posted;
    back.add(pair);
    if (back.size === pairs) return atMs;
  }
  return undefined;
}

function firstAfter(posted: readonly Posted[], atMs: number): number {
  let [low, high] = [0, posted.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((posted[middle] as Posted).atMs < atMs) low = middle + 1;
    else high = middle;
  }
  return low;
}
