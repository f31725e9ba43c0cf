import type { Money as Cents } from '../../domain/money.js';
import type { Transaction, TransactionType } from '../../domain/transaction.js';
import { schema } from '../schema/registry.js';
import {
  Field,
  Money,
  plainText,
  Resource,
  SignedMoney,
  Timestamp,
  TransactionId,
  VersionText,
} from './resource.js';

export const TYPE_WORDS = {
  credit: 'Deposit',
  debit: 'Withdraw',
  hold: 'Hold',
  release: 'Release',
} as const satisfies Record<TransactionType, string>;

const Type = plainText(schema('TransactionType', { type: 'string', enum: Object.values(TYPE_WORDS) }));

/** What the answer to a posting and the transaction read later have in common. */
export class Movement {
  @Field(Type) readonly type: string;
  @Field(Money) readonly amount: Cents;
  @Field(SignedMoney) readonly newBalance: Cents;
  @Field(VersionText) readonly newVersion: string;
  @Field(Timestamp) readonly timestamp: string;

  constructor({ type, amount, balanceAfter, versionAfter, timestamp }: Transaction) {
    this.type = TYPE_WORDS[type];
    this.amount = amount;
    this.newBalance = balanceAfter;
    this.newVersion = String(versionAfter);
    this.timestamp = timestamp.toISOString();
  }
}

/** The answer to a posting, as the specification has it: newVersion is a string. */
@Resource('Receipt')
export class ReceiptDto extends Movement {
  @Field(TransactionId) readonly id: string;

  constructor(transaction: Transaction) {
    super(transaction);
    this.id = `txn${transaction.transactionId}`;
  }
}
