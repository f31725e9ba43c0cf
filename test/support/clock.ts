import { jest } from '@jest/globals';

/**
 * Advances the clocks of this process, but not its timers, until `jest.restoreAllMocks()`.
 */
export function pass(ms: number): void {
  for (const clock of [performance, Date]) {
    const later = clock.now() + ms;
    const started = process.hrtime.bigint();
    const sinceMs = () => Number((process.hrtime.bigint() - started) / 1_000_000n);
    jest.spyOn(clock, 'now').mockImplementation(() => later + sinceMs());
  }
}
