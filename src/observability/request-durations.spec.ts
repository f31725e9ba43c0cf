import { describe, expect, it } from '@jest/globals';
import { Histogram, Registry } from 'prom-client';
import { RequestDurations } from './request-durations.js';

const NAME = 'seconds';
const HELP = 'Durations';
const BOUNDS = [0.25, 0.5, 1];
const OBSERVED = [
  ['GET', '/a', 200, 0.125],
  ['GET', '/a', 200, 0.25],
  ['POST', '/a', 201, 0.75],
  ['GET', '/a', 404, 1],
  ['GET', '/b', 200, 8],
  ['GET', '/a', 200, 0.5],
] as const;

describe('RequestDurations', () => {
  it("tells the same as prom-client's histogram, line by line", async () => {
    const ours = new Registry();
    const durations = new RequestDurations(NAME, HELP, BOUNDS, ours);
    const theirs = new Registry();
    const labelNames = ['method', 'route', 'status'];
    const histogram = new Histogram({
      name: NAME,
      help: HELP,
      labelNames,
      buckets: BOUNDS,
      registers: [theirs],
    });
    for (const [method, route, status, seconds] of OBSERVED) {
      durations.observe(method, route, status, seconds);
      histogram.observe({ method, route, status: String(status) }, seconds);
    }
    const lines = async (registry: Registry) => (await registry.metrics()).split('\n').sort();
    expect(await lines(ours)).toEqual(await lines(theirs));
  });

  it('is added up over processes', async () => {
    const { AggregatorRegistry } = await import('prom-client');
    const registries = [new Registry(), new Registry()];
    for (const registry of registries) {
      const durations = new RequestDurations(NAME, HELP, BOUNDS, registry);
      durations.observe('GET', '/a', 200, 0.5);
    }
    const all = await Promise.all(registries.map((registry) => registry.getMetricsAsJSON()));
    const text = await AggregatorRegistry.aggregate(all).metrics();
    expect(text).toContain('seconds_bucket{le="0.5",method="GET",route="/a",status="200"} 2\n');
    expect(text).toContain('seconds_count{method="GET",route="/a",status="200"} 2\n');
  });
});
