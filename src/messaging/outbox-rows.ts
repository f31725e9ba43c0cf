/** The most transactions in one row of the outbox: a slow broker can confirm that many in time. */
const OUTBOX_ROW_TRANSACTIONS = 1_000;

/** How many rows of the outbox this many transactions need. */
export function outboxRowsFor(transactions: number): number {
  return Math.ceil(transactions / OUTBOX_ROW_TRANSACTIONS);
}

/** Divides transactions that are announced together among rows of the outbox, in order. */
export function outboxRows<T>(announced: readonly T[]): T[][] {
  return Array.from({ length: outboxRowsFor(announced.length) }, (_, row) =>
    announced.slice(row * OUTBOX_ROW_TRANSACTIONS, (row + 1) * OUTBOX_ROW_TRANSACTIONS),
  );
}
