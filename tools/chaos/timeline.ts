import { accountsOf, isCommand, readHistory, type Operation } from './checker/history.js';

export interface StruckFault {
  readonly name: string;
  readonly target: string;
  readonly instance?: string;
  readonly shard?: number;
  readonly beganMs: number;
  readonly healedMs: number;
  /**
   * The time from the end of the cause until every affected instance had posted again to every affected shard;
   * undefined when another fault prevented that.
   */
  readonly recoveryMs: number | undefined;
}

/** The course of a run, for the picture and the figures. */
export interface Timeline {
  readonly endMs: number;
  readonly faults: readonly StruckFault[];
  /** Commands in each interval of {@link BUCKET_MS}. */
  readonly accepted: readonly number[];
  readonly refused: readonly number[];
  readonly failed: readonly number[];
}

export const BUCKET_MS = 250;

interface Posted {
  readonly atMs: number;
  readonly instance: string;
  readonly shard: number;
}

type OpenFault = Omit<StruckFault, 'recoveryMs' | 'healedMs'> & { healedMs?: number };

/** @param shards the number of shards */
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
    if (!operation || !isCommand(operation)) continue;
    endMs = entry.at;
    const shard = ((accountsOf(operation)[0] ?? 1) - 1) % shards;
    const isAccepted = entry.status === 201 || entry.status === 200;
    if (isAccepted) posted.push({ atMs: entry.at, instance, shard });
    const kind =
      isAccepted || entry.status === 202
        ? 'accepted'
        : BY_THE_LEDGER.includes(entry.status)
          ? 'refused'
          : 'failed';
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

/** Rejections by the account or its keys. Everything else that is no success is a failure. */
const BY_THE_LEDGER: readonly number[] = [409, 412, 422];

function withRecovery(open: readonly OpenFault[], posted: readonly Posted[], endMs: number): StruckFault[] {
  const pairs = new Set(posted.map(nameOf));
  const faults = open.map((fault) => ({ ...fault, healedMs: fault.healedMs ?? endMs }));
  return faults.map((fault) => {
    const harmed = [...pairs].filter((pair) => reaches(fault, pair)).length;
    const recoveredMs = recoveredAt(posted, harmed, fault);
    const disturbed = faults.some(
      (other) =>
        other !== fault &&
        other.beganMs < (recoveredMs ?? endMs) &&
        other.healedMs > fault.healedMs &&
        [...pairs].some((pair) => reaches(fault, pair) && reaches(other, pair)),
    );
    const known = recoveredMs !== undefined && !disturbed;
    return { ...fault, recoveryMs: known ? recoveredMs - fault.healedMs : undefined };
  });
}

function nameOf({ instance, shard }: { readonly instance: string; readonly shard: number }): string {
  return `${instance} ${shard}`;
}

/** @param pair as {@link nameOf} names it */
function reaches({ instance, shard }: OpenFault, pair: string): boolean {
  const [itsInstance, itsShard] = pair.split(' ');
  return (instance ?? itsInstance) === itsInstance && String(shard ?? itsShard) === itsShard;
}

/** When every pair that the fault could affect has posted again. */
function recoveredAt(
  posted: readonly Posted[],
  harmed: number,
  fault: OpenFault & { readonly healedMs: number },
): number | undefined {
  const back = new Set<string>();
  for (let index = firstAfter(posted, fault.healedMs); index < posted.length; index++) {
    const posting = posted[index] as Posted;
    if (reaches(fault, nameOf(posting))) back.add(nameOf(posting));
    if (back.size === harmed) return posting.atMs;
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
