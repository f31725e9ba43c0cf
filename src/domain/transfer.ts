import type { ArrivedCredit, OutgoingTransfer, TransferStatus } from './between-shards.js';
import type { Effects } from './books.js';
import type { TransferReversalCommand } from './command.js';
import { LedgerError, type Rejection } from './errors.js';
import type { Money } from './money.js';
import type { Transaction, TransactionDetails } from './transaction.js';

/** A movement that a transfer has made, or will make once it is decided. */
export type TransferLeg = Pick<Transaction, 'accountId' | 'type' | 'amount' | 'decimals'> &
  Partial<Pick<Transaction, 'transactionId' | 'balanceAfter' | 'versionAfter'>>;

/** Money that moves between two or more accounts, all of it or nothing. */
export interface Transfer {
  /** The id of its first transaction. */
  readonly transferId: number;
  readonly status: TransferStatus;
  /** In order of their ids, debits first where they are in different shards; each of another account. */
  readonly legs: readonly TransferLeg[];
  readonly details: TransactionDetails | undefined;
  /** When it was made, or began. */
  readonly timestamp: Date;
  /** Why it has failed, as the reader may know it. */
  readonly rejection: Rejection | undefined;
  /** The transfer that this one reverses, wholly or in part. */
  readonly reversedId: number | undefined;
  /** The accounts that the reader may not see: their balances are not for them. */
  readonly foreign: ReadonlySet<number>;
  /** Why some of them could not be told to be the reader's; undefined: they are another owner's. */
  readonly problem?: Error;
}

/** Who looks at a transfer, and what is known of it besides its transactions. */
export type AboutTransfer = Partial<Pick<Transfer, 'reversedId'>> & Pick<Transfer, 'foreign'>;

/** The transfer that a command has made or begun. */
export function transferIn({ transactions, outgoing }: Effects, about: AboutTransfer): Transfer {
  const [begun] = outgoing;
  if (begun) return transferBetween(begun, about.foreign, transactions);
  // It may also have ended holds.
  return transferOf(
    transactions.filter((transaction) => transaction.transferId !== undefined),
    about,
  );
}

/** A transfer within a shard. @param legs its transactions, in order of their ids */
export function transferOf(legs: readonly Transaction[], { reversedId, foreign }: AboutTransfer): Transfer {
  const [first] = legs;
  if (first?.transferId === undefined) throw new Error('a command made no transfer');
  const { transferId, timestamp, details } = first;
  const common = { transferId, timestamp, details, legs, reversedId, foreign } as const;
  return { ...common, status: 'completed', rejection: undefined };
}

/** A transfer between shards, as somebody may see it who may not see some of its accounts. */
export function transferBetween(
  transfer: OutgoingTransfer,
  foreign: ReadonlySet<number>,
  made: readonly Transaction[] = legsOf(transfer),
): Transfer {
  const { transferId, accountId, to, amount, decimals, status, createdAt, details, rejection, reverses } =
    transfer;
  const planned = [
    { accountId, type: 'debit', amount, decimals },
    { accountId: to, type: 'credit', amount, decimals },
  ] as const;
  return {
    ...{ transferId, status, details, foreign, reversedId: reverses?.transferId },
    legs: made.length > 0 ? made : planned,
    timestamp: made[0]?.timestamp ?? createdAt,
    rejection: rejection && toldAbout(rejection, to, foreign.has(to)),
  };
}

/** The transactions of a completed transfer between shards; none of another. */
export function legsOf(transfer: OutgoingTransfer): Transaction[] {
  const { debit, credit } = transfer;
  return debit && credit ? [debit, creditOf(transfer, credit)] : [];
}

export function creditOf(
  { transferId, to, amount, decimals, reverses, details }: OutgoingTransfer,
  credit: ArrivedCredit,
): Transaction {
  const { transactionId, timestamp, balanceAfter, versionAfter } = credit;
  return {
    ...{ transactionId, timestamp, accountId: to, type: 'credit', amount, balanceAfter, versionAfter },
    ...{ heldAfter: NOT_TOLD, decimals, transferId, reversesId: reverses?.debitId, details },
  };
}

/** What the target has on hold concerns nobody here. */
const NOT_TOLD: Money = 0n;

/** A refusal by the target: who may not see that account gets one answer for most reasons. */
export function toldAbout(
  rejection: Rejection,
  accountId: number,
  isForeign: boolean | undefined,
): Rejection {
  const isOpen = rejection.code === 'ACCOUNT_NOT_FOUND' || rejection.code === 'TRANSFER_CANCELLED';
  return isForeign !== true || isOpen ? rejection : { code: 'COUNTERPARTY_REFUSED', accountId };
}

/** A reversal, before it is known which accounts it concerns. */
export type TransferReversal = Omit<
  TransferReversalCommand,
  'accountId' | 'accountIds' | 'legIds' | 'foreign'
>;

/**
 * @throws LedgerError ACCOUNT_NOT_FOUND when an account that the sender may not see would pay back;
 *   TRANSFER_NOT_COMPLETED; why it could not be told which accounts the sender may see
 */
export function reversalCommand(
  reversal: TransferReversal,
  { legs, foreign, status, problem }: Pick<Transfer, 'legs' | 'foreign' | 'status' | 'problem'>,
): TransferReversalCommand {
  if (problem) throw problem;
  const payers = legs.filter(({ type }) => type === 'credit').map(({ accountId }) => accountId);
  const unable = payers.find((accountId) => foreign.has(accountId));
  if (unable !== undefined) throw new LedgerError({ code: 'ACCOUNT_NOT_FOUND', accountId: unable });
  if (status !== 'completed') throw new LedgerError({ code: 'TRANSFER_NOT_COMPLETED', status });
  return {
    ...reversal,
    accountId: payers[0] ?? 0,
    accountIds: legs.map(({ accountId }) => accountId),
    legIds: legs.map(({ transactionId = 0 }) => transactionId),
    foreign: [...foreign],
  };
}
