import type { AdaptiveConcurrencyLimiter } from '../concurrency/adaptive-concurrency-limiter.js';
import type { AccountOpening, OwnedAccount } from '../domain/account.js';
import type { Decision, Effects } from '../domain/books.js';
import { accountsOf, type Command } from '../domain/command.js';
import { LedgerError } from '../domain/errors.js';
import type { Origin } from '../domain/origin.js';
import { Ledger, type PermitRequest } from '../domain/ports.js';
import type { AccountOpener } from './write/account-opener.js';
import type { BatchScheduler } from './write/batch-scheduler.js';
import type { CommandBetweenShards, TransferCoordinator } from './transfer-coordinator.js';
import type { ShardRouter } from '../sharding/shard-router.js';

/** The write side of one shard. */
export interface ShardWriter {
  readonly scheduler: BatchScheduler;
  readonly opener: AccountOpener;
  readonly limiter: AdaptiveConcurrencyLimiter;
  /** Bounds the transfers to another shard: while either hangs, they must not use up what anything else has. */
  limiterTo(target: ShardWriter): AdaptiveConcurrencyLimiter;
}

/** How long new accounts avoid a shard in which one could not be opened. */
const PASSED_OVER_MS = 5_000;

/** How long one opening keeps trying further shards. */
const OPENING_MS = 10_000;

/** The ledger over all shards: each command goes to the batch scheduler of its account's shard. */
export class ShardedLedger extends Ledger {
  /** When to try the shards again in which the last opening failed. */
  private readonly retryAtMs = new Map<ShardWriter, number>();

  constructor(
    private readonly router: ShardRouter<ShardWriter>,
    private readonly coordinator: TransferCoordinator,
  ) {
    super();
  }

  execute(command: Command, origin?: Origin): Promise<Effects> {
    const shard = this.router.of(command.accountId);
    const accountIds = accountsOf(command);
    const isInOneShard =
      accountIds.length === 1 || accountIds.every((accountId) => this.router.of(accountId) === shard);
    if (isInOneShard) return shard.scheduler.submit(command, origin);
    return this.coordinator.execute(command as CommandBetweenShards, origin);
  }

  executeAtomically(commands: readonly Command[], user: string, origin?: Origin): Promise<Effects>[] {
    const [first] = commands;
    if (!first) return [];
    const shard = this.router.of(first.accountId);
    if (commands.flatMap(accountsOf).every((accountId) => this.router.of(accountId) === shard))
      return shard.scheduler.submitAtomically(commands, user, origin);
    return commands.map(() => Promise.reject(new LedgerError({ code: 'DIFFERENT_SHARDS' })));
  }

  decideInOrder(commands: readonly Command[]): Promise<readonly (Decision | undefined)[]> {
    const [first] = commands;
    return first ? this.router.of(first.accountId).scheduler.decideInOrder(commands) : Promise.resolve([]);
  }

  shardOf(accountId: number): number {
    return this.router.indexOf(accountId);
  }

  acquirePermit(id: number, request: PermitRequest, to = id): void {
    const [shard, target] = [this.router.of(id), this.router.of(to)];
    (shard === target ? shard.limiter : shard.limiterTo(target)).acquire(request);
  }

  /**
   * Near another account, opens it in that account's shard; with an idempotency key, in the key's own shard; in either
   * case in no other. Else, opens it in the shard whose turn it is, or in another one if that shard fails with nothing
   * applied.
   */
  async openAccount(opening: AccountOpening, user: string): Promise<OwnedAccount> {
    const { owner, idempotencyKey, near } = opening;
    if (near !== undefined) return this.router.of(near).opener.open(opening, user);
    if (idempotencyKey === undefined) return this.openAnywhere(opening, user);
    return this.router.ofOpening(owner, idempotencyKey).opener.open(opening, user);
  }

  private async openAnywhere(opening: AccountOpening, user: string): Promise<OwnedAccount> {
    const giveUpAt = performance.now() + OPENING_MS;
    let shard = this.firstForNewAccount();
    for (;;) {
      try {
        return await this.openIn(shard, opening, user);
      } catch (error) {
        const other = this.nextForNewAccount((candidate) => !this.retryAtMs.has(candidate));
        if (!other || !leftNothing(error) || performance.now() > giveUpAt) throw error;
        shard = other;
      }
    }
  }

  private async openIn(shard: ShardWriter, opening: AccountOpening, user: string): Promise<OwnedAccount> {
    try {
      const account = await shard.opener.open(opening, user);
      this.retryAtMs.delete(shard);
      return account;
    } catch (error) {
      if (leftNothing(error)) this.retryAtMs.set(shard, performance.now() + PASSED_OVER_MS);
      throw error;
    }
  }

  /**
   * A shard that has failed is skipped for a while, then tried by a single opening: if it hangs, each attempt takes as
   * long as a transaction may.
   */
  private firstForNewAccount(): ShardWriter {
    const nowMs = performance.now();
    const shard =
      this.nextForNewAccount((candidate) => (this.retryAtMs.get(candidate) ?? nowMs) <= nowMs) ??
      this.router.forNewAccount();
    if (this.retryAtMs.has(shard)) this.retryAtMs.set(shard, nowMs + PASSED_OVER_MS);
    return shard;
  }

  private nextForNewAccount(suits: (shard: ShardWriter) => boolean): ShardWriter | undefined {
    for (let seen = 0; seen < this.router.shards.length; seen++) {
      const shard = this.router.forNewAccount();
      if (suits(shard)) return shard;
    }
    return undefined;
  }

  /** Waits until every accepted command is answered. */
  async close(): Promise<void> {
    await Promise.all(this.router.shards.map((shard) => shard.scheduler.close()));
  }
}

function leftNothing(error: unknown): boolean {
  return error instanceof LedgerError && ['DATABASE_FAILED', 'OVERLOADED'].includes(error.failure.code);
}
