import type { PoolClient } from 'pg';
import { BackgroundLoop } from '../concurrency/background-loop.js';
import type { SummaryMetrics } from '../observability/metrics.js';
import { send } from '../storage/connection.js';
import { LedgerSummaryEntity } from '../storage/entities/ledger-summary.entity.js';
import type { ShardLease } from '../storage/shard-lease.js';
import type { SchemaTables } from '../storage/tables.js';
import type { TransactionRunner } from '../storage/transaction-runner.js';
import { NOTHING_SUMMED, sumNext, takeSnapshot, type Progress, type Snapshot } from './summary-statements.js';

export interface SummaryTimes {
  /** How old a summary becomes. */
  readonly intervalMs: number;
  /** Longer than a batch can take. */
  readonly settledMs: number;
}

export interface SummaryLog {
  /** It has begun to fail. */
  failing(error: unknown): void;
  /** It works again. */
  recovered(): void;
  /** The accounts are not what their transactions come to, so all of these are summed up again. */
  unbalanced(currencies: readonly string[]): void;
}

/** After each piece of a long work the database has so many times its duration to itself. */
const REST = 4;

/** Summing up all transactions again helps if one was left out, but not if the books are wrong: not too often. */
const RECOUNT_MS = 60 * 60_000;

/**
 * Keeps the summary of one shard: what its accounts hold, and what all transactions come to. The accounts are summed up
 * anew each time, by one scan; a transaction is summed up once, because it never changes.
 *
 * A summary is kept only if the accounts are exactly what their transactions come to. Over all instances one keeper is
 * at work at a time; if a second one were, both would be right.
 */
export class SummaryKeeper {
  private readonly loop = new BackgroundLoop();
  private isFailing = false;
  private recountedMs = -Infinity;

  /** @param lease must last as long as one transaction of the runner */
  constructor(
    private readonly runner: TransactionRunner,
    private readonly tables: SchemaTables,
    private readonly lease: ShardLease,
    private readonly times: SummaryTimes,
    private readonly metrics: SummaryMetrics,
    private readonly log: SummaryLog,
  ) {}

  start(): void {
    this.loop.start(() => this.attempt());
  }

  /** Waits for the statement in progress. */
  stop(): Promise<void> {
    return this.loop.stop();
  }

  /** @returns how long to wait before the next one */
  private async attempt(): Promise<number> {
    const { intervalMs } = this.times;
    try {
      const dueMs = await this.keep();
      if (this.isFailing) this.log.recovered();
      this.isFailing = false;
      // The shards of one server don't all do it at the same time.
      return Math.max(dueMs, intervalMs / 10) * (0.9 + 0.2 * Math.random());
    } catch (error) {
      this.metrics.failed();
      if (!this.isFailing) this.log.failing(error);
      this.isFailing = true;
      return intervalMs;
    }
  }

  /** Makes a summary if the last one is old enough and nobody else makes one. @returns when the next one is due */
  private async keep(): Promise<number> {
    const claimed = await this.claim();
    if (typeof claimed === 'number') return claimed;
    try {
      const snapshot = await this.balancedSnapshot(claimed);
      if (snapshot) this.metrics.taken(snapshot.asOf);
      return this.times.intervalMs;
    } finally {
      // If this fails, too, the lease runs out by itself.
      await this.runner.run(({ manager }) => this.lease.end(manager)).catch(() => undefined);
    }
  }

  /** How far the sums have come; or, if there is nothing to do now, when there will be. */
  private claim(): Promise<Progress | number> {
    return this.runner.run(async ({ manager }, client) => {
      const { rows } = await send<
        { age_ms: number | null; as_of: Date | null; summed_to: string } & Progress
      >(
        client,
        `SELECT (extract(epoch FROM clock_timestamp() - as_of) * 1000)::float8 AS age_ms, as_of, summed_to, sums
         FROM ${this.tables.ledgerSummary}`,
      );
      const [row] = rows;
      if (row?.as_of) this.metrics.taken(row.as_of);
      const dueMs = this.times.intervalMs - (row?.age_ms ?? Infinity);
      if (dueMs > 0) return dueMs;
      if (!(await this.lease.take(manager))) return 0;
      return row ? { summedTo: Number(row.summed_to), sums: row.sums } : NOTHING_SUMMED;
    });
  }

  /** @returns undefined: it was stopped */
  private async balancedSnapshot(begun: Progress): Promise<Snapshot | undefined> {
    const progress = await this.sumUp(begun);
    if (!progress) return undefined;
    const snapshot = await this.inPeace((client) => takeSnapshot(client, this.tables, progress));
    if (snapshot.unbalanced.length === 0) {
      await this.save(progress, snapshot);
      return snapshot;
    }
    this.log.unbalanced(snapshot.unbalanced);
    if (performance.now() - this.recountedMs < RECOUNT_MS) {
      throw new Error('the accounts are not what their transactions come to');
    }
    this.recountedMs = performance.now();
    return this.balancedSnapshot(NOTHING_SUMMED);
  }

  /** Adds all transactions that are old enough. @returns undefined: it was stopped */
  private async sumUp(begun: Progress): Promise<Progress | undefined> {
    for (let progress = begun; ;) {
      const startedMs = performance.now();
      const next = await this.inPeace((client) =>
        sumNext(client, this.tables, progress, this.times.settledMs),
      );
      progress = next;
      if (next.isLast) return progress;
      await this.save(progress);
      await this.loop.pause(REST * (performance.now() - startedMs));
      if (this.loop.stopped) return undefined;
    }
  }

  /** Runs a query that reads much, on one processor. */
  private inPeace<T>(query: (client: PoolClient) => Promise<T>): Promise<T> {
    return this.runner.run(async (_, client) => {
      await send(client, 'SET LOCAL max_parallel_workers_per_gather = 0');
      await send(client, 'SET LOCAL jit = off');
      return query(client);
    });
  }

  /** Extends the lease as well. */
  private async save({ summedTo, sums }: Progress, snapshot?: Snapshot): Promise<void> {
    await this.runner.run(async ({ manager }) => {
      const made = snapshot && { asOf: snapshot.asOf, summary: snapshot.summary };
      await manager.upsert(LedgerSummaryEntity, { onlyRow: true, summedTo, sums, ...made }, ['onlyRow']);
      await this.lease.take(manager);
    });
  }
}
