import { describe, expect, it } from '@jest/globals';
import type { Transaction } from '../domain/transaction.js';
import { resetText } from './reset.js';

describe('resetText', () => {
  it('says that there was nothing to do', () => {
    const account = { accountId: 1, balance: 100_000n, version: 5 };
    const report = { before: account, after: account, transaction: undefined };
    expect(resetText(report)).toBe('Account 1: already 1000.00, version 5.');
  });

  it('says what was and what is', () => {
    const before = { accountId: 1, balance: 100_001n, version: 5 };
    const after = { accountId: 1, balance: 100_000n, version: 6 };
    const transaction = { type: 'debit', transactionId: 7 } as Transaction;
    expect(resetText({ before, after, transaction })).toBe(
      'Account 1: 1000.01 → 1000.00, version 5 → 6, by the debit txn7.',
    );
  });
});
