import { describe, expect, it } from '@jest/globals';
import type { Transaction } from '../domain/transaction.js';
import { RecentLocalBatches } from './recent-local-batches.js';

const transactions = (count: number, firstId = 1) =>
  Array.from({ length: count }, (_, index) => ({ transactionId: firstId + index })) as Transaction[];

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
