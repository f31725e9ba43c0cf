import { describe, expect, it } from '@jest/globals';
import type { LedgerAccount } from '../domain/account.js';
import type { Transaction } from '../domain/transaction.js';
import { resetText } from './reset.js';

const plain: LedgerAccount = {
  ...{ accountId: 1, balance: 100_000n, version: 5, decimals: 2, held: 0n, activeHolds: 0 },
  ...{ overdraftLimit: 0n, status: 'open', revision: 0, currency: undefined },
};

describe('resetText', () => {
  it('says that there was nothing to do', () => {
    const report = { before: plain, after: plain, transaction: undefined };
    expect(resetText(report)).toBe('Account 1: already 1000.00, version 5.');
  });

  it('says what was and what is', () => {
    const before = { ...plain, balance: 100_001n };
    const after = { ...plain, version: 6 };
    const transaction = { type: 'debit', transactionId: 7 } as Transaction;
    expect(resetText({ before, after, transaction })).toBe(
      'Account 1: 1000.01 → 1000.00, version 5 → 6, by the debit txn7.',
    );
  });

  it('says what stays on hold, and shows a balance below zero', () => {
    const before = { ...plain, balance: -2_050n, held: 3_000n };
    const after = { ...before, balance: 100_000n, version: 6 };
    const transaction = { type: 'credit', transactionId: 7 } as Transaction;
    expect(resetText({ before, after, transaction })).toBe(
      'Account 1: -20.50 → 1000.00, version 5 → 6, by the credit txn7. 30.00 of it stay on hold.',
    );
  });
});
