import type { Decision, Effects } from '../../domain/books.js';
import type { Command } from '../../domain/command.js';
import { decideAtomically, decideInOrder } from '../../domain/decide-batch.js';
import { LedgerError, type LedgerFailure } from '../../domain/errors.js';
import type { Span } from '../../domain/origin.js';
import type { BalanceCache } from '../../domain/ports.js';
import type { RecentLocalBatches } from '../../messaging/recent-local-batches.js';
import type { ShardMetrics } from '../../observability/metrics.js';
import type { ShardTracing } from '../../observability/tracing.js';
import { classifyFailure, DatabaseUnreachableError } from '../../storage/database-errors.js';
import { CommitOutcomeUnknownError, type TransactionRunner } from '../../storage/transaction-runner.js';
import type { BatchStatements, LockPolicy } from './batch-statements.js';
import type { PostedBatch } from './batch-writes.js';
import type { Waiting } from './command-queue.js';
import { enter, type CommandState } from './command-state.js';

/** A command and the promise of its answer. */
export interface PendingCommand extends Waiting {
  readonly command: Command;
  /** That of the request; undefined: nothing is traced. */
  readonly span?: Span;
  state: CommandState;
  readonly resolve: (effects: Effects) => void;
  readonly reject: (error: unknown) => void;
}

export interface BatchMode {
  readonly lockPolicy: LockPolicy;
  /** The commands are applied all together or not at all. */
  readonly atomic: boolean;
}

/** A command that was not decided, because another session has locked the row of one of its accounts. */
export interface LockedCommand {
  readonly pending: PendingCommand;
  readonly accountId: number;
}

/** What became of commands that are decided in their order. */
export interface DecidedInOrder {
  /** Undefined: the command was not decided. */
  readonly decisions: readonly (Decision | undefined)[];
  /** The accounts whose rows another session has locked. */
  readonly locked: ReadonlySet<number>;
}

/** Runs a batch of one shard in one database transaction and answers its commands. */
export class BatchWriter {
  /** Whether the database answered the last time. */
  private reachable = true;

  constructor(
    private readonly runner: TransactionRunner,
    private readonly statements: BatchStatements,
    private readonly balances: BalanceCache,
    private readonly recentLocalBatches: RecentLocalBatches,
    private readonly metrics: ShardMetrics,
    private readonly onDefect: (error: unknown) => void,
    private readonly tracing?: ShardTracing,
  ) {}

  /**
   * Answers all commands except those that touch a row that another session has locked, and returns these. Never throws.
   */
  async write(batch: readonly PendingCommand[], mode: BatchMode): Promise<LockedCommand[]> {
    const commands = batch.map((pending) => pending.command);
    const decide = mode.atomic ? decideAtomically : undefined;
    const span = this.tracing?.batch(batch);
    const startedMs = performance.now();
    let posted: PostedBatch;
    try {
      posted = await this.runner.run(
        (queryRunner, client) =>
          this.statements.lockAndDecide(queryRunner, client, commands, mode.lockPolicy, decide),
        (client, decided) => this.statements.write(client, decided, span?.traceparent),
      );
    } catch (error) {
      span?.failed(error instanceof CommitOutcomeUnknownError ? 'commit_lost' : classifyFailure(error));
      return this.recover(batch, mode, error, startedMs);
    }
    // Outside the try: a failure after the COMMIT must never run the batch again.
    span?.committed(posted.transactions.length);
    this.metrics.batchDuration(performance.now() - startedMs);
    return this.answer(batch, posted, startedMs);
  }

  /**
   * Decides commands in one transaction, in their order.
   *
   * @throws LedgerError when nothing was applied, or that is not known: the keys of the commands tell. Any other error is
   *   a defect
   */
  async writeInOrder(commands: readonly Command[], lockPolicy: LockPolicy): Promise<DecidedInOrder> {
    const startedMs = performance.now();
    let posted: PostedBatch;
    try {
      posted = await this.runner.run(
        (queryRunner, client) =>
          this.statements.lockAndDecide(queryRunner, client, commands, lockPolicy, decideInOrder),
        (client, decided) => this.statements.write(client, decided),
      );
    } catch (error) {
      if (error instanceof CommitOutcomeUnknownError) throw new LedgerError({ code: 'OUTCOME_UNKNOWN' });
      const failure = classifyFailure(error);
      if (failure === 'statement') throw error;
      // What was waited for stayed locked.
      if (failure === 'locked') return { decisions: commands.map(() => undefined), locked: new Set() };
      if (failure === 'busy') throw new LedgerError({ code: 'OVERLOADED' });
      this.metrics.batchFailed(failure);
      throw new LedgerError({ code: 'DATABASE_FAILED', currentVersion: null });
    }
    this.metrics.batchDuration(performance.now() - startedMs);
    await this.committed(posted, startedMs);
    for (const decision of posted.decisions)
      if (decision?.accepted === false) this.metrics.failed(decision.rejection.code);
    return { decisions: posted.decisions, locked: posted.skipped };
  }

  /** Answers a command whose deadline has passed: the database did not answer, or no batch had room. */
  rejectExpired(pending: PendingCommand): void {
    const failed = { code: 'DATABASE_FAILED', currentVersion: this.lastKnownVersion(pending) } as const;
    this.reject(pending, this.reachable ? { code: 'OVERLOADED' } : failed);
  }

  reject(pending: PendingCommand, failure: LedgerFailure): void {
    enter('done', pending);
    this.metrics.failed(failure.code);
    pending.reject(new LedgerError(failure));
  }

  private async answer(
    batch: readonly PendingCommand[],
    posted: PostedBatch,
    startedMs: number,
  ): Promise<LockedCommand[]> {
    await this.committed(posted, startedMs);
    const locked: LockedCommand[] = [];
    batch.forEach((pending, index) => {
      const decision = posted.decisions[index];
      if (!decision) locked.push(lockedAt(posted.skipped, pending));
      else if (!decision.accepted) this.reject(pending, decision.rejection);
      else {
        enter('done', pending);
        pending.resolve(decision.effects);
      }
    });
    return locked;
  }

  /** Shows the result to the readers of every instance. */
  private async committed(posted: PostedBatch, startedMs: number): Promise<void> {
    this.reachable = true;
    this.metrics.batchCommitted(posted.transactions.length);
    const recorded = this.balances.record([...posted.accounts.values()], startedMs);
    if (recorded) await recorded;
    this.recentLocalBatches.add(posted.transactions);
  }

  private async recover(
    batch: readonly PendingCommand[],
    mode: BatchMode,
    error: unknown,
    startedMs: number,
  ): Promise<LockedCommand[]> {
    if (error instanceof CommitOutcomeUnknownError) {
      return this.resolveOutcome(batch, (error as CommitOutcomeUnknownError<PostedBatch>).value, startedMs);
    }
    const failure = classifyFailure(error);
    switch (failure) {
      case 'locked':
        return batch.map((pending) => ({ pending, accountId: waitedFor(mode) ?? pending.command.accountId }));
      case 'statement':
        return mode.atomic ? this.fail(batch, error) : this.bisect(batch, mode, error);
      case 'busy':
        for (const pending of batch) this.reject(pending, { code: 'OVERLOADED' });
        return [];
      case 'retryable':
      case 'unavailable':
        this.metrics.batchFailed(failure);
        await this.rejectFailed(batch, error);
        return [];
    }
  }

  /** Runs a failed batch again in halves, until the command that makes it fail is alone. */
  private async bisect(
    batch: readonly PendingCommand[],
    mode: BatchMode,
    error: unknown,
  ): Promise<LockedCommand[]> {
    if (batch.length === 1) return this.fail(batch, error);
    const middle = Math.ceil(batch.length / 2);
    const locked = await this.write(batch.slice(0, middle), mode);
    // Later commands of an account whose row is locked wait too, so that they keep their order.
    const lockedIds = new Set(locked.map(({ accountId }) => accountId));
    const next: PendingCommand[] = [];
    const later: LockedCommand[] = [];
    for (const pending of batch.slice(middle)) {
      const accountId = firstOf(lockedIds, pending);
      if (accountId === undefined) next.push(pending);
      else later.push({ pending, accountId });
    }
    if (next.length > 0) locked.push(...(await this.write(next, mode)));
    return [...locked, ...later];
  }

  /** For a defect, not a rejection. */
  private fail(batch: readonly PendingCommand[], error: unknown): LockedCommand[] {
    this.metrics.batchFailed('statement');
    this.onDefect(error);
    for (const pending of batch) {
      enter('done', pending);
      pending.reject(error);
    }
    return [];
  }

  private async resolveOutcome(
    batch: readonly PendingCommand[],
    posted: PostedBatch,
    startedMs: number,
  ): Promise<LockedCommand[]> {
    this.metrics.batchFailed('commit_lost');
    const outcome = await this.runner.resolve((queryRunner, client) =>
      this.statements.wasApplied(queryRunner, client, posted),
    );
    if (outcome?.applied) return this.answer(batch, posted, startedMs);
    // Not applied: even its rejections were based on a state that was never committed.
    for (const pending of batch) {
      const currentVersion =
        outcome?.accounts.get(pending.command.accountId)?.version ?? this.lastKnownVersion(pending);
      this.reject(
        pending,
        outcome ? { code: 'DATABASE_FAILED', currentVersion } : { code: 'OUTCOME_UNKNOWN' },
      );
    }
    return [];
  }

  /** The transaction failed before its COMMIT, so nothing was applied. */
  private async rejectFailed(batch: readonly PendingCommand[], error: unknown): Promise<void> {
    this.reachable = false;
    const accountIds = [...new Set(batch.map(({ command }) => command.accountId))];
    // If one connection broke, another may still read the versions. If there was none at all, don't wait for one again.
    const versions =
      error instanceof DatabaseUnreachableError
        ? undefined
        : await this.runner
            .run((_, client) => this.statements.versions(client, accountIds))
            .catch(() => undefined);
    if (versions) this.reachable = true;
    for (const pending of batch) {
      const currentVersion = versions?.get(pending.command.accountId) ?? this.lastKnownVersion(pending);
      this.reject(pending, { code: 'DATABASE_FAILED', currentVersion });
    }
  }

  private lastKnownVersion(pending: PendingCommand): number | null {
    return this.balances.lastKnownVersion(pending.command.accountId) ?? null;
  }
}

/** @param skipped accounts whose rows are locked, at least one of the command's among them */
function lockedAt(skipped: ReadonlySet<number>, pending: PendingCommand): LockedCommand {
  return { pending, accountId: firstOf(skipped, pending) as number };
}

function waitedFor({ lockPolicy }: BatchMode): number | undefined {
  return typeof lockPolicy === 'object' ? lockPolicy.waitFor : undefined;
}

/** The first account of a command that is among those given. */
function firstOf(accountIds: ReadonlySet<number>, pending: PendingCommand): number | undefined {
  return pending.accountIds.find((accountId) => accountIds.has(accountId));
}
