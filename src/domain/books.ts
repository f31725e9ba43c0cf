import { isCapture, transferKey, type IncomingTransfer, type OutgoingTransfer } from './between-shards.js';
import type { AccountChanges, InMinorUnits } from './command.js';
import type { LedgerAccount } from './account.js';
import type { Rejection } from './errors.js';
import { isDue, type Hold } from './hold.js';
import type { Money } from './money.js';
import type { RecordedRefusal, Refusal } from './refusal.js';
import type { KeyedTransaction, Transaction } from './transaction.js';

/** A transaction that is to be reversed, and how much of it has been. */
export interface Original {
  readonly transaction: Transaction;
  readonly reversed: Money;
}

/** A change of an account that is not a transaction. */
export interface AccountChange {
  readonly accountId: number;
  /** The account's revision after it. */
  readonly revision: number;
  readonly changes: InMinorUnits<AccountChanges>;
  /** How many decimals the account's currency has. */
  readonly decimals: number;
  readonly actor: string | undefined;
}

/** What a command does, if it is accepted. */
export interface Effects {
  /** In order of their ids; those of one account have ascending versions without a gap. */
  readonly transactions: readonly Transaction[];
  /** The accounts after it. */
  readonly accounts: readonly LedgerAccount[];
  /** The holds that are new or changed, after it. */
  readonly holds: readonly Hold[];
  readonly changes: readonly AccountChange[];
  /** Transfers to other shards that it began, carried out or found carried out, as they are after it. */
  readonly outgoing: readonly OutgoingTransfer[];
  /** Transfers from other shards that it decided or found decided. */
  readonly incoming: readonly IncomingTransfer[];
}

export type Decision =
  | { readonly accepted: true; readonly effects: Effects }
  | {
      readonly accepted: false;
      readonly rejection: Rejection;
      /** True: the key was used before. */
      readonly repeated?: boolean;
    };

/** What used an idempotency key. */
export type KeyUse = KeyedTransaction | RecordedRefusal;

/** What is known when commands are decided: all of it read behind the locks of their accounts. */
export interface Knowledge {
  /** The locked accounts. A command on any other is rejected as not found. */
  readonly accounts: ReadonlyMap<number, LedgerAccount>;
  /** What used the idempotency keys before, by {@link keyOf}. */
  readonly keyed: ReadonlyMap<string, KeyUse>;
  /** The holds that the commands name. */
  readonly holds: ReadonlyMap<number, Hold>;
  /** How often holds were captured that the commands capture without ending them; no more than matter. */
  readonly captures: ReadonlyMap<number, number>;
  /** The transactions that the commands reverse, including all legs of transfers, in ascending order of their ids. */
  readonly originals: ReadonlyMap<number, Original>;
  /** For each account whose expired holds were looked up: some of these, the earliest first. */
  readonly due: ReadonlyMap<number, readonly Hold[]>;
  /** The transfers to other shards that the commands carry out, by id. */
  readonly outgoing: ReadonlyMap<number, OutgoingTransfer>;
  /** Those from other shards that the commands decide and that are decided already, by {@link transferKey}. */
  readonly incoming: ReadonlyMap<string, IncomingTransfer>;
  readonly pending: PendingTransfers;
  /** The time of all transactions: not before any earlier one of the accounts. */
  readonly now: Date;
  /** The ids to be used, ascending. */
  readonly ids: readonly number[];
}

/** How many transfers to other shards are under way; no more than matter, and only known where one begins. */
export interface PendingTransfers {
  readonly inShard: number;
  readonly ofAccount: ReadonlyMap<number, number>;
}

/** A name for (account, idempotency key): the scope of a key is its account. */
export function keyOf(accountId: number, idempotencyKey: string): string {
  return `${accountId}:${idempotencyKey}`;
}

/** The state of a batch while its commands are decided, one after the other: each sees the effects of those before. */
export class Books {
  readonly accounts: Map<number, LedgerAccount>;
  readonly keyed: Map<string, KeyUse>;
  readonly holds: Map<number, Hold>;
  /** Accounts whose expired holds must be known to decide, and are not. */
  readonly lacking = new Set<number>();
  readonly outgoing: Map<number, OutgoingTransfer>;
  readonly incoming: Map<string, IncomingTransfer>;
  readonly now: Date;
  private readonly pendingOf: Map<number, number>;
  private pendingInShard: number;
  private readonly captures: Map<number, number>;
  private readonly originals: Map<number, Original>;
  private readonly due: ReadonlyMap<number, readonly Hold[]>;
  private readonly ids: readonly number[];
  private idsUsed = 0;

  constructor(known: Knowledge) {
    this.accounts = new Map(known.accounts);
    this.keyed = new Map(known.keyed);
    this.holds = new Map(known.holds);
    this.captures = new Map(known.captures);
    this.originals = new Map(known.originals);
    this.due = known.due;
    this.outgoing = new Map(known.outgoing);
    this.incoming = new Map(known.incoming);
    this.pendingOf = new Map(known.pending.ofAccount);
    this.pendingInShard = known.pending.inShard;
    this.now = known.now;
    this.ids = known.ids;
    for (const holds of known.due.values()) for (const hold of holds) this.holds.set(hold.holdId, hold);
  }

  /**
   * The id of a transaction of the command that is being decided. Only what is applied uses up ids.
   *
   * @param place 0 for the command's first transaction
   * @throws Error when too few ids were drawn
   */
  idAt(place: number): number {
    const id = this.ids[this.idsUsed + place];
    if (id === undefined) throw new Error('a batch made more transactions than ids were drawn for it');
    return id;
  }

  /** How many transfers to other shards are under way: from an account, and in all of the shard. */
  pendingTransfers(accountId: number): { readonly ofAccount: number; readonly inShard: number } {
    return { ofAccount: this.pendingOf.get(accountId) ?? 0, inShard: this.pendingInShard };
  }

  /** How often a hold was captured before. */
  capturesOf(holdId: number): number {
    return this.captures.get(holdId) ?? 0;
  }

  original(transactionId: number): Original | undefined {
    return this.originals.get(transactionId);
  }

  /** The legs of a transfer that is to be reversed, in their order. */
  legsOf(transferId: number): Original[] {
    return [...this.originals.values()].filter(({ transaction }) => transaction.transferId === transferId);
  }

  /**
   * The holds of an account that have expired but are not yet written down, the earliest first; an unknown account
   * becomes lacking.
   */
  dueOf(accountId: number): Hold[] {
    if (!this.due.has(accountId)) this.lacking.add(accountId);
    return [...this.holds.values()]
      .filter((hold) => hold.accountId === accountId && isDue(hold, this.now))
      .sort((a, b) => Number(a.expiresAt) - Number(b.expiresAt) || a.holdId - b.holdId);
  }

  /** Makes a recorded refusal visible to the next commands. */
  refuse(refusal: Refusal): void {
    this.keyed.set(keyOf(refusal.accountId, refusal.idempotencyKey), refusal);
  }

  /** Makes the effects of an accepted command visible to the next ones. */
  apply({ transactions, accounts, holds, outgoing, incoming }: Effects): void {
    for (const account of accounts) this.accounts.set(account.accountId, account);
    for (const hold of holds) this.holds.set(hold.holdId, hold);
    this.idsUsed += transactions.length;
    for (const transfer of outgoing) this.applyOutgoing(transfer);
    for (const transfer of incoming) this.incoming.set(transferKey(transfer), transfer);
    for (const transaction of transactions) {
      const { accountId, idempotencyKey, reversesId, holdId, type } = transaction;
      if (holdId !== undefined && type === 'debit') this.captures.set(holdId, this.capturesOf(holdId) + 1);
      if (idempotencyKey !== undefined) this.keyed.set(keyOf(accountId, idempotencyKey), transaction);
      const original = reversesId === undefined ? undefined : this.originals.get(reversesId);
      if (original) {
        const reversed = original.reversed + claimOf(transaction);
        this.originals.set(original.transaction.transactionId, { ...original, reversed });
      }
    }
  }

  private applyOutgoing(transfer: OutgoingTransfer): void {
    const { transferId, accountId, status, key } = transfer;
    this.outgoing.set(transferId, transfer);
    if (status !== 'pending') return;
    this.pendingInShard += 1;
    this.pendingOf.set(accountId, (this.pendingOf.get(accountId) ?? 0) + 1);
    if (!isCapture(transfer)) return;
    // No transaction has its id or its key.
    this.idsUsed += 1;
    if (key) this.keyed.set(keyOf(accountId, key.idempotencyKey), keyedBy(transfer));
  }
}

/**
 * How much of its original a transaction claims: a reversal between shards claims it with a hold, gives that back with
 * a release, and claims it again with the debit.
 */
const claimOf = ({ type, amount }: Transaction): Money => (type === 'release' ? -amount : amount);

/** What is remembered of a key that a capture for another shard has used. */
export const keyedBy = ({ transferId, amount, decimals, key }: OutgoingTransfer): KeyedTransaction => ({
  ...{
    transactionId: transferId,
    transferId,
    type: 'debit',
    amount,
    decimals,
    fingerprint: key?.fingerprint,
  },
});
