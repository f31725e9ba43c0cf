import { describe, expect, it } from '@jest/globals';
import { shares } from './seed.js';

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
