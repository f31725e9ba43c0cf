import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { MAX_LEGS } from '../domain/command.js';
import { plainRows, outboxRows, outboxRowsFor } from './outbox-rows.js';

interface Announced {
  readonly transactionId: number;
  readonly transferId?: number;
  readonly holdId?: number;
}

const plain = (count: number): Announced[] =>
  Array.from({ length: count }, (_, index) => ({ transactionId: index + 1 }));

/** The transactions of commands: a number of plain ones, a transfer of so many legs, or holds. */
function transactionsOf(commands: readonly (readonly [kind: string, count: number])[]): Announced[] {
  const transactions: Announced[] = [];
  for (const [kind, count] of commands) {
    const transferId = transactions.length + 1;
    for (let made = 0; made < count; made++) {
      const transactionId = transactions.length + 1;
      if (kind === 'transfer') transactions.push({ transactionId, transferId });
      else if (kind === 'holds') transactions.push({ transactionId, holdId: transactionId });
      else transactions.push({ transactionId });
    }
  }
  return transactions;
}

/** As the relay makes them: a hold has an event of its own, a transfer one after its last leg. */
const mostEvents = (row: readonly Announced[]) =>
  row.length +
  row.filter(({ holdId }) => holdId !== undefined).length +
  new Set(row.flatMap(({ transferId }) => transferId ?? [])).size;

describe('rows of the outbox', () => {
  it.each([
    [0, []],
    [1, [1]],
    [1_000, [1_000]],
    [1_001, [1_000, 1]],
    [10_000, Array.from({ length: 10 }, () => 1_000)],
  ])('tell of %i plain transactions by at most 1,000 each, in their order', (count, sizes) => {
    const rows = outboxRows(plain(count));
    expect(rows.map((row) => row.length)).toEqual(sizes);
    expect(rows.flat()).toEqual(plain(count));
    expect(plainRows(plain(count)).map((row) => row.length)).toEqual(sizes);
  });

  it('make at most 1,000 events each, hold transfers together, and are no more than ids were drawn for', () => {
    const command = fc.oneof(
      fc.tuple(fc.constant('plain'), fc.integer({ min: 1, max: 900 })),
      fc.tuple(fc.constant('holds'), fc.integer({ min: 1, max: 300 })),
      fc.tuple(fc.constant('transfer'), fc.integer({ min: 2, max: MAX_LEGS })),
    );
    fc.assert(
      fc.property(fc.array(command, { maxLength: 12 }), (commands) => {
        const transactions = transactionsOf(commands);
        const rows = outboxRows(transactions);
        expect(rows.flat().every((transaction, index) => transaction === transactions[index])).toBe(true);
        expect(rows.flat()).toHaveLength(transactions.length);
        expect(Math.max(0, ...rows.map(mostEvents))).toBeLessThanOrEqual(1_000);
        expect(rows.length).toBeLessThanOrEqual(outboxRowsFor(transactions.length));
        const transfers = rows.map((row) => new Set(row.map(({ transferId }) => transferId ?? 0)));
        const divided = transfers.flatMap((ids) => [...ids]).filter((id) => id > 0);
        expect(new Set(divided).size).toBe(divided.length);
      }),
    );
  });

  it('draws ids enough for two parts that are announced as one', () => {
    fc.assert(
      fc.property(fc.nat(5_000), fc.nat(5_000), (a, b) => {
        expect(outboxRowsFor(a) + outboxRowsFor(b)).toBeGreaterThanOrEqual(outboxRowsFor(a + b));
      }),
    );
  });
});
