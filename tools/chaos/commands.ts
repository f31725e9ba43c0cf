import type { CallAnswer } from './caller.js';
import {
  shardOf,
  type Capture,
  type Change,
  type Command,
  type Operation,
  type PlaceHold,
  type Post,
  type Reverse,
  type ReverseTransfer,
  type Submittable,
  type Transfer,
} from './checker/history.js';
import type { Random } from './random.js';

/** Kinds of commands; `reverse` is of transactions and of transfers. */
export type Kind = 'post' | 'transfer' | 'hold' | 'capture' | 'void' | 'reverse';

const KINDS: Readonly<Record<Kind, number>> = {
  ...{ post: 47, transfer: 25, hold: 10, capture: 9, void: 2, reverse: 7 },
};

/** Of each shard. */
const HOT_ACCOUNTS = 2;
/** Only these cold accounts of each shard are frozen, blocked or overdrawn, so that the others go on. */
const CHANGED_ACCOUNTS = 4;
const MOST_LEGS = 6;
const MOST_AT_ONCE = 4;
const LONGEST_ATOMIC_BATCH = 5;
const LONGEST_HOLD_SECONDS = 3;
const HIGHEST_LIMIT = 5_000;
/** The chance that an account is another owner's. */
const FOREIGN = 0.06;
/** The chance that a reversal takes back money that is gone, too. */
const FORCED = 0.3;
/** The chance that a transfer, or a capture for another account, goes to another shard. */
const BETWEEN_SHARDS = 0.5;
/** How many holds, transactions and transfers are known of each shard: few, so that clients meet at them. */
const KNOWN = 30;

interface Known {
  readonly holds: { readonly holdId: string; readonly accountId: number; readonly amount: number }[];
  readonly transactions: {
    readonly transactionId: string;
    readonly accountId: number;
    readonly amount: number;
  }[];
  readonly transfers: {
    readonly transferId: string;
    /** Those that pay back first. */
    readonly accountIds: readonly number[];
    readonly amount: number;
  }[];
}

/** What clients know of the bank. It grows. */
export interface Scene {
  /** By shard. */
  readonly accounts: readonly (readonly number[])[];
  /** Those of another owner, by shard. */
  readonly foreign: readonly (readonly number[])[];
  /** Account → the newest version that some client has learned. */
  readonly versions: ReadonlyMap<number, number>;
  /** The same of revisions. */
  readonly revisions: ReadonlyMap<number, number>;
}

/** Draws the commands of clients. It knows what earlier ones made. */
export class CommandMaker {
  private readonly known: readonly Known[];

  private readonly accounts: Scene['accounts'];

  /** @param betweenShards the chance that a transfer goes to another shard */
  constructor(
    private readonly scene: Scene,
    private readonly kinds: Partial<Record<Kind, number>> = {},
    private readonly betweenShards = BETWEEN_SHARDS,
  ) {
    this.accounts = scene.accounts;
    this.known = scene.accounts.map(() => ({ holds: [], transactions: [], transfers: [] }));
  }

  /** @param within whether all of its accounts are to be in the shard */
  next(random: Random, shard: number, keyed = random.chance(0.75), within = false): Command {
    const kinds = Object.entries({ ...KINDS, ...this.kinds }) as [Kind, number][];
    const { kind } = random.weighted(kinds.map(([kind, weight]) => ({ kind, weight })));
    const command = this.ofKind(kind, random, shard, within) ?? this.post(random, shard);
    return keyed ? { ...command, key: newKey(random) } : command;
  }

  /** Commands that are to be applied together, with keys or without; sometimes one of them is impossible. */
  together(random: Random, shard: number): Command[] {
    const keyed = random.chance(0.75);
    const commands = Array.from({ length: random.integer(2, LONGEST_ATOMIC_BATCH) }, () =>
      inBatch(this.next(random, shard, keyed, true)),
    );
    if (random.chance(0.2)) {
      // Every account was opened with a deposit, so none has version 1.
      const impossible = { ...this.post(random, shard), expectedVersion: 1, ifMatch: undefined };
      const key = keyed ? newKey(random) : undefined;
      commands[random.integer(0, commands.length - 1)] = { ...impossible, key };
    }
    return commands;
  }

  /** A command of one shard that may be decided later, with a key. */
  submission(random: Random, shard: number): Submittable {
    const { post, transfer, hold } = { ...KINDS, ...this.kinds };
    const kinds = Object.entries({ post, transfer, hold }) as ['post' | 'transfer' | 'hold', number][];
    const { kind } = random.weighted(kinds.map(([kind, weight]) => ({ kind, weight })));
    return { ...inBatch(this[kind](random, shard, true)), key: newKey(random) };
  }

  dryRun(random: Random, shard: number): Post | Transfer {
    const command = random.chance(0.5) ? this.post(random, shard) : this.transfer(random, shard);
    return { ...command, dryRun: true };
  }

  change(random: Random, shard: number): Change {
    const accountId = random.pick([...this.ids(shard).slice(-CHANGED_ACCOUNTS), ...this.foreign(shard)]);
    const ifRevision = random.chance(0.3) ? this.scene.revisions.get(accountId) : undefined;
    return { ...this.changeOf(accountId, random), ...(ifRevision !== undefined && { ifRevision }) };
  }

  /** Changes of one account that expect the same revision. */
  rivals(random: Random, shard: number): Change[] {
    const { accountId } = this.change(random, shard);
    const ifRevision = this.scene.revisions.get(accountId) ?? 0;
    return Array.from({ length: 2 }, () => ({ ...this.changeOf(accountId, random), ifRevision }));
  }

  /**
   * Transfers to an account of another shard, and changes that freeze and open it meanwhile: some are refused when they
   * have begun. Undefined: there is one shard.
   */
  freezing(
    random: Random,
    shard: number,
  ): { transfers: Command[]; freeze: Change; open: Change } | undefined {
    const other = this.otherShard(random, shard);
    if (other === undefined) return undefined;
    const accountId = random.pick(this.ids(other).slice(-CHANGED_ACCOUNTS));
    const transfers = Array.from({ length: random.integer(2, MOST_AT_ONCE) }, () =>
      this.payInto(random, accountId),
    );
    const change = (status: string): Change => ({ kind: 'change', accountId, status });
    return { transfers, freeze: change('frozen'), open: change('open') };
  }

  /** Money for an account, from another shard if there is one. */
  payInto(random: Random, accountId: number): Command {
    const other = this.otherShard(random, shardOf(accountId, this.accounts.length));
    const key = random.chance(0.75) ? newKey(random) : undefined;
    if (other === undefined) return { kind: 'post', accountId, type: 'credit', key };
    const from = random.pick(this.ids(other).slice(0, HOT_ACCOUNTS));
    return { kind: 'transfer', accountIds: [from, accountId], asLegs: random.chance(0.3), key };
  }

  /** Undefined: there is one shard. */
  private otherShard(random: Random, shard: number): number | undefined {
    const { length } = this.accounts;
    return length === 1 ? undefined : (shard + random.integer(1, length - 1)) % length;
  }

  private changeOf(accountId: number, random: Random): Change {
    if (random.chance(0.3)) {
      const overdraftLimit = random.chance(0.5) ? 0 : random.integer(1, HIGHEST_LIMIT);
      return { kind: 'change', accountId, overdraftLimit };
    }
    return { kind: 'change', accountId, status: random.pick(['open', 'open', 'debits_blocked', 'frozen']) };
  }

  readHold(random: Random, shard: number): Operation | undefined {
    const hold = this.oneOf('holds', random, shard);
    return hold && { kind: 'read-hold', holdId: hold.holdId, accountId: hold.accountId };
  }

  readTransfer(random: Random, shard: number): Operation | undefined {
    const transfer = this.oneOf('transfers', random, shard);
    return (
      transfer && { kind: 'read-transfer', transferId: transfer.transferId, accountIds: transfer.accountIds }
    );
  }

  /** Half of the time a hot account of the shard; sometimes one of another owner. */
  account(random: Random, shard: number): number {
    const ids = this.ids(shard);
    const foreign = this.foreign(shard);
    if (foreign.length > 0 && random.chance(FOREIGN)) return random.pick(foreign);
    return random.pick(random.chance(0.5) ? ids.slice(0, HOT_ACCOUNTS) : ids);
  }

  /** Remembers what an accepted command has made. */
  learn(op: number, command: Command, { id, legs }: CallAnswer): void {
    if (id === undefined) return;
    const [accountId = 0] = 'accountIds' in command ? command.accountIds : [command.accountId];
    const { holds, transactions, transfers } = this.known[shardOf(accountId, this.accounts.length)] as Known;
    if (id.startsWith('hold')) keep(holds, { holdId: id, accountId, amount: op });
    if (id.startsWith('txn')) keep(transactions, { transactionId: id, accountId, amount: op });
    if (!id.startsWith('tr') || !legs) return;
    const idsOf = (word: string) => legs.flatMap((leg) => (leg.type === word ? [leg.accountId] : []));
    const accountIds = [...idsOf('Deposit'), ...idsOf('Withdraw')];
    keep(transfers, { transferId: id, accountIds, amount: legs[0]?.amount ?? op });
    // A leg can't be reversed by itself.
    const [leg] = legs;
    if (leg?.id !== undefined && op % LEGS_KNOWN === 0)
      keep(transactions, { transactionId: leg.id, accountId: leg.accountId, amount: op });
  }

  private ofKind(kind: Kind, random: Random, shard: number, within: boolean): Command | undefined {
    switch (kind) {
      case 'post':
        return this.post(random, shard);
      case 'transfer':
        return this.transfer(random, shard, within);
      case 'hold':
        return this.hold(random, shard);
      case 'capture':
        return this.capture(random, shard, within);
      case 'void': {
        const hold = this.oneOf('holds', random, shard);
        return hold && { kind: 'void', holdId: hold.holdId, accountId: hold.accountId };
      }
      case 'reverse':
        return random.chance(0.6)
          ? this.reversal(random, shard)
          : this.transferReversal(random, shard, within);
    }
  }

  private post(random: Random, shard: number): Post {
    const accountId = this.account(random, shard);
    const type = random.chance(0.6) ? 'credit' : 'debit';
    const expected = this.expected(random, accountId);
    const ifMatch = random.chance(0.3);
    return { kind: 'post', accountId, type, ...expected, ...('expectedVersion' in expected && { ifMatch }) };
  }

  private transfer(random: Random, shard: number, within = false): Transfer {
    const target = within ? undefined : this.targetShard(random, shard);
    if (target !== undefined) {
      const accountIds = [this.account(random, shard), this.account(random, target)] as const;
      const asLegs = random.chance(0.3);
      return { kind: 'transfer', accountIds, asLegs, ...this.expected(random, accountIds[0]) };
    }
    const count = random.chance(0.7) ? 2 : 2 * random.integer(2, MOST_LEGS / 2);
    const accountIds = new Set<number>();
    while (accountIds.size < Math.min(count, this.ids(shard).length))
      accountIds.add(this.account(random, shard));
    const [first = 0] = accountIds;
    return {
      ...{ kind: 'transfer', accountIds: [...accountIds], asLegs: count > 2 || random.chance(0.3) },
      ...this.expected(random, first),
    };
  }

  /** Another shard, for some of what may go there. */
  private targetShard(random: Random, shard: number): number | undefined {
    const other = this.otherShard(random, shard);
    return other !== undefined && random.chance(this.betweenShards) ? other : undefined;
  }

  private hold(random: Random, shard: number): PlaceHold {
    const accountId = this.account(random, shard);
    const expires = random.chance(0.6);
    return {
      ...{ kind: 'hold', accountId, ...this.expected(random, accountId) },
      ...(expires && { expiresInSeconds: random.integer(1, LONGEST_HOLD_SECONDS) }),
    };
  }

  private capture(random: Random, shard: number, within: boolean): Capture | undefined {
    const hold = this.oneOf('holds', random, shard);
    if (!hold) return undefined;
    const { holdId, accountId } = hold;
    const target = within ? undefined : this.targetShard(random, shard);
    const to = this.account(random, target ?? shard);
    return {
      ...{ kind: 'capture', holdId, accountId, final: random.chance(0.5) },
      ...this.partOf(hold.amount, random),
      ...(to !== accountId && random.chance(0.4) && { to }),
    };
  }

  private reversal(random: Random, shard: number): Reverse | undefined {
    const one = this.oneOf('transactions', random, shard);
    if (!one) return undefined;
    const { transactionId, accountId } = one;
    return {
      ...{ kind: 'reverse', transactionId, accountId, ...this.partOf(one.amount, random) },
      ...(random.chance(FORCED) && { force: true }),
    };
  }

  private transferReversal(random: Random, shard: number, within: boolean): ReverseTransfer | undefined {
    const one = this.oneOf('transfers', random, shard);
    if (!one) return undefined;
    const { transferId, accountIds, amount } = one;
    const isHere = (accountId: number) => shardOf(accountId, this.accounts.length) === shard;
    if (within && !accountIds.every(isHere)) return undefined;
    return {
      ...{ kind: 'reverse-transfer', transferId, accountIds, ...this.partOf(amount, random) },
      ...(random.chance(FORCED) && { force: true }),
    };
  }

  /** Half of the time everything; else a part of it, seldom more than all of it. */
  private partOf(amount: number, random: Random): { readonly amount?: number } {
    return random.chance(0.5) ? {} : { amount: random.integer(1, Math.ceil(amount * 1.1)) };
  }

  private expected(random: Random, accountId: number): { readonly expectedVersion?: number } {
    const known = this.scene.versions.get(accountId);
    return known !== undefined && random.chance(0.15) ? { expectedVersion: known } : {};
  }

  /** Often the newest, at which the clients meet. */
  private oneOf<L extends keyof Known>(list: L, random: Random, shard: number): Known[L][number] | undefined {
    const known = this.known[shard]?.[list] ?? [];
    if (known.length === 0) return undefined;
    return random.chance(0.3) ? known.at(-1) : random.pick<Known[L][number]>(known);
  }

  private foreign(shard: number): readonly number[] {
    return this.scene.foreign[shard] ?? [];
  }

  private ids(shard: number): readonly number[] {
    return this.accounts[shard] ?? [];
  }
}

/** In a batch, and where it is decided later, an expected version is always in the body. */
export const inBatch = <C extends Command>(command: C): C =>
  command.kind === 'post' ? { ...command, ifMatch: undefined } : command;

/** Of one transfer in so many, a leg is kept among the transactions. */
const LEGS_KNOWN = 10;

function keep<T>(list: T[], item: T): void {
  list.push(item);
  if (list.length > KNOWN) list.shift();
}

export const newKey = (random: Random) =>
  `key-${random.integer(0, 2 ** 31 - 1)}-${random.integer(0, 2 ** 31 - 1)}`;
