import { cpus, loadavg } from 'node:os';
import { percentile } from '../figures.js';
import type { Second } from '../load/generator.js';
import type { OverloadReport, OverloadSettings } from './run.js';

/** One condition that must hold. */
export interface Bound {
  readonly name: string;
  readonly value: string;
  readonly bound: string;
  readonly holds: boolean;
}

/** Resident memory under overload: what Node's heap grows to by itself, plus a part for each connection. */
const MAX_RESIDENT_MIB = 512;
const MAX_RESIDENT_KIB_PER_CONNECTION = 48;
/** An accepted request waits at most for the command timeout; its batch and its answer take a little more. */
const LATENCY_SLACK_MS = 1_000;
const LEAST_GOODPUT = 0.8;
const NORMAL_WITHIN_SECONDS = 5;
/** Latencies below this are normal, whatever they were before: a single garbage collection can take longer. */
const NORMAL_FLOOR_MS = 50;

/** Conditions that must hold on any machine, however busy. @param connections including idle ones */
export function robustBounds(report: OverloadReport, connections: number): Bound[] {
  const { overload, resident, faults, transactions } = report;
  const all = [...report.before, ...overload, ...report.after];
  return [
    noOthers(all),
    atMost('503 and 429 without Retry-After', sum(all, 'withoutRetryAfter'), 0),
    atMost('resident memory, max in MiB', Math.round(resident.max), residentBoundMib(connections)),
    {
      ...atMost('faults in the books', faults.length, 0),
      value: faults.length === 0 ? `0 in ${transactions} transactions` : faults.slice(0, 5).join('; '),
    },
  ];
}

/** All conditions, including those that need a machine without much other load. */
export function bounds(report: OverloadReport, connections: number, commandTimeoutMs: number): Bound[] {
  const ratio = goodput(report) / report.capacity;
  const p99 = percentile(latencies(report.overload), 0.99);
  return [
    ...robustBounds(report, connections),
    atMost('accepted: p99 in ms', Math.round(p99), commandTimeoutMs + LATENCY_SLACK_MS),
    {
      name: 'goodput ÷ capacity',
      value: ratio.toFixed(2),
      bound: `at least ${LEAST_GOODPUT}`,
      holds: ratio >= LEAST_GOODPUT,
    },
    atMost('seconds until normal', secondsUntilNormal(report), NORMAL_WITHIN_SECONDS),
  ];
}

/** Infinity: it never became normal. */
function secondsUntilNormal({ before, after }: OverloadReport): number {
  const normalMs = Math.max(NORMAL_FLOOR_MS, 2 * percentile(latencies(before), 0.99));
  const second = after.findIndex(
    (each) => each.overloaded + each.unsent + each.lost === 0 && percentile(each.accepted, 0.99) <= normalMs,
  );
  return second === -1 ? Infinity : second;
}

export function printReport(
  report: OverloadReport,
  settings: OverloadSettings,
  checked: readonly Bound[],
): void {
  const { overload, before, after, resident } = report;
  const offered = report.capacity * settings.factor;
  const requests = offered * settings.overloadSeconds;
  const ms = (seconds: readonly Second[]) =>
    [0.5, 0.99, 0.999].map((share) => Math.round(percentile(latencies(seconds), share))).join(' / ');
  const share = (count: number) => `${((100 * count) / requests).toFixed(1)} %`;
  const rows: [string, string | number][] = [
    ['capacity: accepted per second in a closed loop', Math.round(report.capacity)],
    [`offered per second, for ${settings.overloadSeconds} s`, Math.round(offered)],
    ['goodput: accepted per second', Math.round(goodput(report))],
    ['answered 503 Overloaded', share(sum(overload, 'overloaded'))],
    ['answered 503 Outcome unknown', share(sum(overload, 'unknown'))],
    ['answered 429', share(sum(overload, 'limited'))],
    [
      `not sent: all ${settings.connections} connections waited for an answer`,
      share(sum(overload, 'unsent')),
    ],
    ['accepted, before: p50 / p99 / p99.9 in ms', ms(before)],
    ['accepted, overload: p50 / p99 / p99.9 in ms', ms(overload)],
    ['accepted, after: p50 / p99 / p99.9 in ms', ms(after)],
    ['idle connections meanwhile', settings.idle],
    [
      'resident memory before / max / after in MiB',
      [resident.before, resident.max, resident.after].map(Math.round).join(' / '),
    ],
  ];
  console.log(`${cpus().length} cores, load ${loadavg()[0]?.toFixed(1)}, Node ${process.version}\n`);
  console.log('| figure | value |\n|---|---|');
  for (const [name, value] of rows) console.log(`| ${name} | ${value} |`);
  console.log('\n| bound | value | must be | |\n|---|---|---|---|');
  for (const { name, value, bound, holds } of checked) {
    console.log(`| ${name} | ${value} | ${bound} | ${holds ? 'holds' : 'BROKEN'} |`);
  }
}

function goodput({ overload }: OverloadReport): number {
  return latencies(overload).length / overload.length;
}

function atMost(name: string, value: number, most: number): Bound {
  return { name, value: String(value), bound: most === 0 ? '0' : `at most ${most}`, holds: value <= most };
}

function residentBoundMib(connections: number): number {
  return Math.round(MAX_RESIDENT_MIB + (connections * MAX_RESIDENT_KIB_PER_CONNECTION) / 1024);
}

function noOthers(seconds: readonly Second[]): Bound {
  const counts = new Map<string, number>();
  for (const { other, lost } of seconds) {
    for (const [status, count] of [...Object.entries(other), ['none', lost] as const]) {
      if (count > 0) counts.set(status, (counts.get(status) ?? 0) + count);
    }
  }
  return {
    name: 'answers but 201, 503 and 429, and requests without an answer',
    value: [...counts].map(([status, count]) => `${count} × ${status}`).join(', ') || '0',
    bound: '0',
    holds: counts.size === 0,
  };
}

function sum(
  seconds: readonly Second[],
  field: Exclude<keyof Second, 'accepted' | 'sentLate' | 'other'>,
): number {
  return seconds.reduce((total, second) => total + second[field], 0);
}

function latencies(seconds: readonly Second[]): number[] {
  return seconds.flatMap(({ accepted }) => accepted);
}
