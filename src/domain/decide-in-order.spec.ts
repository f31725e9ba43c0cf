import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { keyOf, type KeyUse } from './books.js';
import { accountsOf, requestFingerprint, type Command } from './command.js';
import { decideBatch, decideInOrder } from './decide-batch.js';
import { accountWith, knowledgeOf } from './knowledge.fixture.js';

const ACCOUNTS = [1, 2, 3, 4];
const opened = ACCOUNTS.map((accountId) => accountWith({ accountId, balance: 5_00n, version: 1 }));

const posting = (accountId: number, type: 'credit' | 'debit', amount: bigint, key?: string): Command => ({
  ...{ accountId, type, amount, submitted: true },
  ...(key !== undefined && { idempotencyKey: key }),
});

const transfer = (from: number, to: number): Command => ({
  ...{ type: 'transfer', accountId: from, submitted: true },
  legs: [
    { accountId: from, type: 'debit', amount: 1n },
    { accountId: to, type: 'credit', amount: 1n },
  ],
});

const command = fc.oneof(
  fc
    .tuple(
      fc.constantFrom(...ACCOUNTS, 99),
      fc.constantFrom('credit' as const, 'debit' as const),
      fc.constantFrom(1_00n, 4_00n, 9_00n),
      fc.option(fc.constantFrom('a', 'b'), { nil: undefined }),
    )
    .map(([accountId, type, amount, key]) => posting(accountId, type, amount, key)),
  fc
    .uniqueArray(fc.constantFrom(...ACCOUNTS), { minLength: 2, maxLength: 2 })
    .map(([from = 1, to = 2]) => transfer(from, to)),
);

describe('deciding in order', () => {
  it('decides nothing before what comes earlier on any of its accounts, and all else as a batch does', () => {
    fc.assert(
      fc.property(
        fc.array(command, { maxLength: 20 }),
        fc.uniqueArray(fc.constantFrom(...ACCOUNTS)),
        (commands, skippedIds) => {
          const skipped = new Set(skippedIds);
          const known = knowledgeOf(opened.filter(({ accountId }) => !skipped.has(accountId)));
          const { decisions, transactions, refusals } = decideInOrder(commands, known, skipped);
          // Slowly: each waits for an earlier one that shares an account with it and waits, or for a locked row.
          const waits: boolean[] = [];
          for (const [index, each] of commands.entries()) {
            const ids = accountsOf(each);
            const behind = commands.some(
              (earlier, at) =>
                at < index && waits[at] === true && accountsOf(earlier).some((id) => ids.includes(id)),
            );
            waits.push(behind || ids.some((id) => skipped.has(id)));
          }
          expect(decisions.map((decision) => decision === undefined)).toEqual(waits);
          const free = commands.filter((_, index) => waits[index] === false);
          const expected = decideBatch(free, known, new Set());
          expect(decisions.filter((decision) => decision !== undefined)).toEqual(expected.decisions);
          expect({ transactions, refusals }).toEqual({
            transactions: expected.transactions,
            refusals: expected.refusals,
          });
        },
      ),
    );
  });
});

describe('a refused submission', () => {
  const known = (keyed: ReadonlyMap<string, KeyUse> = new Map()) => knowledgeOf(opened, { keyed });
  const nothing = new Set<number>();
  const insufficient = { code: 'INSUFFICIENT_BALANCE' };

  it('is recorded once, and answers its repeats, also within the batch', () => {
    const much = posting(1, 'debit', 9_00n, 'k');
    const batch = [much, posting(1, 'credit', 9_00n), much, posting(1, 'debit', 1_00n, 'k')];
    const { decisions, refusals } = decideBatch(batch, known(), nothing);
    const fingerprint = requestFingerprint({
      type: 'debit',
      amount: 9_00n,
      decimals: 2,
      fingerprint: undefined,
    });
    expect(refusals).toEqual([{ accountId: 1, idempotencyKey: 'k', rejection: insufficient, fingerprint }]);
    expect(
      decisions.map((decision) => decision?.accepted === false && [decision.rejection, decision.repeated]),
    ).toEqual([
      [insufficient, undefined],
      false,
      [insufficient, true],
      [{ code: 'IDEMPOTENCY_KEY_REUSED', original: { refused: true } }, true],
    ]);
    const later = decideBatch(
      [{ ...much, submitted: false }],
      known(new Map([[keyOf(1, 'k'), refusals[0] as KeyUse]])),
      nothing,
    );
    expect(later.decisions).toEqual([{ accepted: false, rejection: insufficient, repeated: true }]);
  });

  it('leaves no trace of an account that does not exist, without a key, or when it was not submitted', () => {
    const commands = [
      posting(99, 'credit', 1n, 'k'),
      posting(1, 'debit', 9_00n),
      { ...posting(1, 'debit', 9_00n, 'k'), submitted: false },
    ];
    expect(decideBatch(commands, known(), nothing).refusals).toEqual([]);
  });

  it('may be refused without being looked at, unless its key is used', () => {
    const refusal: Command = {
      ...{ type: 'refusal', accountId: 1, idempotencyKey: 'k', submitted: true, fingerprint: undefined },
      rejection: { code: 'SUBMISSION_DISCARDED' },
    };
    const { refusals, decisions } = decideBatch([posting(1, 'credit', 1n, 'k'), refusal], known(), nothing);
    expect([refusals, decisions[1]]).toMatchObject([[], { accepted: false, repeated: true }]);
    const alone = decideBatch([refusal, posting(1, 'credit', 1n, 'k')], known(), nothing);
    expect(alone.refusals).toHaveLength(1);
    // What was submitted is not known, so any request may be its repeat.
    expect(alone.decisions[1]).toMatchObject({ rejection: { code: 'SUBMISSION_DISCARDED' }, repeated: true });
  });
});
