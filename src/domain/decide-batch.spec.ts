import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { accountWith, knowledgeOf } from './knowledge.fixture.js';
import type { LedgerAccount } from './account.js';
import { keyOf, type Decision, type Knowledge } from './books.js';
import type { PostingCommand } from './command.js';
import * as batch from './decide-batch.js';
import { MAX_MONEY } from './money.js';
import type { KeyedTransaction, MovementType, Transaction } from './transaction.js';

type KeyedTransactions = Knowledge['keyed'];
type Accounts = ReadonlyMap<number, LedgerAccount>;

const NOTHING_SKIPPED = new Set<number>();

const decideBatch = (commands: readonly PostingCommand[], opening: Accounts, keyed: KeyedTransactions) =>
  batch.decideBatch(commands, knowledgeOf(opening.values(), { keyed }), NOTHING_SKIPPED);

const decideAtomically = (commands: readonly PostingCommand[], opening: Accounts, keyed: KeyedTransactions) =>
  batch.decideAtomically(commands, knowledgeOf(opening.values(), { keyed }), NOTHING_SKIPPED);

/** What happened to one command, in the test's own form. */
type Outcome =
  | { readonly accepted: true; readonly balance: bigint; readonly version: number }
  | { readonly refused: string; readonly version?: number; readonly first?: string };

interface Booking {
  readonly name: string;
  readonly type: MovementType;
  readonly amount: bigint;
  readonly key: string | undefined;
}

/**
 * A bank that only appends to a list per account and derives everything else from that list. Slow, obvious, and sharing
 * no code with decide().
 */
class ModelBank {
  private readonly books = new Map<
    number,
    { opening: LedgerAccount; bookings: Booking[]; oldKeys: Map<string, Booking> }
  >();

  constructor(accounts: Iterable<LedgerAccount>, oldKeys: readonly OldKey[]) {
    for (const opening of accounts) {
      const own = oldKeys.filter((old) => old.accountId === opening.accountId);
      const booked = own.map((old): [string, Booking] => [
        old.key,
        {
          name: `old ${old.transactionId}`,
          type: old.type as MovementType,
          amount: old.amount,
          key: old.key,
        },
      ]);
      this.books.set(opening.accountId, { opening, bookings: [], oldKeys: new Map(booked) });
    }
  }

  version(accountId: number): number {
    const book = this.books.get(accountId);
    return book ? book.opening.version + book.bookings.length : 1;
  }

  balance(accountId: number): bigint {
    const book = this.books.get(accountId);
    if (!book) return 0n;
    const credits = book.bookings.filter((booking) => booking.type === 'credit');
    const debits = book.bookings.filter((booking) => booking.type === 'debit');
    const sum = (bookings: readonly Booking[]) =>
      bookings.reduce((total, booking) => total + booking.amount, 0n);
    return book.opening.balance + sum(credits) - sum(debits);
  }

  post(command: PostingCommand, name: string): Outcome {
    const book = this.books.get(command.accountId);
    if (!book) return { refused: 'ACCOUNT_NOT_FOUND' };
    const key = command.idempotencyKey;
    const holder =
      key === undefined
        ? undefined
        : (book.oldKeys.get(key) ?? book.bookings.find((booking) => booking.key === key));
    if (holder) {
      const same = `${holder.type} ${holder.amount}` === `${command.type} ${command.amount as bigint}`;
      return { refused: same ? 'DUPLICATE_TRANSACTION' : 'IDEMPOTENCY_KEY_REUSED', first: holder.name };
    }
    const version = this.version(command.accountId);
    if (command.allowedVersions?.every((allowed) => allowed !== version)) {
      return { refused: 'PRECONDITION_FAILED', version };
    }
    if ((command.expectedVersion ?? version) !== version) return { refused: 'VERSION_MISMATCH', version };
    book.bookings.push({ name, type: command.type, amount: command.amount as bigint, key });
    const balance = this.balance(command.accountId);
    if (balance >= 0n && balance <= MAX_MONEY) return { accepted: true, balance, version: version + 1 };
    book.bookings.pop();
    return { refused: balance < 0n ? 'INSUFFICIENT_BALANCE' : 'BALANCE_LIMIT_EXCEEDED' };
  }
}

interface OldKey extends KeyedTransaction {
  readonly accountId: number;
  readonly key: string;
}

interface Scenario {
  readonly opening: Accounts;
  readonly earlier: KeyedTransactions;
  readonly commands: readonly PostingCommand[];
  /** The model's outcome of each command. */
  readonly outcomes: readonly Outcome[];
  readonly model: ModelBank;
}

// 1 and 11 with these keys would share a name if account and key were joined carelessly; 99 does not exist.
const ACCOUNT_IDS = [1, 11, 2];
const KEYS = ['a', '1:a', '1a', '1', ''];

const type = fc.constantFrom('credit' as const, 'debit' as const);
/** Few different values, so that a key is repeated with the same amount, and some that reach both limits. */
const amount = fc.oneof(
  { weight: 4, arbitrary: fc.constantFrom(1n, 50n, 100n) },
  { weight: 1, arbitrary: fc.bigInt({ min: 1n, max: 200n }) },
  { weight: 1, arbitrary: fc.constantFrom(MAX_MONEY, MAX_MONEY - 1n, MAX_MONEY - 100n) },
);
const balance = fc.oneof(
  fc.bigInt({ min: 0n, max: 200n }),
  fc.bigInt({ min: MAX_MONEY - 200n, max: MAX_MONEY }),
  fc.bigInt({ min: 0n, max: MAX_MONEY }),
);
/** A version relative to that of the account when its turn comes; 0 is right. */
const shift = fc.constantFrom(0, 0, 0, -1, 1, 1_000);
const plannedCommand = fc.record(
  {
    accountId: fc.oneof({ weight: 9, arbitrary: fc.constantFrom(...ACCOUNT_IDS) }, fc.constant(99)),
    type,
    amount,
    key: fc.constantFrom(...KEYS),
    expected: shift,
    allowed: fc.array(shift, { maxLength: 2 }),
  },
  { requiredKeys: ['accountId', 'type', 'amount'] },
);
const oldKey: fc.Arbitrary<OldKey> = fc.record({
  accountId: fc.constantFrom(...ACCOUNT_IDS),
  key: fc.constantFrom(...KEYS),
  transactionId: fc.integer({ min: -1_000, max: -1 }),
  type,
  amount,
  decimals: fc.constant(2),
});

const scenario: fc.Arbitrary<Scenario> = fc
  .record({
    balances: fc.tuple(balance, balance, balance),
    versions: fc.tuple(fc.integer({ min: 1, max: 50 }), fc.constant(1), fc.integer({ min: 1, max: 9 })),
    oldKeys: fc.uniqueArray(oldKey, { maxLength: 4, selector: (old) => keyOf(old.accountId, old.key) }),
    planned: fc.array(plannedCommand, { minLength: 1, maxLength: 40 }),
  })
  .map(({ balances, versions, oldKeys, planned }) => {
    const opening = new Map<number, LedgerAccount>();
    ACCOUNT_IDS.forEach((accountId, index) => {
      opening.set(
        accountId,
        accountWith({ accountId, balance: balances[index] ?? 0n, version: versions[index] ?? 1 }),
      );
    });
    const earlier = new Map(oldKeys.map((old) => [keyOf(old.accountId, old.key), old]));
    const model = new ModelBank(opening.values(), oldKeys);
    const outcomes: Outcome[] = [];
    const commands = planned.map((plan, index): PostingCommand => {
      const current = model.version(plan.accountId);
      const command = {
        accountId: plan.accountId,
        type: plan.type,
        amount: plan.amount,
        idempotencyKey: plan.key,
        expectedVersion: plan.expected === undefined ? undefined : current + plan.expected,
        allowedVersions: plan.allowed?.map((by) => current + by),
      };
      outcomes.push(model.post(command, `new ${index}`));
      return command;
    });
    return { opening, earlier, commands, outcomes, model };
  });

/** A decision in the test's own form. A transaction of the same batch is named by its place, an old one by its id. */
function outcomeOf(decision: Decision, transactions: readonly (Transaction | undefined)[]): Outcome {
  if (decision.accepted) {
    const { balanceAfter, versionAfter } = decision.effects.transactions[0] as Transaction;
    return { accepted: true, balance: balanceAfter, version: versionAfter };
  }
  const { rejection } = decision;
  if ('original' in rejection && 'transactionId' in rejection.original) {
    const { transactionId } = rejection.original;
    const place = transactions.findIndex((transaction) => transaction?.transactionId === transactionId);
    return {
      refused: rejection.code,
      first: place >= 0 ? `new ${place}` : `old ${rejection.original.transactionId}`,
    };
  }
  if ('currentVersion' in rejection)
    return { refused: rejection.code, version: rejection.currentVersion ?? undefined };
  return { refused: rejection.code };
}

function outcomesOf(decisions: readonly (Decision | undefined)[]): Outcome[] {
  const transactions = decisions.map((decision) =>
    decision?.accepted === true ? decision.effects.transactions[0] : undefined,
  );
  return decisions.map((decision) => outcomeOf(decision as Decision, transactions));
}

describe('keyOf', () => {
  it('gives different names to different pairs of account and key', () => {
    const pair = fc.tuple(fc.integer({ min: 1, max: 120 }), fc.constantFrom(...KEYS, '1:1', ':', '0:a'));
    fc.assert(
      fc.property(pair, pair, ([accountA, keyA], [accountB, keyB]) => {
        expect(keyOf(accountA, keyA) === keyOf(accountB, keyB)).toBe(accountA === accountB && keyA === keyB);
      }),
      { numRuns: 500 },
    );
  });
});

describe('decideBatch: examples', () => {
  const opening = new Map<number, LedgerAccount>([
    [1, accountWith({ accountId: 1, balance: 1_000n, version: 3 })],
    [2, accountWith({ accountId: 2, balance: 0n, version: 1 })],
  ]);

  it('lets a later command see the effect of an earlier one', () => {
    const { decisions, accounts } = decideBatch(
      [
        { accountId: 1, type: 'debit', amount: 1_000n },
        { accountId: 1, type: 'debit', amount: 1n },
        { accountId: 1, type: 'credit', amount: 5n, expectedVersion: 4 },
      ],
      opening,
      new Map(),
    );
    expect(outcomesOf(decisions)).toEqual([
      { accepted: true, balance: 0n, version: 4 },
      { refused: 'INSUFFICIENT_BALANCE' },
      { accepted: true, balance: 5n, version: 5 },
    ]);
    expect(accounts.get(1)).toEqual(accountWith({ accountId: 1, balance: 5n, version: 5 }));
    expect(accounts.get(2)).toEqual(opening.get(2));
  });

  it('limits the scope of a key to its account', () => {
    const deposit = { type: 'credit', amount: 5n, idempotencyKey: 'k' } as const;
    const { decisions } = decideBatch(
      [
        { accountId: 1, ...deposit },
        { accountId: 2, ...deposit },
        { accountId: 1, ...deposit },
      ],
      opening,
      new Map([[keyOf(2, 'other'), { transactionId: 4, type: 'credit', amount: 5n, decimals: 2 }]]),
    );
    expect(outcomesOf(decisions)).toEqual([
      { accepted: true, balance: 1_005n, version: 4 },
      { accepted: true, balance: 5n, version: 2 },
      { refused: 'DUPLICATE_TRANSACTION', first: 'new 0' },
    ]);
  });

  it('gives a duplicate in the same batch the id of the original', () => {
    const deposit = { accountId: 1, type: 'credit', amount: 5n, idempotencyKey: 'k' } as const;
    const { decisions, transactions } = decideBatch([deposit, deposit], opening, new Map());
    expect(transactions).toHaveLength(1);
    expect(decisions[1]).toMatchObject({
      rejection: {
        code: 'DUPLICATE_TRANSACTION',
        original: { transactionId: transactions[0]?.transactionId },
      },
    });
  });

  it('leaves a key free when the command that used it was rejected', () => {
    const command = { accountId: 1, type: 'debit', amount: 1_001n, idempotencyKey: 'k' } as const;
    const { decisions } = decideBatch(
      [
        command,
        { ...command, amount: 1n, expectedVersion: 9 },
        { ...command, amount: 1n, allowedVersions: [] },
        { ...command, amount: 1n },
      ],
      opening,
      new Map(),
    );
    expect(outcomesOf(decisions)).toEqual([
      { refused: 'INSUFFICIENT_BALANCE' },
      { refused: 'VERSION_MISMATCH', version: 3 },
      { refused: 'PRECONDITION_FAILED', version: 3 },
      { accepted: true, balance: 999n, version: 4 },
    ]);
  });

  it('rejects a command for an account that was not locked', () => {
    const { decisions } = decideBatch([{ accountId: 3, type: 'credit', amount: 1n }], opening, new Map());
    expect(outcomesOf(decisions)).toEqual([{ refused: 'ACCOUNT_NOT_FOUND' }]);
  });
});

describe('decideBatch: properties', () => {
  const runs = { numRuns: 400 };

  it('decides each command as the model does', () => {
    const seen = new Set<string>();
    fc.assert(
      fc.property(scenario, ({ opening, earlier, commands, outcomes, model }) => {
        const { decisions, accounts } = decideBatch(commands, opening, earlier);
        expect(outcomesOf(decisions)).toEqual(outcomes);
        for (const account of accounts.values()) {
          expect(account.balance).toBe(model.balance(account.accountId));
          expect(account.version).toBe(model.version(account.accountId));
        }
        for (const outcome of outcomes) seen.add('refused' in outcome ? outcome.refused : 'accepted');
      }),
      { numRuns: 1_000 },
    );
    // A property that never meets these rejections would prove little.
    expect([...seen].sort()).toEqual([
      'ACCOUNT_NOT_FOUND',
      'BALANCE_LIMIT_EXCEEDED',
      'DUPLICATE_TRANSACTION',
      'IDEMPOTENCY_KEY_REUSED',
      'INSUFFICIENT_BALANCE',
      'PRECONDITION_FAILED',
      'VERSION_MISMATCH',
      'accepted',
    ]);
  });

  it('keeps every balance from zero to the limit, and equal to opening + credits - debits', () => {
    fc.assert(
      fc.property(scenario, ({ opening, earlier, commands }) => {
        const { accounts, transactions } = decideBatch(commands, opening, earlier);
        for (const [accountId, account] of accounts) {
          const own = transactions.filter((transaction) => transaction.accountId === accountId);
          let expected = opening.get(accountId)?.balance ?? -1n;
          for (const transaction of own) {
            expected += transaction.type === 'credit' ? transaction.amount : -transaction.amount;
            expect(transaction.balanceAfter).toBe(expected);
            expect(expected >= 0n && expected <= MAX_MONEY).toBe(true);
          }
          expect(account.balance).toBe(expected);
        }
      }),
      runs,
    );
  });

  it('numbers the versions of each account without a gap', () => {
    fc.assert(
      fc.property(scenario, ({ opening, earlier, commands }) => {
        const { accounts, transactions } = decideBatch(commands, opening, earlier);
        for (const [accountId, account] of accounts) {
          const first = opening.get(accountId)?.version ?? 0;
          const own = transactions.filter((transaction) => transaction.accountId === accountId);
          expect(own.map((transaction) => transaction.versionAfter)).toEqual(
            own.map((_, index) => first + 1 + index),
          );
          expect(account.version).toBe(first + own.length);
        }
      }),
      runs,
    );
  });

  it('applies a key at most once per account', () => {
    fc.assert(
      fc.property(scenario, ({ opening, earlier, commands }) => {
        const { transactions } = decideBatch(commands, opening, earlier);
        const used = transactions
          .filter((transaction) => transaction.idempotencyKey !== undefined)
          .map((transaction) => JSON.stringify([transaction.accountId, transaction.idempotencyKey]));
        expect(new Set(used).size).toBe(used.length);
      }),
      runs,
    );
  });

  it('gives the same result without the rejected commands', () => {
    fc.assert(
      fc.property(scenario, ({ opening, earlier, commands }) => {
        const all = decideBatch(commands, opening, earlier);
        const accepted = commands.filter((_, index) => all.decisions[index]?.accepted);
        const without = decideBatch(accepted, opening, earlier);
        expect(without.decisions.every((decision) => decision?.accepted === true)).toBe(true);
        expect(without.transactions).toEqual(all.transactions);
        expect(without.accounts).toEqual(all.accounts);
      }),
      runs,
    );
  });

  it('gives the same result when the sequence is split into batches anywhere', () => {
    const cuts = fc.array(fc.nat({ max: 40 }), { maxLength: 6 });
    fc.assert(
      fc.property(scenario, cuts, ({ opening, earlier, commands, outcomes }, places) => {
        const bounds = [
          0,
          ...places.map((place) => place % commands.length).sort((a, b) => a - b),
          commands.length,
        ];
        let accounts: Accounts = opening;
        let firstId = 1;
        const keys = new Map(earlier);
        const decisions: (Decision | undefined)[] = [];
        bounds.slice(1).forEach((end, index) => {
          const ids = Array.from({ length: commands.length }, (_, n) => firstId + n);
          firstId += commands.length;
          const known = knowledgeOf(accounts.values(), { keyed: keys, ids });
          const part = batch.decideBatch(commands.slice(bounds[index], end), known, NOTHING_SKIPPED);
          for (const transaction of part.transactions) {
            const { accountId, idempotencyKey } = transaction;
            if (idempotencyKey !== undefined) keys.set(keyOf(accountId, idempotencyKey), transaction);
          }
          accounts = part.accounts;
          decisions.push(...part.decisions);
        });
        expect(outcomesOf(decisions)).toEqual(outcomes);
        expect(accounts).toEqual(decideBatch(commands, opening, earlier).accounts);
      }),
      runs,
    );
  });

  it('leaves its arguments as they were', () => {
    fc.assert(
      fc.property(scenario, ({ opening, earlier, commands }) => {
        const before = structuredClone({ opening, earlier, commands });
        decideBatch(commands, opening, earlier);
        expect({ opening, earlier, commands }).toEqual(before);
      }),
      runs,
    );
  });
});

describe('decideAtomically', () => {
  const fresh = ({ accountId, idempotencyKey }: PostingCommand, before: readonly PostingCommand[]) =>
    idempotencyKey === undefined ||
    !before.some((other) => other.accountId === accountId && other.idempotencyKey === idempotencyKey);

  it('applies what decideBatch would if nothing is rejected; otherwise nothing, and names what stopped it', () => {
    const seen = { applied: 0, stopped: 0 };
    fc.assert(
      fc.property(scenario, fc.nat({ max: 4 }), ({ opening, earlier, commands: all, outcomes }, length) => {
        const commands = all.slice(0, length + 1);
        fc.pre(commands.every((command, index) => fresh(command, commands.slice(0, index))));
        const decision = decideAtomically(commands, opening, earlier);
        const stopped = outcomes.slice(0, commands.length).findIndex((outcome) => 'refused' in outcome);
        if (stopped === -1) {
          seen.applied += 1;
          expect(decision).toEqual(decideBatch(commands, opening, earlier));
          expect(decision.transactions).toHaveLength(commands.length);
          return;
        }
        seen.stopped += 1;
        expect(decision).toMatchObject({ transactions: [], accounts: opening });
        const codeOf = (outcome: Outcome | undefined, index: number) =>
          outcome &&
          'refused' in outcome &&
          (index === stopped || outcome.refused === 'DUPLICATE_TRANSACTION')
            ? outcome.refused
            : 'NOT_APPLIED';
        expect(decision.decisions).toEqual(
          commands.map((_, index): unknown => {
            const code = codeOf(outcomes[index], index);
            return {
              ...{ accepted: false, rejection: expect.objectContaining({ code }) },
              ...(/^(DUPLICATE|IDEMPOTENCY)/.test(code) && { repeated: true }),
            };
          }),
        );
      }),
      { numRuns: 1_000 },
    );
    expect(seen.applied).toBeGreaterThan(20);
    expect(seen.stopped).toBeGreaterThan(20);
  });
});
