import { IsString, MaxLength } from 'class-validator';
import type { Transaction, TransactionType } from '../domain/transaction.js';
import { DEFAULT_LIMIT, MAX_LIMIT } from '../http/cursor.js';
import {
  IsAmount,
  IsInstant,
  IsOptionalField,
  IsVersion,
  IsWholeNumber,
  IsWord,
  type Numeric,
} from '../http/field-rules.js';
import { JsonMoney } from '../http/json-money.js';

const TYPES: Readonly<Record<string, TransactionType>> = {
  deposit: 'credit',
  credit: 'credit',
  withdraw: 'debit',
  debit: 'debit',
};
const WORDS = ['deposit', 'withdraw', 'credit', 'debit'];

/** Deposit and Withdraw; Credit and Debit mean the same two. */
export function readType(word: string): TransactionType {
  const type = TYPES[word.toLowerCase()];
  if (!type) throw new Error('not validated');
  return type;
}

/** POST /accounts/{accountId}/transactions. The specification's field names are aliases of the short ones. */
export class PostTransactionDto {
  static readonly aliases: ReadonlyMap<string, string> = new Map([
    ['moneyWithdraw/Deposit', 'amount'],
    ['typeOfTransaction', 'type'],
    ['expectedversion', 'expectedVersion'],
  ]);

  @IsAmount()
  amount!: Numeric;

  @IsWord(WORDS)
  type!: string;

  @IsOptionalField()
  @IsVersion()
  expectedVersion?: Numeric;
}

/** GET /accounts/{accountId}/transactions */
export class ListTransactionsDto {
  @IsOptionalField()
  @IsString({ message: 'must be a cursor from a previous page' })
  @MaxLength(200, { message: 'is too long' })
  cursor?: string;

  @IsOptionalField()
  @IsWholeNumber(1, MAX_LIMIT)
  limit: string = String(DEFAULT_LIMIT);

  @IsOptionalField()
  @IsWord(WORDS)
  type?: string;

  @IsOptionalField()
  @IsInstant()
  from?: string;

  @IsOptionalField()
  @IsInstant()
  to?: string;
}

/** The answer to a posting, to the letter of the specification: newVersion is a string. */
export function receipt(transaction: Transaction) {
  return {
    id: `txn${transaction.transactionId}`,
    type: transaction.type === 'credit' ? 'Deposit' : 'Withdraw',
    amount: new JsonMoney(transaction.amount),
    newBalance: new JsonMoney(transaction.balanceAfter),
    newVersion: String(transaction.versionAfter),
    timestamp: transaction.timestamp?.toISOString(),
  };
}

/** A transaction as a resource of its own: its receipt, and the account that it belongs to. */
export function transactionResource(transaction: Transaction) {
  const { id, ...rest } = receipt(transaction);
  return { id, accountId: transaction.accountId, ...rest };
}
