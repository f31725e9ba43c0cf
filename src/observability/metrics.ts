import { Injectable } from '@nestjs/common';
import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from 'prom-client';
import type { PoolConnections } from '../database/shard-pool.js';
import type { RefusalCode } from '../domain/errors.js';

/** Why a batch failed as a whole. */
export type BatchFailure = 'retryable' | 'unavailable' | 'statement' | 'commit_lost';

/** What one shard's write path reports. Labels are bound once: looking them up for every command would cost. */
export interface ShardMetrics {
  batchCommitted(transactions: number): void;
  batchDuration(durationMs: number): void;
  batchFailed(failure: BatchFailure): void;
  refused(code: RefusalCode): void;
  /** The gauges read what they show when they are scraped. */
  watchQueue(depth: () => number): void;
  watchPool(name: string, poolOf: () => PoolConnections): void;
  watchUp(isUp: () => Promise<boolean>): void;
}

const DURATION_SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];
const BATCH_SIZES = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000];

/** The process's Prometheus metrics. One registry per application, so that two in one process keep apart. */
@Injectable()
export class Metrics {
  readonly registry = new Registry();

  /** What each gauge reads when it is scraped. */
  private readonly collectors = new Map<Gauge, (() => Promise<void>)[]>();

  private readonly requests = new Histogram({
    name: 'bank_http_request_duration_seconds',
    help: 'Duration of HTTP requests by method, route and status',
    labelNames: ['method', 'route', 'status'],
    buckets: DURATION_SECONDS,
    registers: [this.registry],
  });
  private readonly boundRequests = new Map<string, { observe(seconds: number): void }>();

  private readonly queueDepth = this.gauge('bank_ledger_queue_depth', 'Commands that wait for a batch', [
    'shard',
  ]);
  private readonly up = this.gauge('bank_shard_up', 'Whether the database of the shard answers: 1 or 0', [
    'shard',
  ]);
  private readonly pool = this.gauge('bank_database_pool_connections', 'Pooled database connections', [
    'shard',
    'pool',
    'state',
  ]);
  private readonly batchSize = this.histogram(
    'bank_ledger_batch_transactions',
    'Transactions per batch',
    BATCH_SIZES,
  );
  private readonly commitSeconds = this.histogram(
    'bank_ledger_commit_duration_seconds',
    'Duration of a batch, from its first statement to the answer to COMMIT',
    DURATION_SECONDS,
  );
  private readonly posted = this.counter('bank_ledger_transactions_total', 'Transactions posted', ['shard']);
  private readonly failures = this.counter('bank_ledger_batch_failures_total', 'Batches that failed', [
    'shard',
    'failure',
  ]);
  private readonly refusals = this.counter('bank_ledger_refusals_total', 'Commands refused', [
    'shard',
    'code',
  ]);
  private readonly published = this.counter('bank_outbox_published_total', 'Outbox rows published', [
    'shard',
  ]);

  constructor() {
    collectDefaultMetrics({ register: this.registry });
  }

  requestDone(method: string, route: string, status: number, seconds: number): void {
    const key = `${method} ${route} ${status}`;
    let bound = this.boundRequests.get(key);
    if (!bound) {
      bound = this.requests.labels({ method, route, status: String(status) });
      this.boundRequests.set(key, bound);
    }
    bound.observe(seconds);
  }

  outboxPublished(shardIndex: number, rows: number): void {
    this.published.inc({ shard: String(shardIndex) }, rows);
  }

  forShard(shardIndex: number): ShardMetrics {
    const shard = String(shardIndex);
    const batchSize = this.batchSize.labels({ shard });
    const commitSeconds = this.commitSeconds.labels({ shard });
    const posted = this.posted.labels({ shard });
    return {
      batchCommitted: (transactions) => {
        batchSize.observe(transactions);
        posted.inc(transactions);
      },
      batchDuration: (durationMs) => commitSeconds.observe(durationMs / 1000),
      batchFailed: (failure) => this.failures.inc({ shard, failure }),
      refused: (code) => this.refusals.inc({ shard, code }),
      watchQueue: (depth) => this.collectInto(this.queueDepth, (gauge) => gauge.set({ shard }, depth())),
      watchPool: (name, poolOf) =>
        this.collectInto(this.pool, (gauge) => setPool(gauge, { shard, pool: name }, poolOf())),
      watchUp: (isUp) =>
        this.collectInto(this.up, async (gauge) => gauge.set({ shard }, (await isUp()) ? 1 : 0)),
    };
  }

  private collectInto(gauge: Gauge, collect: (gauge: Gauge) => void | Promise<void>): void {
    this.collectors.get(gauge)?.push(async () => collect(gauge));
  }

  private gauge(name: string, help: string, labelNames: string[]): Gauge {
    const collectors: (() => Promise<void>)[] = [];
    const collect = async () => void (await Promise.all(collectors.map((run) => run())));
    const gauge = new Gauge({ name, help, labelNames, registers: [this.registry], collect });
    this.collectors.set(gauge, collectors);
    return gauge;
  }

  private counter(name: string, help: string, labelNames: string[]): Counter {
    return new Counter({ name, help, labelNames, registers: [this.registry] });
  }

  private histogram(name: string, help: string, buckets: number[]): Histogram {
    return new Histogram({ name, help, labelNames: ['shard'], buckets, registers: [this.registry] });
  }
}

function setPool(
  gauge: Gauge,
  labels: { readonly shard: string; readonly pool: string },
  { totalCount, idleCount, waitingCount }: PoolConnections,
): void {
  gauge.set({ ...labels, state: 'idle' }, idleCount);
  gauge.set({ ...labels, state: 'busy' }, totalCount - idleCount);
  gauge.set({ ...labels, state: 'waiting' }, waitingCount);
}
