import { describe, expect, it } from '@jest/globals';
import { InvalidArgumentError } from 'commander';
import {
  accountOption,
  accountsOption,
  ageOption,
  amountOption,
  balanceOption,
  DEFAULT_BALANCE,
  durationOption,
  expiryOption,
  holdArgument,
  holdExpiryOption,
  idempotencyKeyOption,
  keyNameOption,
  lineOption,
  ownerOption,
  pastOption,
  reversibleArgument,
  scopesOption,
} from './options.js';

describe('balanceOption', () => {
  it.each([
    ['0', 0n, 0],
    ['0.00', 0n, 2],
    ['0.01', 1n, 2],
    ['12.5', 125n, 1],
    ['1.0005', 10_005n, 4],
    [DEFAULT_BALANCE, 100_000n, 2],
    ['9007199254740993.07', 900_719_925_474_099_307n, 2],
  ])('reads %s exactly', (text, units, decimals) => {
    expect(balanceOption(text)).toEqual({ units, decimals });
  });

  it.each([
    '',
    ' ',
    '-1',
    '+1',
    '1e2',
    '1.00005',
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
    expect(() => balanceOption(text)).toThrow(/at most 16 digits before the point and 4 after/);
  });
});

describe('what a posting needs', () => {
  it('an amount greater than zero, exactly', () => {
    expect([amountOption('0.01'), amountOption('9007199254740993.07')]).toEqual([
      { units: 1n, decimals: 2 },
      { units: 900_719_925_474_099_307n, decimals: 2 },
    ]);
    for (const text of ['0', '0.00', '-1', '1.00005', '1e2', '']) {
      expect(() => amountOption(text)).toThrow(/above zero/);
    }
  });

  it('the names of holds, transactions and transfers', () => {
    expect(holdArgument('hold17')).toBe(17);
    expect(reversibleArgument('txn9')).toEqual({ transactionId: 9 });
    expect(reversibleArgument('tr3')).toEqual({ transferId: 3 });
    for (const text of ['17', 'hold', 'hold0', 'hold017', 'Hold17', 'txn17', 'hold9007199254740992']) {
      expect(() => holdArgument(text)).toThrow('It must be like hold17.');
    }
    for (const text of ['9', 'hold9', 'txn', 'trn9', 'tr-1']) {
      expect(() => reversibleArgument(text)).toThrow('It must be like txn17 or tr17.');
    }
  });

  it('an idempotency key, and texts of one line', () => {
    expect(idempotencyKeyOption('order-4711')).toBe('order-4711');
    for (const text of ['', 'a b', 'é', 'x'.repeat(256)]) {
      expect(() => idempotencyKeyOption(text)).toThrow(InvalidArgumentError);
    }
    expect(lineOption(3)('é€😀')).toBe('é€😀');
    for (const text of ['', 'four', 'a\n', '\u0000', '\ud800']) {
      expect(() => lineOption(3)(text)).toThrow(
        'It must be a string of 1 to 3 characters, without control characters.',
      );
    }
    expect(() => lineOption(3)('a\u202e')).toThrow(
      'It must not contain characters that change the direction of text.',
    );
  });

  it('the end of a hold: a duration stays one, so that a repeat is the same request', () => {
    expect(holdExpiryOption('7d')).toEqual({ expiresInMs: 7 * 86_400_000 });
    const soon = new Date(Date.now() + 60_000);
    expect(holdExpiryOption(soon.toISOString())).toEqual({ expiresAt: soon });
    for (const text of ['367d', new Date(Date.now() + 367 * 86_400_000).toISOString()]) {
      expect(() => holdExpiryOption(text)).toThrow('It must be within 366 days.');
    }
    for (const text of ['2020-01-01', '0d']) {
      expect(() => holdExpiryOption(text)).toThrow('It must be in the future.');
    }
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
        /accounts:read, .*deposits:write, withdrawals:write, transfers:write, webhooks:write, accounts:manage, admin, separated by commas\.$/,
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
