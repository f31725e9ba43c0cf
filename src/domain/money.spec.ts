import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import {
  formatMoney,
  inMinorUnits,
  MAX_MONEY,
  maxMoney,
  parseDecimal,
  parseMoney,
  readMoney,
} from './money.js';

/** Any UTF-16 code unit, lone surrogates included. (fast-check's own `binary` takes seconds to build.) */
const anyUnit = fc
  .oneof(fc.nat({ max: 0x7f }), fc.nat({ max: 0xffff }))
  .map((code) => String.fromCharCode(code));

/** Small amounts, amounts that a double can't represent, and the limits, in about equal shares. */
const money = fc.oneof(
  fc.bigInt({ min: 0n, max: 1_000n }),
  fc.bigInt({ min: 0n, max: MAX_MONEY }),
  fc.bigInt({ min: MAX_MONEY - 1_000n, max: MAX_MONEY }),
);

/** Parses by the contract's grammar, character by character: the cents, or undefined. */
function readByHand(text: string): bigint | undefined {
  let cents = 0n;
  let whole = 0;
  let decimals = -1;
  for (let i = 0; i < text.length; i++) {
    const character = text.charAt(i);
    const digit = '0123456789'.indexOf(character);
    if (digit >= 0) {
      cents = cents * 10n + BigInt(digit);
      if (decimals < 0) whole += 1;
      else decimals += 1;
    } else if (character === '.' && decimals < 0) {
      decimals = 0;
    } else {
      return undefined;
    }
  }
  if (whole < 1 || whole > 16 || decimals === 0 || decimals > 2) return undefined;
  if (decimals === -1) return cents * 100n;
  return decimals === 1 ? cents * 10n : cents;
}

describe('parseMoney', () => {
  it.each([
    ['49', 4_900n],
    ['49.5', 4_950n],
    ['49.50', 4_950n],
    ['0', 0n],
    ['0.00', 0n],
    ['0.01', 1n],
    ['0.1', 10n],
    ['007.10', 710n],
    ['9007199254740993.07', 900_719_925_474_099_307n],
    ['9999999999999999', 999_999_999_999_999_900n],
    ['9999999999999999.99', MAX_MONEY],
    ['0000000000000001.00', 100n],
  ])('reads %j exactly', (text, cents) => {
    expect(parseMoney(text, 2)).toBe(cents);
  });

  it.each([
    '',
    '1e2',
    '1E2',
    '1e-2',
    '-1',
    '-0',
    '+1',
    '0.001',
    '1.005',
    '1.000',
    '1.',
    '.5',
    '.',
    '1.2.3',
    'NaN',
    'Infinity',
    '-Infinity',
    '0x10',
    '0b1',
    '0o7',
    '1n',
    ' 1 ',
    ' 1',
    '1 ',
    '1\n',
    '\n1',
    '1\u0000',
    '1\u00a0',
    '1,5',
    '1,000',
    '1_000',
    '$1',
    '１２',
    '٣',
    '²',
    'true',
    'null',
    'undefined',
    '10000000000000000',
    '10000000000000000.00',
    '00000000000000001',
    '99999999999999999999999999999999',
  ])('refuses %j', (text) => {
    expect(parseMoney(text, 2)).toBeUndefined();
  });

  it('accepts exactly what the grammar allows', () => {
    const almostMoney = fc.oneof(
      fc.string({ unit: fc.constantFrom(...'0123456789..'), maxLength: 21 }),
      fc.string({ unit: fc.constantFrom(...'0123456789.eE+-xn _,\n١１'), maxLength: 6 }),
      fc.stringMatching(/^\d{1,18}(\.\d{0,3})?$/),
      fc.string({ unit: anyUnit, maxLength: 20 }),
    );
    fc.assert(
      fc.property(almostMoney, (text) => {
        expect(parseMoney(text, 2)).toBe(readByHand(text));
      }),
      { numRuns: 2_000 },
    );
  });
});

describe('formatMoney', () => {
  it.each([
    [0n, '0.00'],
    [1n, '0.01'],
    [10n, '0.10'],
    [99n, '0.99'],
    [100n, '1.00'],
    [35_000n, '350.00'],
    [MAX_MONEY, '9999999999999999.99'],
    [-1n, '-0.01'],
    [-35_050n, '-350.50'],
  ])('writes %p as %s', (cents, text) => {
    expect(formatMoney(cents, 2)).toBe(text);
  });

  it('always has two decimals and never more than 16 digits before the point', () => {
    fc.assert(
      fc.property(money, (cents) => {
        expect(formatMoney(cents, 2)).toMatch(/^(0|[1-9]\d{0,15})\.\d{2}$/);
      }),
    );
  });

  it('is the inverse of parseMoney', () => {
    fc.assert(
      fc.property(money, (cents) => {
        expect(parseMoney(formatMoney(cents, 2), 2)).toBe(cents);
      }),
    );
  });
});

describe('sums', () => {
  it('loses no cent where floating point does', () => {
    const cents = (text: string) => parseMoney(text, 2) ?? -1n;
    expect(formatMoney(cents('0.1') + cents('0.2'), 2)).toBe('0.30');
    expect(formatMoney(cents('9007199254740993.07') + cents('0.01'), 2)).toBe('9007199254740993.08');
    expect(cents('9999999999999999.99')).toBe(MAX_MONEY);
  });

  it('of parsed amounts are the sums of the cents that were written', () => {
    const parts = fc.record({
      whole: fc.bigInt({ min: 0n, max: 9_999_999_999_999_999n }),
      cents: fc.integer({ min: 0, max: 99 }),
    });
    fc.assert(
      fc.property(fc.array(parts, { maxLength: 50 }), (amounts) => {
        let sum = 0n;
        let wholes = 0n;
        let cents = 0;
        for (const amount of amounts) {
          sum += parseMoney(`${amount.whole}.${String(amount.cents).padStart(2, '0')}`, 2) ?? -1n;
          wholes += amount.whole;
          cents += amount.cents;
        }
        const carried = wholes + BigInt(Math.floor(cents / 100));
        expect(formatMoney(sum, 2)).toBe(`${carried}.${String(cents % 100).padStart(2, '0')}`);
      }),
    );
  });
});

describe('currencies of every number of decimals', () => {
  const decimals = fc.integer({ min: 0, max: 4 });
  const amount = decimals.chain((of) =>
    fc.record({
      of: fc.constant(of),
      money: fc.oneof(
        fc.bigInt({ min: 0n, max: 20_000n }),
        fc.bigInt({ min: 0n, max: maxMoney(of) }),
        fc.bigInt({ min: maxMoney(of) - 1_000n, max: maxMoney(of) }),
      ),
    }),
  );

  it.each([
    [0, 350n, '350'],
    [0, 0n, '0'],
    [0, -7n, '-7'],
    [1, 7n, '0.7'],
    [3, 1_500n, '1.500'],
    [3, -1n, '-0.001'],
    [4, 1n, '0.0001'],
    [4, maxMoney(4), '9999999999999999.9999'],
  ])('with %i decimals writes %p as %s', (of, money, text) => {
    expect(formatMoney(money, of)).toBe(text);
    expect(readMoney(text, of)).toBe(money);
  });

  it('are read as they are written, below zero as well', () => {
    fc.assert(
      fc.property(amount, fc.boolean(), ({ money, of }, isDebt) => {
        const signed = isDebt ? -money : money;
        expect(readMoney(formatMoney(signed, of), of)).toBe(signed);
        expect(parseMoney(formatMoney(money, of), of)).toBe(money);
      }),
    );
  });

  it('take an amount with fewer decimals for what it is worth, and none with more', () => {
    fc.assert(
      fc.property(amount, decimals, ({ money, of: written }, of) => {
        const text = formatMoney(money, written);
        const units = parseMoney(text, of);
        if (written > of) expect(units).toBeUndefined();
        else expect(formatMoney(units ?? -1n, of)).toBe(written === of ? text : padded(text, written, of));
      }),
    );
  });

  it('keep a number as it was written until its currency is known', () => {
    expect(parseDecimal('1.50')).toEqual({ units: 150n, decimals: 2 });
    expect(parseDecimal('007')).toEqual({ units: 7n, decimals: 0 });
    expect(parseDecimal('1.2345')).toEqual({ units: 12_345n, decimals: 4 });
    for (const text of ['1.23456', '1.', '.5', '-1', '1e3', '12345678901234567'])
      expect(parseDecimal(text)).toBeUndefined();
    expect(inMinorUnits({ units: 150n, decimals: 2 }, 3)).toBe(1_500n);
    expect(inMinorUnits({ units: 150n, decimals: 2 }, 0)).toBeUndefined();
    expect(inMinorUnits(150n, 0)).toBe(150n);
  });
});

const padded = (text: string, written: number, of: number) =>
  `${written === 0 ? `${text}.` : text}${'0'.repeat(of - written)}`;
