import { describe, expect, it } from '@jest/globals';
import { LedgerError } from './errors.js';
import { reversalCommand } from './transfer.js';

describe('reversalCommand', () => {
  const legs = [
    { transactionId: 11, accountId: 1, type: 'debit', amount: 5n, decimals: 2 },
    { transactionId: 12, accountId: 2, type: 'credit', amount: 5n, decimals: 2 },
  ] as const;
  const reversal = { type: 'transfer-reversal', transferId: 11 } as const;
  const completed = { legs, status: 'completed' } as const;

  const refusalOf = (foreign: readonly number[], problem?: Error): unknown => {
    try {
      return reversalCommand(reversal, { ...completed, foreign: new Set(foreign), problem });
    } catch (error) {
      return error instanceof LedgerError ? error.failure.code : error;
    }
  };

  it('takes the money from who got it', () => {
    expect(refusalOf([1])).toMatchObject({
      accountId: 2,
      accountIds: [1, 2],
      legIds: [11, 12],
      foreign: [1],
    });
  });

  it('hides an account of another owner, and nothing else', () => {
    expect(refusalOf([2])).toBe('ACCOUNT_NOT_FOUND');
    // Whose it is could not be read: to say that it does not exist would be wrong.
    const problem = new LedgerError({ code: 'OVERLOADED' });
    expect(refusalOf([2], problem)).toBe('OVERLOADED');
  });
});
