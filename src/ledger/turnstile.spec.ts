import { describe, expect, it } from '@jest/globals';
import { setTimeout as sleep } from 'node:timers/promises';
import { AT_WORK_MS, Turnstile } from './turnstile.js';

const LIMITS = { atWork: 2, queue: 3, commandTimeoutMs: 60_000 };

/** Notes what is decided of each entrant, by name. */
function visitors(turnstile: Turnstile) {
  const decided: string[] = [];
  const gone = new Set<string>();
  const leaving: ((posted: boolean) => void)[] = [];
  const enter = (name: string) =>
    turnstile.enter({
      isGone: () => gone.has(name),
      admitted: (leave, sinceMs) => {
        leaving.push(leave);
        decided.push(`${name} ${sinceMs === undefined ? 'at once' : 'later'}`);
      },
      refused: () => decided.push(`${name} refused`),
    });
  /** In the order in which they were admitted. */
  const leave = (posted = true) => leaving.shift()?.(posted);
  return { decided, gone, enter, leave };
}

describe('Turnstile', () => {
  it('admits up to its limit, holds the next in order of arrival, and refuses what comes beyond the queue', () => {
    const turnstile = new Turnstile(
      LIMITS,
      () => 0,
      () => undefined,
    );
    const { decided, enter, leave } = visitors(turnstile);
    for (const name of 'abcdef') enter(name);
    expect(decided.splice(0)).toEqual(['a at once', 'b at once', 'f refused']);
    expect(turnstile.heldNow).toBe(3);
    leave();
    leave();
    expect(decided.splice(0)).toEqual(['c later', 'd later']);
    enter('g');
    leave();
    leave();
    expect(decided).toEqual(['e later', 'g later']);
    expect(turnstile.heldNow).toBe(0);
  });

  it('does not let a newcomer pass those that are held', () => {
    let parked = 0;
    const turnstile = new Turnstile(
      LIMITS,
      () => parked,
      () => undefined,
    );
    const { decided, enter, leave } = visitors(turnstile);
    for (const name of 'abc') enter(name);
    parked = 1;
    enter('d');
    expect(decided).toEqual(['a at once', 'b at once']);
    leave();
    expect(decided.slice(2)).toEqual(['c later', 'd later']);
  });

  it('passes over those that are gone', () => {
    const turnstile = new Turnstile(
      LIMITS,
      () => 0,
      () => undefined,
    );
    const { decided, gone, enter, leave } = visitors(turnstile);
    for (const name of 'abcd') enter(name);
    gone.add('c');
    leave();
    expect(decided.slice(2)).toEqual(['d later']);
  });

  it('gives the places of those that wait for a foreign lock to others, without being told', async () => {
    let parked = 0;
    const turnstile = new Turnstile(
      LIMITS,
      () => parked,
      () => undefined,
    );
    const { decided, enter } = visitors(turnstile);
    for (const name of 'abcd') enter(name);
    parked = 2;
    await sleep(300);
    expect(decided.slice(2)).toEqual(['c later', 'd later']);
  });

  it('refuses whom it has held for half of the command timeout', async () => {
    const turnstile = new Turnstile(
      { ...LIMITS, commandTimeoutMs: 400 },
      () => 0,
      () => undefined,
    );
    const { decided, enter, leave } = visitors(turnstile);
    for (const name of 'abc') enter(name);
    await sleep(80);
    expect(decided).toEqual(['a at once', 'b at once']);
    await sleep(500);
    expect(decided.slice(2)).toEqual(['c refused']);
    leave();
    enter('d');
    expect(decided.slice(3)).toEqual(['d at once']);
  });

  it('does not take a database that is far away for one that has too much to do', async () => {
    const turnstile = new Turnstile(
      { ...LIMITS, atWork: 100, queue: 1_000 },
      () => 0,
      () => undefined,
    );
    const { decided, enter, leave } = visitors(turnstile);
    for (let index = 0; index < 32; index++) enter('few');
    await sleep(AT_WORK_MS + 100);
    for (let index = 0; index < 32; index++) leave();
    for (let index = 0; index < 90; index++) enter('many');
    expect(decided.filter((each) => each === 'many at once')).toHaveLength(90);
  });

  it('learns nothing from requests that never came to the database', async () => {
    const turnstile = new Turnstile(
      { ...LIMITS, atWork: 100, queue: 1_000 },
      () => 0,
      () => undefined,
    );
    const { decided, enter, leave } = visitors(turnstile);
    for (let index = 0; index < 100; index++) enter('slow');
    await sleep(AT_WORK_MS + 100);
    for (let index = 0; index < 60; index++) leave();
    for (let index = 0; index < 500; index++) {
      leave(false);
      enter('refused');
    }
    // Its limit is still 40, and 40 are at work.
    for (let index = 0; index < 30; index++) enter('more');
    expect(decided).not.toContain('more at once');
  });

  it('counts those that it refuses', () => {
    let refused = 0;
    const turnstile = new Turnstile(
      LIMITS,
      () => 0,
      () => (refused += 1),
    );
    const { enter } = visitors(turnstile);
    for (const name of 'abcdefg') enter(name);
    expect(refused).toBe(2);
  });

  it('lets fewer in while they take long, and more again when they do not', async () => {
    const turnstile = new Turnstile(
      { ...LIMITS, atWork: 100, queue: 1_000 },
      () => 0,
      () => undefined,
    );
    const { decided, enter, leave } = visitors(turnstile);
    for (let index = 0; index < 140; index++) enter('slow');
    expect(decided).toHaveLength(100);
    await sleep(AT_WORK_MS + 100);
    for (let index = 0; index < 40; index++) leave();
    // Its limit is 60 now, and 60 are at work.
    expect(decided).toHaveLength(100);
    for (let index = 0; index < 60; index++) leave();
    // Never fewer than 32, however long they take.
    expect(decided).toHaveLength(140 - 40 + 32);
    for (let index = 0; index < 1_000; index++) {
      leave();
      enter('fast');
    }
    for (let index = 0; index < 200; index++) enter('more');
    expect(decided.filter((each) => each === 'more at once').length).toBeGreaterThan(30);
  });
});
