import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { advice, adviceFor } from './advice.js';

const KNOWN = [
  'amount',
  'type',
  'expectedVersion',
  'expectedversion',
  'moneyWithdraw/Deposit',
  'accountId',
  'idempotencyKey',
  'limit',
  'cursor',
  'from',
  'to',
].map((name) => advice(name, name));

describe('adviceFor', () => {
  it.each([
    ['Amount', 'amount'],
    ['amuont', 'amount'],
    ['amounts', 'amount'],
    ['TYPE', 'type'],
    ['tpye', undefined],
    ['typ', 'type'],
    ['expected_version', 'expectedVersion'],
    ['Expected-Version', 'expectedVersion'],
    ['expectedversion', 'expectedversion'],
    ['expectedVersoin', 'expectedVersion'],
    ['moneyWithdraw', 'moneyWithdraw/Deposit'],
    ['moneyWithdrawDeposit', 'moneyWithdraw/Deposit'],
    ['account_id', 'accountId'],
    ['account', 'accountId'],
    ['idempotency-key', 'idempotencyKey'],
    ['nextCursor', 'cursor'],
    ['Limit', 'limit'],
    ['TO', 'to'],
  ])('%s resembles %s', (unknown, expected) => {
    expect(adviceFor(unknown, KNOWN)).toBe(expected);
  });

  it.each([
    '',
    'x',
    'note',
    'dryRun',
    'order',
    'total',
    'currency',
    '__proto__',
    'toString',
    'a'.repeat(5_000),
  ])('%j resembles nothing', (unknown) => {
    expect(adviceFor(unknown, KNOWN)).toBeUndefined();
  });

  it('finds a known name in any style', () => {
    const styles: readonly ((name: string) => string)[] = [
      (name) => name.toUpperCase(),
      (name) => name.replaceAll(/[A-Z]/g, (letter) => `_${letter}`),
      (name) => name.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`),
    ];
    fc.assert(
      fc.property(fc.constantFrom(...KNOWN), fc.constantFrom(...styles), ({ name }, style) => {
        expect(adviceFor(style(name), KNOWN)?.toLowerCase()).toBe(name.toLowerCase());
      }),
    );
  });
});
