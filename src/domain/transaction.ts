import type { Account } from './account.js';
import type { Rejection } from './errors.js';
import { MAX_MONEY, type Money } from './money.js';

/** A credit adds to the balance (deposit), a debit subtracts from it (withdrawal). */
export type TransactionType = 'credit' | 'debit';

/** A request to post one transaction to one account. */
export interface PostingCommand {
  readonly accountId: number;
  readonly type: TransactionType;
  /** Greater than zero. */
  readonly amount: Money;
  /** The version that the account must have. */
  readonly expectedVersion?: number;
  /** The versions that an If-Match header allows; empty: none that an account can have. */
  readonly allowedVersions?: readonly number[];
  /** Unique per account, for as long as the transaction exists. */
  readonly idempotencyKey?: string;
}

/** A transaction of the ledger. Until its id and time are drawn, they are 0 and undefined. */
export interface Transaction {
  transactionId: number;
  timestamp: Date | undefined;
  readonly accountId: number;
  readonly type: TransactionType;
  readonly amount: Money;
  readonly balanceAfter: Money;
  readonly versionAfter: number;
  readonly idempotencyKey?: string;
}

/** What is remembered of the transaction that used an idempotency key. */
export type KeyedTransaction = Pick<Transaction, 'transactionId' | 'type' | 'amount'>;

export type Decision =
  | { readonly accepted: true; readonly transaction: Transaction }
  | { readonly accepted: false; readonly rejection: Rejection };

/**
 * Decides one command against the account as it is now. Pure: it reads no clock and no database, and changes nothing.
 * The order of checks is the contract's: key, version, balance; so the retry of a request that succeeded is a
 * duplicate, whatever the version has become since.
 *
 * @param earlier the transaction of this account that holds the command's idempotency key, if there is one
 */
export function decide(account: Account, command: PostingCommand, earlier?: KeyedTransaction): Decision {
  const rejection =
    checkKey(command, earlier) ?? checkVersion(account, command) ?? checkBalance(account, command);
  if (rejection) return { accepted: false, rejection };
  return {
    accepted: true,
    transaction: {
      transactionId: 0,
      timestamp: undefined,
      accountId: account.accountId,
      type: command.type,
      amount: command.amount,
      balanceAfter: balanceAfter(account, command),
      versionAfter: account.version + 1,
      idempotencyKey: command.idempotencyKey,
    },
  };
}

function checkKey(command: PostingCommand, earlier: KeyedTransaction | undefined): Rejection | undefined {
  if (!earlier) return undefined;
  const same = earlier.type === command.type && earlier.amount === command.amount;
  return { code: same ? 'DUPLICATE_TRANSACTION' : 'IDEMPOTENCY_KEY_REUSED', original: earlier };
}

function checkVersion(account: Account, command: PostingCommand): Rejection | undefined {
  const currentVersion = account.version;
  if (command.allowedVersions && !command.allowedVersions.includes(currentVersion)) {
    return { code: 'PRECONDITION_FAILED', currentVersion };
  }
  if (command.expectedVersion !== undefined && command.expectedVersion !== currentVersion) {
    return { code: 'VERSION_MISMATCH', currentVersion };
  }
  return undefined;
}

function checkBalance(account: Account, command: PostingCommand): Rejection | undefined {
  const balance = balanceAfter(account, command);
  if (balance < 0n) return { code: 'INSUFFICIENT_BALANCE' };
  if (balance > MAX_MONEY) return { code: 'BALANCE_LIMIT_EXCEEDED' };
  return undefined;
}

function balanceAfter(account: Account, command: PostingCommand): Money {
  return command.type === 'credit' ? account.balance + command.amount : account.balance - command.amount;
}
