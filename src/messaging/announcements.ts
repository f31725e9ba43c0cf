import type { Hold } from '../domain/hold.js';
import type { AnnouncedTransaction, HoldEvent, LedgerEvent } from '../domain/ledger-event.js';

/** A hold as it was when a transaction of it had been posted, except for the status, which is that of today. */
export type HoldThen = Pick<Hold, 'remaining' | 'status' | 'expiresAt'>;

/**
 * The events of the transactions in one row of the outbox, in order. What else a transaction completes follows it at
 * once: a hold's event, and a transfer's after the last leg. One between shards is completed by its debit.
 *
 * @param holdsThen by transaction, for each that has a hold
 * @param credits the credits in other shards, by transfer
 */
export function announcementsOf(
  transactions: readonly AnnouncedTransaction[],
  holdsThen: ReadonlyMap<number, HoldThen>,
  credits: ReadonlyMap<number, AnnouncedTransaction>,
): LedgerEvent[] {
  const events: LedgerEvent[] = [];
  const transfers = legsOfTransfers(transactions);
  for (const transaction of transactions) {
    events.push({ kind: 'transaction.posted', transaction });
    const { transactionId, transferId } = transaction;
    const hold = holdsThen.get(transactionId);
    const about = hold && holdEvent(transaction, hold);
    if (about) events.push(about);
    const legs = transferId === undefined ? undefined : transfers.get(transferId);
    if (legs?.at(-1) !== transaction) continue;
    const credit = credits.get(transferId ?? 0);
    if (legs.length > 1) events.push({ kind: 'transfer.completed', legs });
    else if (credit && transaction.type === 'debit')
      events.push({ kind: 'transfer.completed', legs: [transaction, credit] });
  }
  return events;
}

/** The legs of transfers, of which there is only one where the other is in another shard. */
export function legsOfTransfers<T extends AnnouncedTransaction>(
  transactions: readonly T[],
): Map<number, T[]> {
  const transfers = new Map<number, T[]>();
  for (const transaction of transactions) {
    const { transferId, type } = transaction;
    // A transfer to another shard begins with a hold.
    if (transferId === undefined || type === 'hold') continue;
    const legs = transfers.get(transferId);
    if (legs) legs.push(transaction);
    else transfers.set(transferId, [transaction]);
  }
  return transfers;
}

/** Undefined for the release of a capture: its debit, which follows, tells of both. */
function holdEvent(
  transaction: AnnouncedTransaction,
  { remaining, status, expiresAt }: HoldThen,
): HoldEvent | undefined {
  const about = { transaction, remaining, expiresAt };
  if (transaction.type === 'hold') return { kind: 'hold.placed', ...about };
  if (transaction.type === 'debit') return { kind: 'hold.captured', ...about };
  // The release that leaves nothing is the last one, so how the hold ended is how this one ended it.
  if (remaining > 0n || status === 'captured') return undefined;
  return { kind: status === 'expired' ? 'hold.expired' : 'hold.voided', ...about };
}
