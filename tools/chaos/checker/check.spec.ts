import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import type { Answer, AnswerBody, Entry, FaultBegan, Operation } from './history.js';
import { booksOf, operationOf, type Books, type Posting } from './books.js';
import { check } from './check.js';
import type { Arrival } from './check-events.js';
import type { Rule } from './rules.js';

const ACCOUNT = 1;
const OPENING = 1;
const CREDIT = 50;
const DEBIT = 20;

/** The evidence of a run: account 1 is opened with 0.01, gets 0.50 and pays 0.20. Each test spoils one thing. */
interface Scene {
  history: Entry[];
  postings: Posting[];
  account: { balance: number; version: number };
  arrivals: Arrival[];
}

const posting = (
  id: string,
  type: string,
  amount: number,
  balance: number,
  version: number,
  key?: string,
): Posting => {
  const links = { transferId: undefined, holdId: undefined, reverses: undefined };
  const row = {
    id,
    accountId: ACCOUNT,
    type,
    amount,
    balance,
    version,
    key,
    held: 0,
    time: version,
    ...links,
  };
  return { ...row, op: operationOf(row, undefined) };
};

const arrival = (
  id: string,
  type: string,
  amount: string,
  balance: string,
  version: number,
  idempotencyKey?: string,
): Arrival => ({
  ...{ id, type: 'transaction.posted.v1' },
  data: { transactionId: id, accountId: ACCOUNT, type, amount, balance, version, idempotencyKey },
});

const post = (type: 'credit' | 'debit', key?: string, expectedVersion?: number): Operation => ({
  ...{ kind: 'post', accountId: ACCOUNT, type },
  ...(key !== undefined && { key }),
  ...(expectedVersion !== undefined && { expectedVersion }),
});

let attempts = 0;

/** An operation with one request and its answer. */
function done(
  op: number,
  operation: Operation,
  status: number,
  body: AnswerBody = {},
  instance = 'api-1#1',
): Entry[] {
  return [{ at: 0, entry: 'intent', op, operation }, ...asked(op, status, body, instance)];
}

function asked(op: number, status: number, body: AnswerBody = {}, instance = 'api-1#1'): [Entry, Answer] {
  const attempt = ++attempts;
  return [
    { at: 0, entry: 'attempt', op, attempt, instance, sender: 'service' },
    { at: 0, entry: 'answer', op, attempt, status, body, retryAfter: status === 503 },
  ];
}

const accepted = (
  id: string,
  type: string,
  amount: number,
  balance: number,
  version: number,
): AnswerBody => ({
  ...{ id, type, amount, balance, version },
});

const read = (version: number, balance: number): AnswerBody => ({ version, balance });
const readOf = (more: object = {}): Operation => ({ kind: 'balance', accountId: ACCOUNT, ...more });

const faultOn = (shard: number, at = 0): FaultBegan => ({
  ...{ at, since: at, entry: 'fault', fault: 1, name: 'postgres-kill', target: 'postgres', shard },
});
const healed = (at: number): Entry => ({ at, entry: 'healed', fault: 1 });
const failedTransfer = () =>
  done(902, { kind: 'transfer', accountIds: [ACCOUNT, 2], asLegs: false }, 408, {
    ...{ error: 'Server Crashes', currentVersion: null },
  });
const failedRead = () => done(901, readOf(), 408, { error: 'Server Crashes', currentVersion: null });

function scene(): Scene {
  return {
    history: [
      ...done(OPENING, { kind: 'open', key: 'o' }, 201, { accountId: ACCOUNT, balance: OPENING, version: 2 }),
      ...done(CREDIT, post('credit', 'a'), 201, accepted('txn2', 'Deposit', CREDIT, 51, 3)),
      ...done(DEBIT, post('debit', undefined, 3), 201, accepted('txn3', 'Withdraw', DEBIT, 31, 4)),
      ...done(900, readOf(), 200, read(4, 31)),
    ],
    postings: [
      posting('txn1', 'credit', OPENING, 1, 2),
      posting('txn2', 'credit', CREDIT, 51, 3, 'a'),
      posting('txn3', 'debit', DEBIT, 31, 4),
    ],
    account: { balance: 31, version: 4 },
    arrivals: [
      arrival('txn1', 'Deposit', '0.01', '0.01', 2),
      arrival('txn2', 'Deposit', '0.50', '0.51', 3, 'a'),
      arrival('txn3', 'Withdraw', '0.20', '0.31', 4),
    ],
  };
}

function booksIn({ postings, account }: Scene): Books {
  const state = {
    accountId: ACCOUNT,
    ...account,
    held: 0,
    overdraftLimit: 0,
    status: 'open',
    revision: 0,
    owner: undefined,
  };
  const none = { events: [], holds: [], refusals: [], sent: [], arrived: [], unpublished: 0 };
  return booksOf([{ accounts: [state], postings, ...none }], 0, 2);
}

describe('the checker', () => {
  let folder: string;

  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'bank-checker-'));
  });

  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  async function broken(spoil: (scene: Scene) => void): Promise<Rule[]> {
    const spoilt = scene();
    spoil(spoilt);
    const history = join(folder, 'history.ndjson');
    writeFileSync(history, spoilt.history.map((entry) => `${JSON.stringify(entry)}\n`).join(''));
    const books = booksIn(spoilt);
    const evidence = { history, books, arrivals: spoilt.arrivals, cacheTtlMs: 1_000 };
    const { violations } = await check(evidence);
    return [...violations.byRule.keys()].sort();
  }

  const add =
    (...entries: Entry[][]) =>
    (spoilt: Scene) =>
      void spoilt.history.push(...entries.flat());

  it('finds nothing when nothing is wrong', async () => {
    expect(await broken(() => undefined)).toEqual([]);
  });

  it.each<[string, (spoilt: Scene) => void]>([
    [
      'a retry that is answered Duplicate',
      add(asked(CREDIT, 409, { error: 'Duplicate transaction', transactionId: 'txn2' })),
    ],
    [
      'a repeated opening that is answered Duplicate',
      add(asked(OPENING, 409, { error: 'Duplicate account', accountId: ACCOUNT })),
    ],
    [
      'another request under a used key',
      add(done(7, post('debit', 'a'), 422, { error: 'Idempotency key reused', transactionId: 'txn2' })),
    ],
    ['a withdrawal over the balance', add(done(500, post('debit'), 422, { error: 'Insufficient Balance' }))],
    [
      'a version that is not the current one',
      add(done(8, post('credit', 'b', 3), 409, { error: 'Version mismatch', currentVersion: 4 })),
    ],
    [
      'a failure that left nothing',
      add(done(9, post('credit', 'c'), 408, { error: 'Server Crashes', currentVersion: 4 })),
    ],
    ['an unknown outcome without a key', add(done(9, post('credit'), 0))],
    [
      'an unknown outcome that a retry settles',
      add(
        done(9, post('credit', 'c'), 503, { error: 'Outcome unknown' }),
        [{ at: 0, entry: 'quiet' }],
        asked(9, 422, { error: 'Insufficient Balance' }),
      ),
    ],
    [
      'a read of another instance that is older, while the cache was in trouble',
      add(done(901, readOf(), 200, read(3, 51), 'api-2#1'), [
        { at: 0, entry: 'cache-trouble', from: 0, instance: 'api-1#1' },
      ]),
    ],
    [
      'a process that was just started, which can not know a credential',
      add(done(901, readOf(), 503, { error: 'Credential store unavailable' }, 'api-1#2')),
    ],
    ['a 408 while its own shard is down, too', add([faultOn(1), { ...faultOn(0), fault: 2 }], failedRead())],
    [
      'a 408 just after its own shard was down',
      add([faultOn(0, -5_000), healed(-1), { ...faultOn(1), fault: 2 }], failedRead()),
    ],
    ['a 408 while nothing else is down', add(failedRead())],
    ['a 408 of a transfer while the shard of its target is down', add([faultOn(1)], failedTransfer())],
    [
      'an event that comes twice',
      (spoilt) => void spoilt.arrivals.splice(1, 0, ...spoilt.arrivals.slice(0, 2)),
    ],
  ])('has no objection to %s', async (_what, change) => {
    const objections = await broken(change);
    // Nobody withdraws in the scene of the settled outcome, so its rejection is checked elsewhere.
    expect(objections.filter((rule) => rule !== 'wrong-refusal')).toEqual([]);
  });

  it.each<[Rule, string, (spoilt: Scene) => void]>([
    [
      'acknowledged-lost',
      'a transaction that is gone',
      (spoilt) => {
        spoilt.postings.pop();
        Object.assign(spoilt.account, { balance: 51, version: 3 });
      },
    ],
    [
      'acknowledged-lost',
      'another balance than the one acknowledged',
      (spoilt) => {
        spoilt.history = spoilt.history.map((entry) =>
          entry.entry === 'answer' && entry.op === CREDIT
            ? { ...entry, body: { ...entry.body, balance: 52 } }
            : entry,
        );
      },
    ],
    [
      'applied-twice',
      'an operation that is in the books twice',
      (spoilt) => {
        spoilt.postings.push(posting('txn4', 'debit', DEBIT, 11, 5));
        Object.assign(spoilt.account, { balance: 11, version: 5 });
      },
    ],
    [
      'refused-but-applied',
      'a 408 that left a transaction',
      (spoilt) => {
        spoilt.history.push(...done(9, post('credit'), 408, { error: 'Server Crashes', currentVersion: 4 }));
        spoilt.postings.push(posting('txn4', 'credit', 9, 40, 5));
        Object.assign(spoilt.account, { balance: 40, version: 5 });
      },
    ],
    [
      'refused-but-applied',
      'a Duplicate of what was only refused',
      (spoilt) => {
        spoilt.history.push(...done(9, post('credit', 'c'), 503, { error: 'Overloaded' }));
        spoilt.history.push(...asked(9, 409, { error: 'Duplicate transaction', transactionId: 'txn4' }));
        spoilt.postings.push(posting('txn4', 'credit', 9, 40, 5, 'c'));
        Object.assign(spoilt.account, { balance: 40, version: 5 });
      },
    ],
    [
      'from-nowhere',
      'a transaction that nobody asked for',
      (spoilt) => {
        spoilt.postings.push(posting('txn4', 'credit', 77, 108, 5));
        Object.assign(spoilt.account, { balance: 108, version: 5 });
      },
    ],
    [
      'key-forgotten',
      'a retry that is answered with a mismatch',
      add(asked(CREDIT, 409, { error: 'Version mismatch', currentVersion: 4 })),
    ],
    [
      'key-forgotten',
      'a Duplicate that names another transaction',
      add(asked(CREDIT, 409, { error: 'Duplicate transaction', transactionId: 'txn3' })),
    ],
    [
      'key-forgotten',
      'a Duplicate that names the account of another opening',
      add(done(9, { kind: 'open', key: 'p' }, 409, { error: 'Duplicate account', accountId: ACCOUNT })),
    ],
    [
      'refused-but-applied',
      'a Duplicate of an opening that was only refused',
      (spoilt) => {
        spoilt.history.splice(
          0,
          3,
          ...done(OPENING, { kind: 'open', key: 'o' }, 408, { error: 'Server Crashes' }),
        );
        spoilt.history.push(...asked(OPENING, 409, { error: 'Duplicate account', accountId: ACCOUNT }));
      },
    ],
    [
      'wrong-refusal',
      'Insufficient Balance where there was enough',
      add(done(30, post('debit'), 422, { error: 'Insufficient Balance' })),
    ],
    [
      'wrong-refusal',
      'a mismatch with the version that was expected',
      add(done(8, post('credit', 'b', 4), 409, { error: 'Version mismatch', currentVersion: 4 })),
    ],
    [
      'wrong-refusal',
      'a current version of long ago',
      add(done(8, post('credit', 'b', 9), 409, { error: 'Version mismatch', currentVersion: 2 })),
    ],
    [
      'version-check',
      'a transaction that expected another version',
      (spoilt) => {
        spoilt.history = spoilt.history.map((entry) =>
          entry.entry === 'intent' && entry.op === DEBIT
            ? { ...entry, operation: post('debit', undefined, 2) }
            : entry,
        );
      },
    ],
    [
      'wrong-order',
      'a transaction with a version that was known before',
      (spoilt) => {
        const [opening, credit, debit] = [
          spoilt.history.slice(0, 3),
          spoilt.history.slice(3, 6),
          spoilt.history.slice(6, 9),
        ];
        spoilt.history = [...opening, ...debit, ...credit];
      },
    ],
    [
      'books-unsound',
      'a gap between versions',
      (spoilt) => (spoilt.postings[2] = posting('txn3', 'debit', DEBIT, 31, 5)),
    ],
    ['books-unsound', 'a balance that is not the sum', (spoilt) => (spoilt.account.balance = 32)],
    ['money-created', 'money that nobody brought', (spoilt) => (spoilt.account.balance = 32)],
    ['wrong-read', 'a balance that the account never had', add(done(901, readOf(), 200, read(4, 32)))],
    [
      'wrong-read',
      'a listing with a gap',
      add(
        done(901, { kind: 'list', accountId: ACCOUNT }, 200, {
          rows: [
            { id: 'txn3', type: 'Withdraw', amount: DEBIT, balance: 31, version: 4 },
            { id: 'txn1', type: 'Deposit', amount: OPENING, balance: 1, version: 2 },
          ],
        }),
      ),
    ],
    [
      'stale-read',
      'an instance that forgets what it acknowledged, in spite of trouble',
      add(done(901, readOf(), 200, read(3, 51)), [
        { at: 0, entry: 'cache-trouble', from: 0, instance: 'api-1#1' },
      ]),
    ],
    [
      'stale-read',
      'an older balance from another instance, without any trouble',
      add(done(901, readOf(), 200, read(3, 51), 'api-2#1')),
    ],
    [
      'stale-read',
      'a balance older than the least version',
      add(done(901, readOf({ minVersion: 4 }), 200, read(3, 51), 'api-2#1')),
    ],
    [
      'stale-read',
      'an older listing',
      add(
        done(901, { kind: 'list', accountId: ACCOUNT }, 200, {
          rows: [{ id: 'txn1', type: 'Deposit', amount: OPENING, balance: 1, version: 2 }],
        }),
      ),
    ],
    [
      'cache-differs',
      'an older balance at the end',
      add(done(901, readOf({ final: true }), 200, read(3, 51), 'api-2#1')),
    ],
    [
      'cache-differs',
      'a bank that answers 408 to the end',
      add(done(901, readOf({ final: true }), 408, { error: 'Server Crashes', currentVersion: null })),
    ],
    [
      'wrong-read',
      'a listing that ends too early',
      add(
        done(901, { kind: 'list', accountId: ACCOUNT }, 200, {
          rows: [{ id: 'txn3', type: 'Withdraw', amount: DEBIT, balance: 31, version: 4 }],
        }),
      ),
    ],
    [
      'wrong-refusal',
      'a 408 with a version that is none yet',
      add(done(9, post('credit', 'c'), 408, { error: 'Server Crashes', currentVersion: 7 })),
    ],
    ['event-missing', 'an event that never came', (spoilt) => void spoilt.arrivals.pop()],
    ['event-missing', 'events in the wrong order', (spoilt) => void spoilt.arrivals.reverse()],
    [
      'event-wrong',
      'an event with another amount',
      (spoilt) => (spoilt.arrivals[1] = arrival('txn2', 'Deposit', '0.51', '0.51', 3, 'a')),
    ],
    [
      'unexpected-answer',
      'a 500',
      add(
        done(9, post('credit', 'c'), 500, { error: 'Internal error' }),
        asked(9, 422, { error: 'Insufficient Balance' }),
      ),
    ],
    [
      'credential-refused',
      'a 404 for an account that is there',
      add(done(901, readOf(), 404, { error: 'Account not found' })),
    ],
    [
      'credential-refused',
      'a 401 for a good credential',
      add(done(901, readOf(), 401, { error: 'Unauthorized' })),
    ],
    [
      'credential-forgotten',
      'a credential that was good is not known any more',
      add(done(901, readOf(), 503, { error: 'Credential store unavailable' })),
    ],
    ['bulkhead', 'a 408 while nothing but the other shard is down', add([faultOn(1)], failedRead())],
    [
      'bulkhead',
      'a 408 long after its own shard was down',
      add([faultOn(0, -20_000), healed(-15_000), { ...faultOn(1), fault: 2 }], failedRead()),
    ],
    ['unresolved', 'an unknown outcome that nobody settled', add(done(9, post('credit', 'c'), 0))],
  ])('breaks %s: %s', async (rule, _what, spoil) => {
    expect(await broken(spoil)).toContain(rule);
  });
});
