import type { Meters } from './meters.js';
import type { Load } from './tools.js';

export type Unit = '/s' | 'ms' | 'µs' | 'B' | 'MiB' | '%';

export interface Figure {
  readonly unit: Unit;
  /** One value per round. */
  readonly values: number[];
}

/** Runs a measurement once per round. */
export type Rounds = (measure: () => Promise<void>) => Promise<void>;

/** The measured values, by name. */
export class Figures {
  readonly all = new Map<string, Figure>();

  note(name: string, value: number, unit: Unit): void {
    console.error(`  ${name}: ${this.add(name, value, unit)}`);
  }

  /** Records the rate of a load, and the cost of each of its requests by every meter. */
  async noteLoad<T extends Load>(name: string, meters: Meters, load: () => Promise<T>): Promise<T> {
    const before = await Promise.all(Object.values(meters).map((meter) => meter.read()));
    const done = await load();
    const after = await Promise.all(Object.values(meters).map((meter) => meter.read()));
    const costs = Object.entries(meters).map(([meter, { unit }], index) => {
      const each = ((after[index] ?? NaN) - (before[index] ?? NaN)) / done.requests;
      return `, ${meter} ${this.add(costName(name, meter), each, unit)}`;
    });
    console.error(`  ${name}: ${this.add(name, done.perSecond, '/s')}${costs.join('')}`);
    return done;
  }

  /** @returns the value as people read it */
  private add(name: string, value: number, unit: Unit): string {
    const figure = this.all.get(name) ?? { unit, values: [] };
    figure.values.push(value);
    this.all.set(name, figure);
    return `${rounded(value)} ${unit}`;
  }

  median(name: string): number {
    return median(this.all.get(name)?.values ?? []);
  }

  /** One figure divided by another, round by round: noise of the machine affects both alike. */
  ratios(name: string, base: string): number[] {
    const divisors = this.all.get(base)?.values ?? [];
    return (this.all.get(name)?.values ?? []).map((value, round) => value / (divisors[round] ?? NaN));
  }
}

export function costName(load: string, meter: string): string {
  return `${load}: ${meter}`;
}

/** A figure, or a ratio of two, and its target. */
export interface Goal {
  readonly figure: string;
  /** The divisor; undefined: none. */
  readonly base?: string;
  readonly least?: number;
  readonly aim?: number;
  /** Smaller is better: `least` and `aim` are upper bounds. */
  readonly small?: boolean;
}

export function nameOf({ figure, base }: Goal): string {
  return base === undefined ? figure : `${figure} ÷ ${base}`;
}

export function valuesOf(figures: Figures, { figure, base }: Goal): number[] {
  return base === undefined ? (figures.all.get(figure)?.values ?? []) : figures.ratios(figure, base);
}

/** The middle value; of an even number of values, the lower of the two. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor((sorted.length - 1) / 2)] ?? NaN;
}

/** @param share from 0 to 1 */
export function percentile(values: readonly number[], share: number): number {
  const sorted = Float64Array.from(values).sort();
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? NaN;
}

/** Three significant digits, or all digits before the point. */
export function rounded(value: number): string {
  return value >= 100 ? String(Math.round(value)) : String(Number(value.toPrecision(3)));
}
