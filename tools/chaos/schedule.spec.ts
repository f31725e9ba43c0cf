import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import type { Fault } from './faults.js';
import { Random } from './random.js';
import { drawSchedule } from './schedule.js';

const fault = (name: string, target: string): Fault => ({
  ...{ name, target, weight: 1, healingMs: 1_000 },
  strike: () => Promise.reject(new Error('not here')),
});

const FAULTS = [fault('kill', 'a'), fault('hang', 'a'), fault('kill', 'b'), fault('delay', 'c')];
const MINUTE_MS = 60_000;

const drawn = (seed: number) => drawSchedule(FAULTS, MINUTE_MS, new Random(seed, 0));

describe('drawSchedule', () => {
  it('draws the same schedule for the same seed, and another for another seed', () => {
    expect(drawn(7)).toEqual(drawn(7));
    expect(drawn(8)).not.toEqual(drawn(7));
  });

  it('strikes no target again before it is healed, and ends in time to see the last heal', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 1_000_000 }), (seed) => {
        const healed = new Map<string, number>();
        const appointments = drawn(seed);
        for (const { atMs, forMs, fault } of appointments) {
          expect(atMs).toBeGreaterThanOrEqual(healed.get(fault.target) ?? 0);
          expect(atMs).toBeLessThan(MINUTE_MS - 3_000);
          healed.set(fault.target, atMs + forMs + 1_000);
        }
        expect(appointments.length).toBeGreaterThan(10);
      }),
    );
  });
});
