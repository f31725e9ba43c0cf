import { describe, expect, it } from '@jest/globals';
import { generateKey, hashOfKey, hintOf, isKey } from './api-key.js';

const key = generateKey();

describe('an API key', () => {
  it('has a prefix, 256 bits and a checksum, always in the same form', () => {
    for (let n = 0; n < 1_000; n++) {
      const other = generateKey();
      expect(other).toMatch(/^bank_[0-9A-Za-z]{49}$/);
      expect(isKey(other)).toBe(true);
    }
  });

  it('is another one each time, in each of its digits', () => {
    const keys = Array.from({ length: 1_000 }, generateKey);
    expect(new Set(keys).size).toBe(1_000);
    // The first digits of the two numbers take what their bits leave of base 62.
    for (const digit of [...Array(54).keys()].filter((at) => at > 5 && at !== 48)) {
      expect(new Set(keys.map((other) => other[digit])).size).toBeGreaterThan(50);
    }
  });

  it('is none with any one digit changed, or two exchanged', () => {
    for (let at = 5; at < key.length; at++) {
      const digit = key[at] === 'a' ? 'b' : 'a';
      expect(isKey(key.slice(0, at) + digit + key.slice(at + 1))).toBe(false);
      const [one, two] = [key[at], key[at + 1]];
      if (two !== undefined && one !== two) {
        expect(isKey(`${key.slice(0, at)}${two}${one}${key.slice(at + 2)}`)).toBe(false);
      }
    }
  });

  it.each([
    '',
    'bank_',
    key.slice(0, -1),
    `${key}0`,
    ` ${key}`,
    `${key}\n`,
    key.toUpperCase(),
    key.replace('bank_', 'bonk_'),
  ])('is not %p', (text) => {
    expect(isKey(text)).toBe(false);
  });

  it('is stored as its SHA-256, and shown by its first digits', () => {
    expect(hashOfKey('abc')).toBe('ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad');
    expect(hintOf(key)).toBe(`${key.slice(0, 9)}…`);
    expect(hintOf(key).length).toBeLessThanOrEqual(16);
  });
});
