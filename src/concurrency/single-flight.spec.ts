import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { setImmediate as turn } from 'node:timers/promises';
import { SingleFlight } from './single-flight.js';

/** Reads that end when the test says so. */
class Source {
  readonly reads: { end: () => void; fail: (error: Error) => void }[] = [];
  value = 1;

  readonly read = (): Promise<number> => {
    const seen = this.value;
    return new Promise((resolve, reject) => {
      this.reads.push({ end: () => resolve(seen), fail: reject });
    });
  };
}

describe('SingleFlight', () => {
  it('reads at once for the first caller', async () => {
    const [flights, source] = [new SingleFlight<string, number>(), new Source()];
    const result = flights.run('a', source.read);
    expect(source.reads).toHaveLength(1);
    source.reads[0]?.end();
    expect(await result).toBe(1);
  });

  it('gives whoever comes while a read runs the result of the next one, which they share', async () => {
    const [flights, source] = [new SingleFlight<string, number>(), new Source()];
    const first = flights.run('a', source.read);
    source.value = 2;
    const late = [1, 2, 3].map(() => flights.run('a', source.read));
    await turn();
    expect(source.reads).toHaveLength(1);
    source.reads[0]?.end();
    await turn();
    expect(source.reads).toHaveLength(2);
    source.value = 3;
    const later = flights.run('a', source.read);
    source.reads[1]?.end();
    await turn();
    source.reads[2]?.end();
    expect(await first).toBe(1);
    expect(await Promise.all(late)).toEqual([2, 2, 2]);
    expect(await later).toBe(3);
    expect(source.reads).toHaveLength(3);
  });

  it('keeps keys apart', async () => {
    const [flights, source] = [new SingleFlight<string, number>(), new Source()];
    const results = ['a', 'b'].map((key) => flights.run(key, source.read));
    expect(source.reads).toHaveLength(2);
    for (const read of source.reads) read.end();
    expect(await Promise.all(results)).toEqual([1, 1]);
  });

  it('a read that fails does so for those who share it, and not for those of the next', async () => {
    const [flights, source] = [new SingleFlight<string, number>(), new Source()];
    const first = flights.run('a', source.read);
    const next = flights.run('a', source.read);
    source.reads[0]?.fail(new Error('lost'));
    await expect(first).rejects.toThrow('lost');
    source.reads[1]?.end();
    expect(await next).toBe(1);
  });

  it('forgets a key that nobody reads', async () => {
    const [flights, source] = [new SingleFlight<string, number>(), new Source()];
    const results = [flights.run('a', source.read), flights.run('a', source.read)];
    source.reads[0]?.end();
    await turn();
    source.reads[1]?.end();
    await Promise.all(results);
    await turn();
    expect((flights as unknown as { flights: Map<string, unknown> }).flights.size).toBe(0);
  });

  it('never gives a result older than the call, however calls, changes and ends fall', async () => {
    const step = fc.constantFrom('call', 'change', 'end');
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 40 }), async (steps) => {
        const [flights, source] = [new SingleFlight<string, number>(), new Source()];
        const calls: Promise<void>[] = [];
        for (const what of [...steps, ...Array<string>(4).fill('end')]) {
          if (what === 'change') source.value += 1;
          else if (what === 'end') source.reads.at(-1)?.end();
          if (what !== 'call') await turn();
          else {
            const atCall = source.value;
            const result = flights.run('a', source.read);
            calls.push(result.then((value) => expect(value).toBeGreaterThanOrEqual(atCall)));
          }
        }
        await Promise.all(calls);
      }),
      { numRuns: 300 },
    );
  });
});
