import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { add, compare, fromMinor, subtract, toMinor } from './money.js';

const minor = fc.bigInt({ min: -(10n ** 18n), max: 10n ** 18n });
const decimals = fc.integer({ min: 0, max: 4 });

describe('money', () => {
  it('is the same after a way through minor units, to the last digit', () => {
    fc.assert(fc.property(minor, decimals, (units, d) => toMinor(fromMinor(units, d), d) === units));
    expect(toMinor('9999999999999999.99', 2)).toBe(999_999_999_999_999_999n);
    expect(fromMinor(-5n, 2)).toBe('-0.05');
    expect(fromMinor(0n, 0)).toBe('0');
  });

  it('is added, subtracted and compared exactly, with different decimals, too', () => {
    expect(add('0.1', '0.2')).toBe('0.3');
    expect(add('9999999999999999.99', '0.01')).toBe('10000000000000000.00');
    expect(subtract('1', '1.0001')).toBe('-0.0001');
    expect(['10', '9.5', '-1', '9.50'].sort(compare)).toEqual(['-1', '9.5', '9.50', '10']);
    fc.assert(
      fc.property(minor, minor, decimals, (a, b, d) => {
        const [left, right] = [fromMinor(a, d), fromMinor(b, d)];
        expect(subtract(add(left, right), right)).toBe(left);
        expect(compare(left, right)).toBe(a < b ? -1 : a > b ? 1 : 0);
      }),
    );
  });

  it.each(['', '1.', '.5', '1e2', '1,00', ' 1', '+1', 'NaN', '--1', '1.00001', '١', '9'.repeat(31)])(
    'refuses %j',
    (text) => {
      expect(() => toMinor(text, 4)).toThrow(RangeError);
      expect(() => add('1', text)).toThrow(RangeError);
    },
  );

  it('refuses an amount with more decimals than its currency has', () => {
    expect(() => toMinor('1.005', 2)).toThrow('1.005 has more than 2 decimals');
  });
});
