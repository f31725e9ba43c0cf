import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { VersionFilter } from './version-filter.js';

const filterOf = (settings: Partial<{ maxAccounts: number; fromOpening: boolean }> = {}) =>
  new VersionFilter({ maxAccounts: 100, fromOpening: true, ...settings });

/** Which of the versions of one account are let through. */
const letThrough = (filter: VersionFilter, versions: readonly number[]) =>
  versions.filter((version) => filter.isNext(1, version));

describe('VersionFilter', () => {
  it('drops repeats', () => {
    expect(letThrough(filterOf(), [2, 3, 2, 3, 4, 4])).toEqual([2, 3, 4]);
  });

  it('leaves out what has overtaken another, and takes it when it comes again', () => {
    expect(letThrough(filterOf(), [2, 4, 5, 2, 3, 4, 5])).toEqual([2, 3, 4, 5]);
  });

  it('keeps accounts apart', () => {
    const filter = filterOf();
    expect([filter.isNext(1, 2), filter.isNext(2, 2), filter.isNext(1, 2)]).toEqual([true, true, false]);
  });

  it('begins an account that it has not known from the opening with what comes first', () => {
    expect(letThrough(filterOf({ fromOpening: false }), [7, 7, 6, 8])).toEqual([7, 8]);
    expect(letThrough(filterOf({ fromOpening: true }), [7, 7, 6, 8])).toEqual([]);
  });

  it('is bounded, and goes on with an account that it had to forget', () => {
    const filter = filterOf({ maxAccounts: 2 });
    for (const accountId of [1, 2, 3]) expect(filter.isNext(accountId, 2)).toBe(true);
    expect(filter.isNext(1, 3)).toBe(true);
  });

  it('lets through every version once and in order, wherever the runs of a publisher begin and end', () => {
    // A relay always begins again at the lowest event that is not known to have arrived, and loses some on the way.
    const runs = fc.array(fc.record({ sent: fc.nat(12), lost: fc.array(fc.nat(11), { maxLength: 4 }) }), {
      maxLength: 20,
    });
    fc.assert(
      fc.property(runs, (tries) => {
        const total = 30;
        const arrived: number[] = [];
        let removed = 1;
        for (const { sent, lost } of [
          ...tries,
          ...Array.from({ length: 30 }, () => ({ sent: 1, lost: [] })),
        ]) {
          const run = Array.from({ length: sent }, (_, index) => removed + 1 + index).filter(
            (v) => v <= total,
          );
          arrived.push(...run.filter((_, index) => !lost.includes(index)));
          if (run.every((_, index) => !lost.includes(index))) removed += run.length;
        }
        const expected = Array.from({ length: total - 1 }, (_, index) => index + 2);
        expect(letThrough(filterOf(), arrived)).toEqual(expected);
      }),
    );
  });
});
