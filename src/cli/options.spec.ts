import { describe, expect, it } from '@jest/globals';
import { InvalidArgumentError } from 'commander';
import { MAX_MONEY } from '../domain/money.js';
import { accountOption, accountsOption, balanceOption, DEFAULT_BALANCE } from './options.js';

describe('balanceOption', () => {
  it.each([
    ['0', 0n],
    ['0.00', 0n],
    ['0.01', 1n],
    ['12.5', 1_250n],
    [DEFAULT_BALANCE, 100_000n],
    ['9007199254740993.07', 900_719_925_474_099_307n],
    ['9999999999999999.99', MAX_MONEY],
  ])('reads %s exactly', (text, cents) => {
    expect(balanceOption(text)).toBe(cents);
  });

  it.each([
    '',
    ' ',
    '-1',
    '+1',
    '1e2',
    '1.005',
    '.5',
    '1.',
    '1,000.00',
    '0x10',
    'NaN',
    'Infinity',
    '１',
    '10000000000000000',
  ])('refuses %j', (text) => {
    expect(() => balanceOption(text)).toThrow(InvalidArgumentError);
    expect(() => balanceOption(text)).toThrow(/from 0\.00 to 9999999999999999\.99 with at most two decimals/);
  });
});

describe.each([
  ['accountsOption', accountsOption, 1_000_000_000],
  ['accountOption', accountOption, Number.MAX_SAFE_INTEGER],
])('%s', (_name, option, max) => {
  it.each(['1', '42', String(max)])('reads %s', (text) => {
    expect(option(text)).toBe(Number(text));
  });

  it.each(['', '0', '-1', '1.5', '1e3', '0x10', ' 1', String(max + 1), '99999999999999999999'])(
    'refuses %j',
    (text) => {
      expect(() => option(text)).toThrow(InvalidArgumentError);
      expect(() => option(text)).toThrow(`a whole number from 1 to ${max}`);
    },
  );
});
