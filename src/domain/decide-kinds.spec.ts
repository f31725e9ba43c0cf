import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { availableOf, type AccountStatus, type LedgerAccount } from './account.js';
import type { Knowledge } from './books.js';
import { accountsOf, mostTransactions, type AccountChanges, type Command, type Leg } from './command.js';
import { decideAtomically, decideBatch, type BatchDecision } from './decide-batch.js';
import { isDue, MAX_ACTIVE_HOLDS, type Hold } from './hold.js';
import { accountWith, knowledgeOf, NOW } from './knowledge.fixture.js';
import { MAX_MONEY } from './money.js';
import type { MovementType, Transaction } from './transaction.js';

/**
 * A bank of all kinds of commands that keeps nothing but its list of movements and of holds, and works out everything
 * else from the beginning each time. Slow, obvious, and sharing no code with decide().
 */
class ModelBank {
  readonly statuses = new Map<number, AccountStatus>();
  readonly limits = new Map<number, bigint>();
  readonly movements: {
    id: string;
    account: number;
    kind: 'credit' | 'debit' | 'hold' | 'release';
    amount: bigint;
    hold?: string;
    transfer?: string;
    reverses?: string;
    key?: string;
  }[] = [];
  readonly ends = new Map<string, { at: number | undefined; ended?: string }>();
  private ids = 0;

  constructor(accounts: readonly number[]) {
    for (const account of accounts) this.statuses.set(account, 'open');
  }

  sum(account: number, plus: string, minus: string): bigint {
    let total = 0n;
    for (const movement of this.movements) {
      if (movement.account !== account) continue;
      if (movement.kind === plus) total += movement.amount;
      if (movement.kind === minus) total -= movement.amount;
    }
    return total;
  }

  balance = (account: number) => this.sum(account, 'credit', 'debit');
  held = (account: number) => this.sum(account, 'hold', 'release');
  limit = (account: number) => this.limits.get(account) ?? 0n;
  available = (account: number) => this.balance(account) - this.held(account) + this.limit(account);
  version = (account: number) => 1 + this.movements.filter((movement) => movement.account === account).length;

  remaining(hold: string): bigint {
    const of = this.movements.filter((movement) => movement.hold === hold);
    const add = (kind: string) =>
      of.filter((movement) => movement.kind === kind).reduce((total, { amount }) => total + amount, 0n);
    return add('hold') - add('release');
  }

  /** Runs a step; a rejection undoes it. @returns the rejection's code, or undefined */
  attempt(step: () => string | undefined): string | undefined {
    const before = this.movements.length;
    const limits = new Map(this.limits);
    const ends = [...this.ends].map(([hold, end]) => [hold, { ...end }] as const);
    const refused = step();
    if (refused === undefined) return undefined;
    this.movements.length = before;
    for (const [account, limit] of limits) this.limits.set(account, limit);
    for (const account of this.limits.keys()) if (!limits.has(account)) this.limits.delete(account);
    this.ends.clear();
    for (const [hold, end] of ends) this.ends.set(hold, end);
    return refused;
  }

  add(movement: Omit<(typeof this.movements)[number], 'id'>): string {
    const id = `m${(this.ids += 1)}`;
    this.movements.push({ ...movement, id });
    return id;
  }

  /** What the status of an account says to a movement. */
  statusRefusal(account: number, kind: 'credit' | 'debit' | 'hold' | 'capture'): string | undefined {
    switch (this.statuses.get(account)) {
      case 'closed':
        return 'ACCOUNT_CLOSED';
      case 'frozen':
        return 'ACCOUNT_FROZEN';
      case 'debits_blocked':
        return kind === 'credit' || kind === 'capture' ? undefined : 'DEBITS_BLOCKED';
      case 'open':
      case undefined:
        return undefined;
    }
  }

  /** Debits or holds; if it does not do, the holds that are over end first. */
  take(account: number, amount: bigint): string | undefined {
    if (this.available(account) < amount) this.endDue(account);
    return this.available(account) < amount ? 'INSUFFICIENT_BALANCE' : undefined;
  }

  endDue(account: number): void {
    const due = [...this.ends].filter(
      ([hold, { at, ended }]) =>
        !ended &&
        at !== undefined &&
        at <= NOW.getTime() &&
        this.movements.some((movement) => movement.hold === hold && movement.account === account),
    );
    due.sort(([, a], [, b]) => Number(a.at) - Number(b.at));
    for (const [hold, end] of due) {
      this.add({ account, kind: 'release', amount: this.remaining(hold), hold });
      end.ended = 'expired';
    }
  }

  room = (account: number, amount: bigint) =>
    this.balance(account) + amount > MAX_MONEY ? 'BALANCE_LIMIT_EXCEEDED' : undefined;

  statusOf(hold: string): string {
    const end = this.ends.get(hold);
    if (end?.ended !== undefined) return end.ended;
    return end?.at !== undefined && end.at <= NOW.getTime() ? 'expired' : 'active';
  }

  reversedOf = (id: string) =>
    this.movements
      .filter(({ reverses }) => reverses === id)
      .reduce((total, { amount }) => total + amount, 0n);
}

const ACCOUNTS = [1, 2, 3];
const amount = fc.oneof(fc.constantFrom(25n, 50n, 75n), fc.bigInt({ min: 1n, max: 120n }));
const account = fc.constantFrom(...ACCOUNTS);
const nth = fc.nat({ max: 7 });

/** A step of a scenario: `pick` chooses among the holds, transactions or transfers that there are by then. */
const step = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({ do: fc.constantFrom('credit' as const, 'debit' as const), account, amount }),
  },
  {
    weight: 4,
    arbitrary: fc.record({ do: fc.constant('transfer' as const), from: account, to: account, amount }),
  },
  {
    weight: 5,
    arbitrary: fc.record({
      do: fc.constant('hold' as const),
      account,
      amount,
      lasts: fc.constantFrom(undefined, -1, 0, 60_000),
    }),
  },
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant('capture' as const),
      pick: nth,
      amount: fc.option(amount, { nil: undefined }),
      final: fc.boolean(),
      to: fc.option(account, { nil: undefined }),
    }),
  },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('void' as const), pick: nth }) },
  {
    weight: 5,
    arbitrary: fc.record({
      do: fc.constant('reversal' as const),
      pick: nth,
      amount: fc.option(amount, { nil: undefined }),
      force: fc.boolean(),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant('transfer-reversal' as const),
      pick: nth,
      amount: fc.option(amount, { nil: undefined }),
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('expiry' as const), account }) },
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant('change' as const),
      account,
      status: fc.constantFrom<AccountStatus | undefined>(
        undefined,
        'open',
        'debits_blocked',
        'frozen',
        'closed',
      ),
      limit: fc.constantFrom(undefined, 0n, 30n, 500n),
    }),
  },
);
type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;

/** The state of a bank between batches, as the database would keep it. */
class Bank {
  accounts = new Map<number, LedgerAccount>(
    ACCOUNTS.map((accountId) => [accountId, accountWith({ accountId, balance: 0n, version: 1 })]),
  );
  readonly transactions: Transaction[] = [];
  readonly holds = new Map<number, Hold>();
  private nextId = 1;

  /**
   * Runs a batch as the writer does: draws no more ids than the commands may need, and decides again with the expired
   * holds that matter, with an id more for each.
   */
  run(commands: readonly Command[], decideAll = decideBatch): BatchDecision {
    const named = new Set(commands.map((command) => ('holdId' in command ? command.holdId : undefined)));
    const ids = this.draw(commands.reduce((sum, command) => sum + mostTransactions(command), 0));
    const originals = new Map(
      this.transactions.map((transaction) => [
        transaction.transactionId,
        {
          transaction,
          reversed: this.transactions
            .filter(({ reversesId }) => reversesId === transaction.transactionId)
            .reduce((sum, { amount: part }) => sum + part, 0n),
        },
      ]),
    );
    let known: Knowledge = knowledgeOf(this.accounts.values(), {
      holds: new Map([...this.holds].filter(([holdId]) => named.has(holdId))),
      captures: new Map(
        [...this.holds.keys()].map((id) => [
          id,
          this.transactions.filter(({ holdId, type }) => holdId === id && type === 'debit').length,
        ]),
      ),
      originals,
      ids,
    });
    let decision = decideAll(commands, known, new Set());
    while (decision.lacking.size > 0) {
      const due = [...decision.lacking].map((accountId): [number, Hold[]] => [
        accountId,
        [...this.holds.values()].filter((hold) => hold.accountId === accountId && isDue(hold, NOW)),
      ]);
      const more = this.draw(due.reduce((sum, [, holds]) => sum + holds.length, 0));
      known = { ...known, due: new Map([...known.due, ...due]), ids: [...known.ids, ...more] };
      decision = decideAll(commands, known, new Set());
    }
    this.accounts = new Map(decision.accounts);
    this.transactions.push(...decision.transactions);
    for (const hold of decision.holds) this.holds.set(hold.holdId, hold);
    return decision;
  }

  private draw(count: number): number[] {
    const first = this.nextId;
    this.nextId += count;
    return Array.from({ length: count }, (_, index) => first + index);
  }
}

/** Carries a step out in the model and names the command for the bank; undefined: there is nothing to pick. */
function plan(
  taken: Step,
  model: ModelBank,
  bank: Bank,
  names: Map<string, number>,
): { command: Command; refused: string | undefined } | undefined {
  switch (taken.do) {
    case 'credit':
    case 'debit': {
      const command: Command = { type: taken.do, accountId: taken.account, amount: taken.amount };
      const refused = model.attempt(() => {
        const no =
          model.statusRefusal(taken.account, taken.do) ??
          (taken.do === 'credit'
            ? model.room(taken.account, taken.amount)
            : model.take(taken.account, taken.amount));
        if (no === undefined) model.add({ account: taken.account, kind: taken.do, amount: taken.amount });
        return no;
      });
      return { command, refused };
    }
    case 'transfer': {
      if (taken.from === taken.to) return undefined;
      const legs: Leg[] = [
        { accountId: taken.from, type: 'debit', amount: taken.amount },
        { accountId: taken.to, type: 'credit', amount: taken.amount },
      ];
      const refused = model.attempt(() => {
        const no =
          model.statusRefusal(taken.from, 'debit') ??
          model.statusRefusal(taken.to, 'credit') ??
          model.take(taken.from, taken.amount) ??
          model.room(taken.to, taken.amount);
        if (no !== undefined) return no;
        const transfer = model.add({ account: taken.from, kind: 'debit', amount: taken.amount });
        (model.movements.at(-1) as { transfer?: string }).transfer = transfer;
        model.add({ account: taken.to, kind: 'credit', amount: taken.amount, transfer });
        return undefined;
      });
      return { command: { type: 'transfer', accountId: taken.from, legs }, refused };
    }
    case 'hold': {
      const at = taken.lasts === undefined ? undefined : NOW.getTime() + taken.lasts;
      const refused = model.attempt(() => {
        const no = model.statusRefusal(taken.account, 'hold') ?? model.take(taken.account, taken.amount);
        if (no !== undefined) return no;
        const hold = model.add({ account: taken.account, kind: 'hold', amount: taken.amount });
        (model.movements.at(-1) as { hold?: string }).hold = hold;
        model.ends.set(hold, { at });
        return undefined;
      });
      const expiresAt = at === undefined ? undefined : new Date(at);
      return {
        command: { type: 'hold', accountId: taken.account, amount: taken.amount, expiresAt },
        refused,
      };
    }
    case 'capture':
    case 'void': {
      const holds = [...model.ends.keys()];
      const hold = holds[taken.pick % Math.max(1, holds.length)];
      const holdId = hold === undefined ? undefined : names.get(hold);
      if (hold === undefined || holdId === undefined) return undefined;
      const { accountId } = bank.holds.get(holdId) as Hold;
      const remaining = model.remaining(hold);
      if (taken.do === 'void') {
        const refused = model.attempt(() => {
          if (model.statusOf(hold) !== 'active') return 'HOLD_NOT_ACTIVE';
          model.add({ account: accountId, kind: 'release', amount: remaining, hold });
          (model.ends.get(hold) as { ended?: string }).ended = 'voided';
          return undefined;
        });
        return { command: { type: 'void', accountId, holdId }, refused };
      }
      const to = taken.to === accountId ? undefined : taken.to;
      const taking = taken.amount ?? remaining;
      const refused = model.attempt(() => {
        if (model.statusOf(hold) !== 'active') return 'HOLD_NOT_ACTIVE';
        if (taking > remaining) return 'HOLD_EXCEEDED';
        const no =
          model.statusRefusal(accountId, 'capture') ??
          (to === undefined ? undefined : (model.statusRefusal(to, 'credit') ?? model.room(to, taking)));
        if (no !== undefined) return no;
        const released = taken.final ? remaining : taking;
        model.add({ account: accountId, kind: 'release', amount: released, hold });
        const debit = model.add({ account: accountId, kind: 'debit', amount: taking, hold });
        if (to !== undefined) {
          (model.movements.at(-1) as { transfer?: string }).transfer = debit;
          model.add({ account: to, kind: 'credit', amount: taking, transfer: debit });
        }
        if (released === remaining) (model.ends.get(hold) as { ended?: string }).ended = 'captured';
        return undefined;
      });
      const command: Command = {
        ...{ type: 'capture', accountId, holdId, amount: taken.amount, final: taken.final },
        to: to === undefined ? undefined : { accountId: to },
      };
      return { command, refused };
    }
    case 'reversal': {
      const original = model.movements[taken.pick % Math.max(1, model.movements.length)];
      const transactionId = original && names.get(original.id);
      if (!original || transactionId === undefined) return undefined;
      const left = original.amount - model.reversedOf(original.id);
      const part = taken.amount ?? left;
      const opposite: MovementType = original.kind === 'credit' ? 'debit' : 'credit';
      const refused = model.attempt(() => {
        if (original.transfer !== undefined) return 'PART_OF_TRANSFER';
        if (original.reverses !== undefined || original.kind === 'hold' || original.kind === 'release')
          return 'NOT_REVERSIBLE';
        if (left === 0n || part > left) return 'REVERSAL_EXCEEDED';
        let no = model.statusRefusal(original.account, opposite);
        if (no !== undefined) return no;
        no = opposite === 'credit' ? model.room(original.account, part) : model.take(original.account, part);
        if (no === 'INSUFFICIENT_BALANCE' && taken.force) {
          const missing = part - model.available(original.account);
          model.limits.set(original.account, model.limit(original.account) + missing);
        } else if (no !== undefined) return no;
        model.add({ account: original.account, kind: opposite, amount: part, reverses: original.id });
        return undefined;
      });
      const { account: accountId } = original;
      const { amount: wanted, force } = taken;
      return { command: { type: 'reversal', accountId, transactionId, amount: wanted, force }, refused };
    }
    case 'transfer-reversal': {
      const transfers = [...new Set(model.movements.flatMap(({ transfer }) => transfer ?? []))];
      const transfer = transfers[taken.pick % Math.max(1, transfers.length)];
      const transferId = transfer === undefined ? undefined : names.get(transfer);
      if (transferId === undefined) return undefined;
      const legs = model.movements.filter((movement) => movement.transfer === transfer);
      const refused = model.attempt(() => {
        if (legs.some(({ reverses }) => reverses !== undefined)) return 'NOT_REVERSIBLE';
        const left = (legs[0]?.amount ?? 0n) - model.reversedOf(legs[0]?.id ?? '');
        const part = taken.amount ?? left;
        if (left === 0n || part > left) return 'REVERSAL_EXCEEDED';
        const back = legs.map(
          (leg) => ({ ...leg, kind: leg.kind === 'credit' ? 'debit' : 'credit' }) as const,
        );
        for (const leg of back) {
          const no = model.statusRefusal(leg.account, leg.kind);
          if (no !== undefined) return no;
        }
        // What leaves is asked for first.
        for (const leg of back.toSorted((a, b) => (a.kind < b.kind ? 1 : -1))) {
          const no = leg.kind === 'credit' ? model.room(leg.account, part) : model.take(leg.account, part);
          if (no !== undefined) return no;
        }
        let first: string | undefined;
        for (const leg of back) {
          const id = model.add({ account: leg.account, kind: leg.kind, amount: part, reverses: leg.id });
          first ??= id;
          (model.movements.at(-1) as { transfer?: string }).transfer = first;
        }
        return undefined;
      });
      const accountIds = legs.map((leg) => leg.account);
      const payer = legs.find((leg) => leg.kind === 'credit')?.account ?? 0;
      const command: Command = {
        ...{ type: 'transfer-reversal', accountId: payer, transferId, accountIds },
        amount: taken.amount,
      };
      return { command, refused };
    }
    case 'expiry':
      model.endDue(taken.account);
      return { command: { type: 'expiry', accountId: taken.account }, refused: undefined };
    case 'change': {
      const { account: accountId, status, limit } = taken;
      const before = model.statuses.get(accountId) as AccountStatus;
      const [newStatus, newLimit] = [status ?? before, limit ?? model.limit(accountId)];
      const refused = model.attempt(() => {
        if (before === 'closed' && (newStatus !== 'closed' || newLimit !== model.limit(accountId)))
          return 'ACCOUNT_CLOSED';
        const over = () => model.balance(accountId) - model.held(accountId) + newLimit < 0n;
        if (newStatus === 'closed' || over()) model.endDue(accountId);
        if (newStatus === 'closed' && (model.balance(accountId) !== 0n || model.held(accountId) !== 0n))
          return 'ACCOUNT_NOT_EMPTY';
        if (over()) return 'OVERDRAFT_IN_USE';
        model.statuses.set(accountId, newStatus);
        model.limits.set(accountId, newLimit);
        return undefined;
      });
      const changes = {
        ...(status !== undefined && { status }),
        ...(limit !== undefined && { overdraftLimit: limit }),
      };
      return { command: { type: 'change', accountId, changes }, refused };
    }
  }
}

/** What must hold of any bank, whatever was done to it. */
function expectBooks(bank: Bank): void {
  for (const accountBefore of bank.accounts.values()) {
    const { accountId, balance, held, version, overdraftLimit, activeHolds } = accountBefore;
    const own = bank.transactions.filter((transaction) => transaction.accountId === accountId);
    const sum = (type: string) =>
      own.filter((one) => one.type === type).reduce((total, one) => total + one.amount, 0n);
    const active = [...bank.holds.values()].filter(
      (hold) => hold.accountId === accountId && hold.remaining > 0n,
    );
    expect({ balance, held, activeHolds, version }).toEqual({
      balance: sum('credit') - sum('debit'),
      held: sum('hold') - sum('release'),
      activeHolds: active.length,
      version: 1 + own.length,
    });
    expect(active.reduce((total, { remaining }) => total + remaining, 0n)).toBe(held);
    expect(own.map(({ versionAfter }) => versionAfter)).toEqual(own.map((_, index) => index + 2));
    expect(availableOf(accountBefore)).toBeGreaterThanOrEqual(0n);
    expect(overdraftLimit).toBeGreaterThanOrEqual(0n);
  }
  const ids = bank.transactions.map(({ transactionId }) => transactionId);
  expect(ids).toEqual([...ids].sort((a, b) => a - b));
  for (const [transferId, legs] of Map.groupBy(bank.transactions, (one) => one.transferId)) {
    if (transferId === undefined) continue;
    expect(legs[0]?.transactionId).toBe(transferId);
    const total = legs.reduce((sum, { type, amount: part }) => sum + (type === 'credit' ? part : -part), 0n);
    expect(total).toBe(0n);
  }
}

describe('decide: all kinds of commands', () => {
  it('decides each as the model does, in batches of any size, and keeps the books', () => {
    const seen = new Set<string>();
    const scenario = fc.tuple(
      fc.array(step, { minLength: 1, maxLength: 50, size: 'max' }),
      fc.integer({ min: 1, max: 6 }),
    );
    fc.assert(
      fc.property(scenario, ([steps, size]) => {
        const model = new ModelBank(ACCOUNTS);
        const bank = new Bank();
        const names = new Map<string, number>();
        let waiting: { command: Command; refused: string | undefined; places: [number, number] }[] = [];
        const flush = () => {
          if (waiting.length === 0) return;
          const { decisions } = bank.run(waiting.map(({ command }) => command));
          decisions.forEach((decision, index) => {
            const { refused, places, command } = waiting[index] as (typeof waiting)[number];
            const code = decision?.accepted === false ? decision.rejection.code : undefined;
            expect([command, code]).toEqual([command, refused]);
            seen.add(`${command.type} ${refused ?? 'accepted'}`);
            const made = decision?.accepted === true ? decision.effects.transactions : [];
            expect(made).toHaveLength(places[1] - places[0]);
            made.forEach((one, place) => {
              const movement = model.movements[places[0] + place];
              expect([one.accountId, one.type, one.amount]).toEqual([
                ...[movement?.account, movement?.kind, movement?.amount],
              ]);
              names.set(movement?.id ?? '', one.transactionId);
            });
          });
          waiting = [];
          expectBooks(bank);
          for (const accountId of ACCOUNTS) {
            expect(bank.accounts.get(accountId)).toMatchObject({
              ...{ balance: model.balance(accountId), held: model.held(accountId) },
              ...{ version: model.version(accountId), overdraftLimit: model.limit(accountId) },
              status: model.statuses.get(accountId),
            });
          }
          for (const [hold, holdId] of [...model.ends.keys()].map((name) => [name, names.get(name)] as const))
            expect(bank.holds.get(holdId ?? 0)?.remaining).toBe(model.remaining(hold));
        };
        const openings = [1, 2].map((of): Step => ({ do: 'credit', account: of, amount: 150n }));
        for (const taken of [...openings, ...steps]) {
          // What names an earlier transaction needs its id.
          if (!['credit', 'debit', 'transfer', 'hold'].includes(taken.do) || waiting.length >= size) flush();
          const before = model.movements.length;
          const planned = plan(taken, model, bank, names);
          if (planned) waiting.push({ ...planned, places: [before, model.movements.length] });
        }
        flush();
      }),
      { numRuns: 200 },
    );
    // A property that never meets these would prove little.
    const wanted = [
      ...['transfer accepted', 'transfer INSUFFICIENT_BALANCE', 'transfer DEBITS_BLOCKED', 'hold accepted'],
      ...[
        'hold INSUFFICIENT_BALANCE',
        'capture accepted',
        'capture HOLD_NOT_ACTIVE',
        'capture HOLD_EXCEEDED',
      ],
      ...['void accepted', 'void HOLD_NOT_ACTIVE', 'reversal accepted'],
      ...['reversal REVERSAL_EXCEEDED', 'reversal NOT_REVERSIBLE', 'reversal PART_OF_TRANSFER'],
      ...[
        'reversal INSUFFICIENT_BALANCE',
        'transfer-reversal accepted',
        'transfer-reversal REVERSAL_EXCEEDED',
      ],
      ...['change accepted', 'change ACCOUNT_NOT_EMPTY'],
      'expiry accepted',
    ];
    expect(wanted.filter((outcome) => !seen.has(outcome))).toEqual([]);
  }, 60_000);

  it('applies all of an atomic batch or nothing, and nothing of a dry run', () => {
    fc.assert(
      fc.property(fc.array(step, { minLength: 2, maxLength: 25 }), fc.boolean(), (steps, dryRun) => {
        const [model, bank, names] = [new ModelBank(ACCOUNTS), new Bank(), new Map<string, number>()];
        bank.run(ACCOUNTS.map((accountId) => ({ type: 'credit', accountId, amount: 100n })));
        const commands = steps.flatMap((taken) => plan(taken, model, bank, names)?.command ?? []);
        const before = { accounts: bank.accounts, transactions: bank.transactions.length };
        const decision = bank.run(
          commands.map((command) => ({ ...command, dryRun })),
          decideAtomically,
        );
        const refused = decision.decisions.some((one) => one?.accepted === false);
        if (refused || dryRun) {
          expect(bank.accounts).toEqual(before.accounts);
          expect(bank.transactions).toHaveLength(before.transactions);
        }
        expectBooks(bank);
      }),
      { numRuns: 150 },
    );
  });

  it('names each account of a command once', () => {
    const legs: Leg[] = [1, 2, 3].map((accountId) => ({ accountId, type: 'credit', amount: 1n }));
    expect(accountsOf({ type: 'transfer', accountId: 1, legs })).toEqual([1, 2, 3]);
    expect(
      accountsOf({ type: 'capture', accountId: 1, holdId: 9, final: true, to: { accountId: 2 } }),
    ).toEqual([1, 2]);
    expect(accountsOf({ type: 'void', accountId: 1, holdId: 9 })).toEqual([1]);
  });

  const codesOf = (bank: Bank, ...commands: Command[]) =>
    bank.run(commands).decisions.map((one) => (one?.accepted === false ? one.rejection.code : undefined));
  const change = (changes: AccountChanges): Command => ({ type: 'change', accountId: 1, changes });
  const credit: Command = { type: 'credit', accountId: 1, amount: 100n };
  const debit: Command = { ...credit, type: 'debit' };

  it('lowers an overdraft limit no further than it is used', () => {
    const limits = [100n, 99n, 0n].map((overdraftLimit) => change({ overdraftLimit }));
    const [wide, narrower, none] = limits as [Command, Command, Command];
    expect(codesOf(new Bank(), wide, debit, narrower, credit, none)).toEqual([
      ...[undefined, undefined, 'OVERDRAFT_IN_USE', undefined, undefined],
    ]);
  });

  it('closes an account for ever', () => {
    const [closed, open] = [change({ status: 'closed' }), change({ status: 'open' })];
    const refused = codesOf(new Bank(), credit, closed, debit, closed, credit, open, closed);
    expect(refused).toEqual([
      ...[
        undefined,
        'ACCOUNT_NOT_EMPTY',
        undefined,
        undefined,
        'ACCOUNT_CLOSED',
        'ACCOUNT_CLOSED',
        undefined,
      ],
    ]);
  });

  it('ends holds that have expired before it closes an account or lowers its limit', () => {
    const hold: Command = { type: 'hold', accountId: 1, amount: 50n, expiresAt: NOW };
    const [wide, none] = [50n, 0n].map((overdraftLimit) => change({ overdraftLimit })) as [Command, Command];
    const bank = new Bank();
    expect(codesOf(bank, wide, hold, none, wide, hold, change({ status: 'closed' }))).toEqual(
      Array(6).fill(undefined),
    );
    expect(bank.accounts.get(1)).toMatchObject({ status: 'closed', held: 0n, activeHolds: 0, version: 5 });
    expectBooks(bank);
  });

  it('ends holds that have expired before it refuses one more', () => {
    const bank = new Bank();
    const hold: Command = { type: 'hold', accountId: 1, amount: 1n };
    bank.run([credit, { ...hold, expiresAt: NOW }]);
    const full = { ...(bank.accounts.get(1) as LedgerAccount), activeHolds: MAX_ACTIVE_HOLDS };
    bank.accounts.set(1, full);
    expect(codesOf(bank, hold, hold)).toEqual([undefined, 'TOO_MANY_HOLDS']);
    expect(bank.accounts.get(1)).toMatchObject({ held: 1n, activeHolds: MAX_ACTIVE_HOLDS });
  });

  it('captures a hold of an account whose debits are blocked, but not of a frozen one, which may be voided', () => {
    const bank = new Bank();
    bank.run([credit, { type: 'hold', accountId: 1, amount: 60n }]);
    const hold = { accountId: 1, holdId: [...bank.holds.keys()][0] ?? 0 };
    const capture: Command = { type: 'capture', ...hold, amount: 20n, final: false };
    const [frozen, blocked] = [change({ status: 'frozen' }), change({ status: 'debits_blocked' })];
    expect(codesOf(bank, frozen, capture, blocked, capture, frozen, { type: 'void', ...hold })).toEqual([
      ...[undefined, 'ACCOUNT_FROZEN', undefined, undefined, undefined, undefined],
    ]);
    expect(bank.accounts.get(1)).toMatchObject({ balance: 80n, held: 0n, version: 6, revision: 3 });
  });

  it('captures a hold that was captured 1,000 times only if that ends it', () => {
    const bank = new Bank();
    bank.run([
      { ...credit, amount: 1_011n },
      { type: 'hold', accountId: 1, amount: 1_010n },
      { type: 'hold', accountId: 1, amount: 1n },
    ]);
    const [holdId = 0] = bank.holds.keys();
    const part: Command = { type: 'capture', accountId: 1, holdId, amount: 1n, final: false };
    expect(codesOf(bank, ...Array.from({ length: 1_001 }, () => part))).toEqual([
      ...new Array<undefined>(1_000).fill(undefined),
      'TOO_MANY_CAPTURES',
    ]);
    expect(codesOf(bank, part, { ...part, amount: 10n })).toEqual(['TOO_MANY_CAPTURES', undefined]);
  });

  it('captures no hold for its own account', () => {
    const bank = new Bank();
    bank.run([credit, { type: 'hold', accountId: 1, amount: 60n }]);
    const holdId = [...bank.holds.keys()][0] ?? 0;
    const capture: Command = { type: 'capture', accountId: 1, holdId, final: true, to: { accountId: 1 } };
    expect(() => bank.run([capture])).toThrow('for another account than its own');
  });

  it('gives the reversal of a transfer the id of its first leg, even if an expired hold ends before it', () => {
    const bank = new Bank();
    const legs: Leg[] = [
      { accountId: 2, type: 'debit', amount: 60n },
      { accountId: 1, type: 'credit', amount: 60n },
    ];
    bank.run([
      { type: 'credit', accountId: 2, amount: 60n },
      { type: 'transfer', accountId: 2, legs },
    ]);
    const transferId = bank.transactions.at(-1)?.transferId ?? 0;
    bank.run([{ type: 'hold', accountId: 1, amount: 60n, expiresAt: NOW }]);
    const reversal: Command = { type: 'transfer-reversal', accountId: 1, transferId, accountIds: [2, 1] };
    expect(codesOf(bank, reversal)).toEqual([undefined]);
    expect(bank.transactions.slice(-3).map(({ type }) => type)).toEqual(['release', 'credit', 'debit']);
    expectBooks(bank);
  });

  it('does not tell who lacks the money whether another account has room for it', () => {
    const legs: Leg[] = [
      { accountId: 2, type: 'credit', amount: MAX_MONEY, foreign: true },
      { accountId: 1, type: 'debit', amount: MAX_MONEY },
    ];
    const transfer: Command = { type: 'transfer', accountId: 1, legs };
    const deposit: Command = { ...credit, accountId: 2 };
    expect(codesOf(new Bank(), deposit, transfer)).toEqual([undefined, 'INSUFFICIENT_BALANCE']);
  });

  it('holds no more than an amount can be', () => {
    const hold: Command = { type: 'hold', accountId: 1, amount: MAX_MONEY };
    const wide = change({ overdraftLimit: MAX_MONEY });
    const refused = codesOf(new Bank(), wide, credit, hold, { ...hold, amount: 1n });
    expect(refused).toEqual([undefined, undefined, undefined, 'BALANCE_LIMIT_EXCEEDED']);
  });

  it('forces no reversal for which the overdraft limit would have to be more than an amount can be', () => {
    const bank = new Bank();
    bank.run([change({ overdraftLimit: MAX_MONEY }), credit, { ...debit, amount: MAX_MONEY }]);
    const of = { accountId: 1, transactionId: bank.transactions[0]?.transactionId ?? 0, force: true };
    const forced: Command = { type: 'reversal', ...of };
    expect(codesOf(bank, { ...debit, amount: 100n }, forced)).toEqual([undefined, 'INSUFFICIENT_BALANCE']);
  });

  it('tells nothing about an account that the sender may not see', () => {
    const to = (more: Partial<Leg>): Command => ({
      ...{ type: 'transfer', accountId: 1 },
      legs: [
        { accountId: 1, type: 'debit', amount: 1n },
        { accountId: 2, type: 'credit', amount: 1n, ...more },
      ],
    });
    const bank = new Bank();
    const freeze: Command = { type: 'change', accountId: 2, changes: { status: 'frozen' } };
    expect(codesOf(bank, credit, to({ foreign: true }), freeze, to({ foreign: true }), to({}))).toEqual([
      ...[undefined, undefined, undefined, 'COUNTERPARTY_REFUSED', 'ACCOUNT_FROZEN'],
    ]);
  });

  it('needs no more ids than were drawn, however many refused commands find the same holds expired', () => {
    const bank = new Bank();
    const hold: Command = { type: 'hold', accountId: 1, amount: 1n, expiresAt: NOW };
    bank.run([{ type: 'credit', accountId: 1, amount: 5n }, hold, hold, hold, hold, hold]);
    const tooMuch: Command = { type: 'debit', accountId: 1, amount: 6n };
    const codes = codesOf(bank, tooMuch, tooMuch, tooMuch, { ...tooMuch, amount: 5n });
    expect(codes).toEqual([...Array<string>(3).fill('INSUFFICIENT_BALANCE'), undefined]);
    expectBooks(bank);
  });
});
