import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Command, InvalidArgumentError } from 'commander';
import { messageOf } from '../../src/domain/error-message.js';
import { startEmbeddedBank } from './embedded-bank.js';
import { startFullBank } from './full-bank.js';
import { drawPicture } from './picture.js';
import { runChaos, type RunReport } from './run.js';
import { summarize } from './summary.js';
import { readTimeline, type StruckFault } from './timeline.js';

const FORMS = { full: startFullBank, embedded: startEmbeddedBank };
type Form = keyof typeof FORMS;

interface Options {
  seed: number;
  runs: number;
  minutes: number;
  form: Form | 'both';
  out: string;
  quiet?: boolean;
}

const interrupt = new AbortController();

/** Injects faults into a real bank and checks that nothing is lost: `npm run chaos -- --help`. */
async function main(): Promise<void> {
  const options = readOptions();
  const reports: RunReport[] = [];
  const faults: StruckFault[] = [];
  const forms: Form[] = options.form === 'both' ? ['full', 'embedded'] : [options.form];
  for (let seed = options.seed; seed < options.seed + options.runs; seed++) {
    for (const form of forms) {
      const { report, struck } = await runOne(form, seed, options);
      reports.push(report);
      faults.push(...struck);
    }
  }
  console.log(`\n${summarize(reports, faults)}`);
  process.exitCode = reports.every(({ violations }) => violations.total === 0) ? 0 : 1;
}

async function runOne(
  form: Form,
  seed: number,
  { minutes, out, quiet }: Options,
): Promise<{ report: RunReport; struck: readonly StruckFault[] }> {
  const folder = join(out, `${form}-${seed}`);
  await rm(folder, { recursive: true, force: true });
  console.log(`seed ${seed}, the ${form} bank: starting`);
  const report = await runChaos({
    ...{ seed, folder, durationMs: minutes * 60_000, startBank: FORMS[form] },
    signal: interrupt.signal,
    say: quiet ? undefined : (line) => console.log(line),
  });
  const timeline = await readTimeline(report.history, form === 'full' ? 2 : 1);
  const clean = report.violations.total === 0;
  const picture = join(folder, 'picture.svg');
  await writeFile(
    picture,
    drawPicture(timeline, `seed ${seed}, the ${form} bank: ${clean ? 'clean' : 'VIOLATIONS'}`),
  );
  await writeFile(join(folder, 'run.json'), figuresOf(report, timeline.faults));
  // After a clean run, only the picture is of use.
  if (clean) await rm(report.history);
  console.log(
    `seed ${seed}, the ${form} bank: ${clean ? 'clean' : `${report.violations.total} VIOLATIONS`}; ${picture}`,
  );
  return { report, struck: timeline.faults };
}

/** The figures of one run, for those who want to add up many. */
function figuresOf(report: RunReport, faults: readonly StruckFault[]): string {
  const { seed, struck, transactions, events, settledMs, violations, tally } = report;
  const byStatus = Object.fromEntries(tally.byStatus);
  const figures = {
    seed,
    struck,
    transactions,
    events,
    settledMs,
    ...tally,
    byStatus,
    violations: violations.kept,
    faults,
  };
  return `${JSON.stringify(figures, undefined, 2)}\n`;
}

function readOptions(): Options {
  return new Command()
    .name('npm run chaos --')
    .description(
      'Runs a bank under load and faults, and checks that nothing is lost. Exits with 1 if anything is.',
    )
    .option('--seed <number>', 'decides the faults, their times, and what each client does', whole, 1)
    .option('--runs <number>', 'runs so many seeds, one after the other', whole, 1)
    .option('--minutes <number>', 'how long faults strike in each run', positive, 1)
    .option(
      '--form <form>',
      'full (instances, shards, PgBouncer, Redis, RabbitMQ), embedded, or both',
      formOf,
      'full',
    )
    .option(
      '--out <folder>',
      'where pictures, logs and the histories of failed runs are written',
      '.data/chaos',
    )
    .option('--quiet', 'no line for each fault')
    .parse()
    .opts<Options>();
}

function whole(text: string): number {
  if (!/^\d{1,9}$/.test(text) || Number(text) < 1) throw new InvalidArgumentError('It takes a whole number.');
  return Number(text);
}

function positive(text: string): number {
  if (!(Number(text) > 0)) throw new InvalidArgumentError('It takes a number greater than 0.');
  return Number(text);
}

function formOf(text: string): Form | 'both' {
  if (text === 'full' || text === 'embedded' || text === 'both') return text;
  throw new InvalidArgumentError('It is full, embedded or both.');
}

for (const signal of ['SIGINT', 'SIGTERM'] as const)
  process.once(signal, () => interrupt.abort(new Error(`stopped by ${signal}`)));

try {
  await main();
} catch (error) {
  console.error(messageOf(error));
  process.exitCode = 1;
}
process.exit();
