import type { AccountChanges } from './command.js';
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
  readonly changes: AccountChanges;
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
  /** The time of all transactions: not before any earlier one of the accounts. */
  readonly now: Date;
  /** The ids to be used, ascending. */
  readonly ids: readonly number[];
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
  readonly now: Date;
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
  apply({ transactions, accounts, holds }: Effects): void {
    for (const account of accounts) this.accounts.set(account.accountId, account);
    for (const hold of holds) this.holds.set(hold.holdId, hold);
    this.idsUsed += transactions.length;
    for (const transaction of transactions) {
      const { accountId, idempotencyKey, reversesId, holdId, type } = transaction;
      if (holdId !== undefined && type === 'debit') this.captures.set(holdId, this.capturesOf(holdId) + 1);
      if (idempotencyKey !== undefined) this.keyed.set(keyOf(accountId, idempotencyKey), transaction);
      const original = reversesId === undefined ? undefined : this.originals.get(reversesId);
      if (original) {
        const reversed = original.reversed + transaction.amount;
        this.originals.set(original.transaction.transactionId, { ...original, reversed });
      }
    }
  }
}
