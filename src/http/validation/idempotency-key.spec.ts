import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { parseIdempotencyKey } from './idempotency-key.js';
import { InvalidRequestError } from './invalid-request.js';

/** Whether the header is rejected as it should be: with a problem that names it. */
function isRefused(header: string): boolean {
  try {
    parseIdempotencyKey(header);
  } catch (error) {
    if (error instanceof InvalidRequestError && error.problems[0]?.field === 'Idempotency-Key') return true;
    throw error;
  }
  return false;
}

/** A key as an RFC 8941 string. */
function quote(key: string): string {
  return `"${key.replace(/["\\]/g, '\\$&')}"`;
}

/** Any UTF-16 code unit, lone surrogates included. (fast-check's own `binary` takes seconds to build.) */
const anyUnit = fc
  .oneof(fc.nat({ max: 0x7f }), fc.nat({ max: 0xffff }))
  .map((code) => String.fromCharCode(code));

const visible = fc.string({
  unit: fc.integer({ min: 0x21, max: 0x7e }).map((code) => String.fromCharCode(code)),
  minLength: 1,
  maxLength: 40,
});

describe('parseIdempotencyKey', () => {
  it('finds no key without a header', () => {
    expect(parseIdempotencyKey(undefined)).toBeUndefined();
  });

  it.each([
    ['bare', 'abc-123', 'abc-123'],
    ['quoted', '"abc-123"', 'abc-123'],
    ['a UUID', '8e03978e-40d5-43dd-bc93-6894a57f9324', '8e03978e-40d5-43dd-bc93-6894a57f9324'],
    ['one character', 'k', 'k'],
    ['one quoted character', '"k"', 'k'],
    ['all that is visible', '!#$%&()*+,-./:;<=>?@[]^_`{|}~', '!#$%&()*+,-./:;<=>?@[]^_`{|}~'],
    ['an escaped quote', '"a\\"b"', 'a"b'],
    ['an escaped backslash', '"a\\\\b"', 'a\\b'],
    ['an escaped backslash before the end', '"a\\\\"', 'a\\'],
    ['escapes one after the other', '"\\\\\\""', '\\"'],
    ['a bare backslash', 'a\\b', 'a\\b'],
    ['a bare quote inside', 'a"b', 'a"b'],
    ['255 characters', 'k'.repeat(255), 'k'.repeat(255)],
    ['255 quoted characters', `"${'k'.repeat(255)}"`, 'k'.repeat(255)],
    ['255 characters, all escaped', `"${'\\"'.repeat(255)}"`, '"'.repeat(255)],
  ])('reads %s', (_, header, key) => {
    expect(parseIdempotencyKey(header)).toBe(key);
  });

  it.each([
    ['nothing', ''],
    ['a quoted nothing', '""'],
    ['256 characters', 'k'.repeat(256)],
    ['256 quoted characters', `"${'k'.repeat(256)}"`],
    ['a space', 'a b'],
    ['a quoted space', '"a b"'],
    ['a space alone', ' '],
    ['a tab', 'a\tb'],
    ['a line break', 'a\nb'],
    ['a line break at the end', 'a\n'],
    ['a quoted line break at the end', '"a"\n'],
    ['a NUL', 'a\u0000b'],
    ['a DEL', 'a\u007fb'],
    ['a Latin-1 letter', 'é'],
    ['a quoted Latin-1 letter', '"é"'],
    ['a letter beyond Latin-1', 'ключ'],
    ['a quote that does not end', '"abc'],
    ['a quote alone', '"'],
    ['an end that is escaped', '"abc\\"'],
    ['an unknown escape', '"a\\b"'],
    ['something after the end', '"abc"d'],
    ['parameters after the end', '"abc";v=1'],
    ['a quote inside quotes', '"a"b"'],
    ['two keys', 'a, b'],
    ['two quoted keys', '"a", "b"'],
  ])('refuses %s', (_, header) => {
    expect(isRefused(header)).toBe(true);
  });

  it('reads any key of visible characters, quoted', () => {
    fc.assert(
      fc.property(visible, (key) => {
        expect(parseIdempotencyKey(quote(key))).toBe(key);
      }),
    );
  });

  it('reads any key of visible characters, bare unless it begins with a quote', () => {
    fc.assert(
      fc.property(visible, (key) => {
        fc.pre(!key.startsWith('"'));
        expect(parseIdempotencyKey(key)).toBe(key);
      }),
    );
  });

  it('never accepts a key that is empty, too long, or has an invisible character', () => {
    const header = fc.oneof(
      fc.string({ unit: anyUnit, maxLength: 10 }),
      fc.string({ unit: fc.constantFrom('"', '\\', 'a', ' ', '\n', 'é'), maxLength: 8 }),
      fc
        .string({ unit: fc.constantFrom('a', '\\"'), minLength: 250, maxLength: 260 })
        .map((text) => `"${text}"`),
    );
    fc.assert(
      fc.property(header, (text) => {
        if (isRefused(text)) return;
        const key = parseIdempotencyKey(text) ?? '';
        expect([...key].every((character) => character > ' ' && character <= '~')).toBe(true);
        expect(key.length).toBeGreaterThanOrEqual(1);
        expect(key.length).toBeLessThanOrEqual(255);
      }),
      { numRuns: 1_000 },
    );
  });
});

describe('several keys, as clients and proxies join them', () => {
  const problemOf = (header: string) => {
    try {
      parseIdempotencyKey(header);
    } catch (error) {
      if (error instanceof InvalidRequestError) return error.problems[0]?.message;
      throw error;
    }
    return undefined;
  };

  it.each(['a, b', 'a,\tb', '"a", "b"', '"a","b"', 'a, b, c'])('%s: the answer says so', (header) => {
    expect(problemOf(header)).toContain('several');
  });

  it.each(['a b', '"abc', 'k,'.repeat(128), `a${' '.repeat(8_000)}`])('%j is just malformed', (header) => {
    expect(problemOf(header)).toContain('1 to 255');
  });

  it('a comma may be part of a key', () => {
    expect(parseIdempotencyKey('a,b')).toBe('a,b');
  });
});
