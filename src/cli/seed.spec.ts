import { describe, expect, it } from '@jest/globals';
import { seedText } from './seed.js';

const balance = '1000.00';

describe('seedText', () => {
  it('says how many, which and how fast', () => {
    expect(seedText({ accounts: 1_000, firstId: 5, lastId: 1_004, balance, durationMs: 500 })).toBe(
      'Made 1000 account(s) with 1000.00 each, ids from 5 to 1004, in 0.5 s (2000 accounts/s).',
    );
  });

  it('says so when it was stopped before the first one', () => {
    expect(seedText({ accounts: 0, firstId: undefined, lastId: undefined, balance, durationMs: 3 })).toBe(
      'No account was made.',
    );
  });
});
