import { USD } from '../../src/config/currencies.js';
import type { Movement } from '../../src/ledger/read/statement-reader.js';
import type { TransactionDetails } from '../../src/domain/transaction.js';
import { signed, type Statement } from '../../src/statements/statement.js';

/** A line for each amount; those below zero are withdrawals. */
export function statementOf(
  amounts: readonly bigint[],
  details: TransactionDetails = {},
  account: Partial<Statement['account']> = {},
  currency = USD,
): Statement {
  const openingBalance = 100_000n;
  let balance = openingBalance;
  const lines = amounts.map((amount, index): Movement => {
    balance += amount;
    return {
      ...{
        accountId: 1,
        transactionId: 10 + index,
        versionAfter: 2 + index,
        balanceAfter: balance,
        heldAfter: 0n,
        decimals: currency.decimals,
      },
      ...{ type: amount < 0n ? 'debit' : 'credit', amount: amount < 0n ? -amount : amount },
      timestamp: new Date(Date.UTC(2025, 4, 2) + index * 60_000),
      ...(index % 3 === 1 && { transferId: 10 + index, holdId: 4, reversesId: 5 }),
      details,
    };
  });
  const of = (type: Movement['type']) => {
    const some = lines.filter((line) => line.type === type);
    return { count: some.length, sum: some.reduce((sum, { amount }) => sum + amount, 0n) };
  };
  return {
    currency,
    account: { accountId: 1, owner: 'ada', reference: undefined, ...account },
    from: new Date('2025-05-01'),
    to: new Date('2025-06-01'),
    createdAt: new Date('2025-06-01T06:00:00Z'),
    turnover: { credit: of('credit'), debit: of('debit') },
    openingBalance,
    closingBalance: lines.reduce((sum, line) => sum + signed(line), openingBalance),
    lines: async function* () {
      for (let start = 0; start < lines.length; start += 500) {
        await Promise.resolve();
        yield lines.slice(start, start + 500);
      }
    },
  };
}

/** All that a writer writes. */
export async function writtenBy(parts: AsyncIterable<string | Buffer>): Promise<Buffer> {
  const all: Buffer[] = [];
  for await (const part of parts) all.push(Buffer.from(part));
  return Buffer.concat(all);
}
