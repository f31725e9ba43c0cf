import { mkdirSync, writeFileSync } from 'node:fs';
import { cpus, loadavg, totalmem } from 'node:os';
import { join } from 'node:path';
import { barChart, lineChart, type Bar, type Series } from './charts.js';
import { CONNECTIONS, latencyName, PERCENTILES, postName } from './core.js';
import { costName, median, nameOf, rounded, valuesOf, type Figures, type Goal } from './figures.js';
import { sizeName, type Size } from './growth.js';

/** Where and how the figures were measured. */
export interface Conditions {
  readonly command: string;
  readonly rounds: number;
  readonly seconds: number;
  readonly sizes: readonly Size[];
  readonly postgres: string;
  readonly commit: string;
}

/** Writes the Markdown page, the charts and the raw figures. @throws when a figure is missing */
export function writeReport(
  folder: string,
  figures: Figures,
  goals: readonly Goal[],
  conditions: Conditions,
): void {
  for (const goal of goals) {
    const values = valuesOf(figures, goal);
    if (values.length === 0 || !values.every(Number.isFinite)) {
      throw new Error(`no figure for ${nameOf(goal)}`);
    }
  }
  mkdirSync(folder, { recursive: true });
  const machine = describeMachine();
  const files = {
    'README.md': markdown(figures, goals, conditions, machine),
    'figures.json': `${JSON.stringify({ ...conditions, machine, figures: Object.fromEntries(figures.all) }, undefined, 2)}\n`,
    'connections.svg': connectionsChart(figures),
    'latency.svg': latencyChart(figures),
    'rows.svg': rowsChart(figures, conditions.sizes),
    'ratios.svg': ratiosChart(figures, goals),
  };
  for (const [name, content] of Object.entries(files)) writeFileSync(join(folder, name), content);
}

function describeMachine() {
  return {
    processor: cpus()[0]?.model ?? 'unknown',
    cores: cpus().length,
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    platform: `${process.platform} ${process.arch}`,
    node: process.version,
    loadAtTheEnd: Number(loadavg()[0]?.toFixed(1)),
    date: new Date().toISOString().slice(0, 10),
  };
}

/** Only the tables, for reading in a terminal. */
export function tables(figures: Figures, goals: readonly Goal[]): string {
  const ratios = goals.map((goal) => {
    const values = valuesOf(figures, goal);
    const value = median(values);
    return [
      nameOf(goal),
      rounded(value),
      spread(values),
      goal.least ?? '',
      goal.aim ?? '',
      verdict(goal, value),
    ];
  });
  const all = [...figures.all.keys()]
    .filter((name) => !isCost(name))
    .map((name) => [
      ...withSpread(figures, name),
      ...COSTS.map((meter) => {
        const [, value, values] = withSpread(figures, costName(name, meter));
        return value && `${value} (${values})`;
      }),
    ]);
  return [
    table(['ratio', 'median', 'min – max', 'to reach', 'aim', ''], ratios),
    table(['figure', 'median', 'min – max', ...COSTS.map((meter) => `${meter}, each`)], all),
  ].join('\n\n');
}

/** Costs per request, shown next to a rate. */
const COSTS = ['service', 'PostgreSQL', 'WAL'] as const;

function isCost(name: string): boolean {
  return COSTS.some((meter) => name.endsWith(costName('', meter)));
}

/** Empty if it was not measured. */
function withSpread(figures: Figures, name: string): [name: string, median: string, spread: string] {
  const figure = figures.all.get(name);
  return figure
    ? [name, `${rounded(median(figure.values))} ${figure.unit}`, spread(figure.values)]
    : [name, '', ''];
}

function markdown(
  figures: Figures,
  goals: readonly Goal[],
  { command, rounds, seconds, postgres, commit }: Conditions,
  machine: ReturnType<typeof describeMachine>,
): string {
  return `# Figures

Measured on ${machine.date} by \`${command}\` at commit ${commit}: ${machine.cores} cores (${machine.processor}), ${machine.memoryGiB} GiB, ${machine.platform}, Node ${machine.node}, ${postgres}; database, service and load generator share the machine. ${rounds} rounds, ${seconds} s a measurement; every ratio is of two figures of one round, and the median over the rounds is quoted. The books were verified after every round, and what the load generator saw acknowledged was compared with what was stored. What each figure means: [BENCH](#what-is-measured) below.

![Ratios](ratios.svg)

${tables(figures, goals)}

![Throughput against connections](connections.svg)

![Latency](latency.svg)

![Throughput against rows](rows.svg)

## What is measured

- **U**: pgbench, 16 clients, 10,000 accounts, one database transaction per posting (SELECT … FOR UPDATE, INSERT with a unique key, UPDATE, COMMIT), no HTTP. What the best conventional design could reach. **H**: the same on one account.
- **engine**: the service's group commit alone, 256 callers in one process, no HTTP.
- **POST**, **GET balance**: the service over HTTP by wrk, 256 connections unless said, a unique Idempotency-Key each. **batch items**: items of \`POST /transactions/batch\`, 1,000 a request, 8 connections.
- **bare Fastify**: a server that reads a small JSON and answers a fixed one: what HTTP costs here.
- **service, each**, **PostgreSQL, each**: processor time (user and system) of the process and its children per transaction, item or request, from \`/proc\`; for *engine* and *bare Fastify* the service is that process. **WAL, each**: bytes written to PostgreSQL's log for it.
- **POST at half the rate**: an open loop at half of what POST reached in the same round; a latency runs from when the request was due. **sent late**: how long after that the generator, which shares the processors, sent it; the latencies include this. **not sent**: requests for which no connection was free; the latencies lack them. **pgbench, p50**: of one transaction of U, so with 16 clients that never pause: the load that a conventional design can just take is not the same as half of the service's, and higher latencies there flatter the ratio.
- **resident memory**: of the service, from \`/proc\`: **fresh**: when it first answers; **at full load**: the most until after the POST loads with 256 connections; **after batches too**: the most until after the batches.
- **POST, N accounts, M transactions**: on a bank with that history, after a load as long as the measurement; the server has an eighth of the memory as \`shared_buffers\`.
- **listing**: a page of 100 transactions of an account with a long history, 16 connections; its first page and its last.
`;
}

/** Empty if there is no target. */
function verdict({ least, aim, small }: Goal, value: number): string {
  if (least === undefined) return '';
  const reaches = (goal: number) => (small ? value <= goal : value >= goal);
  if (aim !== undefined && reaches(aim)) return 'aim reached';
  return reaches(least) ? 'reached' : 'MISSED';
}

function spread(values: readonly number[]): string {
  return `${rounded(Math.min(...values))} – ${rounded(Math.max(...values))}`;
}

function table(head: readonly string[], rows: readonly (readonly (string | number)[])[]): string {
  const line = (cells: readonly (string | number)[]) => `| ${cells.join(' | ')} |`;
  return [line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n');
}

function connectionsChart(figures: Figures): string {
  const points = (valueAt: (connections: number) => number) =>
    CONNECTIONS.map((connections) => ({
      x: connections,
      y: valueAt(connections),
      label: connections.toLocaleString('en'),
    }));
  const series: Series[] = [
    { name: 'POST', points: points((connections) => figures.median(postName(connections))) },
    { name: 'U (pgbench, 16 clients)', points: points(() => figures.median('U')) },
  ];
  return lineChart('Throughput against connections', { x: 'connections', y: 'per second' }, series);
}

function latencyChart(figures: Figures): string {
  const points = (what: 'POST at half the rate' | 'pgbench') =>
    PERCENTILES.map((share) => ({
      x: 1 / (1 - share),
      y: figures.median(latencyName(what, share)),
      label: `p${Number((share * 100).toPrecision(4))}`,
    }));
  const series: Series[] = [
    { name: 'POST at half of its rate', points: points('POST at half the rate') },
    { name: 'pgbench at its full rate', points: points('pgbench') },
  ];
  return lineChart('Latency', { x: 'percentile', y: 'ms' }, series);
}

function rowsChart(figures: Figures, sizes: readonly Size[]): string {
  const points = sizes.map((size) => ({
    x: size.accounts,
    y: figures.median(sizeName(size)),
    label: `${short(size.accounts)} + ${short(size.transactions)}`,
  }));
  const axes = { x: 'accounts + transactions already there', y: 'per second' };
  return lineChart('Throughput against rows', axes, [{ name: 'POST', points }]);
}

function short(count: number): string {
  return Intl.NumberFormat('en', { notation: 'compact' }).format(count);
}

function ratiosChart(figures: Figures, goals: readonly Goal[]): string {
  const bars = goals
    .filter(({ base }) => base !== undefined)
    .map((goal): Bar => ({
      name: nameOf(goal),
      value: median(valuesOf(figures, goal)),
      marks: [goal.least, goal.aim].filter((mark) => mark !== undefined),
    }));
  return barChart('Ratios', bars);
}
