import { formatMoney } from '../../domain/money.js';
import type { Transaction, TransactionType } from '../../domain/transaction.js';
import { schema } from '../schema/registry.js';
import {
  Field,
  Money,
  ofDryRun,
  plainText,
  Resource,
  SignedMoney,
  Timestamp,
  TransactionId,
  VersionText,
} from './resource.js';

/** The types of transactions, as answers name them. */
export const TYPE_WORDS = {
  credit: 'Deposit',
  debit: 'Withdraw',
  hold: 'Hold',
  release: 'Release',
} as const satisfies Record<TransactionType, string>;

export const TypeWord = plainText(
  schema('TransactionType', { type: 'string', enum: Object.values(TYPE_WORDS) }),
);

/** The answer to a posting, as the specification has it: newVersion is a string. */
@Resource('Receipt')
export class ReceiptDto {
  @Field(TransactionId) readonly id: string;
  @Field(TypeWord) readonly type: string;
  @Field(Money) readonly amount: string;
  @Field(SignedMoney) readonly newBalance: string;
  @Field(VersionText) readonly newVersion: string;
  @Field(Timestamp) readonly timestamp: string;

  constructor(transaction: Transaction) {
    const { transactionId, type, amount, balanceAfter, versionAfter, timestamp, decimals } = transaction;
    this.id = `txn${transactionId}`;
    this.type = TYPE_WORDS[type];
    this.amount = formatMoney(amount, decimals);
    this.newBalance = formatMoney(balanceAfter, decimals);
    this.newVersion = String(versionAfter);
    this.timestamp = timestamp.toISOString();
  }
}

export const DryReceiptDto = ofDryRun('ReceiptOfDryRun', ReceiptDto, ['id', 'timestamp']);
