import type { Money } from './money.js';

/**
 * A movement on one account. A credit adds to the balance (deposit), a debit subtracts from it (withdrawal); a hold
 * adds to what is held, a release subtracts from it. Each changes one of the two numbers.
 */
export type TransactionType = 'credit' | 'debit' | 'hold' | 'release';

/** The types that move the balance. */
export type MovementType = 'credit' | 'debit';

/** The seldom-used parts of a transaction. */
export interface TransactionDetails {
  /** The client's own name for it; at most 255 characters. */
  readonly reference?: string;
  /** The day on which it takes effect for the client, as `YYYY-MM-DD`. */
  readonly effectiveDate?: string;
  /** The principal who posted it. */
  readonly actor?: string;
  /** At most 500 characters. */
  readonly description?: string;
  /** A JSON object, as text. */
  readonly metadata?: string;
  /** Stands for description and metadata in the hash chain, in hexadecimal digits; with the salt that made it. */
  readonly digest?: string;
  /** Undefined: there are neither description nor metadata, or they were erased. */
  readonly salt?: string;
}

/** How a transaction relates to others. */
export interface TransactionLinks {
  /** The first transaction of the transfer that this is a leg of. */
  readonly transferId?: number;
  /** The hold that this places, releases or captures. */
  readonly holdId?: number;
  /** The transaction that this reverses, wholly or in part. */
  readonly reversesId?: number;
  /**
   * Part of a hash of the request, as a decimal number of 64 bits, to recognise its retry. Undefined: type and amount
   * are all of it, or there is no idempotency key.
   */
  readonly fingerprint?: string;
  readonly idempotencyKey?: string;
  readonly details?: TransactionDetails;
}

/** A transaction of the ledger. */
export interface Transaction extends TransactionLinks {
  readonly transactionId: number;
  readonly timestamp: Date;
  readonly accountId: number;
  readonly type: TransactionType;
  /** Greater than zero. */
  readonly amount: Money;
  readonly balanceAfter: Money;
  /** What the account has on hold after it. */
  readonly heldAfter: Money;
  readonly versionAfter: number;
  /** How many decimals its currency has. */
  readonly decimals: number;
}

/** What is remembered of the transaction that used an idempotency key. */
export type KeyedTransaction = Pick<
  Transaction,
  'transactionId' | 'type' | 'amount' | 'decimals' | 'fingerprint' | 'transferId' | 'holdId'
>;
