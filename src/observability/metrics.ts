import { Injectable } from '@nestjs/common';
import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry, type Aggregator } from 'prom-client';
import type { PoolConnections } from '../storage/shard-pool.js';
import type { LedgerFailureCode } from '../domain/errors.js';
import { RequestDurations } from './request-durations.js';

const BATCH_FAILURES = ['retryable', 'unavailable', 'statement', 'commit_lost'] as const;

/** Why a batch failed as a whole. */
export type BatchFailure = (typeof BATCH_FAILURES)[number];

/**
 * The metrics of one shard's write path. Labels are bound once, because looking them up for every command is costly.
 */
export interface ShardMetrics {
  batchCommitted(transactions: number): void;
  batchDuration(durationMs: number): void;
  batchFailed(failure: BatchFailure): void;
  failed(code: LedgerFailureCode): void;
  /** The gauges call these functions when they are scraped. */
  watchQueue(depth: () => number): void;
  watchWaiting(count: () => number): void;
  watchPool(name: string, poolOf: () => PoolConnections): void;
  watchUp(isUp: () => Promise<boolean>): void;
}

const PUBLISH_FAILURES = [
  'down',
  'blocked',
  'timeout',
  'unroutable',
  'refused',
  'closed',
  'database',
  'other',
] as const;

/** Why a chunk of events was not published. */
export type PublishFailure = (typeof PUBLISH_FAILURES)[number];

/** The metrics of a relay of one shard. */
export interface RelayMetrics {
  published(rows: number, events: number): void;
  failed(reason: PublishFailure): void;
  /** The gauges call this function when they are scraped. */
  watchBacklog(read: () => { readonly rows: number; readonly events: number; readonly ageMs: number }): void;
}

/** The metrics of the webhooks of one shard. */
export interface WebhookMetrics {
  attempted(accepted: boolean): void;
  /** The gauges call this function when they are scraped. @param read what each endpoint has not got yet */
  watch(
    read: () => readonly {
      readonly webhookId: number;
      /** The age of the oldest event that was not tried. */
      readonly lagMs: number;
      readonly failures: number;
    }[],
  ): void;
}

/** The metrics of one shard's sweeper. */
export interface SweeperMetrics {
  expired(holds: number): void;
  failed(): void;
}

/** The metrics of the transfers that one shard has sent to others. */
export interface PendingTransferMetrics {
  /** What is pending, by target. */
  counted(byTarget: ReadonlyMap<number, { readonly pending: number; readonly ageMs: number }>): void;
  finished(transfers: number): void;
  failed(): void;
}

/** The metrics of one shard's summary. */
export interface SummaryMetrics {
  /** The last one that this process knows of. */
  taken(asOf: Date): void;
  failed(): void;
}

const SUBMISSION_OUTCOMES = ['posted', 'refused', 'repeated', 'dropped', 'dead-lettered'] as const;

/**
 * What became of a submission that was taken out of the queue. repeated: its key was used before; dropped: its sender may
 * not use the account, or there is none.
 */
export type SubmissionOutcome = (typeof SUBMISSION_OUTCOMES)[number];

/** The metrics of one shard's submissions. */
export interface SubmissionMetrics {
  accepted(): void;
  settled(outcome: SubmissionOutcome): void;
  failed(): void;
  /** The gauges call this function when they are scraped. */
  watchQueue(read: () => { readonly messages: number; readonly ageMs: number }): void;
}

/** The result of looking up a balance in the shared cache; unavailable: the cache did not answer. */
export type BalanceLookup = 'hit' | 'miss' | 'unavailable';

const AUTHENTICATION_FAILURES = ['missing', 'invalid', 'limited'] as const;

/** Why a request was not authenticated; limited: its address had failed too often before. */
export type AuthenticationFailure = (typeof AUTHENTICATION_FAILURES)[number];

/** What counted a transaction against the rate limit: Redis for all instances, or this instance by itself. */
export type RateCounter = 'redis' | 'local';

const REDIS_FAILURES = ['timeout', 'error'] as const;

const DURATION_SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];
const BATCH_SIZES = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000];

/**
 * The process's Prometheus metrics. Those of several workers are combined into one set; each gauge says how (by their
 * sum, unless stated otherwise). One registry per application, so that two applications in one process stay separate.
 */
@Injectable()
export class Metrics {
  readonly registry = new Registry();

  /** What each gauge reads when it is scraped. */
  private readonly collectors = new Map<Gauge, (() => Promise<void>)[]>();

  private readonly requests = new RequestDurations(
    'bank_http_request_duration_seconds',
    'Duration of HTTP requests by method, route and status',
    DURATION_SECONDS,
    this.registry,
  );

  private readonly workers = this.gauge('bank_workers', 'Processes that serve requests', []);
  private readonly connections = this.gauge('bank_http_connections', 'Open connections of clients', []);
  private readonly eventStreams = this.gauge('bank_event_streams', 'Open streams of live events', []);

  private readonly queueDepth = this.gauge('bank_ledger_queue_depth', 'Commands that wait for a batch', [
    'shard',
  ]);
  private readonly waiting = this.gauge(
    'bank_ledger_requests_held',
    'Requests that wait because enough others are at work',
    ['shard'],
  );
  private readonly up = this.gauge(
    'bank_shard_up',
    'Whether the database of the shard answers: 1 or 0',
    ['shard'],
    'min',
  );
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
  private readonly outbox = this.relay('bank_outbox', 'moved to the log');
  private readonly rabbitmq = this.relay('bank_rabbitmq', 'published to RabbitMQ');
  private readonly webhookAttempts = this.counter(
    'bank_webhook_attempts_total',
    'Tries to deliver an event to a webhook',
    ['shard', 'result'],
  );
  private readonly webhookLag = this.gauge(
    'bank_webhook_lag_seconds',
    'The age of the oldest event that a webhook has not been sent yet',
    ['shard', 'webhook'],
    'max',
  );
  private readonly webhookFailures = this.gauge(
    'bank_webhook_failures',
    'Events that a webhook has not accepted and that are tried again',
    ['shard', 'webhook'],
    'max',
  );
  private readonly holdsExpired = this.counter(
    'bank_sweeper_expired_holds_total',
    'Holds that this process found expired and wrote down',
    ['shard'],
  );
  private readonly sweeperFailures = this.counter(
    'bank_sweeper_failures_total',
    'Times that expired holds could not be looked up or written down; they are tried again',
    ['shard'],
  );
  private readonly transfersPending = this.gauge(
    'bank_transfers_pending',
    'Transfers from the shard that wait for a decision of the target, or to have it carried out',
    ['shard', 'target'],
    'max',
  );
  private readonly transferAge = this.gauge(
    'bank_transfers_oldest_age_seconds',
    'How long ago the oldest of these transfers began; 0: there is none',
    ['shard', 'target'],
    'max',
  );
  private readonly transfersFinished = this.counter(
    'bank_transfers_finished_total',
    'Transfers that were not finished by the process that began them, and were by this one',
    ['shard'],
  );
  private readonly transferFailures = this.counter(
    'bank_transfers_failures_total',
    'Times that pending transfers could not be read or finished; they are tried again',
    ['shard'],
  );
  private readonly summaryTime = this.gauge(
    'bank_summary_timestamp_seconds',
    'The moment of the last summary of the ledger, in seconds since 1970',
    ['shard'],
    'max',
  );
  private readonly summaryFailures = this.counter(
    'bank_summary_failures_total',
    'Times that the ledger could not be summed up, or did not add up; it is tried again',
    ['shard'],
  );
  private readonly submissionsAccepted = this.counter(
    'bank_submissions_accepted_total',
    'Submissions that this process queued',
    ['shard'],
  );
  private readonly submissionsSettled = this.counter(
    'bank_submissions_settled_total',
    'Submissions taken out of the queue, by what became of them',
    ['shard', 'outcome'],
  );
  private readonly submissionFailures = this.counter(
    'bank_submissions_failures_total',
    'Times that submissions could not be decided; they are tried again',
    ['shard'],
  );
  private readonly submissionsQueued = this.gauge(
    'bank_submissions_queued',
    'Messages that wait in the queue, as this process last saw it, and the submissions it has taken out and not decided',
    ['shard'],
    'max',
  );
  private readonly submissionAge = this.gauge(
    'bank_submissions_oldest_age_seconds',
    'How long ago the oldest submission was queued that this process is to decide; 0: there is none',
    ['shard'],
    'max',
  );
  private readonly brokerUp = this.gauge('bank_rabbitmq_up', 'Whether RabbitMQ is connected', [], 'min');
  private readonly brokerBlocked = this.gauge(
    'bank_rabbitmq_blocked',
    'Whether RabbitMQ takes no messages because of an alarm (memory or disk)',
    [],
    'max',
  );
  private readonly balanceLookups = this.counter(
    'bank_balance_cache_lookups_total',
    'Balances that were looked for in the shared cache',
    ['result'],
  );
  private readonly balanceWritesLost = this.counter(
    'bank_balance_cache_writes_lost_total',
    'Balances that the shared cache did not take: older ones may be read until they expire',
    [],
  );
  private readonly redisFailures = this.counter(
    'bank_redis_failures_total',
    'Commands that Redis failed, or did not answer in time',
    ['failure'],
  );
  private readonly redisUp = this.gauge('bank_redis_up', 'Whether Redis can be used', [], 'min');
  private readonly rateDecisions = this.counter(
    'bank_rate_limit_decisions_total',
    'Transactions by who counted them and whether the rate limit admitted them',
    ['counter', 'decision'],
  );

  private readonly authenticationFailures = this.counter(
    'bank_authentication_failures_total',
    'Requests that no credential let in, by why',
    ['failure'],
  );

  private readonly keysReadable = this.gauge(
    'bank_api_keys_readable',
    'Whether API keys can be read: 1 or 0; those in use are believed for a while without',
    [],
    'min',
  );

  private scrapeAll: (() => Promise<string>) | undefined;

  constructor() {
    collectDefaultMetrics({ register: this.registry });
    this.workers.set(1);
  }

  /** The text of `/metrics`. */
  scrape(): Promise<string> {
    return this.scrapeAll?.() ?? this.registry.metrics();
  }

  /** For a process that is one of several workers: scrapes all of them. */
  scrapeBy(scrapeAll: () => Promise<string>): void {
    this.scrapeAll = scrapeAll;
  }

  requestDone(method: string, route: string, status: number, seconds: number): void {
    this.requests.observe(method, route, status, seconds);
  }

  watchConnections(count: () => number): void {
    this.collectInto(this.connections, (gauge) => gauge.set(count()));
  }

  watchEventStreams(count: () => number): void {
    this.collectInto(this.eventStreams, (gauge) => gauge.set(count()));
  }

  watchBroker(status: () => 'up' | 'down' | 'blocked'): void {
    this.collectInto(this.brokerUp, (gauge) => gauge.set(status() === 'down' ? 0 : 1));
    this.collectInto(this.brokerBlocked, (gauge) => gauge.set(status() === 'blocked' ? 1 : 0));
  }

  /** Of the way from the outbox to the log. */
  forOutbox(shardIndex: number): RelayMetrics {
    return this.outbox(String(shardIndex));
  }

  /** Of the way from the log to RabbitMQ. */
  forRabbitMq(shardIndex: number): RelayMetrics {
    return this.rabbitmq(String(shardIndex));
  }

  private relay(prefix: string, done: string): (shard: string) => RelayMetrics {
    const labels = ['shard'] as const;
    const rows = this.counter(`${prefix}_published_total`, `Rows ${done}`, [...labels]);
    const events = this.counter(`${prefix}_events_published_total`, `Events of these rows that were read`, [
      ...labels,
    ]);
    const failures = this.counter(
      `${prefix}_publish_failures_total`,
      'Tries that failed; what they held is tried again',
      [...labels, 'reason'],
    );
    const gauge = (name: string, help: string) => this.gauge(`${prefix}_${name}`, help, [...labels], 'max');
    const backlogRows = gauge('backlog_rows', `Rows that wait to be ${done}; no more than 1000 are counted`);
    const backlogEvents = gauge('backlog_events', 'Events in the counted rows');
    const backlogAge = gauge(
      'oldest_age_seconds',
      'How long the oldest of them has been waiting; 0: none waits',
    );
    return (shard) => {
      for (const reason of PUBLISH_FAILURES) beginAtZero(failures, { shard, reason });
      return {
        published: (rowCount, eventCount) => {
          rows.inc({ shard }, rowCount);
          events.inc({ shard }, eventCount);
        },
        failed: (reason) => failures.inc({ shard, reason }),
        watchBacklog: (read) => {
          this.collectInto(backlogRows, (to) => to.set({ shard }, read().rows));
          this.collectInto(backlogEvents, (to) => to.set({ shard }, read().events));
          this.collectInto(backlogAge, (to) => to.set({ shard }, read().ageMs / 1000));
        },
      };
    };
  }

  forWebhooks(shardIndex: number): WebhookMetrics {
    const shard = String(shardIndex);
    for (const result of ['accepted', 'failed']) beginAtZero(this.webhookAttempts, { shard, result });
    return {
      attempted: (accepted) => this.webhookAttempts.inc({ shard, result: accepted ? 'accepted' : 'failed' }),
      watch: (read) => {
        const into = (gauge: Gauge, of: (each: ReturnType<typeof read>[0]) => number) => {
          let shown: string[] = [];
          this.collectInto(gauge, () => {
            for (const webhook of shown) gauge.remove({ shard, webhook });
            const all = read().map((each) => [`wh${each.webhookId}`, of(each)] as const);
            for (const [webhook, value] of all) gauge.set({ shard, webhook }, value);
            shown = all.map(([webhook]) => webhook);
          });
        };
        into(this.webhookLag, ({ lagMs }) => lagMs / 1000);
        into(this.webhookFailures, ({ failures }) => failures);
      },
    };
  }

  forSweeper(shardIndex: number): SweeperMetrics {
    const shard = String(shardIndex);
    beginAtZero(this.sweeperFailures, { shard });
    return {
      expired: (holds) => this.holdsExpired.inc({ shard }, holds),
      failed: () => this.sweeperFailures.inc({ shard }),
    };
  }

  forPendingTransfers(shardIndex: number): PendingTransferMetrics {
    const shard = String(shardIndex);
    beginAtZero(this.transferFailures, { shard });
    const seen = new Set<number>();
    return {
      counted: (byTarget) => {
        for (const target of byTarget.keys()) seen.add(target);
        for (const target of seen) {
          const { pending, ageMs } = byTarget.get(target) ?? { pending: 0, ageMs: 0 };
          this.transfersPending.set({ shard, target: String(target) }, pending);
          this.transferAge.set({ shard, target: String(target) }, ageMs / 1000);
        }
      },
      finished: (transfers) => this.transfersFinished.inc({ shard }, transfers),
      failed: () => this.transferFailures.inc({ shard }),
    };
  }

  forSummary(shardIndex: number): SummaryMetrics {
    const shard = String(shardIndex);
    beginAtZero(this.summaryFailures, { shard });
    return {
      taken: (asOf) => this.summaryTime.set({ shard }, asOf.getTime() / 1000),
      failed: () => this.summaryFailures.inc({ shard }),
    };
  }

  forSubmissions(shardIndex: number): SubmissionMetrics {
    const shard = String(shardIndex);
    beginAtZero(this.submissionFailures, { shard });
    for (const outcome of SUBMISSION_OUTCOMES) beginAtZero(this.submissionsSettled, { shard, outcome });
    const accepted = this.submissionsAccepted.labels({ shard });
    return {
      accepted: () => accepted.inc(),
      settled: (outcome) => this.submissionsSettled.inc({ shard, outcome }),
      failed: () => this.submissionFailures.inc({ shard }),
      watchQueue: (read) => {
        this.collectInto(this.submissionsQueued, (gauge) => gauge.set({ shard }, read().messages));
        this.collectInto(this.submissionAge, (gauge) => gauge.set({ shard }, read().ageMs / 1000));
      },
    };
  }

  balancesLookedUp(result: BalanceLookup, balances: number): void {
    this.balanceLookups.inc({ result }, balances);
  }

  balancesLost(balances: number): void {
    this.balanceWritesLost.inc(balances);
  }

  redisFailed(failure: (typeof REDIS_FAILURES)[number]): void {
    this.redisFailures.inc({ failure });
  }

  watchRedis(up: () => boolean): void {
    for (const failure of REDIS_FAILURES) beginAtZero(this.redisFailures, { failure });
    this.collectInto(this.redisUp, (gauge) => gauge.set(up() ? 1 : 0));
  }

  authenticationFailed(failure: AuthenticationFailure): void {
    this.authenticationFailures.inc({ failure });
  }

  watchKeys(readable: () => boolean): void {
    for (const failure of AUTHENTICATION_FAILURES) beginAtZero(this.authenticationFailures, { failure });
    this.collectInto(this.keysReadable, (gauge) => gauge.set(readable() ? 1 : 0));
  }

  rateDecided(counter: RateCounter, admitted: boolean): void {
    this.rateDecisions.inc({ counter, decision: admitted ? 'admitted' : 'refused' });
  }

  forShard(shardIndex: number): ShardMetrics {
    const shard = String(shardIndex);
    const batchSize = this.batchSize.labels({ shard });
    const commitSeconds = this.commitSeconds.labels({ shard });
    const posted = this.posted.labels({ shard });
    for (const failure of BATCH_FAILURES) beginAtZero(this.failures, { shard, failure });
    return {
      batchCommitted: (transactions) => {
        batchSize.observe(transactions);
        posted.inc(transactions);
      },
      batchDuration: (durationMs) => commitSeconds.observe(durationMs / 1000),
      batchFailed: (failure) => this.failures.inc({ shard, failure }),
      failed: (code) => this.refusals.inc({ shard, code }),
      watchWaiting: (count) => this.collectInto(this.waiting, (gauge) => gauge.set({ shard }, count())),
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

  private gauge(name: string, help: string, labelNames: string[], aggregator: Aggregator = 'sum'): Gauge {
    const collectors: (() => Promise<void>)[] = [];
    const collect = async () => void (await Promise.all(collectors.map((run) => run())));
    const gauge = new Gauge({ name, help, labelNames, aggregator, registers: [this.registry], collect });
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

/** A series that came with its first failure would show no increase, so no alert would notice that failure. */
function beginAtZero(counter: Counter, labels: Readonly<Record<string, string>>): void {
  counter.inc(labels, 0);
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
