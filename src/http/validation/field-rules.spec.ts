import { describe, expect, it } from '@jest/globals';
import { validateSync } from 'class-validator';
import { IsInstant, IsWholeNumber, IsWord, readAmount, readVersion } from './field-rules.js';
import { NumberText, parseJsonBody } from './json-body.js';

/** The amount as a JSON body carries it. */
function amountIn(json: string): unknown {
  return (parseJsonBody(`{"amount":${json}}`) as { amount: unknown }).amount;
}

describe('readAmount', () => {
  it.each([
    ['49', 49n, 0],
    ['49.5', 495n, 1],
    ['0.01', 1n, 2],
    ['10.000', 10_000n, 3],
    ['0.0001', 1n, 4],
    ['9007199254740993.07', 900_719_925_474_099_307n, 2],
    ['9999999999999999.9999', 99_999_999_999_999_999_999n, 4],
  ])('reads the number and the string %s exactly', (text, units, decimals) => {
    expect(readAmount(amountIn(text))).toEqual({ units, decimals });
    expect(readAmount(amountIn(`"${text}"`))).toEqual({ units, decimals });
  });

  it.each(['1e2', '1E2', '-1', '0', '0.00', '-0', '0.00001', '10.00000', '10000000000000000', '1e400'])(
    'refuses the number and the string %s',
    (text) => {
      expect(readAmount(amountIn(text))).toBeUndefined();
      expect(readAmount(amountIn(`"${text}"`))).toBeUndefined();
    },
  );

  it.each([
    '"NaN"',
    '"0x10"',
    '" 1 "',
    '"1 "',
    '"１２"',
    '"+1"',
    '"1,00"',
    '""',
    'true',
    'false',
    'null',
    '[]',
    '[1]',
    '{}',
  ])('refuses %s', (json) => {
    expect(readAmount(amountIn(json))).toBeUndefined();
  });

  it('refuses an absent value, and values that JSON does not have', () => {
    for (const value of [undefined, 1, 1n, NaN]) expect(readAmount(value)).toBeUndefined();
  });
});

describe('readVersion', () => {
  it('reads a number and a string alike, so that newVersion can be sent back unchanged', () => {
    expect(readVersion(new NumberText('8'))).toBe(8);
    expect(readVersion('8')).toBe(8);
  });

  it.each(['0', '-1', '1.0', '1e0', '01', ' 1', '', 'abc', '9223372036854775808'])('refuses %j', (text) => {
    expect(readVersion(new NumberText(text))).toBeUndefined();
    expect(readVersion(text)).toBeUndefined();
  });

  it.each([null, true, undefined, 8, [], {}])('refuses %p', (value) => {
    expect(readVersion(value)).toBeUndefined();
  });
});

class Query {
  @IsInstant()
  instant: unknown = '2025-05-02';

  @IsWholeNumber(1, 200)
  count: unknown = '50';

  @IsWord(['deposit', 'withdraw'])
  word: unknown = 'deposit';
}

function wrongFields(change: Partial<Query>): string[] {
  return validateSync(Object.assign(new Query(), change)).map((error) => error.property);
}

describe('IsInstant', () => {
  it.each([
    '2025-05-02',
    '2024-02-29',
    '2025-05-02T10:24Z',
    '2025-05-02T10:24:02Z',
    '2025-05-02T10:24:02.123Z',
    '2025-05-02T10:24:02.123456789Z',
    '2025-05-02T10:24:02+05:30',
    '2025-05-02T10:24:02-08:00',
  ])('accepts %s', (instant) => {
    expect(wrongFields({ instant })).toEqual([]);
  });

  it.each([
    '',
    '2025',
    '2025-05',
    '2025-13-01',
    '2025-00-01',
    '2025-05-32',
    '2025-05-02T25:00:00Z',
    '2025-05-02T10:60:00Z',
    '2025-05-02T10:24:02',
    '2025-05-02 10:24:02Z',
    '2025-05-02T10:24:02+0530',
    '02/05/2025',
    '1714645442',
    'yesterday',
    ' 2025-05-02',
    '2025-05-02\n',
    ['2025-05-02'],
  ])('refuses %j', (instant) => {
    expect(wrongFields({ instant })).toEqual(['instant']);
  });

  it.each(['2025-02-29', '2025-02-30', '2025-04-31', '2025-02-30T00:00:00Z'])(
    'refuses %s, a day that does not exist',
    (instant) => {
      expect(wrongFields({ instant })).toEqual(['instant']);
    },
  );
});

describe('IsWholeNumber', () => {
  it.each(['1', '50', '200', '007'])('accepts %s', (count) => {
    expect(wrongFields({ count })).toEqual([]);
  });

  it.each(['0', '201', '-1', '1.0', '1e1', '', ' 1', 'all', '99999999999', '１', ['1', '2'], 50])(
    'refuses %j',
    (count) => {
      expect(wrongFields({ count })).toEqual(['count']);
    },
  );
});

describe('IsWord', () => {
  it.each(['deposit', 'Deposit', 'WITHDRAW', 'wiThDraw'])('accepts %s', (word) => {
    expect(wrongFields({ word })).toEqual([]);
  });

  it.each(['', 'deposits', ' deposit', 'depo\u017fit', 'Credit', null, true, ['deposit'], {}])(
    'refuses %j',
    (word) => {
      expect(wrongFields({ word })).toEqual(['word']);
    },
  );
});
