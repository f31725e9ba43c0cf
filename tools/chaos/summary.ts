import { RULES, type Rule } from './checker/rules.js';
import type { RunReport } from './run.js';
import type { StruckFault } from './timeline.js';

/** The results of one or more runs, as text. */
export function summarize(reports: readonly RunReport[], faults: readonly StruckFault[]): string {
  const sum = (of: (report: RunReport) => number) => reports.reduce((total, report) => total + of(report), 0);
  const broken = (...rules: Rule[]) =>
    sum(({ violations }) => rules.reduce((total, rule) => total + (violations.byRule.get(rule) ?? 0), 0));
  const events = reports.some(({ events }) => events !== undefined) ? sum(({ events }) => events ?? 0) : '-';
  const rows: [string, number | string][] = [
    ['runs', reports.length],
    ['faults', sum(({ struck }) => struck)],
    ['operations', sum(({ tally }) => tally.operations)],
    ['requests', sum(({ tally }) => tally.requests)],
    ['  of them without an answer', sum(({ tally }) => tally.byStatus.get(0) ?? 0)],
    ['  answered 408 or 503', sum(({ tally }) => statuses(tally.byStatus, 408, 503))],
    ['transactions in the books', sum(({ transactions }) => transactions)],
    ['acknowledged', sum(({ tally }) => tally.acknowledged)],
    ['accepted before they were decided', sum(({ tally }) => tally.submitted)],
    ['  of them refused', sum(({ tally }) => tally.refusedLater)],
    ['transfers to another shard', sum(({ tally }) => tally.sent)],
    ['  refused there', sum(({ tally }) => tally.sentInVain)],
    ['  answers that one is pending', sum(({ tally }) => tally.toldPending)],
    ['  all decided after healing, worst (ms)', worst(reports.flatMap(({ settledMs }) => settledMs))],
    ['outcome unknown at first', sum(({ tally }) => tally.unknown)],
    ['  resolved by the key: applied', sum(({ tally }) => tally.resolvedApplied)],
    ['  resolved by the key: not applied', sum(({ tally }) => tally.resolvedRefused)],
    ['  had no key to ask with', sum(({ tally }) => tally.unresolvable)],
    ['reads', sum(({ tally }) => tally.reads)],
    ['events that arrived', events],
    ['lost', broken('acknowledged-lost', 'never-decided', 'event-missing')],
    ['duplicated', broken('applied-twice', 'key-forgotten')],
    ['wrong reads', broken('wrong-read', 'stale-read', 'cache-differs')],
    ['violations in all', sum(({ violations }) => violations.total)],
  ];
  const width = Math.max(...rows.map(([name]) => name.length));
  return [
    ...rows.map(([name, value]) => `${name.padEnd(width)}  ${String(value).padStart(10)}`),
    '',
    ...recoveries(faults),
    ...reports.flatMap(({ leftOut }) => leftOut.map((what) => `left out: ${what}`)).slice(0, 1),
    ...reports.flatMap(violationsOf),
  ].join('\n');
}

const worst = (times: readonly number[]): number | string => (times.length === 0 ? '-' : Math.max(...times));

function statuses(byStatus: ReadonlyMap<number, number>, ...wanted: number[]): number {
  return wanted.reduce((total, status) => total + (byStatus.get(status) ?? 0), 0);
}

function recoveries(faults: readonly StruckFault[]): string[] {
  const names = [...new Set(faults.map(({ name }) => name))].sort();
  return [
    'fault                     struck  recovered after (ms): median   worst',
    ...names.map((name) => {
      const same = faults.filter((fault) => fault.name === name);
      const times = same.flatMap(({ recoveryMs }) => recoveryMs ?? []).sort((a, b) => a - b);
      const cells = times.length === 0 ? ['-', '-'] : [times[times.length >> 1], times.at(-1)].map(String);
      const [median = '', worst = ''] = cells;
      return `${name.padEnd(24)}  ${String(same.length).padStart(6)}${median.padStart(31)}${worst.padStart(8)}`;
    }),
    '',
  ];
}

function violationsOf({ seed, violations }: RunReport): string[] {
  if (violations.total === 0) return [];
  return [
    `seed ${seed}:`,
    ...[...violations.byRule].map(([rule, count]) => `  broken ${count} times: ${rule} (${RULES[rule]})`),
    ...violations.kept.map(({ rule, detail }) => `    ${rule}: ${detail.slice(0, 400)}`),
  ];
}
