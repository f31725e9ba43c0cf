import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { CommandMaker } from './commands.js';
import { Random } from './random.js';
import { booksOf, type Posting, type Rows } from './checker/books.js';
import { check } from './checker/check.js';
import type { Arrival } from './checker/check-events.js';
import {
  isCommand,
  type Answer,
  type AnswerBody,
  type AnsweredLeg,
  type Attempt,
  type Change,
  type Command,
  type Entry,
  type Follow,
  type Intent,
  type Operation,
} from './checker/history.js';
import type { Rule } from './checker/rules.js';
import { TinyBank } from './tiny-bank.js';

const EPOCH_MS = 1_800_000_000_000;
const ACCOUNTS = 6;
const STEPS = 250;
/** Deposits at first, so that there is something to spend. */
const RICH = 40;

/** The evidence of a run of {@link TinyBank}, to be spoilt. */
interface Scene {
  readonly history: Entry[];
  readonly rows: {
    readonly accounts: Mutable<Rows['accounts'][number]>[];
    readonly postings: Mutable<Posting>[];
    readonly events: Mutable<Rows['events'][number]>[];
    readonly holds: Mutable<Rows['holds'][number]>[];
    readonly refusals: Mutable<Rows['refusals'][number]>[];
    readonly sent: Rows['sent'];
    readonly arrived: Rows['arrived'];
    readonly unpublished: number;
  };
  readonly arrivals: Mutable<Arrival>[];
}

/** Spoils a scene. @returns false if the scene has nothing of the kind */
type Spoil = (scene: Scene) => boolean;

type Mutable<T> = { -readonly [K in keyof T]: T[K] };

const played = new Map<number, Scene>();

/** A copy of the scene of a seed, which is played once for all tests. */
function sceneOf(seed: number): Scene {
  const scene = played.get(seed) ?? play(seed);
  played.set(seed, scene);
  return structuredClone(scene);
}

/** A sound history of every kind of operation, some of them decided later, with repeats and reused keys. */
function play(seed: number): Scene {
  const random = new Random(seed, 1);
  const bank = new TinyBank();
  const accounts = [
    Array.from({ length: ACCOUNTS }, () => bank.do({ kind: 'open' }).answer.accountId as number),
  ];
  const foreign = [
    Array.from({ length: 2 }, () => bank.do({ kind: 'open', owner: 'stranger' }).answer.accountId as number),
  ];
  const { versions, revisions } = bank;
  const maker = new CommandMaker(
    { accounts, foreign, versions, revisions },
    {
      post: 30,
      hold: 20,
      capture: 20,
      void: 6,
      reverse: 20,
    },
  );
  for (let step = 0; step < RICH; step++)
    bank.do({ kind: 'post', type: 'credit', accountId: random.pick(accounts[0] ?? []) });
  const sent: { op: number; command: Command }[] = [];
  const submissions: Follow[] = [];
  const go = (operation: Operation | undefined) => operation && bank.do(operation);
  for (let step = 0; step < STEPS; step++) {
    const command = maker.next(random, 0);
    const { op, answer } = bank.do(command);
    if (answer.status < 300) maker.learn(op, command, answer);
    sent.push({ op, command });
    if (random.chance(0.1)) bank.sweep();
    if (random.chance(0.1)) go(maker.change(random, 0));
    if (random.chance(0.1)) go(maker.readHold(random, 0));
    if (random.chance(0.1)) go(maker.readTransfer(random, 0));
    if (random.chance(0.05)) go(maker.dryRun(random, 0));
    if (random.chance(0.1))
      go({ kind: random.pick(['list', 'balance']), accountId: random.pick(accounts[0] ?? []) });
    if (random.chance(0.05)) maker.rivals(random, 0).forEach(go);
    if (random.chance(0.02)) openAndClose(bank);
    if (random.chance(0.1)) bank.together(maker.together(random, 0));
    if (random.chance(0.3)) submissions.push(bank.submit(maker.submission(random, 0)));
    if (random.chance(0.3)) bank.decideNext();
    if (submissions.length > 0) followOne(bank, random, submissions);
    const again = random.pick(sent);
    if (again.command.key === undefined) continue;
    if (random.chance(0.1)) bank.again(again.op, again.command);
    if (random.chance(0.1)) bank.do({ ...maker.next(random, 0), key: again.command.key });
  }
  bank.decideAll();
  submissions.forEach(go);
  return { history: bank.history, rows: bank.rows(), arrivals: bank.arrivals } as Scene;
}

/** Reads a submission, repeats its request synchronously or asynchronously, or reuses its key. */
function followOne(bank: TinyBank, random: Random, submissions: Follow[]): void {
  const submission = random.pick(submissions);
  const { of, submitted } = submission;
  if (random.chance(0.3)) bank.do(submission);
  if (random.chance(0.1)) bank.again(of, submitted);
  if (random.chance(0.1)) bank.again(of, submitted, true);
  if (random.chance(0.05)) bank.do({ ...submitted, expectedVersion: undefined });
  if (random.chance(0.05)) submissions.push(bank.submit({ ...submitted, expectedVersion: undefined }));
}

/** Tries to use an account again after it was emptied and closed. */
function openAndClose(bank: TinyBank): void {
  const accountId = bank.do({ kind: 'open' }).answer.accountId as number;
  const change = (status: string) => bank.do({ kind: 'change', accountId, status });
  change('closed');
  const { rows = [] } = bank.do({ kind: 'list', accountId }).answer;
  bank.do({ kind: 'reverse', accountId, transactionId: rows[0]?.id ?? '' });
  change('closed');
  change('closed');
  bank.do({ kind: 'post', type: 'credit', accountId });
  change('open');
}

const isCreditLeg = ({ type, transferId, amount, op }: Posting) =>
  type === 'credit' && transferId !== undefined && amount === op;
const isReversal = ({ reverses }: Posting) => reverses !== undefined;
const isAcceptedTransfer = ({ kind, ...command }: Command | Operation) =>
  kind === 'transfer' && !('dryRun' in command);

function spoilPosting(
  which: (posting: Posting) => boolean,
  change: (rows: Mutable<Posting>[], posting: Mutable<Posting>, scene: Scene) => unknown,
) {
  return (scene: Scene): boolean => {
    const posting = scene.rows.postings.find(which);
    if (posting) change(scene.rows.postings, posting, scene);
    return posting !== undefined;
  };
}

function spoilHold(
  which: (hold: Scene['rows']['holds'][number]) => boolean,
  change: (hold: Scene['rows']['holds'][number]) => unknown,
) {
  return ({ rows }: Scene): boolean => {
    const hold = rows.holds.find(which);
    if (hold) change(hold);
    return hold !== undefined;
  };
}

function spoilAccount(change: (account: Scene['rows']['accounts'][number]) => unknown) {
  return ({ rows }: Scene): boolean => {
    rows.accounts.forEach(change);
    return true;
  };
}

type Exchange = readonly [Mutable<Intent>, Attempt, Answer];

/** The first exchange of each operation that was accepted. */
function accepted({ history }: Scene): Exchange[] {
  return history.flatMap((intent, place) => {
    const [attempt, answer] = history.slice(place + 1);
    const isIt =
      intent.entry === 'intent' &&
      attempt?.entry === 'attempt' &&
      answer?.entry === 'answer' &&
      (answer.status === 200 || answer.status === 201);
    return isIt ? [[intent, attempt, answer] as const] : [];
  });
}

function request(attempt: number, op: number, status: number, body: AnswerBody = {}): [Attempt, Answer] {
  return [
    { at: 1e6, entry: 'attempt', op, attempt, instance: 'api-1#1', sender: 'service' },
    { at: 1e6 + 1, entry: 'answer', op, attempt, status, body },
  ];
}

/** Asks at the end for what was accepted before, without a key and for half a cent, and refuses it. */
function refusing(which: (command: Command) => boolean, body: AnswerBody, status = 422, more: object = {}) {
  return (scene: Scene): boolean => {
    const done = accepted(scene).find(([{ operation }]) => isCommand(operation) && which(operation));
    if (!done) return false;
    const operation = { ...done[0].operation, key: undefined, ...more } as Operation;
    scene.history.push(
      { at: 1e6, entry: 'intent', op: 0.5, operation },
      ...request(99_999, 0.5, status, body),
    );
    return true;
  };
}

/** Repeats a transfer with a key. */
function repeating(body: AnswerBody, status: number) {
  return (scene: Scene): boolean => {
    const done = accepted(scene).find(
      ([{ operation }]) => isAcceptedTransfer(operation) && 'key' in operation,
    );
    if (done) scene.history.push(...request(99_999, done[0].op, status, body));
    return done !== undefined;
  };
}

function spoilAnswer(kind: Operation['kind'], change: (body: AnswerBody) => AnswerBody) {
  return (scene: Scene): boolean => {
    const answer = accepted(scene).find(
      ([{ operation }]) => operation.kind === kind && !('dryRun' in operation),
    )?.[2];
    if (!answer) return false;
    Object.assign(answer, { body: { ...answer.body, ...change(answer.body ?? {}) } });
    return true;
  };
}

function spoilOperation(kind: Operation['kind'], more: object) {
  return (scene: Scene): boolean => {
    const intent = accepted(scene).find(
      ([{ operation }]) => operation.kind === kind && !('dryRun' in operation),
    )?.[0];
    if (intent) Object.assign(intent, { operation: { ...intent.operation, ...more } });
    return intent !== undefined;
  };
}

/** The operations of each atomic batch that was applied, or was not. */
function atomicBatches({ history, rows }: Scene, applied: boolean): number[][] {
  const batches = new Map<number, number[]>();
  for (const entry of history) {
    if (entry.entry !== 'attempt' || entry.batch === undefined || !entry.atomic) continue;
    batches.set(entry.batch, [...(batches.get(entry.batch) ?? []), entry.op]);
  }
  return [...batches.values()].filter(([first]) => rows.postings.some(({ op }) => op === first) === applied);
}

/** Of an atomic batch that was applied, a posting and a later one on the same account. */
function twoOfABatch(scene: Scene): [Mutable<Posting>, Mutable<Posting>] | undefined {
  const { postings } = scene.rows;
  for (const ops of atomicBatches(scene, true)) {
    const ours = postings.filter(({ op }) => ops.includes(op ?? 0));
    const later = ours.find((one) =>
      ours.some(
        ({ op, accountId }) => accountId === one.accountId && ops.indexOf(op ?? 0) < ops.indexOf(one.op ?? 0),
      ),
    );
    const earlier = ours.find(({ op, accountId }) => accountId === later?.accountId && op !== later.op);
    if (earlier && later) return [earlier, later];
  }
  return undefined;
}

function answerOf({ history }: Scene, op: number | undefined): Mutable<Answer> | undefined {
  return history.find((entry): entry is Answer => entry.entry === 'answer' && entry.op === op);
}

function addEvent(scene: Scene, more: Partial<Rows['events'][number]>): boolean {
  const event = { accountId: 1, time: EPOCH_MS, revision: 99, status: undefined, overdraftLimit: undefined };
  scene.rows.events.push({ ...event, ...more });
  return true;
}

/** The event of a forced reversal, which raises the limit of the account. */
function raisedIn({ history, rows }: Scene) {
  const forced = rows.postings.filter(({ op, reverses, type }) => {
    const intent = history.find((entry) => entry.entry === 'intent' && entry.op === op) as Intent | undefined;
    return reverses !== undefined && type === 'debit' && intent && 'force' in intent.operation;
  });
  return rows.events.find(({ accountId, time, overdraftLimit }) =>
    forced.some(
      (posting) =>
        posting.accountId === accountId &&
        posting.time === time &&
        overdraftLimit === posting.held - posting.balance,
    ),
  );
}

/** An accepted change that expected a revision and made the next one. */
function conditionalChange(scene: Scene): Exchange | undefined {
  return accepted(scene).find(
    ([{ operation }, , { body }]) =>
      operation.kind === 'change' &&
      operation.ifRevision !== undefined &&
      body?.revision === operation.ifRevision + 1,
  );
}

/** An answer to a sender who is bound to an owner, with something in it about another owner's account. */
function answeredToOwner(
  { history, rows }: Scene,
  isIt: (answer: Mutable<Answer>, isForeign: (accountId: number) => boolean) => boolean,
): Mutable<Answer> | undefined {
  const isForeign = (id: number) =>
    rows.accounts.some(({ accountId, owner }) => accountId === id && owner === 'stranger');
  return history.find((entry, place): entry is Answer => {
    const before = history[place - 1];
    const byOwner = before?.entry === 'attempt' && before.owner !== undefined;
    return byOwner && entry.entry === 'answer' && isIt(entry, isForeign);
  });
}

const hasForeignLeg = ({ body, status }: Answer, isForeign: (accountId: number) => boolean) =>
  status === 201 && (body?.legs ?? []).some(({ accountId }) => isForeign(accountId));

/** Asks for a change at the end. */
function changing(
  answerOf: (scene: Scene) => AnswerBody | undefined,
  status: number,
  change: Partial<Change>,
) {
  return (scene: Scene): boolean => {
    const body = answerOf(scene);
    const operation: Operation = { kind: 'change', accountId: 1, ...change };
    scene.history.push(
      { at: 1e6, entry: 'intent', op: 0.5, operation },
      ...request(99_999, 0.5, status, body),
    );
    return body !== undefined;
  };
}

const revisionOf = ({ rows }: Scene) => rows.accounts.find(({ accountId }) => accountId === 1)?.revision ?? 0;

const isOf =
  (type: string) =>
  ({ type: its }: Arrival) =>
    its.startsWith(type);

function losing(type: string) {
  return ({ arrivals }: Scene): boolean => {
    const place = arrivals.findIndex(isOf(type));
    if (place >= 0) arrivals.splice(place, 1);
    return place >= 0;
  };
}

/** Gives a member of an event's data another value. */
function misreporting(type: string, name: string, value: unknown) {
  return ({ arrivals }: Scene): boolean => {
    const event = arrivals.find(isOf(type));
    if (event) event.data = { ...event.data, [name]: value };
    return event !== undefined;
  };
}

/** The first event of a kind comes at the very end. */
/** Tells of something last, though something else of its kind has followed on its account. */
function delaying(type: string) {
  const [kind = ''] = type.split('.');
  return ({ arrivals }: Scene): boolean => {
    const place = arrivals.findIndex((one, index) => {
      const isNext = (other: Arrival) =>
        isOf(kind)(other) && other.data['accountId'] === one.data['accountId'];
      return isOf(type)(one) && arrivals.slice(index + 1).some(isNext);
    });
    if (place >= 0) arrivals.push(...arrivals.splice(place, 1));
    return place >= 0;
  };
}

/** A withdrawal at the end is refused, though all that is missing was on a hold that has expired. */
function heldTooLong(scene: Scene): boolean {
  const { rows } = scene;
  const hold = rows.holds.find(({ status }) => status === 'active');
  const account = rows.accounts.find(({ accountId }) => accountId === hold?.accountId);
  if (!hold || !account || account.status !== 'open') return false;
  hold.expiresAt = 1_800_000_000_000;
  const operation: Operation = { kind: 'post', accountId: hold.accountId, type: 'debit' };
  const op = account.balance - account.held + account.overdraftLimit + 0.5;
  scene.history.push(
    { at: 1e6, entry: 'intent', op, operation },
    ...request(99_999, op, 422, { error: 'Insufficient Balance' }),
  );
  return true;
}

/** Moves a transfer to the end: nothing came after it on its first account, but something did on the second. */
function passesOnItsSecondAccount(scene: Scene): boolean {
  const { history, rows } = scene;
  const lastOf = (accountId: number) =>
    rows.postings.findLast((posting) => posting.accountId === accountId)?.op;
  const done = accepted(scene).find(([{ op, operation }]) => {
    if (operation.kind !== 'transfer' || 'dryRun' in operation) return false;
    const [first = 0, second = 0] = operation.accountIds;
    return lastOf(first) === op && lastOf(second) !== op;
  });
  if (!done) return false;
  history.splice(history.indexOf(done[0]), done.length);
  history.push(...done);
  return true;
}

describe('the checker, of commands over several accounts, holds and reversals', () => {
  let folder: string;

  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'bank-checker-'));
  });

  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  async function verdictOn({ history: entries, rows, arrivals }: Scene) {
    const history = join(folder, 'history.ndjson');
    writeFileSync(history, entries.map((entry) => `${JSON.stringify(entry)}\n`).join(''));
    return check({ history, books: booksOf([rows], 0), arrivals, cacheTtlMs: 1_000 });
  }

  it.each(Array.from({ length: 20 }, (_, seed) => seed))(
    'finds nothing in a sound history: %d',
    async (seed) => {
      const { violations, tally } = await verdictOn(sceneOf(seed));
      expect(violations.kept).toEqual([]);
      expect(tally.acknowledged).toBeGreaterThan(STEPS / 3);
    },
  );

  it.each<[Rule, string, Spoil]>([
    [
      'half-applied',
      'a transfer without one of its legs',
      spoilPosting(isCreditLeg, (rows, leg) => void rows.splice(rows.indexOf(leg), 1)),
    ],
    [
      'applied-twice',
      'a transfer with one of its legs twice',
      spoilPosting(
        isCreditLeg,
        (rows, leg) => void rows.push({ ...leg, id: 'txn99999', version: leg.version + 1 }),
      ),
    ],
    [
      'from-nowhere',
      'a hold that nobody asked for',
      spoilPosting(
        ({ type }) => type === 'hold',
        (_, hold) => (hold.op = undefined),
      ),
    ],
    [
      'from-nowhere',
      'a transfer to another account',
      spoilPosting(isCreditLeg, (_, leg) => (leg.accountId = 99)),
    ],
    [
      'from-nowhere',
      'a transfer of another amount',
      spoilPosting(isCreditLeg, (_, leg) => (leg.amount += 1)),
    ],
    [
      'over-reversed',
      'a reversal of more than there was',
      spoilPosting(isReversal, (_, one) => (one.amount += 10_000)),
    ],
    [
      'over-reversed',
      'a reversal of a reversal',
      (scene) => {
        const [one, two] = scene.rows.postings.filter(isReversal);
        if (!one || !two) return false;
        two.reverses = one.id;
        return true;
      },
    ],
    [
      'over-reversed',
      'a reversal in the same direction',
      spoilPosting(isReversal, (_, one) => (one.type = one.type === 'credit' ? 'debit' : 'credit')),
    ],
    [
      'hold-broken',
      'a hold of which a part is gone',
      spoilHold(
        ({ status }) => status === 'active',
        (hold) => (hold.remaining -= 1),
      ),
    ],
    [
      'hold-broken',
      'a capture that is not counted',
      spoilHold(
        ({ captured }) => captured > 0,
        (hold) => (hold.captured -= 1),
      ),
    ],
    [
      'hold-broken',
      'a capture after its hold had expired',
      spoilHold(
        ({ captured }) => captured > 0,
        (hold) => (hold.expiresAt = 0),
      ),
    ],
    [
      'hold-broken',
      'a hold that expired too early',
      spoilHold(
        ({ status }) => status === 'expired',
        (hold) => (hold.expiresAt = 1_900_000_000_000),
      ),
    ],
    [
      'hold-broken',
      'a hold that expired and was never ended',
      spoilHold(
        ({ status }) => status === 'active',
        (hold) => (hold.expiresAt = -1),
      ),
    ],
    [
      'hold-broken',
      'a hold with two ends',
      (scene) => {
        const end = scene.rows.postings.find(({ type, op }) => type === 'release' && op !== undefined);
        if (end) scene.rows.postings.push({ ...end, id: 'txn99999', op: undefined, key: undefined });
        return end !== undefined;
      },
    ],
    [
      'overdrawn',
      'a debit of what is on hold',
      spoilPosting(
        ({ type }) => type === 'debit',
        (_, one) => (one.held = one.balance + 10_000),
      ),
    ],
    [
      'status-ignored',
      'a credit to a frozen account',
      spoilPosting(
        ({ type }) => type === 'credit',
        (_, { accountId, time }, scene) => {
          scene.rows.events.push({
            accountId,
            time: time - 1,
            revision: 99,
            status: 'frozen',
            overdraftLimit: undefined,
          });
        },
      ),
    ],
    [
      'status-ignored',
      'a hold on an account with blocked debits',
      spoilPosting(
        ({ type }) => type === 'hold',
        (_, { accountId, time }, scene) => {
          scene.rows.events.push({
            accountId,
            time: time - 1,
            revision: 99,
            status: 'debits_blocked',
            overdraftLimit: undefined,
          });
        },
      ),
    ],
    [
      'books-unsound',
      'times that run backwards',
      spoilPosting(
        ({ version }) => version > 3,
        (_, one) => (one.time -= 1e9),
      ),
    ],
    [
      'books-unsound',
      'a held sum that is not that of the holds',
      spoilHold(
        ({ status }) => status === 'active',
        (hold) => (hold.remaining += 1),
      ),
    ],
    [
      'books-unsound',
      'a held sum of a version that is not that of its transactions',
      spoilPosting(
        ({ type }) => type === 'hold',
        (_, one) => (one.held += 1),
      ),
    ],
    [
      'books-unsound',
      'a change of an account whose event is lost',
      (scene) => scene.rows.events.pop() !== undefined,
    ],
    [
      'books-unsound',
      'a status that is not that of the last event',
      ({
        rows: {
          accounts: [account],
        },
      }) => {
        if (account) account.status = 'closed';
        return account !== undefined;
      },
    ],
    [
      'money-created',
      'a captured hold that is still in the bank',
      spoilAccount((account) => (account.balance += 1)),
    ],
    [
      'wrong-refusal',
      'no money for a transfer',
      refusing(isAcceptedTransfer, { error: 'Insufficient Balance' }),
    ],
    [
      'wrong-refusal',
      'an account that was never frozen',
      refusing(isAcceptedTransfer, { error: 'Account frozen', accountId: 1 }),
    ],
    [
      'wrong-refusal',
      'blocked debits of an account that has none',
      refusing(isAcceptedTransfer, { error: 'Debits blocked', accountId: 1 }),
    ],
    [
      'wrong-refusal',
      'a hold that is not voided',
      refusing(({ kind }) => kind === 'capture', { error: 'Hold not active', holdStatus: 'lost' }, 409),
    ],
    [
      'wrong-refusal',
      'a part of a transfer that is none',
      refusing(({ kind }) => kind === 'reverse', { error: 'Part of a transfer', transferId: 'tr99999' }, 409),
    ],
    [
      'wrong-refusal',
      'too much for a hold with enough',
      refusing(({ kind }) => kind === 'capture', { error: 'Hold exceeded' }, 422, { amount: 0 }),
    ],
    [
      'wrong-refusal',
      'no more to reverse of what has enough',
      refusing(({ kind }) => kind === 'reverse', { error: 'Not reversible' }),
    ],
    [
      'wrong-refusal',
      'an overdraft that is not used',
      refusing(() => true, { error: 'Overdraft in use' }, 422, {
        kind: 'change',
        accountId: 1,
        overdraftLimit: 1e9,
      }),
    ],
    ['wrong-refusal', 'money that a hold keeps, though it has expired', heldTooLong],
    [
      'key-forgotten',
      'a refusal under a key that was used',
      repeating({ error: 'Insufficient Balance' }, 422),
    ],
    [
      'key-forgotten',
      'a Duplicate of another transfer',
      repeating({ error: 'Duplicate transfer', transferId: 'tr99999' }, 409),
    ],
    [
      'applied-twice',
      'another success under one key',
      (scene) => {
        const done = accepted(scene).find(([intent]) => isAcceptedTransfer(intent.operation as Command));
        if (done) scene.history.push(...request(99_999, done[0].op, 201, done[2].body));
        return done !== undefined;
      },
    ],
    [
      'acknowledged-lost',
      'another balance of a leg than the one acknowledged',
      spoilAnswer('transfer', ({ legs = [] }) => ({
        legs: legs.map((leg) => ({ ...leg, balance: (leg.balance ?? 0) + 1 })),
      })),
    ],
    [
      'acknowledged-lost',
      'another sum on hold than the one acknowledged',
      spoilAnswer('hold', ({ held = 0 }) => ({ held: held + 1 })),
    ],
    ['acknowledged-lost', 'a void that was not', spoilAnswer('void', () => ({ holdStatus: 'active' }))],
    [
      'acknowledged-lost',
      'another amount of a reversal than the one acknowledged',
      spoilAnswer('reverse', ({ amount = 0 }) => ({ amount: amount + 1 })),
    ],
    [
      'acknowledged-lost',
      'a change that never happened',
      (scene) => {
        const change: Operation = { kind: 'change', accountId: 1, overdraftLimit: 77_777 };
        scene.history.push(
          { at: 1e6, entry: 'intent', op: 0.5, operation: change },
          ...request(99_999, 0.5, 200, {}),
        );
        return true;
      },
    ],
    [
      'wrong-read',
      'more left of a hold than there was',
      spoilAnswer('read-hold', ({ remaining = 0, holdStatus }) => ({
        remaining: remaining + 1,
        holdStatus: holdStatus === 'expired' ? 'active' : holdStatus,
      })),
    ],
    [
      'wrong-read',
      'a transfer without one of its legs',
      spoilAnswer('read-transfer', ({ legs = [] }) => ({ legs: legs.slice(1) })),
    ],
    ['refused-but-applied', 'a dry run that did it', spoilOperation('transfer', { dryRun: true })],
    [
      'version-check',
      'a transfer that expected another version',
      spoilOperation('transfer', { expectedVersion: 1 }),
    ],
    ['wrong-order', 'a transfer after what was known of its second account alone', passesOnItsSecondAccount],
    ['event-missing', 'a hold of which nothing is told', losing('hold.placed')],
    ['event-missing', 'a capture of which nothing is told', losing('hold.captured')],
    ['event-missing', 'the end of a hold of which nothing is told', losing('hold.voided')],
    ['event-missing', 'an expiry of which nothing is told', losing('hold.expired')],
    ['event-missing', 'a transfer of which nothing is told', losing('transfer.completed')],
    ['event-missing', 'a change of an account of which nothing is told', losing('account.changed')],
    ['event-missing', 'a transfer that is told after later ones', delaying('transfer.completed')],
    ['event-missing', 'a change that is told after later ones', delaying('account.changed')],
    ['event-missing', 'a hold that is told after its capture', delaying('hold.placed')],
    ['event-wrong', 'another sum on hold', misreporting('transaction.posted.v2', 'held', '0.07')],
    ['event-wrong', 'another time of expiry', misreporting('hold.placed', 'expiresAt', '2026-01-01')],
    ['event-wrong', 'another rest of a hold', misreporting('hold.captured', 'remaining', '0.07')],
    ['event-wrong', 'a transfer without its legs', misreporting('transfer.completed', 'legs', [])],
    ['event-wrong', 'another change of an account', misreporting('account.changed', 'changes', {})],
    [
      'event-wrong',
      'an event that the books do not have',
      ({ arrivals }) => arrivals.push({ ...(arrivals.at(-1) as Arrival), id: 'tr99999' }) > 0,
    ],
    [
      'event-wrong',
      'a hold in the version that can not tell of it',
      ({ arrivals }) => {
        const event = arrivals.find(isOf('transaction.posted.v2'));
        if (event) event.type = 'transaction.posted.v1';
        return event !== undefined;
      },
    ],
    [
      'status-ignored',
      'a credit to a closed account',
      spoilPosting(
        ({ type }) => type === 'credit',
        (_, { accountId, time }, scene) => addEvent(scene, { accountId, time: time - 1, status: 'closed' }),
      ),
    ],
    [
      'status-ignored',
      'an account that is closed with money',
      (scene) => addEvent(scene, { time: EPOCH_MS + 1e9, status: 'closed' }),
    ],
    [
      'status-ignored',
      'an account that is opened again',
      (scene) => {
        const accountId = scene.rows.events.find(({ status }) => status === 'closed')?.accountId;
        return (
          accountId !== undefined && addEvent(scene, { accountId, time: EPOCH_MS + 1e9, status: 'open' })
        );
      },
    ],
    [
      'from-nowhere',
      'a change that nobody asked for',
      (scene) => addEvent(scene, { overdraftLimit: 99_999 }),
    ],
    [
      'from-nowhere',
      'a limit that is raised further than a forced reversal needs',
      (scene) => {
        const event = raisedIn(scene);
        if (event) event.overdraftLimit = (event.overdraftLimit ?? 0) + 1;
        return event !== undefined;
      },
    ],
    [
      'from-nowhere',
      'a limit that is raised in another commit than the forced reversal',
      (scene) => {
        const event = raisedIn(scene);
        if (event) event.time -= 1;
        return event !== undefined;
      },
    ],
    [
      'overdrawn',
      'a forced reversal that raises no limit',
      (scene) => {
        const event = raisedIn(scene);
        const events = scene.rows.events.filter((one) => one !== event);
        scene.rows.events.splice(0, Infinity, ...events);
        return event !== undefined;
      },
    ],
    [
      'wrong-refusal',
      'no money for a forced reversal',
      refusing(({ kind }) => kind === 'reverse', { error: 'Insufficient Balance' }, 422, {
        ...{ amount: 1e9, force: true },
      }),
    ],
    [
      'wrong-refusal',
      'a closed account that is open',
      refusing(({ kind }) => kind === 'post', { error: 'Account closed' }, 422, { accountId: 1 }),
    ],
    [
      'wrong-refusal',
      'an account that can not be closed though it is empty',
      (scene) => {
        const accountId = scene.rows.events.find(({ status }) => status === 'closed')?.accountId;
        const spoil = changing(() => ({ error: 'Account not empty' }), 422, { accountId, status: 'closed' });
        return accountId !== undefined && spoil(scene);
      },
    ],
    [
      'foreign-account',
      'the balance of another owner',
      (scene) => {
        const answer = answeredToOwner(scene, hasForeignLeg);
        const legs = answer?.body?.legs?.map((leg) => ({ ...leg, balance: 7, version: 7 }));
        if (answer) answer.body = { ...answer.body, legs };
        return answer !== undefined;
      },
    ],
    [
      'foreign-account',
      "a transfer that does not tell the balance of the sender's own account",
      (scene) => {
        const answer = answeredToOwner(scene, hasForeignLeg);
        const legs = answer?.body?.legs?.map(({ id, accountId, type, amount }) => ({
          id,
          accountId,
          type,
          amount,
        }));
        if (answer) answer.body = { ...answer.body, legs: legs as AnsweredLeg[] };
        return answer !== undefined;
      },
    ],
    [
      'foreign-account',
      'why another owner refuses',
      (scene) => {
        const answer = answeredToOwner(scene, ({ body }) => body?.error === 'Counterparty refused');
        if (answer) answer.body = { ...answer.body, error: 'Account frozen' };
        return answer !== undefined;
      },
    ],
    [
      'foreign-account',
      'more about another owner who refuses',
      (scene) => {
        const answer = answeredToOwner(scene, ({ body }) => body?.error === 'Counterparty refused');
        if (answer) answer.body = { ...answer.body, members: ['error', 'accountId', 'status'] };
        return answer !== undefined;
      },
    ],
    [
      'wrong-refusal',
      'another owner who refuses, though the account is open',
      (scene) => {
        const answer = answeredToOwner(scene, ({ body }) => body?.error === 'Counterparty refused');
        const events = scene.rows.events.filter(({ accountId }) => accountId !== answer?.body?.accountId);
        if (answer) scene.rows.events.splice(0, Infinity, ...events);
        return answer !== undefined;
      },
    ],
    [
      'foreign-account',
      'a read of the account of another owner',
      (scene) => {
        const answer = answeredToOwner(scene, ({ status }) => status === 404);
        if (answer) Object.assign(answer, { status: 200, body: {} });
        return answer !== undefined;
      },
    ],
    [
      'foreign-account',
      'a debit of the account of another owner',
      (scene) => {
        const op = answeredToOwner(scene, ({ status }) => status === 404)?.op;
        const [first] = scene.rows.postings;
        if (op !== undefined && first) scene.rows.postings.push({ ...first, id: 'txn99999', op });
        return op !== undefined;
      },
    ],
    [
      'credential-refused',
      "a 404 for the sender's own account",
      (scene) => {
        const answer = answeredToOwner(scene, ({ status }) => status === 201);
        if (answer) answer.status = 404;
        return answer !== undefined;
      },
    ],
    [
      'revision-check',
      'two changes of one revision',
      (scene) => {
        const done = conditionalChange(scene);
        if (done) scene.history.push(...request(99_999, done[0].op, 200, done[2].body));
        return done !== undefined;
      },
    ],
    [
      'revision-check',
      'a change that expected another revision',
      (scene) => {
        const done = conditionalChange(scene);
        if (done?.[0].operation.kind === 'change')
          done[0].operation = { ...done[0].operation, ifRevision: 77 };
        return done !== undefined;
      },
    ],
    [
      'revision-check',
      'a revision that there is not yet',
      changing((scene) => ({ error: 'Revision mismatch', currentRevision: revisionOf(scene) + 1 }), 412, {
        ...{ status: 'open', ifRevision: 77 },
      }),
    ],
    [
      'wrong-refusal',
      'a mismatch with the revision that was expected',
      (scene) => {
        const ifRevision = revisionOf(scene);
        const body = { error: 'Revision mismatch', currentRevision: ifRevision };
        return changing(() => body, 412, { status: 'open', ifRevision })(scene);
      },
    ],
    [
      'torn-batch',
      'an atomic batch without one of its commands',
      (scene) => {
        const [ops] = atomicBatches(scene, true);
        const left = scene.rows.postings.filter(({ op }) => op === undefined || op !== ops?.[0]);
        scene.rows.postings.splice(0, Infinity, ...left);
        return ops !== undefined;
      },
    ],
    [
      'torn-batch',
      'an atomic batch in another order',
      (scene) => {
        const [one, two] = twoOfABatch(scene) ?? [];
        if (one && two) [one.op, two.op] = [two.op, one.op];
        return one !== undefined;
      },
    ],
    [
      'torn-batch',
      'an atomic batch with something else in the middle',
      (scene) => {
        const [one, two] = twoOfABatch(scene) ?? [];
        const { postings } = scene.rows;
        if (one && two) postings.splice(postings.indexOf(one) + 1, 0, { ...one, id: 'txn99999', op: 1 });
        return one !== undefined;
      },
    ],
    [
      'refused-but-applied',
      'an atomic batch that left a command although it was refused',
      (scene) => {
        const op = atomicBatches(scene, false)[0]?.find((one) => answerOf(scene, one)?.status === 424);
        const [first] = scene.rows.postings;
        if (op !== undefined && first) scene.rows.postings.push({ ...first, id: 'txn99999', op });
        return op !== undefined;
      },
    ],
    [
      'torn-batch',
      'an atomic batch of which one command succeeds',
      (scene) => {
        const op = atomicBatches(scene, false)[0]?.find((one) => answerOf(scene, one)?.status === 424);
        const answer = answerOf(scene, op);
        if (answer) answer.status = 201;
        return answer !== undefined;
      },
    ],
    [
      'torn-batch',
      'an atomic batch that nothing stopped',
      (scene) => {
        const [ops] = atomicBatches(scene, false);
        const answers = ops?.map((op) => answerOf(scene, op));
        answers?.forEach(
          (answer) => answer && Object.assign(answer, { status: 424, body: { error: 'Not applied' } }),
        );
        return ops !== undefined;
      },
    ],
    [
      'torn-batch',
      'a command that is not applied by itself',
      (scene) => {
        const answer = answerOf(scene, accepted(scene)[0]?.[0].op);
        if (answer) answer.status = 424;
        return answer !== undefined;
      },
    ],
    [
      'wrong-order',
      'items of a batch the other way round',
      (scene) => {
        const [first, second] = accepted(scene).filter(
          ([{ operation }]) => operation.kind === 'post' && operation.accountId === 1,
        );
        if (!first || !second) return false;
        const attempts = [first, second].flatMap(([, attempt]) => ({ ...attempt, batch: 7 }));
        const others = scene.history.filter((entry) => ![...first, ...second].includes(entry as never));
        others.splice(1, 0, first[0], second[0], ...attempts, second[2], first[2]);
        scene.history.splice(0, Infinity, ...others);
        return true;
      },
    ],
  ])('breaks %s: %s', async (rule, _what, spoil) => {
    let scene = sceneOf(0);
    for (let seed = 1; !spoil(scene); seed++) {
      expect(seed).toBeLessThan(100);
      scene = sceneOf(seed);
    }
    const { violations } = await verdictOn(scene);
    expect([...violations.byRule.keys()]).toContain(rule);
  });
});
