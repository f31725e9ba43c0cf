import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { booksOf, type Posting, type RecordedRefusal, type Rows } from './checker/books.js';
import { check } from './checker/check.js';
import type {
  Answer,
  AnswerBody,
  Attempt,
  Entry,
  Follow,
  Operation,
  Submittable,
} from './checker/history.js';
import type { Rule } from './checker/rules.js';
import { TinyBank } from './tiny-bank.js';

/** What was accepted: two deposits to an account, a withdrawal that it can't bear, and one from a stranger's account. */
interface Scene {
  history: Entry[];
  readonly rows: Rows & { readonly postings: Posting[]; readonly refusals: RecordedRefusal[] };
  readonly first: Follow;
  readonly second: Follow;
  readonly poor: Follow;
  readonly foreign: Follow;
  readonly reuse: number;
}

const recorded = (accountId: number, key: string): RecordedRefusal => ({
  ...{ id: `refusal-${key}`, accountId, key, code: 'INSUFFICIENT_BALANCE', time: 0 },
});

const INSUFFICIENT = { error: 'Insufficient Balance', accountId: 1 };

function play(): Scene {
  const bank = new TinyBank();
  const open = (owner?: string) => bank.do({ kind: 'open', owner }).answer.accountId as number;
  const [accountId, strangers] = [open(), open('stranger')];
  const post = (type: 'credit' | 'debit', key: string, to = accountId): Submittable => ({
    ...{ kind: 'post', accountId: to, type, key },
  });
  // The amount of an operation is its number, so this one is by an owner, and more than the account has.
  const foreign = bank.submit(post('debit', 'foreign', strangers));
  const poor = bank.submit(post('debit', 'poor'));
  const first = bank.submit(post('credit', 'first'));
  bank.again(first.of, first.submitted, true);
  const second = bank.submit(post('credit', 'second'));
  bank.do(poor);
  bank.decideAll();
  for (const one of [first, second, poor, foreign]) bank.do(one);
  bank.again(first.of, first.submitted);
  bank.again(poor.of, poor.submitted);
  const reuse = bank.do(post('credit', 'poor')).op;
  const { history } = bank;
  return structuredClone({ history, rows: bank.rows(), first, second, poor, foreign, reuse }) as Scene;
}

const isFollowOf = (operation: Operation, { of }: Follow) =>
  operation.kind === 'follow' && operation.of === of;

/** The answer to the last request that asked what became of a submission. */
function told({ history }: Scene, submission: Follow): { body: AnswerBody; status: number } {
  const op = history.findLast(
    (entry) => entry.entry === 'intent' && isFollowOf(entry.operation, submission),
  ) as { readonly op: number };
  return history.find((entry) => entry.entry === 'answer' && entry.op === op.op) as Answer & {
    body: AnswerBody;
  };
}

/** Asks once more what became of a submission. */
function follow({ history }: Scene, submission: Follow, body: AnswerBody): void {
  history.push({ at: 1e6, entry: 'intent', op: 0.5, operation: submission }, ...exchange(0.5, 200, body));
}

/** @param async whether it is to be decided later */
function exchange(op: number, status: number, body: AnswerBody, async?: true): [Attempt, Answer] {
  const attempt = 99_000 + op;
  return [
    { at: 1e6, entry: 'attempt', op, attempt, instance: 'api-1#1', sender: 'service', async },
    { at: 1e6, entry: 'answer', op, attempt, status, body, retryAfter: status === 503 },
  ];
}

const postingOf = ({ rows }: Scene, { of }: Follow) => rows.postings.findIndex(({ op }) => op === of);

const entriesOf = ({ history }: Scene, { of }: Follow) =>
  history.filter((entry) => 'op' in entry && entry.op === of);

describe('the checker, on submissions', () => {
  let folder: string;

  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'bank-checker-'));
  });

  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  async function broken(spoil: (scene: Scene) => unknown): Promise<Rule[]> {
    const scene = play();
    spoil(scene);
    const history = join(folder, 'history.ndjson');
    writeFileSync(history, scene.history.map((entry) => `${JSON.stringify(entry)}\n`).join(''));
    const books = booksOf([scene.rows], 0);
    const { violations } = await check({ history, books, arrivals: undefined, cacheTtlMs: 1_000 });
    return [...violations.byRule.keys()];
  }

  it('finds nothing when nothing is wrong', async () => {
    expect(await broken(() => undefined)).toEqual([]);
  });

  it.each<[string, (scene: Scene) => unknown]>([
    [
      'one that the broker does not take',
      ({ history, first }) => history.push(...exchange(first.of, 503, { error: 'Broker unavailable' }, true)),
    ],
    [
      'a repeat that the service does not decide',
      ({ history, poor }) => history.push(...exchange(poor.of, 503, { error: 'Overloaded' })),
    ],
    [
      "one to a stranger's account whose outcome was unknown",
      ({ history, foreign }) =>
        history.push(...exchange(foreign.of, 503, { error: 'Outcome unknown' }, true)),
    ],
    ['one that is told again', (scene) => follow(scene, scene.poor, told(scene, scene.poor).body)],
  ])('has no objection to %s', async (_what, change) => {
    expect(await broken(change)).toEqual([]);
  });

  it.each<[Rule, string, (scene: Scene) => unknown]>([
    [
      'never-decided',
      'one that is neither posted nor refused',
      (scene) => {
        scene.rows.refusals.length = 0;
        told(scene, scene.poor).body = { submission: 'queued' };
      },
    ],
    [
      'never-decided',
      'one that is posted, and said to be queued',
      (scene) => (told(scene, scene.second).body = { submission: 'queued' }),
    ],
    [
      'decided-twice',
      'one that is posted, and queued again',
      (scene) => follow(scene, scene.first, { submission: 'queued' }),
    ],
    [
      'decided-twice',
      'one that is posted after it was refused',
      (scene) => follow(scene, scene.poor, { submission: 'posted', id: 'txn1' }),
    ],
    [
      'decided-twice',
      'a refusal that changes',
      (scene) =>
        follow(scene, scene.poor, {
          submission: 'refused',
          refusal: { status: 422, body: { error: 'Account frozen' } },
        }),
    ],
    [
      'decided-twice',
      'a refusal that is recorded, and a transaction',
      ({ rows }) => rows.refusals.push(recorded(1, 'first')),
    ],
    [
      'decided-twice',
      'one that is refused, and in the books',
      (scene) => {
        scene.rows.refusals.length = 0;
        const refusal = { status: 422, body: INSUFFICIENT };
        told(scene, scene.second).body = { submission: 'refused', refusal };
      },
    ],
    [
      'acknowledged-lost',
      'one that is said to be posted, and is not in the books',
      (scene) => scene.rows.postings.splice(postingOf(scene, scene.second), 1),
    ],
    [
      'acknowledged-lost',
      'one that is posted otherwise than it says',
      (scene) => Object.assign(told(scene, scene.second).body, { balance: 1 }),
    ],
    [
      'applied-twice',
      'one that is posted twice',
      ({ rows, ...scene }) => {
        const posting = rows.postings[postingOf({ rows, ...scene }, scene.second)] as Posting;
        const { balance, version, amount } = posting;
        rows.postings.push({ ...posting, id: 'txn99', version: version + 1, balance: balance + amount });
      },
    ],
    ['refusal-forgotten', 'a refusal that is not recorded', ({ rows }) => void (rows.refusals.length = 0)],
    [
      'refusal-forgotten',
      'a repeat that is refused otherwise',
      ({ history, poor }) =>
        history.push(...exchange(poor.of, 409, { error: 'Version mismatch', currentVersion: 2 })),
    ],
    [
      'refusal-forgotten',
      'a repeat that succeeds',
      ({ history, poor }) => history.push(...exchange(poor.of, 201, { id: 'txn1' })),
    ],
    [
      'wrong-refusal',
      'a refusal that was never true',
      (scene) => {
        const refusal = { status: 422, body: { error: 'Account frozen', accountId: 1 } };
        told(scene, scene.poor).body = { submission: 'refused', refusal };
      },
    ],
    [
      'wrong-refusal',
      'a refusal that came true only later',
      (scene) => Object.assign(scene.rows.refusals[0] as object, { time: Infinity }),
    ],
    [
      'wrong-refusal',
      'a key that nobody else has used',
      (scene) => {
        const refusal = { status: 422, body: { error: 'Idempotency key reused', transactionId: 'txn1' } };
        told(scene, scene.poor).body = { submission: 'refused', refusal };
      },
    ],
    [
      'key-forgotten',
      'a key that was refused to another request, and was free',
      (scene) => {
        const used = { error: 'Idempotency key reused' };
        scene.history.push(...exchange(scene.second.of, 422, used));
      },
    ],
    [
      'wrong-order',
      'one that was accepted after another, and came before it',
      (scene) => {
        const [first, second] = [entriesOf(scene, scene.first), entriesOf(scene, scene.second)];
        const place = scene.history.indexOf(first[0] as Entry);
        scene.history = scene.history.filter((entry) => !second.includes(entry));
        scene.history.splice(place, 0, ...second);
      },
    ],
    [
      'from-nowhere',
      'a recorded refusal without a submission',
      ({ rows }) => rows.refusals.push(recorded(1, 'another')),
    ],
    [
      'foreign-account',
      "a key that is spent on a stranger's account",
      ({ rows }) => rows.refusals.push(recorded(2, 'foreign')),
    ],
    [
      'foreign-account',
      "one that is posted to a stranger's account",
      (scene) => Object.assign(told(scene, scene.foreign), { status: 200, body: { submission: 'posted' } }),
    ],
    [
      'credential-refused',
      'one that is not found',
      (scene) =>
        Object.assign(told(scene, scene.poor), { status: 404, body: { error: 'Submission not found' } }),
    ],
    [
      'unexpected-answer',
      'an acceptance where none was asked for',
      ({ history, first }) =>
        history.push(...exchange(first.of, 202, { id: 'submission', submission: 'queued' })),
    ],
    [
      'unexpected-answer',
      'an acceptance that does not say where to ask',
      ({ history, first }) => history.push(...exchange(first.of, 202, { submission: 'queued' }, true)),
    ],
    [
      'unexpected-answer',
      'a request that needs no broker, and lacks it',
      ({ history, reuse }) => history.push(...exchange(reuse, 503, { error: 'Broker unavailable' })),
    ],
    [
      'unexpected-answer',
      'a refusal without a reason',
      (scene) => (told(scene, scene.poor).body = { submission: 'refused' }),
    ],
  ])('breaks %s: %s', async (rule, _what, spoil) => {
    expect(await broken(spoil)).toContain(rule);
  });
});
