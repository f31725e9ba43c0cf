import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { accountWith, knowledgeOf, NOW } from './knowledge.fixture.js';
import type { LedgerAccount } from './account.js';
import { Books, keyOf } from './books.js';
import type { PostingCommand } from './command.js';
import { decide as decideOn } from './decide.js';
import type { Rejection } from './errors.js';
import { MAX_MONEY } from './money.js';
import type { KeyedTransaction, Transaction } from './transaction.js';

const ACCOUNT = accountWith({ accountId: 5, balance: 10_000n, version: 7 });
const DEPOSIT: PostingCommand = { accountId: 5, type: 'credit', amount: 4_900n };
const WITHDRAWAL: PostingCommand = { accountId: 5, type: 'debit', amount: 4_900n };
const EARLIER: KeyedTransaction = { transactionId: 131, type: 'credit', amount: 4_900n, decimals: 2 };

type Decision =
  | { readonly accepted: true; readonly transaction: Transaction }
  | { readonly accepted: false; readonly rejection: Rejection };

/** Decides one posting on one account. */
function decide(account: LedgerAccount, command: PostingCommand, earlier?: KeyedTransaction): Decision {
  const keyed = new Map(earlier && [[keyOf(account.accountId, command.idempotencyKey ?? ''), earlier]]);
  const decision = decideOn(command, new Books(knowledgeOf([account], { keyed })));
  if (!decision.accepted) return decision;
  expect(decision.effects).toMatchObject({ holds: [], changes: [], transactions: [expect.anything()] });
  return { accepted: true, transaction: decision.effects.transactions[0] as Transaction };
}

function rejectionOf(account: LedgerAccount, command: PostingCommand, earlier?: KeyedTransaction) {
  const decision = decide(account, command, earlier);
  return decision.accepted ? 'accepted' : decision.rejection;
}

describe('decide: what is accepted', () => {
  it('adds a deposit and increments the version', () => {
    expect(decide(ACCOUNT, { ...DEPOSIT, idempotencyKey: 'k' })).toEqual({
      accepted: true,
      transaction: {
        transactionId: 101,
        timestamp: NOW,
        accountId: 5,
        type: 'credit',
        amount: 4_900n,
        balanceAfter: 14_900n,
        heldAfter: 0n,
        versionAfter: 8,
        decimals: 2,
        idempotencyKey: 'k',
      },
    });
  });

  it('subtracts a withdrawal and increments the version', () => {
    const decision = decide(ACCOUNT, WITHDRAWAL);
    expect(decision).toMatchObject({
      accepted: true,
      transaction: { balanceAfter: 5_100n, versionAfter: 8 },
    });
  });

  it('allows a withdrawal of the whole balance, down to zero', () => {
    const decision = decide(ACCOUNT, { ...WITHDRAWAL, amount: 10_000n });
    expect(decision).toMatchObject({ accepted: true, transaction: { balanceAfter: 0n } });
  });

  it('allows a deposit up to the limit of DECIMAL(18,2)', () => {
    const decision = decide(ACCOUNT, { ...DEPOSIT, amount: MAX_MONEY - 10_000n });
    expect(decision).toMatchObject({ accepted: true, transaction: { balanceAfter: MAX_MONEY } });
  });

  it.each([
    ['the current expectedVersion', { expectedVersion: 7 }],
    ['the current version in If-Match', { allowedVersions: [7] }],
    ['the current version among others in If-Match', { allowedVersions: [1, 7, 9] }],
    ['both', { expectedVersion: 7, allowedVersions: [7] }],
  ])('accepts %s', (_, versions) => {
    expect(decide(ACCOUNT, { ...DEPOSIT, ...versions }).accepted).toBe(true);
  });
});

describe('decide rejects', () => {
  it('a withdrawal one cent over the balance', () => {
    expect(rejectionOf(ACCOUNT, { ...WITHDRAWAL, amount: 10_001n })).toEqual({
      code: 'INSUFFICIENT_BALANCE',
    });
  });

  it('a deposit one cent over the limit', () => {
    const command = { ...DEPOSIT, amount: MAX_MONEY - 9_999n };
    expect(rejectionOf(ACCOUNT, command)).toEqual({ code: 'BALANCE_LIMIT_EXCEEDED' });
  });

  it.each([6, 8, 1, Number.MAX_SAFE_INTEGER])(
    'expectedVersion %p, and names the current one',
    (expectedVersion) => {
      expect(rejectionOf(ACCOUNT, { ...DEPOSIT, expectedVersion })).toEqual({
        code: 'VERSION_MISMATCH',
        currentVersion: 7,
      });
    },
  );

  it.each([[[]], [[6]], [[6, 8]]])(
    'If-Match of versions %j, and names the current one',
    (allowedVersions) => {
      expect(rejectionOf(ACCOUNT, { ...DEPOSIT, allowedVersions })).toEqual({
        code: 'PRECONDITION_FAILED',
        currentVersion: 7,
      });
    },
  );

  it('the retry of a posting as a duplicate that names the first', () => {
    expect(rejectionOf(ACCOUNT, { ...DEPOSIT, idempotencyKey: 'k' }, EARLIER)).toEqual({
      code: 'DUPLICATE_TRANSACTION',
      original: { transactionId: 131 },
    });
  });

  it.each([
    ['another amount', { ...DEPOSIT, amount: 4_901n }],
    ['another type', { ...DEPOSIT, type: 'debit' as const }],
  ])('a used key with %s as reused', (_, command) => {
    expect(rejectionOf(ACCOUNT, { ...command, idempotencyKey: 'k' }, EARLIER)).toEqual({
      code: 'IDEMPOTENCY_KEY_REUSED',
      original: { transactionId: 131 },
    });
  });
});

describe('decide: a used key', () => {
  it.each([
    ['transfer', { type: 'debit', transferId: 130, fingerprint: '1' }, { transferId: 130 }],
    ['hold', { type: 'hold', holdId: 131, fingerprint: '1' }, { holdId: 131 }],
    ['capture', { type: 'debit', holdId: 120, fingerprint: '1' }, { transactionId: 131 }],
  ] as const)('of a %s names that', (_, links, original) => {
    const earlier: KeyedTransaction = { ...EARLIER, ...links };
    expect(rejectionOf(ACCOUNT, { ...DEPOSIT, idempotencyKey: 'k' }, earlier)).toEqual({
      code: 'IDEMPOTENCY_KEY_REUSED',
      original,
    });
  });
});

describe('decide: the order of checks is key, version, balance', () => {
  const overdraft: PostingCommand = { ...WITHDRAWAL, amount: 10_001n };

  it('a duplicate stays a duplicate, whatever version and balance have become', () => {
    const earlier: KeyedTransaction = { transactionId: 9, type: 'debit', amount: 10_001n, decimals: 2 };
    const retry = { ...overdraft, idempotencyKey: 'k', expectedVersion: 6, allowedVersions: [6] };
    expect(rejectionOf(ACCOUNT, retry, earlier)).toEqual({
      code: 'DUPLICATE_TRANSACTION',
      original: { transactionId: 9 },
    });
  });

  it('a reused key comes before a wrong version and a short balance', () => {
    const reuse = { ...overdraft, idempotencyKey: 'k', expectedVersion: 6, allowedVersions: [6] };
    expect(rejectionOf(ACCOUNT, reuse, EARLIER)).toMatchObject({ code: 'IDEMPOTENCY_KEY_REUSED' });
  });

  it('a wrong version comes before a short balance and before the limit', () => {
    const overLimit: PostingCommand = { ...DEPOSIT, amount: MAX_MONEY };
    for (const command of [overdraft, overLimit]) {
      expect(rejectionOf(ACCOUNT, { ...command, expectedVersion: 6 })).toMatchObject({
        code: 'VERSION_MISMATCH',
      });
      expect(rejectionOf(ACCOUNT, { ...command, allowedVersions: [6] })).toMatchObject({
        code: 'PRECONDITION_FAILED',
      });
    }
  });

  it('If-Match comes before expectedVersion', () => {
    const both = { ...DEPOSIT, expectedVersion: 6, allowedVersions: [6] };
    expect(rejectionOf(ACCOUNT, both)).toMatchObject({ code: 'PRECONDITION_FAILED' });
    expect(rejectionOf(ACCOUNT, { ...both, allowedVersions: [7] })).toMatchObject({
      code: 'VERSION_MISMATCH',
    });
  });
});

describe('decide: properties', () => {
  const near = (limit: bigint) => fc.bigInt({ min: limit > 50n ? limit - 50n : 0n, max: limit });
  const amount = fc.oneof(fc.bigInt({ min: 1n, max: MAX_MONEY }), fc.bigInt({ min: 1n, max: 100n }));
  const account = fc
    .record({
      accountId: fc.constant(5),
      balance: fc.oneof(near(60n), near(MAX_MONEY), fc.bigInt({ min: 0n, max: MAX_MONEY })),
      version: fc.integer({ min: 1, max: 1_000 }),
    })
    .map(accountWith);
  const type = fc.constantFrom('credit' as const, 'debit' as const);

  it('accepts exactly what keeps the balance from zero to the limit, and books it exactly', () => {
    fc.assert(
      fc.property(account, type, amount, (opening, direction, cents) => {
        const decision = decide(opening, { accountId: 5, type: direction, amount: cents });
        const expected = direction === 'credit' ? opening.balance + cents : opening.balance - cents;
        const fits = expected >= 0n && expected <= MAX_MONEY;
        expect(decision.accepted).toBe(fits);
        if (!decision.accepted) return;
        expect(decision.transaction.balanceAfter).toBe(expected);
        expect(decision.transaction.versionAfter).toBe(opening.version + 1);
      }),
      { numRuns: 500 },
    );
  });

  it('changes neither the account nor the command nor the earlier transaction', () => {
    fc.assert(
      fc.property(account, type, amount, fc.boolean(), (opening, direction, cents, known) => {
        const command = Object.freeze({ accountId: 5, type: direction, amount: cents, idempotencyKey: 'k' });
        const frozen = Object.freeze({ ...opening });
        const decision = decide(frozen, command, known ? Object.freeze({ ...EARLIER }) : undefined);
        expect(decide(frozen, command, known ? EARLIER : undefined)).toEqual(decision);
        expect(frozen).toEqual(opening);
      }),
    );
  });
});
