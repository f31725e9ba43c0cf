import { classifyFailure, DatabaseUnreachableError } from '../../storage/database-errors.js';
import { LedgerError, type Refusal } from '../../domain/errors.js';
import { decideAtomically } from '../../domain/decide-batch.js';
import type { BalanceCache } from '../../domain/ports.js';
import type { PostingCommand, Transaction } from '../../domain/transaction.js';
import type { ShardMetrics } from '../../observability/metrics.js';
import { BatchSlots } from './batch-slots.js';
import { CommandQueue, type Waiting } from './command-queue.js';
import type { RecentLocalBatches } from '../../messaging/recent-local-batches.js';
import type { BatchStatements, PostedBatch } from './batch-statements.js';
import { CommitOutcomeUnknownError, type TransactionRunner } from '../../storage/transaction-runner.js';
import { halfOf, AdaptiveConcurrencyLimiter } from '../../concurrency/adaptive-concurrency-limiter.js';

export interface BatchWriterLimits {
  /** Commands in one database transaction. */
  readonly batch: number;
  /** Commands that wait; one more is refused. */
  readonly queue: number;
  /** Batches that run at the same time. */
  readonly batchWriters: number;
  /** Accounts whose locked rows are waited for at the same time. */
  readonly lanes: number;
  /** Batches that are applied as a whole or not at all and run at the same time. */
  readonly atomicBatches: number;
  /** How long a command waits for its batch. */
  readonly commandTimeoutMs: number;
}

interface PendingCommand extends Waiting {
  readonly command: PostingCommand;
  readonly resolve: (transaction: Transaction) => void;
  readonly reject: (error: unknown) => void;
}

/**
 * skip: accounts whose rows are locked are left out. wait: they are waited for. whole: they are waited for, and the
 * commands are applied all together or not at all.
 */
type Manner = 'skip' | 'wait' | 'whole';

/** Atomic batches that wait for one of their places; one more is refused. */
const ATOMIC_WAITING = 100;

/** How often waiting commands are checked for their deadline. */
const SWEEP_MS = 50;

/**
 * The write path of one shard. One transaction per command would be bound by round trips and fsyncs, and a hot account
 * by its row lock; so commands wait in a queue and each flusher, as soon as it is free, runs all that wait in ONE
 * database transaction.
 *
 * An account whose row another session holds leaves the queue for a lane, where it alone is waited for: it must not
 * hold up the others. It stays busy meanwhile, so its commands keep their order. Rows that become free at the same
 * time are posted to in one batch.
 */
export class BatchWriter {
  private readonly queue: CommandQueue<PendingCommand>;
  private readonly lane: CommandQueue<PendingCommand>;
  private readonly sweeper: NodeJS.Timeout;
  private freeFlushers: number;
  private freeLanes: number;
  private inLanes = 0;
  /** Atomic batches have places of their own: one that waits for a lock must not keep the batchWriters from working. */
  private readonly atomic: AdaptiveConcurrencyLimiter;
  private atomicBatches = 0;
  private closing = false;
  private reachable = true;
  private pumpScheduled = false;

  constructor(
    private readonly runner: TransactionRunner,
    private readonly postBatch: BatchStatements,
    private readonly balances: BalanceCache,
    private readonly recentLocalBatches: RecentLocalBatches,
    private readonly limits: BatchWriterLimits,
    private readonly metrics: ShardMetrics,
    private readonly onDefect: (error: unknown) => void,
    /** Shared by the shards of one server. */
    private readonly slots = new BatchSlots(limits.batchWriters),
  ) {
    this.queue = new CommandQueue(limits.queue);
    this.lane = new CommandQueue(limits.queue);
    this.freeFlushers = limits.batchWriters;
    this.freeLanes = limits.lanes;
    this.atomic = new AdaptiveConcurrencyLimiter({
      atWork: limits.atomicBatches,
      perUser: halfOf(limits.atomicBatches),
      queue: ATOMIC_WAITING,
      holdMs: limits.commandTimeoutMs / 2,
    });
    this.sweeper = setInterval(() => this.refuseExpired(), SWEEP_MS).unref();
    metrics.watchQueue(() => this.queue.size + this.lane.size);
  }

  /**
   * Queues a command. Resolves with the transaction once it is durable.
   *
   * @param sinceMs when it began to wait, on the clock of performance.now()
   * @throws LedgerError when it is refused or fails; what is thrown besides is a defect, and nothing was applied
   */
  submit(command: PostingCommand, sinceMs = performance.now()): Promise<Transaction> {
    return new Promise((resolve, reject) => {
      const deadlineMs = sinceMs + this.limits.commandTimeoutMs;
      const pending = { accountId: command.accountId, command, deadlineMs, resolve, reject };
      const full = this.queue.size + this.lane.size >= this.limits.queue;
      if (this.closing || full || !this.queue.push(pending)) this.refuse(pending, { code: 'OVERLOADED' });
      else this.schedulePump();
    });
  }

  /**
   * Posts commands in one transaction of their own, all of them or none. Their accounts are not busy meanwhile: batchWriters
   * meet the locked rows as they meet those of a foreign session.
   *
   * @returns a promise for each, as that of {@link submit}; all are fulfilled, or all are rejected
   */
  submitAtomically(commands: readonly PostingCommand[], user: string): Promise<Transaction>[] {
    const deadlineMs = performance.now() + this.limits.commandTimeoutMs;
    const answers = commands.map(() => Promise.withResolvers<Transaction>());
    const batch = commands.map((command, index): PendingCommand => {
      const { resolve, reject } = answers[index] as PromiseWithResolvers<Transaction>;
      return { accountId: command.accountId, command, deadlineMs, resolve, reject };
    });
    const refused = () => batch.forEach((pending) => this.refuse(pending, { code: 'OVERLOADED' }));
    if (this.closing) refused();
    else {
      this.atomic.enter({
        user,
        isGone: () => false,
        admitted: (leave) => void this.flushWhole(batch, deadlineMs).finally(() => leave(true)),
        refused,
      });
    }
    return answers.map(({ promise }) => promise);
  }

  /** Commands whose account's row another session holds. */
  get parked(): number {
    return this.lane.size + this.inLanes;
  }

  /** Takes no more commands and waits until those that it has are answered; each has its bound. */
  async close(): Promise<void> {
    this.closing = true;
    const idle = () =>
      this.queue.size + this.lane.size === 0 &&
      this.freeFlushers === this.limits.batchWriters &&
      this.freeLanes === this.limits.lanes &&
      this.atomicBatches + this.atomic.heldNow === 0;
    while (!idle()) await new Promise((resolve) => setTimeout(resolve, 5));
    clearInterval(this.sweeper);
  }

  /** Requests that arrived in one turn of the event loop share a batch. */
  private schedulePump(): void {
    if (this.pumpScheduled || this.freeFlushers === 0) return;
    this.pumpScheduled = true;
    setImmediate(() => {
      this.pumpScheduled = false;
      this.pump();
    });
  }

  private readonly pump = (): void => {
    while (this.freeFlushers > 0 && this.queue.size > 0) {
      const giveBack = this.slots.take(this.pump);
      if (!giveBack) return;
      const batch = this.queue.take(this.limits.batch);
      if (batch.length === 0) return giveBack();
      this.freeFlushers -= 1;
      void this.flush(batch).finally(() => {
        giveBack();
        this.freeFlushers += 1;
        this.pump();
      });
    }
  };

  private async flush(batch: readonly PendingCommand[]): Promise<void> {
    const locked = await this.apply(batch, 'skip');
    const lockedAccounts = new Set(locked.map((pending) => pending.accountId));
    this.moveToLane(locked);
    for (const { accountId } of batch) {
      if (!lockedAccounts.has(accountId)) this.queue.release(accountId);
    }
    this.releaseFromLane(lockedAccounts);
    this.pumpLane();
  }

  private moveToLane(locked: readonly PendingCommand[]): void {
    const nowMs = performance.now();
    for (const pending of locked) {
      if (pending.deadlineMs <= nowMs) this.refuseLate(pending);
      else if (!this.lane.push(pending)) this.refuse(pending, { code: 'OVERLOADED' });
    }
  }

  private pumpLane(): void {
    while (this.freeLanes > 0) {
      const batch = this.lane.take(this.limits.batch, 1);
      if (batch.length === 0) return;
      this.freeLanes -= 1;
      void this.flushLane(batch).finally(() => {
        this.freeLanes += 1;
        this.pumpLane();
      });
    }
  }

  /**
   * Waits for one account's row, at most as long as lock_timeout; then its turn comes again, until its deadline. Once it
   * is free, others may be too, as after an atomic batch over thousands of accounts. So all accounts that wait for a lane
   * are tried together, once, before the lane waits for the next one.
   */
  private async flushLane(batch: readonly PendingCommand[]): Promise<void> {
    if ((await this.applyInLane(batch, 'wait')) === batch.length) return;
    const others = this.takeFromLane();
    if (others.length > 0) await this.applyInLane(others, 'skip');
  }

  /** @returns how many commands have to wait again */
  private async applyInLane(batch: readonly PendingCommand[], manner: 'skip' | 'wait'): Promise<number> {
    this.inLanes += batch.length;
    const locked = await this.apply(batch, manner);
    this.inLanes -= batch.length;
    this.moveToLane(locked);
    for (const { accountId } of batch) this.lane.release(accountId);
    this.releaseFromLane(new Set(batch.map((pending) => pending.accountId)));
    this.pump();
    return locked.length;
  }

  /**
   * Takes a batch without splitting an account, so it may be larger than a batch: commands that have to wait again go to
   * the end of the lane, so none of the same account may be left in it.
   */
  private takeFromLane(): PendingCommand[] {
    const taken: PendingCommand[] = [];
    while (taken.length < this.limits.batch) {
      const ofOneAccount = this.lane.take(this.limits.batch, 1);
      if (ofOneAccount.length === 0) break;
      taken.push(...ofOneAccount);
    }
    return taken;
  }

  /** Waits for the rows as long as lock_timeout, then again, until the deadline. */
  private async flushWhole(batch: readonly PendingCommand[], deadlineMs: number): Promise<void> {
    this.atomicBatches += 1;
    let locked = await this.apply(batch, 'whole');
    while (locked.length > 0 && performance.now() < deadlineMs) locked = await this.apply(batch, 'whole');
    for (const pending of locked) this.refuseLate(pending);
    this.atomicBatches -= 1;
  }

  /** Accounts that no longer wait in the lane may join batches again. */
  private releaseFromLane(accountIds: ReadonlySet<number>): void {
    for (const accountId of accountIds) {
      if (!this.lane.holds(accountId)) this.queue.release(accountId);
    }
  }

  /** Runs commands in one transaction and answers them. Returns those whose account is locked elsewhere. Never throws. */
  private async apply(batch: readonly PendingCommand[], manner: Manner): Promise<PendingCommand[]> {
    const commands = batch.map((pending) => pending.command);
    const whenLocked = manner === 'skip' ? 'skip' : 'wait';
    const decideAll = manner === 'whole' ? decideAtomically : undefined;
    const startedMs = performance.now();
    let posted: PostedBatch;
    try {
      posted = await this.runner.run(
        (queryRunner, client) => this.postBatch.decide(queryRunner, client, commands, whenLocked, decideAll),
        (client, decided) => this.postBatch.write(client, decided),
      );
    } catch (error) {
      return this.recover(batch, manner, error, startedMs);
    }
    // Not within the try: what fails after the COMMIT must never run the batch again.
    this.metrics.batchDuration(performance.now() - startedMs);
    return this.answer(batch, posted, startedMs);
  }

  private async answer(
    batch: readonly PendingCommand[],
    posted: PostedBatch,
    startedMs: number,
  ): Promise<PendingCommand[]> {
    this.reachable = true;
    this.metrics.batchCommitted(posted.transactions.length);
    const recorded = this.balances.record([...posted.accounts.values()], startedMs);
    if (recorded) await recorded;
    this.recentLocalBatches.add(posted.transactions);
    const locked: PendingCommand[] = [];
    batch.forEach((pending, index) => {
      const decision = posted.decisions[index];
      if (posted.skipped.has(pending.accountId)) locked.push(pending);
      else if (decision?.accepted) pending.resolve(decision.transaction);
      else if (decision) this.refuse(pending, decision.refusal);
    });
    return locked;
  }

  private async recover(
    batch: readonly PendingCommand[],
    manner: Manner,
    error: unknown,
    startedMs: number,
  ): Promise<PendingCommand[]> {
    if (error instanceof CommitOutcomeUnknownError) {
      return this.resolveOutcome(batch, (error as CommitOutcomeUnknownError<PostedBatch>).value, startedMs);
    }
    const failure = classifyFailure(error);
    switch (failure) {
      case 'locked':
        return [...batch];
      case 'statement':
        return manner === 'whole' ? this.fail(batch, error) : this.isolate(batch, manner, error);
      case 'busy':
        for (const pending of batch) this.refuse(pending, { code: 'OVERLOADED' });
        return [];
      case 'retryable':
      case 'unavailable':
        this.metrics.batchFailed(failure);
        await this.refuseFailed(batch, error);
        return [];
    }
  }

  /** Runs a failed batch again in halves, until the command that makes a statement fail stands alone. */
  private async isolate(
    batch: readonly PendingCommand[],
    manner: Manner,
    error: unknown,
  ): Promise<PendingCommand[]> {
    if (batch.length === 1) return this.fail(batch, error);
    const middle = Math.ceil(batch.length / 2);
    const locked = await this.apply(batch.slice(0, middle), manner);
    // What follows a command that has to wait, waits too: an account's commands keep their order.
    const waiting = new Set(locked.map((pending) => pending.accountId));
    const [later, next] = partition(batch.slice(middle), (pending) => waiting.has(pending.accountId));
    if (next.length > 0) locked.push(...(await this.apply(next, manner)));
    return [...locked, ...later];
  }

  /** A defect, not a refusal. */
  private fail(batch: readonly PendingCommand[], error: unknown): PendingCommand[] {
    this.metrics.batchFailed('statement');
    this.onDefect(error);
    for (const pending of batch) pending.reject(error);
    return [];
  }

  private async resolveOutcome(
    batch: readonly PendingCommand[],
    posted: PostedBatch,
    startedMs: number,
  ): Promise<PendingCommand[]> {
    this.metrics.batchFailed('commit_lost');
    const outcome = await this.runner.resolve((queryRunner, client) =>
      this.postBatch.wasApplied(queryRunner, client, posted),
    );
    if (outcome?.applied) return this.answer(batch, posted, startedMs);
    // Not applied: even its refusals rested on a state that never came to be.
    for (const pending of batch) {
      const currentVersion = outcome?.accounts.get(pending.accountId)?.version ?? this.lastKnown(pending);
      this.refuse(
        pending,
        outcome ? { code: 'DATABASE_FAILED', currentVersion } : { code: 'OUTCOME_UNKNOWN' },
      );
    }
    return [];
  }

  /** The transaction failed before its COMMIT, so nothing was applied. */
  private async refuseFailed(batch: readonly PendingCommand[], error: unknown): Promise<void> {
    this.reachable = false;
    const accountIds = [...new Set(batch.map((pending) => pending.accountId))];
    // When one connection broke, another may still tell the versions; when none can be had, don't wait for a second.
    const versions =
      error instanceof DatabaseUnreachableError
        ? undefined
        : await this.runner
            .run((_, client) => this.postBatch.versions(client, accountIds))
            .catch(() => undefined);
    if (versions) this.reachable = true;
    for (const pending of batch) {
      const currentVersion = versions?.get(pending.accountId) ?? this.lastKnown(pending);
      this.refuse(pending, { code: 'DATABASE_FAILED', currentVersion });
    }
  }

  private refuseExpired(): void {
    const nowMs = performance.now();
    const stuck = this.lane.expire(nowMs);
    for (const pending of [...this.queue.expire(nowMs), ...stuck]) this.refuseLate(pending);
    if (stuck.length > 0) {
      this.releaseFromLane(new Set(stuck.map((pending) => pending.accountId)));
      this.pump();
    }
  }

  /** Its time is over: for want of a database that answers, or of a place in a batch. */
  private refuseLate(pending: PendingCommand): void {
    const failed: Refusal = { code: 'DATABASE_FAILED', currentVersion: this.lastKnown(pending) };
    this.refuse(pending, this.reachable ? { code: 'OVERLOADED' } : failed);
  }

  private refuse(pending: PendingCommand, refusal: Refusal): void {
    this.metrics.refused(refusal.code);
    pending.reject(new LedgerError(refusal));
  }

  private lastKnown(pending: PendingCommand): number | null {
    return this.balances.lastKnownVersion(pending.accountId) ?? null;
  }
}

function partition<T>(items: readonly T[], belongs: (item: T) => boolean): [T[], T[]] {
  return [items.filter(belongs), items.filter((item) => !belongs(item))];
}
