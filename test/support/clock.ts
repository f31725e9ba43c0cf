import { jest } from '@jest/globals';

/**
 * Lets so much time go by for whatever in this process looks at a clock; timers do not follow. Until
 * `jest.restoreAllMocks()`.
 */
export function pass(ms: number): void {
  for (const clock of [performance, Date]) {
    const later = clock.now() + ms;
    const started = process.hrtime.bigint();
    const sinceMs = () => Number((process.hrtime.bigint() - started) / 1_000_000n);
    jest.spyOn(clock, 'now').mockImplementation(() => later + sinceMs());
  }
}
