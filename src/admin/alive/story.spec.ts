import { describe, expect, it } from '@jest/globals';
import { DEMO_ACCOUNT, storyOf, type Act } from './story.js';

const UNTIL = new Date('2026-11-29T12:34:56.789Z');
const YEAR_MS = 365 * 86_400_000;

describe('storyOf', () => {
  it('tells the same story for the same seed and end, and another one for another seed', () => {
    expect(storyOf(1, UNTIL)).toEqual(storyOf(1, UNTIL));
    expect(storyOf(2, UNTIL)).not.toEqual(storyOf(1, UNTIL));
  });

  it('is a year in order of time, and nothing of it is in the future', () => {
    const times = storyOf(1, UNTIL).map(({ at }) => at.getTime());
    expect(times).toEqual(times.toSorted((a, b) => a - b));
    expect(UNTIL.getTime() - (times[0] as number)).toBeGreaterThanOrEqual(YEAR_MS);
    expect(times.at(-1)).toBeLessThan(UNTIL.getTime());
  });

  it('opens the demo account first, each other one before it is used, and each once', () => {
    const opened: string[] = [];
    for (const { act } of storyOf(1, UNTIL)) {
      if (act.kind === 'open') opened.push(act.account);
      else for (const account of accountsOf(act)) expect(opened).toContain(account);
    }
    expect(opened[0]).toBe(DEMO_ACCOUNT);
    expect(new Set(opened).size).toBe(opened.length);
  });
});

function accountsOf(act: Exclude<Act, { kind: 'open' }>): string[] {
  if (act.kind === 'transfer') return [act.from, act.to];
  if (act.kind === 'capture') return [act.to];
  return 'account' in act ? [act.account] : [];
}
