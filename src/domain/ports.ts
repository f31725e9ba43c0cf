import type { Account, OwnedAccount } from './account.js';
import type { Money } from './money.js';
import type { PostingCommand, Transaction } from './transaction.js';

/** Asks a {@link ConcurrencyLimiter} for a permit. Exactly one of `granted` and `rejected` is called, once, unless {@link isGone}. */
export interface PermitRequest {
  /** Whose permit it is. */
  readonly user: string;
  /** True: nobody waits for it any more. */
  isGone(): boolean;
  /**
   * @param free to be called once, whatever becomes of the request, with whether it reached the database
   * @param waitingSinceMs when it began to wait, on the clock of performance.now(); undefined: it did not wait
   */
  granted(free: (reachedDatabase: boolean) => void, waitingSinceMs?: number): void;
  /** Too many requests wait, or this one waited for too long. */
  rejected(): void;
}

/** Bounds the requests that are in flight at the same time. */
export interface ConcurrencyLimiter {
  /** Decides at once, or lets the request wait. */
  acquire(request: PermitRequest): void;
}

/**
 * The write side of the bank. Abstract classes, so that they serve as injection tokens too.
 *
 * Races: commands of one account take effect in the order in which one process received them; between processes, in
 * the order of the row lock. Errors: a {@link LedgerError}, whose failure says whether something was applied.
 */
export abstract class Ledger {
  /**
   * Posts one transaction. Resolves only when it is durable.
   *
   * @param sinceMs when it began to wait, on the clock of performance.now(): its time for that runs from then
   */
  abstract post(command: PostingCommand, sinceMs?: number): Promise<Transaction>;

  /**
   * Posts transactions to accounts of one shard, all of them or none: each is fulfilled once all are durable, or each is
   * refused. What stopped them keeps its own rejection, the others get NOT_APPLIED; what concerns all of them (a database
   * that failed, an outcome that is unknown) is said to each. They wait for locked rows, and take effect beside
   * what {@link post} has queued, not after it.
   *
   * @param commands no two of them with the same key of the same account
   * @param user who takes the place for them
   */
  abstract postAtomically(commands: readonly PostingCommand[], user: string): Promise<Transaction>[];

  /** The shard that holds an account, by its place among the bank's shards. */
  abstract shardOf(accountId: number): number;

  /** Where a request that posts to the account asks for a permit, before anything costly is done for it. */
  abstract limiterOf(accountId: number): ConcurrencyLimiter;

  /**
   * Opens an account; its opening deposit, if any, is its first transaction and commits with it.
   *
   * @param owner undefined: it is nobody's
   * @param idempotencyKey unique per owner, for ever; undefined: a repeat opens another account
   * @param user who takes the place for it
   */
  abstract openAccount(
    openingDeposit: Money | undefined,
    owner: string | undefined,
    idempotencyKey: string | undefined,
    user: string,
  ): Promise<OwnedAccount>;
}

/**
 * The last known balance and version of accounts. A hint for readers: no money decision ever reads it.
 *
 * Races: an entry is only ever replaced by a newer version, never deleted by a write, so a slow reader cannot put back
 * an older balance. Errors: none; a failure is a miss, or a write that is lost.
 */
export abstract class BalanceCache {
  /**
   * The account as last seen, if the cache may answer readers; undefined: ask the database.
   */
  abstract get(accountId: number): Account | undefined | Promise<Account | undefined>;

  /**
   * Keeps what was read from, or committed to, the database.
   *
   * @param asOfMs a time by `performance.now()` at which these versions had not yet been replaced: before they were
   *   read, or before their transaction ended. An entry's time to live begins there
   * @returns what to wait for before these versions are told to anybody: until the readers of every instance see them,
   *   or the cache has given up. Undefined: they see them already
   */
  abstract record(accounts: readonly Account[], asOfMs: number): Promise<void> | undefined;

  /** The version last seen by this process, fresh or not: what a failed request is told. */
  abstract lastKnownVersion(accountId: number): number | undefined;
}

/**
 * Takes the events of committed transactions: each of them at least once, those of one account in version order, except
 * that a run of them may begin again at an earlier version when it was not known to have arrived.
 */
export abstract class EventPublisher {
  /** Looked at before events are taken from the outbox. @throws when none can be published just now */
  abstract assertReady(): void;

  /** Resolves when all the events are safely delivered: only then are they removed from the outbox. */
  abstract publish(transactions: readonly Transaction[]): Promise<void>;

  /** True for a batch, by its first transaction, that has reached the listeners already: it need not be read back. */
  abstract alreadyKnows(firstTransactionId: number): boolean;
}
