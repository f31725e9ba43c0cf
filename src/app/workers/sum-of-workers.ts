import { AggregatorRegistry, type Registry } from 'prom-client';
import type { MetricValues } from './messages.js';

/**
 * The metrics of all workers, as if of one process. Counters never decrease: those of a worker that has ended, or does
 * not answer, keep their last known values. (Prometheus would read a smaller sum as a restart and count all of it again.)
 */
export class SumOfWorkers {
  /** The last known metrics of each worker. */
  private readonly latest = new Map<object, MetricValues>();
  /** The counts of workers that have ended. */
  private ended: MetricValues = [];

  told(worker: object, metrics: MetricValues): void {
    this.latest.set(worker, metrics);
  }

  hasEnded(worker: object): void {
    const last = this.latest.get(worker);
    if (!last) return;
    this.latest.delete(worker);
    this.ended = sum([this.ended, last.filter(isCount)]).getMetricsAsArray() as unknown as MetricValues;
  }

  /** In Prometheus's text format. */
  text(): Promise<string> {
    return sum([...this.latest.values(), this.ended]).metrics();
  }
}

function sum(metrics: readonly MetricValues[]): Registry {
  return AggregatorRegistry.aggregate([...metrics]);
}

/** What only grows. A gauge tells how things are, which of an ended process is nothing. */
function isCount({ type }: MetricValues[number]): boolean {
  return ['counter', 'histogram'].includes(String(type));
}
