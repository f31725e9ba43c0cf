import type { Metric, Registry } from 'prom-client';

/** The durations observed for one method, route and status. */
interface Series {
  /** By bucket, not counting those of lower buckets. The last bucket has no bound. */
  readonly counts: number[];
  sum: number;
}

/**
 * A histogram of durations by method, route and status. prom-client's own builds a text of the labels and looks it up
 * for each observation, which takes longer than everything else that happens after an answer.
 */
export class RequestDurations {
  /** By route, method and status. */
  private readonly series = new Map<string, Map<string, Map<number, Series>>>();

  /** @param bounds upper bounds of the buckets, in seconds, ascending */
  constructor(
    readonly name: string,
    readonly help: string,
    private readonly bounds: readonly number[],
    registry: Registry,
  ) {
    registry.registerMetric(this as unknown as Metric);
  }

  observe(method: string, route: string, status: number, seconds: number): void {
    const series = this.seriesOf(method, route, status);
    let bucket = 0;
    while (bucket < this.bounds.length && seconds > (this.bounds[bucket] as number)) bucket += 1;
    series.counts[bucket] = (series.counts[bucket] ?? 0) + 1;
    series.sum += seconds;
  }

  /** In the form that prom-client's registry expects. */
  get() {
    const values = [...this.series].flatMap(([route, methods]) =>
      [...methods].flatMap(([method, statuses]) =>
        [...statuses].flatMap(([status, series]) =>
          this.valuesOf({ method, route, status: String(status) }, series),
        ),
      ),
    );
    return Promise.resolve({
      name: this.name,
      help: this.help,
      type: 'histogram',
      aggregator: 'sum',
      values,
    });
  }

  private seriesOf(method: string, route: string, status: number): Series {
    const known = this.series.get(route)?.get(method)?.get(status);
    if (known) return known;
    const methods = this.series.get(route) ?? new Map<string, Map<number, Series>>();
    const statuses = methods.get(method) ?? new Map<number, Series>();
    const series = { counts: new Array<number>(this.bounds.length + 1).fill(0), sum: 0 };
    this.series.set(route, methods.set(method, statuses.set(status, series)));
    return series;
  }

  private valuesOf(labels: Readonly<Record<string, string>>, { counts, sum }: Series) {
    let count = 0;
    const buckets = counts.map((observed, bucket) => {
      count += observed;
      return {
        metricName: `${this.name}_bucket`,
        labels: { le: this.bounds[bucket] ?? '+Inf', ...labels },
        value: count,
      };
    });
    return [
      ...buckets,
      { metricName: `${this.name}_sum`, labels, value: sum },
      { metricName: `${this.name}_count`, labels, value: count },
    ];
  }
}
