import { describe, expect, it } from '@jest/globals';
import type { Receipt } from './account.js';
import { problemsOf, versionsOfOthers, type Books } from './books.js';
import type { Outcome, Withdrawal } from './withdrawals.js';

const AMOUNT = 150_00n;

const receipt = (version: number, newBalance: bigint, more: Partial<Receipt> = {}): Receipt => ({
  ...{ id: `txn${version}`, type: 'Withdraw', amount: AMOUNT, newBalance, newVersion: version },
  ...more,
});
const withdrawal = (number: number, outcome: Outcome): Withdrawal => ({
  ...{ number, key: `key-${number}`, sent: 1, ms: 5, outcome },
});
const accepted = (number: number, of: Receipt) =>
  withdrawal(number, { kind: 'accepted', status: 201, receipt: of });

const [FIRST, SECOND] = [receipt(3, 250_00n), receipt(4, 100_00n)];
const REFUSED = withdrawal(3, { kind: 'refused', status: 422, error: 'Insufficient Balance' });
const WITHDRAWALS = [accepted(1, FIRST), accepted(2, SECOND), REFUSED];
/** Two of three withdrawals of 150.00 from 400.00. */
const BOOKS: Books = {
  before: { balance: 400_00n, version: 2 },
  after: { balance: 100_00n, version: 4 },
  listed: [SECOND, FIRST],
  keys: new Map([
    [3, 'key-1'],
    [4, 'key-2'],
  ]),
};
/** Somebody else deposits 1.00 between the two. */
const BESIDE: Books = {
  before: BOOKS.before,
  after: { balance: 101_00n, version: 5 },
  listed: [receipt(5, 101_00n), receipt(4, 251_00n, { type: 'Deposit', amount: 1_00n }), FIRST],
  keys: new Map([
    [3, 'key-1'],
    [5, 'key-2'],
  ]),
};

describe('the check of the books', () => {
  it('finds nothing in books that are right', () => {
    expect(problemsOf(BOOKS, WITHDRAWALS, AMOUNT)).toEqual([]);
    expect(versionsOfOthers(BOOKS, WITHDRAWALS)).toEqual([]);
  });

  it('finds nothing when others post to the account, and names their versions', () => {
    const withdrawals = [accepted(1, FIRST), accepted(2, receipt(5, 101_00n)), REFUSED];
    expect(problemsOf(BESIDE, withdrawals, AMOUNT)).toEqual([]);
    expect(versionsOfOthers(BESIDE, withdrawals)).toEqual([4]);
  });

  it.each<[string, Partial<Books>, readonly Withdrawal[], string]>([
    [
      'a lost update',
      { after: { balance: 250_00n, version: 3 }, listed: [FIRST], keys: new Map([[3, 'key-1']]) },
      [accepted(1, FIRST), accepted(2, { ...FIRST, id: 'txn4' }), REFUSED],
      'The balance is 250.00. 400.00 less 2 accepted withdrawals of 150.00 is 100.00.',
    ],
    [
      'a cent too much',
      { after: { balance: 99_99n, version: 4 } },
      WITHDRAWALS,
      'The last transaction left 100.00, but the balance is 99.99.',
    ],
    ['a gap of versions', { listed: [SECOND] }, WITHDRAWALS, 'Version 3 is listed 0 times.'],
    [
      'a transaction that is listed twice',
      { listed: [SECOND, SECOND, FIRST] },
      WITHDRAWALS,
      'Version 4 is listed 2 times.',
    ],
    [
      'a balance that does not follow',
      { listed: [SECOND, receipt(3, 250_01n)] },
      WITHDRAWALS,
      'txn3 is listed with the balance 250.01. After version 2, a Withdraw of 150.00 leaves 250.00.',
    ],
    [
      'a balance below zero',
      { listed: [receipt(4, -50_00n), receipt(3, 100_00n)], after: { balance: -50_00n, version: 4 } },
      WITHDRAWALS,
      'txn4 leaves a balance below zero: -50.00.',
    ],
    [
      'an acknowledged one that is missing',
      { after: { balance: 250_00n, version: 3 }, listed: [FIRST], keys: new Map([[3, 'key-1']]) },
      WITHDRAWALS,
      'Request 2 was accepted with version 4, but not posted.',
    ],
    [
      'one that is listed otherwise than answered',
      {},
      [accepted(1, FIRST), accepted(2, { ...SECOND, newBalance: 100_01n }), REFUSED],
      'Request 2 was accepted as txn4, but is not listed once and as it was answered.',
    ],
    [
      'the receipt of another amount',
      {},
      [accepted(1, FIRST), accepted(2, { ...SECOND, amount: 15_00n }), REFUSED],
      'Request 2 was answered with txn4, a transaction of another kind.',
    ],
    [
      'one that was applied twice',
      { ...BESIDE, keys: new Map([3, 4, 5].map((version) => [version, version === 3 ? 'key-1' : 'key-2'])) },
      [accepted(1, FIRST), accepted(2, receipt(5, 101_00n)), REFUSED],
      'Request 2 was accepted with version 5, but posted with version 4 and 5.',
    ],
    [
      'a refused one that was posted',
      { ...BESIDE, keys: new Map([3, 4, 5].map((version, index) => [version, `key-${[1, 3, 2][index]}`])) },
      [accepted(1, FIRST), accepted(2, receipt(5, 101_00n)), REFUSED],
      'Request 3 was refused (422 Insufficient Balance), but posted with version 4.',
    ],
    [
      'a refusal without reason',
      { after: { balance: 250_00n, version: 3 }, listed: [FIRST], keys: new Map([[3, 'key-1']]) },
      [accepted(1, FIRST), REFUSED],
      'Request 3 was refused (422 Insufficient Balance), but the balance never was less than 250.00.',
    ],
    [
      'an answer that leaves the outcome open',
      {},
      [...WITHDRAWALS, withdrawal(4, { kind: 'unknown', status: 500, error: 'Internal error' })],
      'Request 4 has the answer "500 Internal error", which leaves open what became of it: it was not posted.',
    ],
  ])('finds %s', (_, books, withdrawals, problem) => {
    expect(problemsOf({ ...BOOKS, ...books }, withdrawals, AMOUNT)).toContain(problem);
  });
});
