import { describe, expect, it } from '@jest/globals';
import { Counter, Gauge, Histogram, Registry } from 'prom-client';
import type { MetricValues } from './messages.js';
import { SumOfWorkers } from './sum-of-workers.js';

/** A worker's metrics, of each kind one. */
function createWorker() {
  const registry = new Registry();
  const registers = [registry];
  const posted = new Counter({ name: 'posted', help: '-', labelNames: ['shard'], registers });
  const seconds = new Histogram({ name: 'seconds', help: '-', buckets: [1, 5], registers });
  const waiting = new Gauge({ name: 'waiting', help: '-', registers });
  const up = new Gauge({ name: 'up', help: '-', aggregator: 'min', registers });
  return { posted, seconds, waiting, up, tell: (): Promise<MetricValues> => registry.getMetricsAsJSON() };
}

async function samplesOf(sum: SumOfWorkers): Promise<Record<string, number>> {
  const lines = (await sum.text()).split('\n').filter((line) => line !== '' && !line.startsWith('#'));
  return Object.fromEntries(
    lines.map((line): [string, number] => {
      const [name = '', value] = line.split(' ');
      return [name, Number(value)];
    }),
  );
}

describe('SumOfWorkers', () => {
  it('adds up what the workers tell, and takes each gauge as it is meant', async () => {
    const sum = new SumOfWorkers();
    const [a, b] = [createWorker(), createWorker()];
    a.posted.inc({ shard: '0' }, 3);
    b.posted.inc({ shard: '0' }, 4);
    b.posted.inc({ shard: '1' }, 1);
    a.seconds.observe(0.5);
    b.seconds.observe(3);
    a.waiting.set(2);
    b.waiting.set(5);
    a.up.set(1);
    b.up.set(0);
    for (const worker of [a, b]) sum.told(worker, await worker.tell());
    expect(await samplesOf(sum)).toEqual({
      'posted{shard="0"}': 7,
      'posted{shard="1"}': 1,
      'seconds_bucket{le="1"}': 1,
      'seconds_bucket{le="5"}': 2,
      'seconds_bucket{le="+Inf"}': 2,
      seconds_sum: 3.5,
      seconds_count: 2,
      waiting: 7,
      up: 0,
    });
  });

  it('keeps the counts of workers that have ended, and forgets how things were with them', async () => {
    const sum = new SumOfWorkers();
    const workers = [createWorker(), createWorker(), createWorker()];
    for (const worker of workers) {
      worker.posted.inc({ shard: '0' }, 10);
      worker.seconds.observe(1);
      worker.waiting.set(5);
      worker.up.set(0);
      sum.told(worker, await worker.tell());
    }
    for (const worker of workers.slice(0, 2)) sum.hasEnded(worker);
    sum.hasEnded({}); // one that never told anything
    workers[2]?.posted.inc({ shard: '0' });
    sum.told(workers[2] as object, (await workers[2]?.tell()) ?? []);
    expect(await samplesOf(sum)).toMatchObject({
      'posted{shard="0"}': 31,
      'seconds_bucket{le="1"}': 3,
      seconds_count: 3,
      waiting: 5,
      up: 0,
    });
    sum.hasEnded(workers[2] as object);
    expect(Object.keys(await samplesOf(sum))).not.toContain('waiting');
    expect(await samplesOf(sum)).toMatchObject({ 'posted{shard="0"}': 31 });
  });
});
