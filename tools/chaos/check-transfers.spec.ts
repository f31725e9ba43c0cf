import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { CommandMaker } from './commands.js';
import { Random } from './random.js';
import { booksOf, isCapture, type Rows } from './checker/books.js';
import { check } from './checker/check.js';
import type { Arrival } from './checker/check-events.js';
import type { Answer, AnswerBody, Attempt, Command, Entry, Operation } from './checker/history.js';
import type { Rule } from './checker/rules.js';
import { TinyBank } from './tiny-bank.js';

const SHARDS = 2;
const ACCOUNTS = 6;
const STEPS = 250;
/** Deposits at first, so that there is something to spend. */
const RICH = 40;
/** In more histories than these, anything that can be spoilt is found. */
const SEEDS = 10;

type Mutable<T> = { -readonly [K in keyof T]: T[K] };
type MutableRows = {
  readonly [K in keyof Rows]: Rows[K] extends readonly (infer R)[] ? Mutable<R>[] : Rows[K];
};

/** The evidence of a run of {@link TinyBank}, to be spoilt. */
interface Scene {
  readonly history: Entry[];
  readonly rows: MutableRows;
  readonly arrivals: Mutable<Arrival>[];
}

/** Spoils a scene. @returns false if the scene has nothing of the kind */
type Spoil = (scene: Scene) => boolean;

const played = new Map<number, Scene>();

/** A copy of the scene of a seed, which is played once for all tests. */
function sceneOf(seed: number): Scene {
  const scene = played.get(seed) ?? play(seed);
  played.set(seed, scene);
  return structuredClone(scene);
}

/** A sound history of commands between two shards: some transfers stay pending for a while, and some are refused then. */
function play(seed: number): Scene {
  const random = new Random(seed, 1);
  const bank = new TinyBank(SHARDS);
  const open = (owner?: string) => bank.do({ kind: 'open', owner }).answer.accountId as number;
  const byShard = (ids: readonly number[]) =>
    Array.from({ length: SHARDS }, (_, shard) => ids.filter((id) => (id - 1) % SHARDS === shard));
  const ids = Array.from({ length: SHARDS * ACCOUNTS }, () => open());
  const foreign = byShard(Array.from({ length: SHARDS }, () => open('stranger')));
  const { versions, revisions } = bank;
  const kinds = { post: 20, transfer: 40, hold: 20, capture: 25, void: 6, reverse: 25 };
  const maker = new CommandMaker({ accounts: byShard(ids), foreign, versions, revisions }, kinds, 0.7);
  for (let step = 0; step < RICH; step++)
    bank.do({ kind: 'post', type: 'credit', accountId: random.pick(ids) });
  const sent: { op: number; command: Command }[] = [];
  const go = (operation: Operation | undefined) => operation && bank.do(operation);
  const carryOut = (command: Command) => {
    const { op, answer } = bank.do(command);
    if (answer.status < 300) maker.learn(op, command, answer);
    sent.push({ op, command });
  };
  for (let step = 0; step < STEPS; step++) {
    const shard = random.integer(0, SHARDS - 1);
    carryOut(maker.next(random, shard));
    if (random.chance(0.1)) bank.sweep();
    if (random.chance(0.2)) bank.settleNext();
    if (random.chance(0.05)) go(maker.change(random, shard));
    if (random.chance(0.1)) go(maker.readHold(random, shard));
    if (random.chance(0.3)) go(maker.readTransfer(random, shard));
    if (random.chance(0.05)) go(maker.dryRun(random, shard));
    if (random.chance(0.1)) freezeTarget(bank, maker, random, carryOut);
    const again = random.pick(sent);
    if (again.command.key === undefined) continue;
    if (random.chance(0.3)) bank.again(again.op, again.command);
    if (random.chance(0.05)) bank.do({ ...maker.next(random, shard), key: again.command.key });
  }
  while (bank.settleNext());
  bank.sweep();
  for (const { op, command } of sent) if (command.key !== undefined) bank.again(op, command);
  // What was refused may have begun now.
  while (bank.settleNext());
  return { history: bank.history, rows: bank.rows(), arrivals: bank.arrivals } as unknown as Scene;
}

/** Some of the transfers are pending when their target is frozen, and are refused while it is. */
function freezeTarget(
  bank: TinyBank,
  maker: CommandMaker,
  random: Random,
  carryOut: (command: Command) => void,
): void {
  const { transfers = [], freeze, open } = maker.freezing(random, random.integer(0, SHARDS - 1)) ?? {};
  for (const transfer of transfers) carryOut(transfer);
  if (freeze) bank.do(freeze);
  while (bank.settleNext());
  if (open) bank.do(open);
}

type Sent = Mutable<Rows['sent'][number]>;

function spoilSent(
  which: (sent: Sent) => boolean,
  change: (sent: Sent, rows: MutableRows) => unknown,
): Spoil {
  return ({ rows }) => {
    const sent = rows.sent.find(which);
    if (sent) change(sent, rows);
    return sent !== undefined;
  };
}

const isCompleted = ({ status }: Sent) => status === 'completed';
const hasFailed = ({ status }: Sent) => status === 'failed';

const without = <T>(list: T[], isIt: (item: T) => boolean) => void list.splice(list.findIndex(isIt), 1);

function request(op: number, status: number, body: AnswerBody): [Attempt, Answer] {
  return [
    { at: 1e6, entry: 'attempt', op, attempt: 99_999, instance: 'api-1#1', sender: 'service' },
    { at: 1e6 + 1, entry: 'answer', op, attempt: 99_999, status, body },
  ];
}

/** Repeats the request of a transfer at the end, with another answer than the one that it should get. */
function repeating(
  which: (sent: Sent) => boolean,
  status: number,
  bodyOf: (sent: Sent) => AnswerBody,
): Spoil {
  return ({ history, rows }) => {
    const isKeyed = ({ op, key }: Sent) =>
      key !== undefined || rows.postings.some((one) => one.op === op && one.key !== undefined);
    const sent = rows.sent.find((one) => which(one) && isKeyed(one));
    if (sent) history.push(...request(sent.op ?? 0, status, bodyOf(sent)));
    return sent !== undefined;
  };
}

const pendingBody = ({ id, accountId, to, amount }: Sent): AnswerBody => ({
  ...{ id, transferStatus: 'pending' },
  legs: [
    { accountId, type: 'Withdraw', amount },
    { accountId: to, type: 'Deposit', amount },
  ],
});

/** Reads a transfer at the end. */
function reading(which: (sent: Sent) => boolean, bodyOf: (sent: Sent) => AnswerBody): Spoil {
  return ({ history, rows }) => {
    const sent = rows.sent.find(which);
    if (!sent) return false;
    const { id: transferId, accountId, to } = sent;
    const operation: Operation = { kind: 'read-transfer', transferId, accountIds: [accountId, to] };
    history.push({ at: 1e6, entry: 'intent', op: 0.5, operation }, ...request(0.5, 200, bodyOf(sent)));
    return true;
  };
}

/** Changes the first answer of this status to a transfer to another shard. */
function spoilAnswer(status: number, change: (body: AnswerBody) => AnswerBody): Spoil {
  return ({ history, rows }) => {
    const answer = history.find(
      (entry): entry is Answer =>
        entry.entry === 'answer' && entry.status === status && rows.sent.some(({ op }) => op === entry.op),
    );
    if (answer) Object.assign(answer, { body: { ...answer.body, ...change(answer.body ?? {}) } });
    return answer !== undefined;
  };
}

/** Every answer to the operation of a transfer is one that promises that nothing was written. */
function denyAll(which: (sent: Sent) => boolean): Spoil {
  return ({ history, rows }) => {
    const sent = rows.sent.find(which);
    for (const entry of history)
      if (entry.entry === 'answer' && entry.op === sent?.op)
        Object.assign(entry, { status: 408, body: { error: 'Server Crashes', currentVersion: null } });
    return sent !== undefined;
  };
}

describe('the checker, of transfers between shards', () => {
  let folder: string;

  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'bank-checker-'));
  });

  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  async function verdictOn({ history: entries, rows, arrivals }: Scene) {
    const history = join(folder, 'history.ndjson');
    writeFileSync(history, entries.map((entry) => `${JSON.stringify(entry)}\n`).join(''));
    return check({ history, books: booksOf([rows], 0, SHARDS), arrivals, cacheTtlMs: 1_000 });
  }

  it.each(Array.from({ length: SEEDS }, (_, seed) => seed))(
    'finds nothing in a sound history: %d',
    async (seed) => {
      const { violations, tally } = await verdictOn(sceneOf(seed));
      expect(violations.kept).toEqual([]);
      expect(tally.sent).toBeGreaterThan(20);
      expect(tally.sentInVain).toBeGreaterThan(0);
      expect(tally.toldPending).toBeGreaterThan(5);
    },
  );

  it.each<[Rule, string, Spoil]>([
    [
      'transfer-undecided',
      'one that stays pending',
      spoilSent(isCompleted, (sent) => (sent.status = 'pending')),
    ],
    [
      'sides-differ',
      'one that its target credited and its source gave back',
      spoilSent(isCompleted, (sent) => Object.assign(sent, { status: 'failed', failure: 'ACCOUNT_FROZEN' })),
    ],
    [
      'sides-differ',
      'one that its source completed and its target never decided',
      spoilSent(isCompleted, ({ id }, { arrived }) => without(arrived, (one) => one.id === id)),
    ],
    [
      'sides-differ',
      'one that arrived and that nobody sent',
      ({ rows }) => {
        const [one] = rows.arrived;
        if (one) rows.arrived.push({ ...one, nonce: 'another' });
        return one !== undefined;
      },
    ],
    [
      'sides-differ',
      'one of which the other side knows another amount',
      spoilSent(isCompleted, ({ id }, { arrived }) =>
        Object.assign(arrived.find((one) => one.id === id) ?? {}, { amount: 1 }),
      ),
    ],
    [
      'sides-differ',
      'a refusal for another reason than the recorded one',
      spoilSent(hasFailed, (sent) => (sent.failure = 'ACCOUNT_CLOSED')),
    ],
    [
      'sides-differ',
      'a credit of one that was refused',
      spoilSent(hasFailed, ({ id, to, amount, op }, { postings }) => {
        const credit = postings.find(({ accountId, type }) => accountId === to && type === 'credit');
        if (credit) postings.push({ ...credit, id: 'txn99999', transferId: id, amount, op });
      }),
    ],
    [
      'half-applied',
      'one that is completed without its debit',
      spoilSent(isCompleted, ({ id }, { postings }) =>
        without(postings, ({ transferId, type }) => transferId === id && type === 'debit'),
      ),
    ],
    [
      'half-applied',
      'one that is completed without its credit',
      spoilSent(isCompleted, ({ creditId }, { postings }) => without(postings, ({ id }) => id === creditId)),
    ],
    [
      'applied-twice',
      'one that is credited twice',
      spoilSent(isCompleted, ({ creditId }, { postings }) => {
        const credit = postings.find(({ id }) => id === creditId);
        if (credit) postings.push({ ...credit, id: 'txn99999', version: credit.version + 1 });
      }),
    ],
    [
      'applied-twice',
      'a request that began two of them',
      spoilSent(isCompleted, (sent, rows) => rows.sent.push({ ...sent, id: 'tr99999', nonce: 'another' })),
    ],
    [
      'applied-twice',
      'a key of a capture that a deposit has, too',
      spoilSent(
        ({ key }) => key !== undefined,
        ({ accountId, key }, { postings }) => {
          const other = postings.find((one) => one.accountId === accountId && one.type === 'credit');
          if (other) other.key = key;
        },
      ),
    ],
    [
      'money-created',
      'money that arrived and never left',
      spoilSent(isCompleted, ({ accountId, amount }, { accounts }) => {
        const source = accounts.find((one) => one.accountId === accountId);
        if (source) source.balance += amount;
      }),
    ],
    [
      'hold-broken',
      'a part of a hold that is on its way for ever',
      ({ rows }) => {
        const hold = rows.holds.find(({ remaining }) => remaining > 0);
        if (hold) hold.capturing = 1;
        return hold !== undefined;
      },
    ],
    [
      'hold-broken',
      'a capture that began after its hold had expired',
      spoilSent(
        (sent) => isCapture(sent) && isCompleted(sent),
        ({ holdId, createdAt }, { holds }) => {
          const hold = holds.find(({ id }) => id === holdId);
          if (hold) hold.expiresAt = createdAt - 1;
        },
      ),
    ],
    [
      'wrong-refusal',
      'a target that was never frozen',
      spoilSent(hasFailed, ({ to }, { events, accounts }) => {
        const account = accounts.find(({ accountId }) => accountId === to);
        const left = events.filter(({ accountId }) => accountId !== to);
        events.splice(0, Infinity, ...left);
        if (account) Object.assign(account, { revision: 0, status: 'open' });
      }),
    ],
    [
      'refused-but-applied',
      'one that completed and was denied',
      denyAll((sent) => isCompleted(sent) && !isCapture(sent)),
    ],
    [
      'refused-but-applied',
      'one that failed and was denied',
      denyAll((sent) => hasFailed(sent) && !isCapture(sent)),
    ],
    ['acknowledged-lost', 'a pending one with another id', spoilAnswer(202, () => ({ id: 'tr99999' }))],
    [
      'acknowledged-lost',
      'a pending one for another account',
      spoilAnswer(202, ({ legs = [] }) => ({ legs: legs.map((leg) => ({ ...leg, accountId: 99 })) })),
    ],
    ['acknowledged-lost', 'a success without its legs', spoilAnswer(201, () => ({ legs: [] }))],
    [
      'acknowledged-lost',
      'a success that is called pending',
      spoilAnswer(201, () => ({ transferStatus: 'pending' })),
    ],
    ['decided-twice', 'one that is pending again', repeating(isCompleted, 202, pendingBody)],
    ['decided-twice', 'one that reads as pending again', reading(isCompleted, pendingBody)],
    [
      'decided-twice',
      'a Duplicate of one that has failed',
      repeating(hasFailed, 409, ({ id }) => ({ error: 'Duplicate transfer', transferId: id })),
    ],
    [
      'refusal-forgotten',
      'another refusal of one that has failed',
      repeating(hasFailed, 422, ({ accountId }) => ({ error: 'Insufficient Balance', accountId })),
    ],
    [
      'refusal-forgotten',
      'a refusal that is told otherwise',
      repeating(hasFailed, 422, ({ to }) => ({ error: 'Account frozen', accountId: to, amount: 7 })),
    ],
    [
      'key-forgotten',
      'a refusal of one that is completed',
      repeating(isCompleted, 422, ({ to }) => ({ error: 'Account frozen', accountId: to })),
    ],
    [
      'wrong-read',
      'a failure that did not happen',
      reading(isCompleted, (sent) => ({
        ...pendingBody(sent),
        transferStatus: 'failed',
        failure: 'ACCOUNT_FROZEN',
      })),
    ],
    [
      'wrong-read',
      'a failure for another reason',
      reading(hasFailed, (sent) => ({
        ...pendingBody(sent),
        transferStatus: 'failed',
        failure: 'ACCOUNT_CLOSED',
      })),
    ],
    [
      'wrong-read',
      'a completed one without its legs',
      reading(isCompleted, ({ id }) => ({ id, transferStatus: 'completed', legs: [] })),
    ],
    [
      'over-reversed',
      'a claim of more than there was',
      ({ rows }) => {
        const claim = rows.postings.find(({ type, reverses }) => type === 'hold' && reverses !== undefined);
        if (claim) claim.amount += 10_000;
        return claim !== undefined;
      },
    ],
    [
      'wrong-refusal',
      'a completed one that is called not completed',
      ({ history, rows }) => {
        const sent = rows.sent.find(isCompleted);
        if (!sent) return false;
        const { id: transferId, accountId, to } = sent;
        const operation: Operation = { kind: 'reverse-transfer', transferId, accountIds: [to, accountId] };
        const body = { error: 'Transfer not completed' };
        history.push({ at: 1e6, entry: 'intent', op: 0.5, operation }, ...request(0.5, 409, body));
        return true;
      },
    ],
    [
      'wrong-refusal',
      'a hold of which nothing is on its way',
      ({ history, rows }) => {
        const hold = rows.holds.find(({ id }) => rows.sent.every(({ holdId }) => holdId !== id));
        if (!hold) return false;
        const operation: Operation = { kind: 'void', holdId: hold.id, accountId: hold.accountId };
        const body = { error: 'Hold being captured' };
        history.push({ at: 1e6, entry: 'intent', op: 0.5, operation }, ...request(0.5, 409, body));
        return true;
      },
    ],
    [
      'event-missing',
      'a completed one of which nothing is told',
      ({ arrivals, rows }) => {
        const { id } = rows.sent.find(isCompleted) ?? {};
        without(arrivals, (one) => one.id === id);
        return id !== undefined;
      },
    ],
    [
      'event-wrong',
      'a completion of one that has failed',
      ({ arrivals, rows }) => {
        const { id } = rows.sent.find(hasFailed) ?? {};
        const event = arrivals.find(({ type }) => type.startsWith('transfer.completed'));
        if (id === undefined || !event) return false;
        arrivals.push({ ...event, id });
        return true;
      },
    ],
    [
      'event-wrong',
      'a completion without the credit',
      ({ arrivals, rows }) => {
        const { id } = rows.sent.find(isCompleted) ?? {};
        const event = arrivals.find((one) => one.id === id);
        const legs = event?.data['legs'] as unknown[] | undefined;
        if (event) event.data = { ...event.data, legs: legs?.slice(0, 1) };
        return event !== undefined;
      },
    ],
  ])('finds a breach of %s: %s', async (rule, _, spoil) => {
    const found: Rule[] = [];
    for (let seed = 0; seed < SEEDS && !found.includes(rule); seed++) {
      const scene = sceneOf(seed);
      if (spoil(scene)) found.push(...(await verdictOn(scene)).violations.byRule.keys());
    }
    expect(found).toContain(rule);
  });
});
