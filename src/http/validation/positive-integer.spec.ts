import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { MAX_ID } from '../../domain/account.js';
import { parsePositiveInteger } from './positive-integer.js';

const MAX_BIGINT = 9_223_372_036_854_775_807n;

/** Any UTF-16 code unit, lone surrogates included. (fast-check's own `binary` takes seconds to build.) */
const anyUnit = fc
  .oneof(fc.nat({ max: 0x7f }), fc.nat({ max: 0xffff }))
  .map((code) => String.fromCharCode(code));

describe('parsePositiveInteger', () => {
  it.each([
    ['1', 1],
    ['12', 12],
    ['999999999999999', 999_999_999_999_999],
    ['1000000000000000', 1_000_000_000_000_000],
    ['9007199254740990', 9_007_199_254_740_990],
    ['9007199254740991', MAX_ID],
    ['9007199254740992', MAX_ID],
    ['9007199254740993', MAX_ID],
    ['9223372036854775807', MAX_ID],
  ])('reads %s', (text, value) => {
    expect(parsePositiveInteger(text)).toBe(value);
  });

  it.each([
    '',
    '0',
    '-1',
    '+1',
    '01',
    '00',
    '1.0',
    '1.',
    '1e3',
    '1E3',
    '0x1',
    ' 1',
    '1 ',
    '1\n',
    '1;drop',
    '1_000',
    '1,000',
    '１',
    '١',
    'NaN',
    'Infinity',
    'txn1',
    '1\u0000',
    '9223372036854775808',
    '9999999999999999999',
    '10000000000000000000',
    '1'.repeat(500),
  ])('refuses %j', (text) => {
    expect(parsePositiveInteger(text)).toBeUndefined();
  });

  it('reads every bigint as itself, or as MAX_ID if a double is not exact', () => {
    const bigint = fc.oneof(
      fc.bigInt({ min: -10n, max: 10n }),
      fc.bigInt({ min: 2n ** 53n - 5n, max: 2n ** 53n + 5n }),
      fc.bigInt({ min: MAX_BIGINT - 5n, max: MAX_BIGINT + 5n }),
      fc.bigInt({ min: 1n, max: 2n ** 64n }),
    );
    fc.assert(
      fc.property(bigint, (value) => {
        const parsed = parsePositiveInteger(String(value));
        if (value < 1n || value > MAX_BIGINT) expect(parsed).toBeUndefined();
        else expect(parsed).toBe(value < 2n ** 53n ? Number(value) : MAX_ID);
      }),
      { numRuns: 1_000 },
    );
  });

  it('reads nothing but plain digits', () => {
    const almost = fc.oneof(
      fc.string({ unit: fc.constantFrom(...'0123456789'), maxLength: 20 }),
      fc.string({ unit: fc.constantFrom(...'0123456789+-.eEx \n'), maxLength: 5 }),
      fc.string({ unit: anyUnit, maxLength: 5 }),
    );
    fc.assert(
      fc.property(almost, (text) => {
        const value =
          [...text].every((character) => character >= '0' && character <= '9') && text !== '' && BigInt(text);
        const right = value !== false && String(value) === text && value > 0n && value <= MAX_BIGINT;
        expect(parsePositiveInteger(text) !== undefined).toBe(right);
      }),
      { numRuns: 1_000 },
    );
  });
});
