import type { Account, AccountOpening, OwnedAccount } from './account.js';
import type { Decision, Effects } from './books.js';
import type { Command, PostingCommand } from './command.js';
import type { LedgerEvent } from './ledger-event.js';
import type { Origin } from './origin.js';
import type { Transaction } from './transaction.js';

/**
 * Asks for a permit to have a request in flight. Exactly one of `granted` and `rejected` is called, once, unless
 * {@link isGone}.
 */
export interface PermitRequest {
  /** The user who gets the permit. */
  readonly user: string;
  /** True: nobody waits for the answer any more. */
  isGone(): boolean;
  /**
   * @param free gives the permit back: call it exactly once, with whether the request reached the database
   * @param waitingSinceMs when the request began to wait, on the clock of performance.now(); undefined: it did not wait
   */
  granted(free: (reachedDatabase: boolean) => void, waitingSinceMs?: number): void;
  /** Too many requests are waiting, or this one has waited too long. */
  rejected(): void;
}

/**
 * The write side of the bank. Abstract classes, so that they serve as injection tokens too.
 *
 * Races: commands of one account take effect in the order in which one process received them; between processes, in
 * the order of the row lock. Errors: a {@link LedgerError}, whose failure says whether something was applied.
 */
export abstract class Ledger {
  /**
   * Carries out one command. Resolves only when its effects are durable; those of a dry run are never applied. A
   * transfer to another shard may still be pending then: its effects are no transactions, but the transfer itself.
   *
   * @param origin the command's deadline counts from when it began to wait
   */
  abstract execute(command: Command, origin?: Origin): Promise<Effects>;

  /** {@link execute} for one posting. @returns its transaction, without holds that it found expired */
  post(command: PostingCommand, origin?: Origin): Promise<Transaction> {
    return this.execute(command, origin).then(lastTransaction);
  }

  /**
   * Carries out commands on accounts of one shard, all of them or none: either all promises are fulfilled, once all
   * effects are durable, or all are rejected. The command that stopped them gets its own rejection, duplicates get
   * theirs, and the others get NOT_APPLIED. A failure of the database or an unknown outcome is reported for each. They
   * wait for locked rows, and take effect alongside the commands that {@link execute} has queued, not after them.
   *
   * @param commands no two with the same key for the same account; all of them dry runs, or none
   * @param user whose permit they take
   */
  abstract executeAtomically(commands: readonly Command[], user: string, origin?: Origin): Promise<Effects>[];

  /**
   * Decides commands on accounts of one shard in one transaction: each by itself, in their order. One whose row is locked
   * is not decided, and neither is any after it that shares an account with it: give them again, in the same order,
   * before what comes next.
   *
   * @returns a decision for each command, durable; undefined: it was not decided
   * @throws LedgerError when it is not certain that any took effect: with the same keys they can be given again. Any
   *   other error is a defect in one of them, and nothing was applied
   */
  abstract decideInOrder(commands: readonly Command[]): Promise<readonly (Decision | undefined)[]>;

  /** The index of the shard that holds an account. */
  abstract shardOf(accountId: number): number;

  /**
   * Asks for the permit that a request to post must have before anything costly is done for it. Decides at once, or lets
   * the request wait.
   *
   * @param id of an account, a transaction, a hold or a transfer in the shard of the posting
   * @param to the account to which a transfer or capture goes
   */
  abstract acquirePermit(id: number, request: PermitRequest, to?: number): void;

  /**
   * Opens an account; its opening deposit, if any, is its first transaction and commits with it.
   *
   * @param user whose permit it takes
   */
  abstract openAccount(opening: AccountOpening, user: string): Promise<OwnedAccount>;
}

const lastTransaction = ({ transactions }: Effects) => transactions.at(-1) as Transaction;

/**
 * The last known balance and version of accounts. A hint for readers: no decision about money ever reads it.
 *
 * Races: an entry is only ever replaced by a newer version and never deleted by a write, so a slow reader cannot
 * restore an older balance. Errors: none; a failed read is a miss, and a failed write is lost.
 */
export abstract class BalanceCache {
  /** The account as last seen, if the cache may answer readers; undefined: ask the database. */
  abstract get(accountId: number): Account | undefined | Promise<Account | undefined>;

  /**
   * Stores accounts that were read from, or committed to, the database.
   *
   * @param asOfMs a time by `performance.now()` at which these versions had not yet been replaced: before they were
   *   read, or before their transaction ended. An entry's time to live counts from it
   * @returns wait for it before these versions are told to anybody: it resolves when the readers of every instance see
   *   them, or when the cache has given up. Undefined: they see them already
   */
  abstract record(accounts: readonly Account[], asOfMs: number): Promise<void> | undefined;

  /** The version that this process saw last, fresh or not, for the answer to a failed request. */
  abstract lastKnownVersion(accountId: number): number | undefined;
}

/**
 * Publishes the events of what is committed: each at least once, and those of one account's transactions in the order of
 * their versions. When it is not known whether they arrived, they may be repeated from an earlier version on.
 */
export abstract class EventPublisher {
  /** Called before events are taken from the outbox. @throws when none can be published at the moment */
  abstract assertReady(): void;

  /** Resolves when all events are safely delivered; only then are they removed from the outbox. */
  abstract publish(events: readonly LedgerEvent[]): Promise<void>;

  /**
   * Whether the listeners know already what a row of the outbox announces, so that it need not be read.
   *
   * @param firstTransactionId of the row; undefined: it has no transactions, only changes of accounts
   */
  abstract alreadyKnows(firstTransactionId: number | undefined): boolean;
}
