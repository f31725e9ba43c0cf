import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { isOwner, ownerNameProblem } from './account.js';

describe('ownerNameProblem', () => {
  it.each([
    'ada',
    'José',
    'Владимир',
    '山田太郎',
    'عبد الله',
    'शर्मा',
    'می‌خواهم',
    '👩‍👩‍👧',
    'a b',
    'x'.repeat(255),
    '\u0301',
  ])('finds nothing wrong with %j', (name) => {
    expect(ownerNameProblem(name)).toBeUndefined();
  });

  it.each([
    ['', '1 to 255 characters'],
    ['x'.repeat(256), '1 to 255 characters'],
    ['a\u0000', 'control characters'],
    ['\ud800', 'control characters'],
    [' ', 'visible'],
    ['\u00a0\u2003', 'visible'],
    ['\u200b', 'visible'],
    ['\ufeff\u00ad', 'visible'],
    ['\u3164\u115f', 'visible'],
    ['\u2800', 'visible'],
    ['\u{e0061}\ufe0f', 'visible'],
    ['\u202eada', 'direction'],
    ['ada\u2069', 'direction'],
    ['\u200f', 'direction'],
    ['Jose\u0301', 'NFC'],
    ['\u212b', 'NFC'],
    ['\u1100\u1161', 'NFC'],
  ])('%j: %s', (name, words) => {
    expect(ownerNameProblem(name)).toContain(words);
  });

  it('is at least as strict as the rule for owners that exist already', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 10 }), (name) => {
        if (ownerNameProblem(name) === undefined) expect(isOwner(name)).toBe(true);
      }),
    );
  });
});
