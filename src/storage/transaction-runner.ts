import { setTimeout as sleep } from 'node:timers/promises';
import type { PoolClient } from 'pg';
import { connect, cutWhenLate, allInOrder, send, together, type Work } from './connection.js';
import {
  classifyFailure,
  CommitRefusedError,
  isRefusedCommit,
  isRefusedStatement,
} from './database-errors.js';
import { PROPAGATE_SETTINGS } from './citus.js';
import type { ShardPool } from './shard-pool.js';

export interface RunnerLimits {
  /** How long one transaction may take before its connection is cut. */
  readonly transactionTimeoutMs: number;
  /** How long a statement may wait for a lock. */
  readonly lockTimeoutMs: number;
  /** How often to try a transaction that the server rolls back: a serialization failure, a deadlock, or at COMMIT. */
  readonly attempts: number;
  /** How long to look for the outcome of a lost COMMIT. */
  readonly resolveTimeoutMs: number;
}

/** The work was done, COMMIT was sent, and no answer came: it may or may not have taken effect. */
export class CommitOutcomeUnknownError<T> extends Error {
  constructor(
    readonly value: T,
    cause: unknown,
  ) {
    super('the connection was lost during COMMIT', { cause });
    this.name = 'CommitOutcomeUnknownError';
  }
}

/** The client's own deadline is this much later than the server's, so that the server's clearer error comes first. */
const CLIENT_GRACE_MS = 1_000;
const FIRST_RETRY_MS = 5;
const LONGEST_RETRY_MS = 200;

/** Sends the last statements of a transaction. */
export type Write<T> = (client: PoolClient, value: T) => Promise<unknown> | undefined;

/**
 * Begins, commits and rolls back every transaction of the service's requests and events; the work is handed a
 * QueryRunner. TypeORM does not know of the BEGIN, so the work uses `insert`, `update` and `delete`: `save` and
 * `remove` would begin another transaction.
 */
export class TransactionRunner {
  constructor(
    private readonly pool: ShardPool,
    private readonly limits: RunnerLimits,
  ) {}

  /**
   * Runs work in a transaction of its own and commits it.
   *
   * @param write sends all that is to be written, once the work is done. COMMIT follows in the same round trip, so each
   *   statement must fail by itself unless it does exactly what it should
   * @throws CommitOutcomeUnknownError when the answer to COMMIT was lost; any other error: nothing was applied
   */
  async run<T>(work: Work<T>, write?: Write<T>): Promise<T> {
    for (let attempt = 1; ; attempt++) {
      try {
        return await this.pool.retryIfRelocated(() => this.runOnce(work, write));
      } catch (error) {
        const again = !(error instanceof CommitOutcomeUnknownError) && classifyFailure(error) === 'retryable';
        if (!again || attempt === this.limits.attempts) throw error;
        await sleep(retryDelayMs(attempt));
      }
    }
  }

  /**
   * Finds out whether a lost COMMIT took effect: repeats a check, each time in a new transaction, until it succeeds or
   * the time is up.
   *
   * @returns the result of the check; undefined: the database did not come back in time
   */
  async resolve<T>(check: Work<T>): Promise<T | undefined> {
    const giveUpAt = performance.now() + this.limits.resolveTimeoutMs;
    for (let attempt = 1; performance.now() < giveUpAt; attempt++) {
      try {
        return await this.pool.retryIfRelocated(() => this.runOnce(check));
      } catch {
        await sleep(FIRST_RETRY_MS + retryDelayMs(attempt));
      }
    }
    return undefined;
  }

  private async runOnce<T>(work: Work<T>, write?: Write<T>): Promise<T> {
    const queryRunner = this.pool.createQueryRunner();
    let client: PoolClient | undefined;
    let deadline: NodeJS.Timeout | undefined;
    let begun = false;
    let healthy = false;
    try {
      client = await connect(queryRunner);
      deadline = cutWhenLate(client, this.limits.transactionTimeoutMs + CLIENT_GRACE_MS);
      const value = await this.begin(
        client,
        () => (begun = true),
        () => work(queryRunner, client as PoolClient),
        write !== undefined,
      );
      await commit(client, value, write);
      healthy = true;
      return value;
    } catch (error) {
      // If BEGIN failed, the statements sent after it may still be running, each on its own: no ROLLBACK can stop them.
      if (client && begun && !(error instanceof CommitOutcomeUnknownError)) healthy = await rollback(client);
      throw error;
    } finally {
      clearTimeout(deadline);
      // A connection in doubt must not be used again: the pool drops one that is ending.
      if (client && !healthy) void client.end();
      await queryRunner.release();
    }
  }

  /**
   * Begins, and runs the work. SET LOCAL, because PgBouncer in transaction mode keeps no session settings. READ
   * COMMITTED, whatever the server's default: a statement must see what was committed while it waited for a lock.
   *
   * @param atOnce sends the first statements of the work together with BEGIN. Only for work that writes nothing: if
   *   BEGIN fails, these statements run without a transaction
   */
  private async begin<T>(
    client: PoolClient,
    onBegun: () => void,
    work: () => Promise<T>,
    atOnce: boolean,
  ): Promise<T> {
    const begin = () => {
      const [first, ...rest] = this.beginning();
      return allInOrder([send(client, first).then(onBegun), ...rest.map((sql) => send(client, sql))]);
    };
    if (atOnce) {
      const [, value] = await together(client, () => allInOrder([begin(), work()]));
      return value;
    }
    await together(client, begin);
    return work();
  }

  /**
   * One query, because each has a cost. Citus needs several: locks are waited for on the node that holds the shard, and
   * a setting reaches that node only if Citus is told to propagate it and the SET is a query of its own.
   */
  private beginning(): readonly [string, ...string[]] {
    const begin = 'BEGIN TRANSACTION ISOLATION LEVEL READ COMMITTED';
    const limits = [
      `SET LOCAL lock_timeout = ${this.limits.lockTimeoutMs}`,
      `SET LOCAL statement_timeout = ${this.limits.transactionTimeoutMs}`,
    ];
    if (this.pool.onCitus) return [begin, PROPAGATE_SETTINGS, ...limits];
    return [[begin, ...limits].join('; ')];
  }
}

/** Sends COMMIT right after the last writes. The server's answer to COMMIT decides. */
async function commit<T>(client: PoolClient, value: T, write?: Write<T>): Promise<void> {
  const [written, committed] = await together(client, () =>
    Promise.allSettled([write?.(client, value), client.query('COMMIT')]),
  );
  if (committed.status === 'rejected') {
    if (isRefusedCommit(committed.reason)) throw committed.reason;
    // The server rejected a statement before it, so it could not have committed.
    if (written.status === 'rejected' && isRefusedStatement(written.reason)) throw written.reason;
    throw new CommitOutcomeUnknownError(value, committed.reason);
  }
  // TypeORM's commitTransaction ignores the tag, and a COMMIT of an aborted transaction raises no error.
  const tag = committed.value.command;
  if (tag === 'ROLLBACK') throw written.status === 'rejected' ? written.reason : new CommitRefusedError();
  if (tag !== 'COMMIT' || written.status === 'rejected') {
    throw new CommitOutcomeUnknownError(value, new Error(`COMMIT was answered with ${tag}`));
  }
}

/** @returns whether the connection is usable again */
async function rollback(client: PoolClient): Promise<boolean> {
  try {
    await client.query('ROLLBACK');
    return client.getTransactionStatus() === 'I';
  } catch {
    return false;
  }
}

/** Exponential with full jitter, so that two transactions that collided do not collide again. */
function retryDelayMs(attempt: number): number {
  return Math.random() * Math.min(LONGEST_RETRY_MS, FIRST_RETRY_MS * 2 ** attempt);
}
