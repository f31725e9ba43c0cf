import { AdaptiveConcurrencyLimiter, halfOf } from '../../concurrency/adaptive-concurrency-limiter.js';
import type { Decision, Effects } from '../../domain/books.js';
import { accountsOf, type Command } from '../../domain/command.js';
import type { Origin } from '../../domain/origin.js';
import { THE_SERVICE } from '../../domain/sender.js';
import type { ShardMetrics } from '../../observability/metrics.js';
import { BatchSlots } from './batch-slots.js';
import type { BatchMode, BatchWriter, PendingCommand } from './batch-writer.js';
import { CommandQueue, type Waiting } from './command-queue.js';
import { enter } from './command-state.js';

export interface SchedulerLimits {
  /** The most commands of one account in one database transaction; one over several counts as many. */
  readonly batch: number;
  /** The most commands that wait; one more is rejected. */
  readonly queue: number;
  /** The most batches in flight. */
  readonly batchWriters: number;
  /** The most accounts whose locked rows are waited for at the same time. */
  readonly lockWaiters: number;
  /** The most atomic batches in flight. */
  readonly atomicBatches: number;
  /** How long a command waits for its batch. */
  readonly commandTimeoutMs: number;
}

/** The most atomic batches that wait for a permit; one more is rejected. */
const MAX_WAITING_ATOMIC_BATCHES = 100;

/** How often waiting commands are checked for their deadline. */
const SWEEP_MS = 50;

const SKIP_LOCKED = { lockPolicy: 'skip', atomic: false } as const;
const ATOMIC = { lockPolicy: 'wait', atomic: true } as const;

/** A command that waits in the line of the one account whose row is locked. */
interface Parked extends Waiting {
  readonly pending: PendingCommand;
}

/**
 * Group commit for one shard. One transaction per command would be limited by round trips and fsyncs, and a hot account
 * by its row lock. So commands wait in a queue, and a batch writer that becomes free runs all waiting commands in ONE
 * database transaction.
 *
 * An account whose row another session has locked must not hold up the others: the commands of a batch that touch it are
 * parked for a lock waiter. The account is held meanwhile, so its commands keep their order; the other accounts of a
 * command over several go on. Rows that become free at the same time share a batch.
 *
 * The states of a command are those of `command-state.ts`.
 */
export class BatchScheduler {
  private readonly queue: CommandQueue<PendingCommand>;
  /** Parked commands. Their accounts are held in {@link queue}. */
  private readonly locked: CommandQueue<Parked>;
  private readonly sweeper: NodeJS.Timeout;
  private freeBatchWriters: number;
  private freeLockWaiters: number;
  /** Commands that lock waiters have taken from {@link locked}. */
  private inLockWaiters = 0;
  /** Atomic batches have connections of their own: one that waits for a lock must not occupy a batch writer. */
  private readonly atomic: AdaptiveConcurrencyLimiter;
  private atomicBatches = 0;
  /** The account that kept back commands which are decided in their order, and has not been waited for yet. */
  private waitFor: number | undefined;
  private closing = false;
  private pumpScheduled = false;

  /** @param slots shared by the shards of one server */
  constructor(
    private readonly writer: BatchWriter,
    private readonly limits: SchedulerLimits,
    metrics: ShardMetrics,
    private readonly slots = new BatchSlots(limits.batchWriters),
  ) {
    this.queue = new CommandQueue(limits.queue);
    this.locked = new CommandQueue(limits.queue);
    this.freeBatchWriters = limits.batchWriters;
    this.freeLockWaiters = limits.lockWaiters;
    this.atomic = new AdaptiveConcurrencyLimiter({
      maxInFlight: limits.atomicBatches,
      maxPerUser: halfOf(limits.atomicBatches),
      queue: MAX_WAITING_ATOMIC_BATCHES,
      maxWaitMs: limits.commandTimeoutMs / 2,
    });
    this.sweeper = setInterval(() => this.rejectExpired(), SWEEP_MS).unref();
    metrics.watchQueue(() => this.queue.size + this.locked.size);
  }

  /**
   * Queues a command. Resolves with its effects once they are durable.
   *
   * @param origin the command's deadline counts from when it began to wait
   * @throws LedgerError when it is rejected or fails; any other error is a defect, and nothing was applied
   */
  submit(command: Command, origin?: Origin): Promise<Effects> {
    return new Promise((resolve, reject) => {
      const sinceMs = origin?.waitingSinceMs ?? performance.now();
      const pending: PendingCommand = {
        accountIds: accountsOf(command),
        command,
        span: origin?.span,
        deadlineMs: sinceMs + this.limits.commandTimeoutMs,
        state: 'waiting',
        resolve,
        reject,
      };
      const full = this.queue.size + this.locked.size >= this.limits.queue;
      if (this.closing || full || !this.queue.push(pending)) {
        this.writer.reject(pending, { code: 'OVERLOADED' });
      } else this.schedulePump();
    });
  }

  /**
   * Carries out commands in one transaction of their own, all of them or none. Their accounts do not become busy: to the
   * batch writers, the rows are locked by another session.
   *
   * @returns a promise per command, like that of {@link submit}; all are fulfilled or all are rejected
   */
  submitAtomically(commands: readonly Command[], user: string, origin?: Origin): Promise<Effects>[] {
    const deadlineMs = performance.now() + this.limits.commandTimeoutMs;
    const span = origin?.span;
    const answers = commands.map(() => Promise.withResolvers<Effects>());
    const batch = commands.map((command, index): PendingCommand => {
      const { resolve, reject } = answers[index] as PromiseWithResolvers<Effects>;
      const accountIds = accountsOf(command);
      return { accountIds, command, span, deadlineMs, state: 'waiting', resolve, reject };
    });
    const rejected = () => batch.forEach((pending) => this.writer.reject(pending, { code: 'OVERLOADED' }));
    if (this.closing) rejected();
    else {
      this.atomic.acquire({
        user,
        isGone: () => false,
        granted: (free) => void this.writeAtomically(batch, deadlineMs).finally(() => free(true)),
        rejected,
      });
    }
    return answers.map(({ promise }) => promise);
  }

  /**
   * Decides commands in their order, as {@link Ledger.decideInOrder} says, over the connection of an atomic batch. What
   * is locked is skipped, and the first of it waited for the next time, while nothing else is kept locked. If that was
   * in vain, the others get their turn first.
   */
  decideInOrder(commands: readonly Command[]): Promise<readonly (Decision | undefined)[]> {
    return this.atomic.run(THE_SERVICE, async () => {
      this.atomicBatches += 1;
      try {
        const { waitFor } = this;
        const isWaited = waitFor !== undefined && commands.some((one) => accountsOf(one).includes(waitFor));
        const { decisions, locked } = await this.writer.writeInOrder(
          commands,
          isWaited ? { waitFor } : 'skip',
        );
        this.waitFor = firstLocked(commands, locked);
        return decisions;
      } finally {
        this.atomicBatches -= 1;
      }
    });
  }

  /** Commands that wait for a row that another session has locked. */
  get parked(): number {
    return this.locked.size + this.inLockWaiters;
  }

  /** Takes no more commands, and waits until those it has are answered; each has a deadline. */
  async close(): Promise<void> {
    this.closing = true;
    const idle = () =>
      this.queue.size + this.locked.size === 0 &&
      this.freeBatchWriters === this.limits.batchWriters &&
      this.freeLockWaiters === this.limits.lockWaiters &&
      this.atomicBatches + this.atomic.waiting === 0;
    while (!idle()) await new Promise((resolve) => setTimeout(resolve, 5));
    clearInterval(this.sweeper);
  }

  /** Requests that arrive in one turn of the event loop share a batch. */
  private schedulePump(): void {
    if (this.pumpScheduled || this.freeBatchWriters === 0) return;
    this.pumpScheduled = true;
    setImmediate(() => {
      this.pumpScheduled = false;
      this.pump();
    });
  }

  private readonly pump = (): void => {
    while (this.freeBatchWriters > 0 && this.queue.size > 0) {
      const giveBack = this.slots.take(this.pump);
      if (!giveBack) return;
      const batch = this.queue.take(this.limits.batch);
      if (batch.length === 0) return giveBack();
      this.freeBatchWriters -= 1;
      void this.writeBatch(batch).finally(() => {
        giveBack();
        this.freeBatchWriters += 1;
        this.pump();
      });
    }
  };

  private async writeBatch(batch: readonly PendingCommand[]): Promise<void> {
    for (const pending of batch) enter('in flight', pending);
    const locked = await this.writer.write(batch, SKIP_LOCKED);
    for (const { pending, accountId } of locked) this.park(pending, accountId);
    for (const accountId of new Set(locked.map((command) => command.accountId))) {
      if (this.locked.holds(accountId)) this.queue.hold(accountId);
    }
    for (const { accountIds } of batch) {
      for (const accountId of accountIds) this.releaseUnlessParked(accountId);
    }
    this.pumpLocked();
  }

  private park(pending: PendingCommand, accountId: number): void {
    const { deadlineMs } = pending;
    if (deadlineMs <= performance.now()) this.writer.rejectExpired(pending);
    else if (this.locked.push({ accountIds: [accountId], deadlineMs, pending })) enter('parked', pending);
    else this.writer.reject(pending, { code: 'OVERLOADED' });
  }

  private pumpLocked(): void {
    while (this.freeLockWaiters > 0) {
      const batch = this.locked.take(this.limits.batch, 1);
      if (batch.length === 0) return;
      this.freeLockWaiters -= 1;
      void this.waitForLock(batch).finally(() => {
        this.freeLockWaiters += 1;
        this.pumpLocked();
      });
    }
  }

  /**
   * Waits for one account's row until lock_timeout; if it is still locked, its commands wait for another turn, until
   * their deadline. Their other accounts are not waited for, so that nothing is kept locked meanwhile. Once one row is
   * free, others may be too, as after an atomic batch over thousands of accounts. So all parked accounts are tried
   * together, once, before the lock waiter takes the next one.
   */
  private async waitForLock(batch: readonly Parked[]): Promise<void> {
    const waitFor = batch[0]?.accountIds[0] as number;
    if ((await this.writeParked(batch, { lockPolicy: { waitFor }, atomic: false })) === batch.length) return;
    const others = this.takeParked();
    if (others.length > 0) await this.writeParked(others, SKIP_LOCKED);
  }

  /** @returns how many commands have to wait again */
  private async writeParked(batch: readonly Parked[], mode: BatchMode): Promise<number> {
    const parkedAt = new Map(batch.map(({ pending, accountIds }) => [pending, accountIds[0] as number]));
    for (const { pending } of batch) enter('waiting for a lock', pending);
    this.inLockWaiters += batch.length;
    const locked = await this.writer.write([...parkedAt.keys()], mode);
    this.inLockWaiters -= batch.length;
    const lockedElsewhere: PendingCommand[] = [];
    for (const { pending, accountId } of locked) {
      const before = parkedAt.get(pending) as number;
      if (accountId === before) this.park(pending, before);
      else lockedElsewhere.push(pending);
    }
    for (const accountId of parkedAt.values()) this.locked.release(accountId);
    for (const accountId of parkedAt.values()) this.releaseUnlessParked(accountId);
    for (const pending of lockedElsewhere) this.queueAgain(pending);
    this.pump();
    return locked.length;
  }

  /** For a command over several accounts that got the row for which it was parked, but not another one. */
  private queueAgain(pending: PendingCommand): void {
    enter('waiting', pending);
    if (!this.queue.push(pending)) this.writer.reject(pending, { code: 'OVERLOADED' });
  }

  /**
   * Takes whole accounts, so the batch may exceed the limit: commands that have to wait again go to the end of the
   * queue, which would put them behind others of their account. (No account has more parked than one batch holds: it is
   * held in the first queue meanwhile.)
   */
  private takeParked(): Parked[] {
    const taken: Parked[] = [];
    for (let room = this.limits.batch; room > 0;) {
      const ofOneAccount = this.locked.take(this.limits.batch, 1);
      if (ofOneAccount.length === 0) break;
      taken.push(...ofOneAccount);
      for (const { pending } of ofOneAccount) room -= pending.accountIds.length;
    }
    return taken;
  }

  /** Waits for the rows until lock_timeout, again and again until the deadline. */
  private async writeAtomically(batch: readonly PendingCommand[], deadlineMs: number): Promise<void> {
    this.atomicBatches += 1;
    for (const pending of batch) enter('in flight', pending);
    let locked = await this.writer.write(batch, ATOMIC);
    while (locked.length > 0 && performance.now() < deadlineMs) {
      locked = await this.writer.write(batch, ATOMIC);
    }
    for (const { pending } of locked) this.writer.rejectExpired(pending);
    this.atomicBatches -= 1;
  }

  private releaseUnlessParked(accountId: number): void {
    if (!this.locked.holds(accountId)) this.queue.release(accountId);
  }

  private rejectExpired(): void {
    const nowMs = performance.now();
    const parked = this.locked.expire(nowMs);
    const late = parked.map(({ pending }) => pending);
    for (const pending of [...this.queue.expire(nowMs), ...late]) this.writer.rejectExpired(pending);
    if (parked.length > 0) {
      for (const { accountIds } of parked) this.releaseUnlessParked(accountIds[0] as number);
      this.pump();
    }
  }
}

function firstLocked(commands: readonly Command[], locked: ReadonlySet<number>): number | undefined {
  if (locked.size === 0) return undefined;
  return commands.flatMap(accountsOf).find((accountId) => locked.has(accountId));
}
