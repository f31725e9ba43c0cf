import { cpus } from 'node:os';
import { median } from './tools.js';

/** Accounts of the bank that is measured. */
export const ACCOUNTS = 10_000;
/** Until the compiler has seen the hot path. */
export const WARM_UP_SECONDS = 3;

/** Name → per second, one value a round. */
export type Figures = Map<string, number[]>;

/** Notes a figure of this round under its name. */
export type Note = (name: string, rate: Promise<number>) => Promise<void>;

/** A figure, what it is divided by, and the ratio to reach. */
export type Ratio = readonly [figure: string, base: string, goal: number];

export function noteIn(figures: Figures): Note {
  return async (name, rate) => {
    const value = await rate;
    figures.set(name, [...(figures.get(name) ?? []), value]);
    console.error(`  ${name}: ${Math.round(value)}/s`);
  };
}

/** Two tables in Markdown: the figures, and the medians of their ratios within a round. */
export function printFigures(figures: Figures, ratios: readonly Ratio[], conditions: string): void {
  const processor = cpus()[0]?.model ?? 'unknown processor';
  console.log(
    `${cpus().length} cores (${processor}), Node ${process.version}, ${new Date().toISOString().slice(0, 10)}`,
  );
  console.log(`${conditions}\n`);
  console.log('| figure | per second (median) | min – max |\n|---|---|---|');
  for (const [name, values] of figures) {
    const range = `${Math.round(Math.min(...values))} – ${Math.round(Math.max(...values))}`;
    console.log(`| ${name} | ${Math.round(median(values))} | ${range} |`);
  }
  console.log('\n| ratio | median | min – max | to reach |\n|---|---|---|---|');
  for (const [name, base, goal] of ratios) {
    const values =
      figures.get(name)?.map((value, round) => value / (figures.get(base)?.[round] ?? NaN)) ?? [];
    if (values.length === 0) continue;
    const range = `${Math.min(...values).toFixed(2)} – ${Math.max(...values).toFixed(2)}`;
    console.log(`| ${name} ÷ ${base} | ${median(values).toFixed(2)} | ${range} | ${goal} |`);
  }
}
