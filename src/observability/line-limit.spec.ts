import { describe, expect, it } from '@jest/globals';
import { setTimeout as sleep } from 'node:timers/promises';
import { LineLimit, LINES_PER_SECOND } from './line-limit.js';

describe('LineLimit', () => {
  it('admits the first lines of a kind in each second, and reports how many were left out', async () => {
    const reports: [string, number][] = [];
    const limit = new LineLimit((kind, leftOut) => reports.push([kind, leftOut]));
    const admitted = Array.from({ length: 1_000 }, () => limit.admits('flood')).filter(Boolean);
    expect(admitted).toHaveLength(LINES_PER_SECOND);
    expect(limit.admits('other')).toBe(true);
    expect(reports).toEqual([]);
    await sleep(1_200);
    expect(reports).toEqual([['flood', 1_000 - LINES_PER_SECOND]]);
    expect(limit.admits('flood')).toBe(true);
  });

  it('takes no more memory for more kinds', () => {
    const limit = new LineLimit(() => undefined);
    const admitted = Array.from({ length: 5_000 }, (_, index) => limit.admits(`kind ${index}`));
    expect(admitted.filter(Boolean)).toHaveLength(1_000);
  });
});
