import { describe, expect, it } from '@jest/globals';
import { InvalidArgumentError } from 'commander';
import { MAX_MONEY } from '../domain/money.js';
import {
  accountOption,
  accountsOption,
  ageOption,
  balanceOption,
  DEFAULT_BALANCE,
  durationOption,
  expiryOption,
  keyNameOption,
  ownerOption,
  pastOption,
  scopesOption,
} from './options.js';

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

describe('pastOption', () => {
  it.each([
    ['2026-01-01', '2026-01-01T00:00:00.000Z'],
    ['2026-01-01T01:30:00+02:00', '2025-12-31T23:30:00.000Z'],
  ])('reads %s', (text, time) => {
    expect(pastOption(text).toISOString()).toBe(time);
  });

  it.each(['', 'yesterday', '2026-02-30', '2026-01-01T00:00:00', '2999-01-01', '1746181442'])(
    'refuses %j',
    (text) => {
      expect(() => pastOption(text)).toThrow(InvalidArgumentError);
    },
  );
});

describe('ageOption', () => {
  it.each([
    ['90d', 90 * 86_400_000],
    ['36h', 36 * 3_600_000],
    ['99999d', 99_999 * 86_400_000],
  ])('reads %s as the time that long ago', (text, ageMs) => {
    const time = ageOption(text);
    const agoMs = Date.now() - time.getTime();
    expect(agoMs - ageMs).toBeGreaterThanOrEqual(0);
    expect(agoMs - ageMs).toBeLessThan(5_000);
  });

  it.each(['', '0d', '90', 'd', '-1d', '1.5h', '90 d', '90m', '100000d'])('refuses %j', (text) => {
    expect(() => ageOption(text)).toThrow(InvalidArgumentError);
  });
});

describe('scopesOption', () => {
  it.each([
    ['admin', ['admin']],
    ['accounts:read,transactions:write', ['accounts:read', 'transactions:write']],
    ['deposits:write withdrawals:write', ['deposits:write', 'withdrawals:write']],
    ['transfers:write,accounts:manage', ['transfers:write', 'accounts:manage']],
    [' accounts:read, accounts:read ', ['accounts:read']],
  ])('reads %j', (text, scopes) => {
    expect(scopesOption(text)).toEqual(scopes);
  });

  it.each(['', ',', 'accounts', 'accounts:*', 'ADMIN', 'accounts:read;admin', 'accounts:read,root'])(
    'refuses %j, and lists the valid ones',
    (text) => {
      expect(() => scopesOption(text)).toThrow(
        /accounts:read, .*deposits:write, withdrawals:write, transfers:write, accounts:manage, admin, separated by commas\.$/,
      );
    },
  );
});

describe('ownerOption', () => {
  it('reads a name', () => {
    expect(ownerOption('José')).toBe('José');
  });

  it.each([
    ['', /1 to 255 characters/],
    ['\u200b', /visible/],
    ['\u202eada', /direction/],
    ['Jose\u0301', /NFC/],
  ])('refuses %j, and says why', (text, words) => {
    expect(() => ownerOption(text)).toThrow(InvalidArgumentError);
    expect(() => ownerOption(text)).toThrow(words);
  });
});

describe('keyNameOption', () => {
  it.each(['n', 'Ada’s till', 'x'.repeat(100)])('reads %j', (text) => {
    expect(keyNameOption(text)).toBe(text);
  });

  it.each(['', 'x'.repeat(101), 'two\nlines', 'bell\u0007'])('refuses %j', (text) => {
    expect(() => keyNameOption(text)).toThrow(InvalidArgumentError);
  });
});

describe('expiryOption', () => {
  it('reads a time, and a duration from now', () => {
    expect(expiryOption('2999-01-01').toISOString()).toBe('2999-01-01T00:00:00.000Z');
    const inMs = expiryOption('90d').getTime() - Date.now();
    expect(Math.abs(inMs - 90 * 86_400_000)).toBeLessThan(5_000);
  });

  it.each(['', 'never', '0d', '2020-01-01', '90', '-1d', '2999-02-30'])('refuses %j', (text) => {
    expect(() => expiryOption(text)).toThrow(InvalidArgumentError);
  });
});

describe('durationOption', () => {
  it.each([
    ['0h', 0],
    ['24h', 86_400_000],
    ['7d', 7 * 86_400_000],
  ])('reads %s', (text, ms) => {
    expect(durationOption(text)).toBe(ms);
  });

  it.each(['', '24', '1w', '1.5h', '-1h'])('refuses %j', (text) => {
    expect(() => durationOption(text)).toThrow(InvalidArgumentError);
  });
});
