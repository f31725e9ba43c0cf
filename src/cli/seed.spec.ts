import { describe, expect, it } from '@jest/globals';
import { seedText, shares } from './seed.js';

describe('shares', () => {
  it.each([
    [10, 1, [10]],
    [10, 3, [4, 3, 3]],
    [2, 4, [1, 1, 0, 0]],
    [0, 2, [0, 0]],
  ])('divides %i by %i', (total, parts, expected) => {
    expect(shares(total, parts)).toEqual(expected);
  });
});

describe('seedText', () => {
  it('says how many, which and how fast', () => {
    expect(seedText({ accounts: 1_000, firstId: 5, lastId: 1_004, durationMs: 500 }, 100_000n)).toBe(
      'Made 1000 account(s) with 1000.00 each, ids from 5 to 1004, in 0.5 s (2000 accounts/s).',
    );
  });

  it('says so when it was stopped before the first one', () => {
    expect(seedText({ accounts: 0, firstId: undefined, lastId: undefined, durationMs: 3 }, 1n)).toBe(
      'No account was made.',
    );
  });
});
