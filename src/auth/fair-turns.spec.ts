import { describe, expect, it } from '@jest/globals';
import { FairTurns } from './fair-turns.js';

const BOUNDS = { atWork: 4, waiting: 100, waitingOfOne: 50, waitMs: 200 };
const OVERLOADED = { refusal: { code: 'OVERLOADED' } };

/** Work that ends when it is told to, and says in which order it began. */
class Work {
  readonly begun: string[] = [];
  private readonly ends: (() => void)[] = [];

  of(name: string): () => Promise<string> {
    return () => {
      this.begun.push(name);
      return new Promise((resolve) => this.ends.push(() => resolve(name)));
    };
  }

  /** Ends those that are at work; resolves when the next ones have begun. */
  async end(): Promise<void> {
    for (const end of this.ends.splice(0)) end();
    await new Promise((resolve) => setImmediate(resolve));
  }
}

describe('FairTurns', () => {
  it('lets one client have half of the places, and gives the others theirs', async () => {
    const turns = new FairTurns(BOUNDS);
    const work = new Work();
    const flood = Array.from({ length: 40 }, (_, n) => turns.run('flood', work.of(`flood ${n}`)));
    expect(work.begun).toEqual(['flood 0', 'flood 1']);
    const others = ['a', 'b', 'c'].map((client) => turns.run(client, work.of(client)));
    expect(work.begun).toEqual(['flood 0', 'flood 1', 'a', 'b']);
    await work.end();
    expect(work.begun.slice(4)).toEqual(['flood 2', 'c', 'flood 3']);
    while (work.begun.length < 43) await work.end();
    await work.end();
    expect(await Promise.all([...flood, ...others])).toHaveLength(43);
  });

  it('goes on after work that failed', async () => {
    const turns = new FairTurns({ ...BOUNDS, atWork: 1 });
    const failing = turns.run('a', () => Promise.reject(new Error('no')));
    const next = turns.run('a', () => Promise.resolve('done'));
    await expect(failing).rejects.toThrow('no');
    expect(await next).toBe('done');
  });

  it('refuses what is over a bound of waiting, at once, and what waits too long', async () => {
    const turns = new FairTurns({ ...BOUNDS, atWork: 1, waiting: 3, waitingOfOne: 2 });
    const work = new Work();
    const first = turns.run('a', work.of('a'));
    const late = [turns.run('a', work.of('late')), turns.run('a', work.of('late'))];
    await expect(turns.run('a', work.of('no'))).rejects.toMatchObject(OVERLOADED);
    late.push(turns.run('b', work.of('late')));
    await expect(turns.run('c', work.of('no'))).rejects.toMatchObject(OVERLOADED);
    for (const one of late) await expect(one).rejects.toMatchObject(OVERLOADED);
    await work.end();
    expect(await first).toBe('a');
    expect(work.begun).toEqual(['a']);
    const again = turns.run('c', work.of('c'));
    await work.end();
    expect(await again).toBe('c');
  });
});
