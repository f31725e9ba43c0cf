import { describe, expect, it } from '@jest/globals';
import type { Transaction } from '../domain/transaction.js';
import { RecentLocalBatches } from './recent-local-batches.js';
import { outboxRows, outboxRowsFor } from './outbox-rows.js';

const transactions = (count: number, firstId = 1) =>
  Array.from({ length: count }, (_, index) => ({ transactionId: firstId + index })) as Transaction[];

describe('rows of the outbox', () => {
  it.each([
    [0, []],
    [1, [1]],
    [1_000, [1_000]],
    [1_001, [1_000, 1]],
    [10_000, Array.from({ length: 10 }, () => 1_000)],
  ])('tell of %i transactions by at most 1,000 each, in their order', (count, sizes) => {
    const rows = outboxRows(transactions(count));
    expect(rows.map((row) => row.length)).toEqual(sizes);
    expect(rows.flat()).toEqual(transactions(count));
    expect(outboxRowsFor(count)).toBe(sizes.length);
  });
});

describe('the batches of a process', () => {
  it('are known by the first transaction of each row that tells of them', () => {
    const own = new RecentLocalBatches();
    own.add(transactions(2_500, 7));
    expect([7, 1_007, 2_007].map((id) => own.has(id))).toEqual([true, true, true]);
    expect([8, 1_006, 3_007].map((id) => own.has(id))).toEqual([false, false, false]);
  });

  it('are forgotten, the oldest first, and never more than 10,000 rows are remembered', () => {
    const own = new RecentLocalBatches();
    for (let id = 1; id <= 10_001; id++) own.add(transactions(1, id));
    expect([own.has(1), own.has(2), own.has(10_001)]).toEqual([false, true, true]);
  });
});
