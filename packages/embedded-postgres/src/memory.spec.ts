import { totalmem } from 'node:os';
import { describe, expect, it } from '@jest/globals';
import { sharedBuffers } from './memory.js';

describe('sharedBuffers', () => {
  it.each([
    [512 * 2 ** 20, '128MB'],
    [24 * 2 ** 30, '3072MB'],
    [512 * 2 ** 30, '8192MB'],
  ])('of %p bytes is an eighth, within bounds', (bytes, expected) => {
    expect(sharedBuffers(bytes)).toBe(expected);
  });

  it('looks at this machine by itself', () => {
    expect(parseInt(sharedBuffers(), 10)).toBeLessThanOrEqual(Math.max(128, totalmem() / 8 / 2 ** 20));
  });
});
