import type { Transaction } from '../domain/transaction.js';

/** The most events that one row of the outbox makes: a slow broker can confirm that many in time. */
const MOST_EVENTS = 1_000;

/**
 * The most transactions with an event of their own besides `transaction.posted` that a row takes at least: a transfer
 * is not divided among rows, so up to its 100 legs of two events each may be left for the next row.
 */
const LEAST_TRANSACTIONS = 400;

type Announced = Pick<Transaction, 'transactionId' | 'transferId' | 'holdId'>;

/** How many rows of the outbox this many transactions, or other things of one kind, need at most. */
export function outboxRowsFor(count: number): number {
  return Math.ceil(count / LEAST_TRANSACTIONS);
}

/**
 * Divides transactions that are announced together among rows of the outbox, in order. The legs of a transfer share a
 * row, so that the relay finds them together.
 */
export function outboxRows<T extends Announced>(announced: readonly T[]): T[][] {
  const rows: T[][] = [];
  let start = 0;
  let events = 0;
  for (let index = 0; index < announced.length; index++) {
    events += eventsOf(announced[index] as T);
    if (events <= MOST_EVENTS) continue;
    const end = beginOfTransfer(announced, index);
    rows.push(announced.slice(start, end));
    start = index = end;
    events = eventsOf(announced[end] as T);
  }
  if (start < announced.length) rows.push(announced.slice(start));
  return rows;
}

/** Divides what has one event each: changes of accounts, refusals, failed transfers. */
export function plainRows<T>(each: readonly T[]): T[][] {
  return Array.from({ length: Math.ceil(each.length / MOST_EVENTS) }, (_, row) =>
    each.slice(row * MOST_EVENTS, (row + 1) * MOST_EVENTS),
  );
}

/** At most: any transaction of a hold or a transfer may be the one that its event follows. */
function eventsOf({ holdId, transferId }: Announced): number {
  return holdId === undefined && transferId === undefined ? 1 : 2;
}

/** The index of the first leg of the transfer that this transaction belongs to, or else its own. */
function beginOfTransfer(announced: readonly Announced[], index: number): number {
  const { transferId } = announced[index] as Announced;
  let begin = index;
  while (transferId !== undefined && announced[begin - 1]?.transferId === transferId) begin -= 1;
  return begin;
}
