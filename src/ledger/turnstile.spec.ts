import { describe, expect, it } from '@jest/globals';
import { setTimeout as sleep } from 'node:timers/promises';
import { Turnstile } from './turnstile.js';

const LIMITS = { atWork: 2, queue: 3, commandTimeoutMs: 60_000 };

/** Notes what is decided of each entrant, by name. */
function visitors(turnstile: Turnstile) {
  const decided: string[] = [];
  const gone = new Set<string>();
  const enter = (name: string) =>
    turnstile.enter({
      isGone: () => gone.has(name),
      admitted: (sinceMs) => decided.push(`${name} ${sinceMs === undefined ? 'at once' : 'later'}`),
      refused: () => decided.push(`${name} refused`),
    });
  return { decided, gone, enter };
}

describe('Turnstile', () => {
  it('admits up to its limit, holds the next in order of arrival, and refuses what comes beyond the queue', () => {
    const turnstile = new Turnstile(LIMITS, () => 0);
    const { decided, enter } = visitors(turnstile);
    for (const name of 'abcdef') enter(name);
    expect(decided.splice(0)).toEqual(['a at once', 'b at once', 'f refused']);
    expect(turnstile.heldNow).toBe(3);
    turnstile.leave();
    turnstile.leave();
    expect(decided.splice(0)).toEqual(['c later', 'd later']);
    enter('g');
    turnstile.leave();
    turnstile.leave();
    expect(decided).toEqual(['e later', 'g later']);
    expect(turnstile.heldNow).toBe(0);
  });

  it('does not let a newcomer pass those that are held', () => {
    let parked = 0;
    const turnstile = new Turnstile(LIMITS, () => parked);
    const { decided, enter } = visitors(turnstile);
    for (const name of 'abc') enter(name);
    parked = 1;
    enter('d');
    expect(decided).toEqual(['a at once', 'b at once']);
    turnstile.leave();
    expect(decided.slice(2)).toEqual(['c later', 'd later']);
  });

  it('passes over those that are gone', () => {
    const turnstile = new Turnstile(LIMITS, () => 0);
    const { decided, gone, enter } = visitors(turnstile);
    for (const name of 'abcd') enter(name);
    gone.add('c');
    turnstile.leave();
    expect(decided.slice(2)).toEqual(['d later']);
  });

  it('gives the places of those that wait for a foreign lock to others, without being told', async () => {
    let parked = 0;
    const turnstile = new Turnstile(LIMITS, () => parked);
    const { decided, enter } = visitors(turnstile);
    for (const name of 'abcd') enter(name);
    parked = 2;
    await sleep(300);
    expect(decided.slice(2)).toEqual(['c later', 'd later']);
  });

  it('refuses whom it has held for half of the command timeout', async () => {
    const turnstile = new Turnstile({ ...LIMITS, commandTimeoutMs: 400 }, () => 0);
    const { decided, enter } = visitors(turnstile);
    for (const name of 'abc') enter(name);
    await sleep(80);
    expect(decided).toEqual(['a at once', 'b at once']);
    await sleep(500);
    expect(decided.slice(2)).toEqual(['c refused']);
    turnstile.leave();
    enter('d');
    expect(decided.slice(3)).toEqual(['d at once']);
  });
});
