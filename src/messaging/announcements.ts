import type { Hold } from '../domain/hold.js';
import type { AnnouncedTransaction, HoldEvent, LedgerEvent } from '../domain/ledger-event.js';

/** A hold as it was when a transaction of it had been posted, except for the status, which is that of today. */
export type HoldThen = Pick<Hold, 'remaining' | 'status' | 'expiresAt'>;

/**
 * The events of the transactions in one row of the outbox, in order. What else a transaction completes follows it at
 * once: a hold's event, and a transfer's after the last leg.
 *
 * @param holdsThen by transaction, for each that has a hold
 */
export function announcementsOf(
  transactions: readonly AnnouncedTransaction[],
  holdsThen: ReadonlyMap<number, HoldThen>,
): LedgerEvent[] {
  const events: LedgerEvent[] = [];
  const transfers = new Map<number, AnnouncedTransaction[]>();
  for (const transaction of transactions) {
    const { transferId } = transaction;
    if (transferId === undefined) continue;
    const legs = transfers.get(transferId);
    if (legs) legs.push(transaction);
    else transfers.set(transferId, [transaction]);
  }
  for (const transaction of transactions) {
    events.push({ kind: 'transaction.posted', transaction });
    const { transactionId, transferId } = transaction;
    const hold = holdsThen.get(transactionId);
    const about = hold && holdEvent(transaction, hold);
    if (about) events.push(about);
    const legs = transferId === undefined ? undefined : transfers.get(transferId);
    if (legs?.at(-1) === transaction) events.push({ kind: 'transfer.completed', legs });
  }
  return events;
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
