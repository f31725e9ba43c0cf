import type { TransferReversalCommand } from './command.js';
import { LedgerError } from './errors.js';
import type { Transaction } from './transaction.js';

/** Transactions of two or more accounts that were applied together. */
export interface Transfer {
  /** The id of its first transaction. */
  readonly transferId: number;
  /** In order of their ids, each of another account. Those of a list have details only in the first one. */
  readonly legs: readonly Transaction[];
  /** The transfer that this one reverses, wholly or in part. */
  readonly reversedId?: number;
  /** The accounts that the reader may not see: their balances are not for them. */
  readonly foreign: ReadonlySet<number>;
}

/** The transfer among the transactions of a command, which may also end holds. */
export function transferIn(
  transactions: readonly Transaction[],
  { reversedId, foreign }: Pick<Transfer, 'reversedId' | 'foreign'>,
): Transfer {
  const legs = transactions.filter((transaction) => transaction.transferId !== undefined);
  const transferId = legs[0]?.transferId;
  if (transferId === undefined) throw new Error('a command made no transfer');
  return { transferId, legs, reversedId, foreign };
}

/** A reversal, before it is known which accounts it concerns. */
export type TransferReversal = Omit<TransferReversalCommand, 'accountId' | 'accountIds' | 'foreign'>;

/** @throws LedgerError ACCOUNT_NOT_FOUND when an account that the sender may not see would pay back */
export function reversalCommand(
  reversal: TransferReversal,
  { legs, foreign }: Pick<Transfer, 'legs' | 'foreign'>,
): TransferReversalCommand {
  const payers = legs.filter(({ type }) => type === 'credit').map(({ accountId }) => accountId);
  const unable = payers.find((accountId) => foreign.has(accountId));
  if (unable !== undefined) throw new LedgerError({ code: 'ACCOUNT_NOT_FOUND', accountId: unable });
  return {
    ...reversal,
    accountId: payers[0] ?? 0,
    accountIds: legs.map(({ accountId }) => accountId),
    foreign: [...foreign],
  };
}
