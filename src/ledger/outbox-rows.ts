/** Transactions that one row of the outbox tells of at most: as many as a slow broker confirms within its time. */
export const OUTBOX_ROW_TRANSACTIONS = 1_000;

/** How many rows of the outbox tell of so many transactions. */
export function outboxRowsFor(transactions: number): number {
  return Math.ceil(transactions / OUTBOX_ROW_TRANSACTIONS);
}

/** Divides what is announced together among rows of the outbox, in its order. */
export function outboxRows<T>(announced: readonly T[]): T[][] {
  return Array.from({ length: outboxRowsFor(announced.length) }, (_, row) =>
    announced.slice(row * OUTBOX_ROW_TRANSACTIONS, (row + 1) * OUTBOX_ROW_TRANSACTIONS),
  );
}
