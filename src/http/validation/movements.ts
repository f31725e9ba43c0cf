import type { MovementType } from '../../domain/transaction.js';
import { IsNumericId, IsWord } from './field-rules.js';

/** Deposit and Withdraw; Credit and Debit are synonyms. */
export const MOVEMENT_WORDS = ['Deposit', 'Withdraw', 'Credit', 'Debit'];

const TYPES: Readonly<Record<string, MovementType>> = {
  deposit: 'credit',
  credit: 'credit',
  withdraw: 'debit',
  debit: 'debit',
};

/** @param word one of {@link MOVEMENT_WORDS}, in any case */
export function readMovementType(word: string): MovementType {
  const type = TYPES[word.toLowerCase()];
  if (!type) throw new Error('not validated');
  return type;
}

/*
 * Rules of fields that several bodies have.
 */

export const IsMovementType = IsWord(
  MOVEMENT_WORDS,
  { description: '`Credit` means Deposit and `Debit` means Withdraw. Case does not matter.' },
  'TransactionTypeInput',
);

export const IsAccountId = IsNumericId('The id of an account, as a number or a string.', 'AccountIdInput');

export const IsExpectedVersion = IsNumericId(
  'The version that the account must have. A string is taken too, so that `newVersion` can be sent back as it came.',
  'ExpectedVersion',
);
