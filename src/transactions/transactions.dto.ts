import type { PostingCommand, Transaction, TransactionType } from '../domain/transaction.js';
import {
  IsAmount,
  IsInstant,
  IsOptionalField,
  IsVersion,
  IsWord,
  readAmount,
  readVersion,
  type Numeric,
} from '../http/validation/field-rules.js';
import { JsonMoney } from '../http/validation/json-money.js';
import { PageQueryDto } from '../http/validation/page-query.dto.js';

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

export const isTypeWord = (word: string) => WORDS.includes(word.toLowerCase());

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

/** What a validated body says of the transaction that is to be posted. */
export function readPosting({
  type,
  amount,
  expectedVersion,
}: PostTransactionDto): Pick<PostingCommand, 'type' | 'amount' | 'expectedVersion'> {
  return {
    type: readType(type),
    amount: readAmount(amount) ?? 0n,
    expectedVersion: readVersion(expectedVersion),
  };
}

/** GET /accounts/{accountId}/transactions */
export class ListTransactionsDto extends PageQueryDto {
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
