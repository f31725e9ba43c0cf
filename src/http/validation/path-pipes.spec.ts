import { describe, expect, it } from '@jest/globals';
import { InvalidRequestError } from './invalid-request.js';
import { AccountIdPipe, TransactionIdPipe } from './path-pipes.js';

function refusedField(work: () => unknown): string | undefined {
  try {
    work();
  } catch (error) {
    if (error instanceof InvalidRequestError) return error.problems[0]?.field;
    throw error;
  }
  return undefined;
}

describe('AccountIdPipe', () => {
  it('reads a positive integer', () => {
    expect(new AccountIdPipe().transform('131')).toBe(131);
  });

  it.each(['', '0', '-1', '01', '1.0', '1e3', 'txn1', '1;drop', '\u0000', '9223372036854775808'])(
    'refuses %j and names the field',
    (text) => {
      expect(refusedField(() => new AccountIdPipe().transform(text))).toBe('accountId');
    },
  );
});

describe('TransactionIdPipe', () => {
  it('reads txn and a positive integer', () => {
    expect(new TransactionIdPipe().transform('txn131')).toBe(131);
  });

  it.each([
    '131',
    'txn',
    'txn0',
    'txn-1',
    'txn01',
    'TXN1',
    'tpn131',
    'txn 1',
    'txntxn1',
    'txn1.0',
    ' txn1',
    '',
  ])('refuses %j and names the field', (text) => {
    expect(refusedField(() => new TransactionIdPipe().transform(text))).toBe('transactionId');
  });
});
