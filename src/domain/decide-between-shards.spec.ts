import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { availableOf, type AccountStatus, type LedgerAccount } from './account.js';
import {
  MAX_PENDING_OF_ACCOUNT,
  transferKey,
  type IncomingTransfer,
  type OutgoingTransfer,
} from './between-shards.js';
import { keyedBy, keyOf, type Decision, type Effects, type KeyUse, type Original } from './books.js';
import type { Command, OutgoingCommand, TransferCommand } from './command.js';
import { decideBatch } from './decide-batch.js';
import type { Hold } from './hold.js';
import { accountWith, knowledgeOf, NOW } from './knowledge.fixture.js';
import type { Transaction } from './transaction.js';

const ACCOUNTS = [1, 3];
const OTHER_ACCOUNTS = [2, 4];
const OPENING = 10n;

/** One shard as its tables would be: whatever a command needs to know is worked out from all of its rows. */
class ShardModel {
  readonly accounts = new Map<number, LedgerAccount>();
  readonly holds = new Map<number, Hold>();
  readonly outgoing = new Map<number, OutgoingTransfer>();
  readonly incoming = new Map<string, IncomingTransfer>();
  readonly transactions: Transaction[] = [];
  private ids: number;

  constructor(index: 0 | 1, accountIds: readonly number[]) {
    this.ids = index + 101;
    for (const accountId of accountIds)
      this.accounts.set(accountId, accountWith({ accountId, balance: OPENING, version: 1 }));
  }

  run(command: Command): Decision {
    const ids = Array.from({ length: 5 }, (_, place) => this.ids + 2 * place);
    const pending = [...this.outgoing.values()].filter(({ status }) => status === 'pending');
    const known = knowledgeOf(this.accounts.values(), {
      ...{ holds: this.holds, outgoing: this.outgoing, incoming: this.incoming },
      ...{ keyed: this.keyed(), originals: this.originals(), ids },
      pending: {
        inShard: pending.length,
        ofAccount: new Map(
          [...Map.groupBy(pending, ({ accountId }) => accountId)].map(([id, of]) => [id, of.length]),
        ),
      },
    });
    const batch = decideBatch([command], known, new Set());
    this.ids += 2 * ids.length;
    for (const [accountId, account] of batch.accounts) this.accounts.set(accountId, account);
    for (const hold of batch.holds) this.holds.set(hold.holdId, hold);
    for (const transfer of batch.outgoing) this.outgoing.set(transfer.transferId, transfer);
    for (const transfer of batch.incoming) this.incoming.set(transferKey(transfer), transfer);
    this.transactions.push(...batch.transactions);
    return batch.decisions[0] as Decision;
  }

  setStatus(accountId: number, status: AccountStatus): void {
    this.accounts.set(accountId, { ...(this.accounts.get(accountId) as LedgerAccount), status });
  }

  private keyed(): Map<string, KeyUse> {
    const keyed = new Map<string, KeyUse>();
    for (const transaction of this.transactions) {
      const { accountId, idempotencyKey } = transaction;
      if (idempotencyKey !== undefined) keyed.set(keyOf(accountId, idempotencyKey), transaction);
    }
    for (const transfer of this.outgoing.values())
      if (transfer.key) keyed.set(keyOf(transfer.accountId, transfer.key.idempotencyKey), keyedBy(transfer));
    return keyed;
  }

  private originals(): Map<number, Original> {
    return new Map(
      this.transactions.map((transaction) => {
        const claims = this.transactions.filter(({ reversesId }) => reversesId === transaction.transactionId);
        const reversed = claims.reduce(
          (sum, { type, amount }) => sum + (type === 'release' ? -amount : amount),
          0n,
        );
        return [transaction.transactionId, { transaction, reversed }];
      }),
    );
  }
}

/** Two shards, and all that drivers have read of either and may still act upon, however old it is. */
class World {
  readonly shards = [new ShardModel(0, ACCOUNTS), new ShardModel(1, OTHER_ACCOUNTS)] as const;
  readonly begun: OutgoingTransfer[] = [];
  readonly decisions: IncomingTransfer[] = [];

  of = (id: number): ShardModel => this.shards[((id - 1) % 2) as 0 | 1];

  begin(command: Omit<OutgoingCommand, 'type' | 'nonce' | 'toCurrency' | 'request'>): Decision {
    const decision = this.of(command.accountId).run({
      ...{ type: 'outgoing', nonce: `nonce${this.begun.length}`, toCurrency: undefined },
      ...{ request: requestOf(command), ...command },
    });
    if (decision.accepted) this.begun.push(...decision.effects.outgoing);
    return decision;
  }

  decide(transfer: OutgoingTransfer, cancelled = false): IncomingTransfer {
    const { effects } = this.of(transfer.to).run({
      ...{ type: 'incoming', accountId: transfer.to, transfer, cancelled },
    }) as { effects: Effects };
    const [decision] = effects.incoming as [IncomingTransfer];
    this.decisions.push(decision);
    return decision;
  }

  settle(decision: IncomingTransfer): OutgoingTransfer {
    const { transferId, from: accountId } = decision;
    const transfer = this.of(transferId).outgoing.get(transferId) as OutgoingTransfer;
    const settled = this.of(accountId).run({ type: 'settlement', accountId, transfer, decision });
    return (settled as { effects: Effects }).effects.outgoing[0] as OutgoingTransfer;
  }
}

const requestOf = ({ accountId, to, amount }: { accountId: number; to: number; amount?: unknown }) =>
  ({
    ...{ type: 'transfer', accountId },
    legs: [
      { accountId, type: 'debit', amount },
      { accountId: to, type: 'credit', amount },
    ],
  }) as TransferCommand;

const index = fc.nat(30);
const amount = fc.bigInt(1n, 6n);
const step = fc.oneof(
  { weight: 4, arbitrary: fc.record({ do: fc.constant('begin' as const), at: index, amount }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('hold' as const), at: index, amount }) },
  {
    weight: 3,
    arbitrary: fc.record({ do: fc.constant('capture' as const), at: index, amount, final: fc.boolean() }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('void' as const), at: index }) },
  {
    weight: 3,
    arbitrary: fc.record({
      ...{ do: fc.constant('reverse' as const), at: index, amount, force: fc.boolean() },
    }),
  },
  { weight: 6, arbitrary: fc.record({ do: fc.constant('decide' as const), at: index }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('cancel' as const), at: index }) },
  { weight: 6, arbitrary: fc.record({ do: fc.constant('settle' as const), at: index }) },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant('status' as const),
      at: index,
      status: fc.constantFrom('open' as const, 'frozen' as const, 'debits_blocked' as const),
    }),
  },
);
type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;

const EVERY_ACCOUNT = [...ACCOUNTS, ...OTHER_ACCOUNTS];
const pick = <T>(list: readonly T[], at: number): T | undefined => list[at % Math.max(1, list.length)];

/** Any driver may take any step of any transfer, at any time and again, on what it read long ago. */
function take(world: World, action: Step): void {
  const accountId = pick(EVERY_ACCOUNT, action.at) as number;
  const others = world.of(accountId) === world.shards[0] ? OTHER_ACCOUNTS : ACCOUNTS;
  const to = pick(others, action.at >> 2) as number;
  const transfer = pick(world.begun, action.at);
  const hold = pick(
    world.shards.flatMap(({ holds }) => [...holds.values()]),
    action.at,
  );
  switch (action.do) {
    case 'begin':
      world.begin({ accountId, to, amount: action.amount });
      return;
    case 'hold':
      world.of(accountId).run({ type: 'hold', accountId, amount: action.amount });
      return;
    case 'capture': {
      if (!hold) return;
      const capture = { holdId: hold.holdId, final: action.final };
      const elsewhere = world.of(hold.accountId) === world.shards[0] ? OTHER_ACCOUNTS : ACCOUNTS;
      world.begin({
        ...{ accountId: hold.accountId, to: elsewhere[0] as number, amount: action.amount, capture },
      });
      return;
    }
    case 'void':
      if (hold)
        world.of(hold.accountId).run({ type: 'void', accountId: hold.accountId, holdId: hold.holdId });
      return;
    case 'reverse': {
      const { debit, credit, ...original } =
        (transfer && world.of(transfer.transferId).outgoing.get(transfer.transferId)) ?? {};
      if (!debit || !credit || !('to' in original)) return;
      const { force } = action;
      const reversal = { ...original, force, creditId: credit.transactionId, debitId: debit.transactionId };
      world.begin({ accountId: original.to, to: original.accountId, amount: action.amount, reversal });
      return;
    }
    case 'decide':
    case 'cancel':
      if (transfer) world.decide(transfer, action.do === 'cancel');
      return;
    case 'settle': {
      const decision = pick(world.decisions, action.at);
      if (decision) world.settle(decision);
      return;
    }
    case 'status':
      world.of(accountId).setStatus(accountId, action.status);
  }
}

const sum = (amounts: Iterable<bigint>) => [...amounts].reduce((total, each) => total + each, 0n);

function checkAccounts(world: World): void {
  for (const shard of world.shards) {
    for (const account of shard.accounts.values()) {
      const active = [...shard.holds.values()].filter(({ accountId }) => accountId === account.accountId);
      expect(availableOf(account)).toBeGreaterThanOrEqual(0n);
      expect(account.held).toBe(sum(active.map(({ remaining }) => remaining)));
      expect(account.activeHolds).toBe(active.filter(({ status }) => status === 'active').length);
    }
    for (const { holdId, capturing, remaining } of shard.holds.values()) {
      const pending = [...shard.outgoing.values()].filter(
        (transfer) => transfer.holdId === holdId && transfer.status === 'pending',
      );
      const [last] = pending.filter(({ final }) => final);
      if (last) expect(pending).toEqual([last]);
      expect(capturing).toBe(last ? remaining : sum(pending.map((transfer) => transfer.amount)));
      expect(capturing).toBeLessThanOrEqual(remaining);
    }
  }
}

/** Both sides of every transfer that was ever begun say the same, and each leg was posted at most once. */
function checkTransfers(world: World): void {
  for (const { transferId, accountId, to, amount, nonce } of world.begun) {
    const { status } = world.of(transferId).outgoing.get(transferId) as OutgoingTransfer;
    const legs = (of: number, type: string) =>
      world
        .of(of)
        .transactions.filter((posted) => posted.transferId === transferId && posted.type === type)
        .filter((posted) => posted.accountId === of && posted.amount === amount).length;
    const decided = world.of(to).incoming.get(transferKey({ transferId, nonce }));
    expect(legs(accountId, 'debit')).toBe(status === 'completed' ? 1 : 0);
    expect(legs(to, 'credit')).toBe(decided?.credit ? 1 : 0);
    if (status === 'completed') expect(decided?.credit).toBeDefined();
    if (status === 'failed') expect(decided?.rejection).toBeDefined();
  }
}

/** No transaction is reversed for more than it was, and at rest only what was reversed is claimed. */
function checkReversals(world: World): void {
  for (const { transactions } of world.shards) {
    for (const { transactionId, amount } of transactions) {
      const claims = transactions.filter(({ reversesId }) => reversesId === transactionId);
      const of = (...types: readonly string[]) =>
        sum(claims.filter(({ type }) => types.includes(type)).map((claim) => claim.amount));
      expect(of('debit', 'credit')).toBeLessThanOrEqual(amount);
      expect(of('hold')).toBe(of('release'));
    }
  }
}

const balances = (world: World) =>
  sum(world.shards.flatMap(({ accounts }) => [...accounts.values()].map(({ balance }) => balance)));

describe('transfers between shards', () => {
  it('are exact, whoever takes the steps, in any order and any number of times', () => {
    fc.assert(
      fc.property(fc.array(step, { minLength: 10, maxLength: 60 }), (steps) => {
        const world = new World();
        for (const action of steps) {
          take(world, action);
          checkAccounts(world);
          checkTransfers(world);
        }
        const inFlight = sum(
          world.begun
            .filter(({ transferId }) => world.of(transferId).outgoing.get(transferId)?.status === 'pending')
            .filter((transfer) => world.of(transfer.to).incoming.get(transferKey(transfer))?.credit)
            .map(({ amount: credited }) => credited),
        );
        const opened = OPENING * BigInt(EVERY_ACCOUNT.length);
        expect(balances(world)).toBe(opened + inFlight);
        // At rest, nothing is on its way, and no money was made or lost.
        for (const transfer of world.begun) world.settle(world.decide(transfer));
        checkAccounts(world);
        checkTransfers(world);
        checkReversals(world);
        expect(balances(world)).toBe(opened);
        expect(world.shards.flatMap(({ outgoing }) => [...outgoing.values()]).filter(isPending)).toEqual([]);
      }),
      { numRuns: 300 },
    );
  });

  it('are bounded for an account', () => {
    const world = new World();
    const shard = world.shards[0];
    const account = shard.accounts.get(1) as LedgerAccount;
    shard.accounts.set(1, { ...account, balance: 10_000n });
    for (let made = 0; made < MAX_PENDING_OF_ACCOUNT; made++)
      shard.outgoing.set(1_000_001 + 2 * made, { accountId: 1, status: 'pending' } as OutgoingTransfer);
    expect(world.begin({ accountId: 1, to: 2, amount: 1n })).toEqual({
      accepted: false,
      rejection: { code: 'TOO_MANY_PENDING_TRANSFERS' },
    });
    expect(world.begin({ accountId: 3, to: 2, amount: 1n })).toMatchObject({ accepted: true });
  });

  it('with the same id, as after a restore of the source, are told apart', () => {
    const world = new World();
    const { effects } = world.begin({ accountId: 1, to: 2, amount: 3n }) as { effects: Effects };
    const [transfer] = effects.outgoing as [OutgoingTransfer];
    expect(world.decide(transfer).credit).toBeDefined();
    const restored = { ...transfer, nonce: 'another', amount: 9n };
    const decision = world.decide(restored);
    expect(decision).toMatchObject({ nonce: 'another', amount: 9n, credit: { balanceAfter: OPENING + 12n } });
    const settled = world.shards[0].run({ type: 'settlement', accountId: 1, transfer, decision });
    expect(settled).toEqual({ accepted: false, rejection: { code: 'TRANSFER_NOT_FOUND' } });
  });

  it('leave no overdraft behind when a forced reversal fails, but what is used of it', () => {
    const run = (spent: bigint) => {
      const world = new World();
      const { effects } = world.begin({ accountId: 1, to: 2, amount: 8n }) as { effects: Effects };
      const made = world.settle(world.decide(effects.outgoing[0] as OutgoingTransfer));
      const target = world.shards[1];
      target.run({ type: 'debit', accountId: 2, amount: OPENING + 8n });
      const { transferId, credit, debit } = made;
      const reversal = {
        ...{ transferId, force: true },
        ...{ creditId: credit?.transactionId ?? 0, debitId: debit?.transactionId ?? 0 },
      };
      const back = world.begin({ accountId: 2, to: 1, amount: 8n, reversal }) as { effects: Effects };
      expect(target.accounts.get(2)).toMatchObject({ balance: 0n, held: 8n, overdraftLimit: 8n });
      // An operator raises the limit meanwhile, and some of it is spent.
      target.run({ type: 'change', accountId: 2, changes: { overdraftLimit: 8n + spent } });
      if (spent > 0n) target.run({ type: 'debit', accountId: 2, amount: spent });
      world.settle(world.decide(back.effects.outgoing[0] as OutgoingTransfer, true));
      return target.accounts.get(2);
    };
    expect(run(0n)).toMatchObject({ balance: 0n, held: 0n, overdraftLimit: 0n });
    expect(run(3n)).toMatchObject({ balance: -3n, held: 0n, overdraftLimit: 3n });
  });

  it('bind all of a hold that ends with them', () => {
    const world = new World();
    const shard = world.shards[0];
    const { effects } = shard.run({ type: 'hold', accountId: 1, amount: 9n }) as { effects: Effects };
    const holdId = effects.holds[0]?.holdId ?? 0;
    const capture = (amount: bigint, final: boolean) =>
      world.begin({ accountId: 1, to: 2, amount, capture: { holdId, final } });
    expect(capture(3n, true)).toMatchObject({ accepted: true });
    const refused = { accepted: false, rejection: { code: 'HOLD_BEING_CAPTURED' } };
    expect(capture(3n, false)).toEqual(refused);
    expect(shard.run({ type: 'capture', accountId: 1, holdId, amount: 1n, final: false })).toEqual(refused);
    world.settle(world.decide(world.begun[0] as OutgoingTransfer));
    expect(shard.holds.get(holdId)).toMatchObject({ status: 'captured', captured: 3n, remaining: 0n });
    expect(shard.accounts.get(1)).toMatchObject({ balance: OPENING - 3n, held: 0n });
  });

  it('keep their promise, whatever has become of the source since', () => {
    const world = new World();
    const { effects } = world.begin({ accountId: 1, to: 2, amount: 3n }) as { effects: Effects };
    const decision = world.decide(effects.outgoing[0] as OutgoingTransfer);
    world.shards[0].setStatus(1, 'frozen');
    expect(world.settle(decision)).toMatchObject({ status: 'completed', debit: { timestamp: NOW } });
    expect(world.shards[0].accounts.get(1)).toMatchObject({ balance: OPENING - 3n, held: 0n, version: 4 });
  });
});

const isPending = ({ status }: OutgoingTransfer) => status === 'pending';
