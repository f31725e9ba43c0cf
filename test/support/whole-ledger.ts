import type { Command } from '../../src/domain/command.js';
import { digestOf } from '../../src/domain/hash-chain.js';
import { THE_SERVICE } from '../../src/domain/sender.js';
import { openLedger } from './ledger.js';

const SALT = 'ab'.repeat(16);
const TEXTS = { description: 'Rent: "May", 2026\nüñí', metadata: '{"a":"1,2"}' };
const DETAILS = {
  ...{ reference: 'r,1', effectiveDate: '2026-05-01', actor: 'ada' },
  ...{ ...TEXTS, salt: SALT, digest: digestOf(SALT, TEXTS) },
};

/**
 * Opens five accounts, and gives them one of everything that a ledger can hold. The third one ends overdrawn, by 7.00.
 *
 * @returns their ids
 */
export async function fillWholeLedger(url: string, schema = 'bank'): Promise<number[]> {
  const ledger = await openLedger(url, {}, {}, schema);
  const run = async (command: Command) =>
    (await ledger.scheduler.submit(command)).transactions.at(-1)?.transactionId ?? 0;
  try {
    const ids: number[] = [];
    for (const openingDeposit of [1_000_00n, 500_00n, undefined, undefined, undefined])
      ids.push((await ledger.opener.open({ openingDeposit }, THE_SERVICE)).accountId);
    const [from, to, overdrawn, frozen, closed] = ids as [number, number, number, number, number];
    const refused = {
      type: 'debit',
      accountId: to,
      amount: 999_999_00n,
      idempotencyKey: 'too, much',
    } as const;
    await ledger.scheduler.decideInOrder([{ ...refused, submitted: true }]);
    const hold = { type: 'hold', accountId: from, amount: 20_00n } as const;
    const deposit = await run({ type: 'credit', accountId: from, amount: 9_00n, details: DETAILS });
    await run({
      ...{ type: 'transfer', accountId: from, idempotencyKey: 'rent', details: { reference: 'May' } },
      legs: [from, to].map((accountId) => {
        return { accountId, type: accountId === from ? 'debit' : 'credit', amount: 100_00n };
      }),
    });
    const [active, voided, captured] = [
      await run({ ...hold, details: { actor: 'ada' } }),
      await run(hold),
      await run({ ...hold, expiresInMs: 60_000, idempotencyKey: 'hotel' }),
    ];
    await run({ type: 'capture', accountId: from, holdId: active, amount: 5_00n, final: false });
    await run({ type: 'void', accountId: from, holdId: voided });
    const capture = { type: 'capture', accountId: from, holdId: captured, amount: 15_00n } as const;
    await run({ ...capture, final: true, to: { accountId: to } });
    await run({ type: 'reversal', accountId: from, transactionId: deposit, amount: 3_00n });
    const spent = await run({ type: 'credit', accountId: overdrawn, amount: 7_00n });
    await run({ type: 'debit', accountId: overdrawn, amount: 7_00n });
    await run({
      type: 'reversal',
      accountId: overdrawn,
      transactionId: spent,
      force: true,
      details: { actor: 'ada' },
    });
    const change = { type: 'change', accountId: frozen, actor: 'ada' } as const;
    await run({ ...change, changes: { overdraftLimit: 100_00n, reference: 'four', metadata: '{"tier":4}' } });
    await run({ ...change, changes: { status: 'frozen', metadata: null } });
    await run({ ...change, accountId: closed, changes: { status: 'closed' } });
    return ids;
  } finally {
    await ledger.close();
  }
}
