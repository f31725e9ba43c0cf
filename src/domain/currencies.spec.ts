import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import type { LedgerAccount } from './account.js';
import type { Knowledge } from './books.js';
import type { Command, Leg } from './command.js';
import { decideBatch } from './decide-batch.js';
import { accountWith, knowledgeOf } from './knowledge.fixture.js';
import { formatMoney, maxMoney, parseDecimal, type Decimal } from './money.js';

/** Two accounts of the bank, whose currency has two decimals, and two of each of some others. */
const CURRENCIES = [
  { currency: undefined, decimals: 2 },
  { currency: 'EUR', decimals: 2 },
  { currency: 'JPY', decimals: 0 },
  { currency: 'KWD', decimals: 3 },
  { currency: 'CLF', decimals: 4 },
] as const;
const [USD, , JPY, KWD, CLF] = [1, 3, 5, 7, 9] as const;
const EUR = 3;
const ACCOUNTS = CURRENCIES.flatMap((of, index) =>
  [2 * index + 1, 2 * index + 2].map((accountId) =>
    accountWith({ accountId, balance: 1_000_000n, version: 7, ...of }),
  ),
);
const accountOf = (accountId: number) => ACCOUNTS[accountId - 1] as LedgerAccount;

const written = (text: string): Decimal => parseDecimal(text) as Decimal;
const credit = (accountId: number, text: string): Command => ({
  ...{ type: 'credit', accountId, amount: written(text) },
});

function run(command: Command, more: Partial<Knowledge> = {}) {
  const { decisions, transactions, accounts } = decideBatch(
    [command],
    knowledgeOf(ACCOUNTS, more),
    new Set(),
  );
  const [decision] = decisions;
  return {
    rejection: decision?.accepted === false ? decision.rejection : undefined,
    transactions,
    balanceOf: (accountId: number) => accounts.get(accountId)?.balance ?? 0n,
  };
}

const transfer = (...legs: readonly (readonly [number, string, Partial<Leg>?])[]): Command => ({
  ...{ type: 'transfer', accountId: legs[0]?.[0] ?? 0 },
  legs: legs.map(([accountId, amount, more]): Leg => ({
    ...{ accountId, type: amount.startsWith('-') ? 'debit' : 'credit' },
    ...{ amount: written(amount.replace('-', '')), ...more },
  })),
});

describe('amounts in the currency of their account', () => {
  it.each([
    [USD, '1', 100n],
    [USD, '1.5', 150n],
    [JPY, '350', 350n],
    [KWD, '1.5', 1_500n],
    [KWD, '1.505', 1_505n],
    [CLF, '0.0001', 1n],
  ])('account %i takes %s exactly', (accountId, text, amount) => {
    const { transactions, balanceOf } = run(credit(accountId, text));
    const { decimals } = accountOf(accountId);
    expect(transactions).toMatchObject([{ amount, decimals, balanceAfter: 1_000_000n + amount }]);
    expect(balanceOf(accountId)).toBe(1_000_000n + amount);
  });

  it.each([
    [USD, '1.500'],
    [EUR, '1.001'],
    [JPY, '1.5'],
    [JPY, '350.00'],
    [KWD, '1.5000'],
  ])('account %i refuses %s, which has more decimals', (accountId, text) => {
    const { decimals } = accountOf(accountId);
    const rejection = { code: 'TOO_MANY_DECIMALS', field: 'amount', decimals };
    expect(run(credit(accountId, text)).rejection).toEqual(rejection);
    const hold: Command = { type: 'hold', accountId, amount: written(text) };
    expect(run(hold).rejection).toEqual(rejection);
    const changes = { overdraftLimit: written(text) };
    expect(run({ type: 'change', accountId, changes }).rejection).toEqual({
      ...rejection,
      field: 'overdraftLimit',
    });
  });

  it('names the amount as the client did', () => {
    const named: Command = { ...credit(JPY, '1.5'), amountName: 'moneyWithdraw/Deposit' } as Command;
    expect(run(named).rejection).toMatchObject({ field: 'moneyWithdraw/Deposit' });
    const legs = transfer([JPY, '-1.5', { amountName: 'legs[0].amount' }], [JPY + 1, '1.5']);
    expect(run(legs).rejection).toMatchObject({ field: 'legs[0].amount', accountId: JPY });
  });

  it('says so before anything else about the request, even if its key was used', () => {
    const keyed = new Map([['5:k', { transactionId: 1, type: 'credit', amount: 15n, decimals: 0 } as const]]);
    const command = { ...credit(JPY, '1.5'), idempotencyKey: 'k', expectedVersion: 1 } as Command;
    expect(run(command, { keyed }).rejection).toMatchObject({ code: 'TOO_MANY_DECIMALS' });
  });

  it('recognises a retry however its amount is written', () => {
    const keyed = new Map([
      ['7:k', { transactionId: 1, type: 'credit', amount: 1_500n, decimals: 3 } as const],
    ]);
    for (const text of ['1.5', '1.50', '1.500'])
      expect(run({ ...credit(KWD, text), idempotencyKey: 'k' }, { keyed }).rejection).toMatchObject({
        code: 'DUPLICATE_TRANSACTION',
      });
    expect(run({ ...credit(KWD, '1.501'), idempotencyKey: 'k' }, { keyed }).rejection).toMatchObject({
      code: 'IDEMPOTENCY_KEY_REUSED',
    });
  });

  it.each(CURRENCIES)('$currency holds 16 digits before the point, and no more', ({ currency, decimals }) => {
    const full = accountWith({ accountId: 1, version: 7, currency, decimals, balance: maxMoney(decimals) });
    const decide = (command: Command) => decideBatch([command], knowledgeOf([full]), new Set()).decisions[0];
    expect(decide({ type: 'credit', accountId: 1, amount: 1n })).toMatchObject({
      rejection: { code: 'BALANCE_LIMIT_EXCEEDED' },
    });
    expect(formatMoney(full.balance, decimals)).toMatch(/^9{16}(\.9+)?$/);
  });
});

describe('transfers between currencies', () => {
  it('convert nothing silently', () => {
    for (const to of [EUR, JPY, KWD, CLF])
      expect(run(transfer([USD, '-5'], [to, '5'])).rejection).toEqual({ code: 'CURRENCY_MISMATCH' });
  });

  it('are legs that come to nothing in each currency', () => {
    const exchange = transfer([USD, '-10.00'], [USD + 1, '10'], [JPY + 1, '-1500'], [JPY, '1500']);
    const { transactions, balanceOf } = run(exchange);
    expect(transactions.map(({ amount, decimals }) => [amount, decimals])).toEqual([
      ...[[1_000n, 2], [1_000n, 2]], // prettier-ignore
      ...[[1_500n, 0], [1_500n, 0]], // prettier-ignore
    ]);
    expect([USD, USD + 1, JPY, JPY + 1].map(balanceOf)).toEqual([999_000n, 1_001_000n, 1_001_500n, 998_500n]);
  });

  it('are refused where one currency does not come to nothing, though all together do', () => {
    const legs = transfer([USD, '-10'], [USD + 1, '9'], [EUR, '-9'], [EUR + 1, '10']);
    expect(run(legs).rejection).toEqual({ code: 'CURRENCY_MISMATCH' });
  });

  it('within one currency that do not come to nothing are no transfers', () => {
    const legs = [[USD, '-10'], [USD + 1, '9']] as const; // prettier-ignore
    expect(run(transfer(...legs)).rejection).toEqual({ code: 'LEGS_UNBALANCED' });
    const foreign = { foreign: true };
    const answers = [USD + 1, EUR, JPY].map(
      (to) => run(transfer([USD, '-10'], [to, '9', foreign])).rejection,
    );
    expect(answers).toEqual(answers.map(() => ({ code: 'LEGS_UNBALANCED' })));
  });

  it("don't tell a stranger the currency of an account", () => {
    const to = (accountId: number, amount: string) =>
      run(transfer([USD, `-${amount}`], [accountId, amount, { foreign: true }])).rejection;
    for (const accountId of [EUR, JPY, KWD])
      expect(to(accountId, '5')).toEqual({ code: 'COUNTERPARTY_REFUSED', accountId });
    expect(to(USD + 1, '5')).toBeUndefined();
    expect(to(JPY, '5.50')).toEqual({ code: 'COUNTERPARTY_REFUSED', accountId: JPY });
    expect(to(KWD, '5.505')).toEqual({ code: 'COUNTERPARTY_REFUSED', accountId: KWD });
    expect(to(USD + 1, '5.505')).toMatchObject({ code: 'TOO_MANY_DECIMALS', accountId: USD });
  });

  it('are refused for captures, too', () => {
    const hold = {
      ...{
        holdId: 50,
        accountId: USD,
        amount: 500n,
        remaining: 500n,
        captured: 0n,
        capturing: 0n,
        status: 'active' as const,
      },
      ...{ expiresAt: undefined, createdAt: new Date(0), decimals: 2 },
    };
    const account = { ...accountOf(USD), held: 500n, activeHolds: 1 };
    const accounts = new Map([...ACCOUNTS, account].map((each) => [each.accountId, each]));
    const known = { accounts, holds: new Map([[50, hold]]) };
    const capture = (to: { accountId: number; foreign?: boolean }): Command => ({
      ...{ type: 'capture', accountId: USD, holdId: 50, final: true, to },
    });
    expect(run(capture({ accountId: EUR }), known).rejection).toMatchObject({ code: 'CURRENCY_MISMATCH' });
    const refused = run(capture({ accountId: EUR, foreign: true }), known).rejection;
    expect(refused).toEqual({ code: 'COUNTERPARTY_REFUSED', accountId: EUR });
    expect(run(capture({ accountId: USD + 1 }), known).rejection).toBeUndefined();
  });

  it('leave the money of each currency what it was, whatever is asked for', () => {
    const leg = fc.record({
      accountId: fc.integer({ min: 1, max: ACCOUNTS.length }),
      type: fc.constantFrom('credit' as const, 'debit' as const),
      units: fc.bigInt({ min: 1n, max: 3n }),
      decimals: fc.integer({ min: 0, max: 2 }),
    });
    const legs = fc.uniqueArray(leg, { minLength: 2, maxLength: 6, selector: ({ accountId }) => accountId });
    // Of legs that are chosen freely, hardly any come to nothing.
    const pair = leg.map((debit): (typeof debit)[] => [
      { ...debit, type: 'debit' },
      { ...debit, type: 'credit', accountId: debit.accountId + (debit.accountId % 2 === 0 ? -1 : 1) },
    ]);
    const sums = (balanceOf: (accountId: number) => bigint) =>
      CURRENCIES.map((_, index) => balanceOf(2 * index + 1) + balanceOf(2 * index + 2));
    const before = sums((accountId) => accountOf(accountId).balance);
    let accepted = 0;
    fc.assert(
      fc.property(fc.oneof(legs, pair), (asked) => {
        const command: Command = {
          ...{ type: 'transfer', accountId: asked[0]?.accountId ?? 0 },
          legs: asked.map(({ units, decimals, ...of }) => ({ ...of, amount: { units, decimals } })),
        };
        const { rejection, balanceOf } = run(command);
        if (!rejection) accepted += 1;
        expect(sums(balanceOf)).toEqual(before);
      }),
      { numRuns: 2_000 },
    );
    expect(accepted).toBeGreaterThan(0);
  });
});
