import { createWriteStream } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Client, escapeIdentifier } from 'pg';
import { messageOf } from '../../src/domain/error-message.js';
import { CACHE_TTL_MS, type BankOptions, type BankUnderTest } from './bank.js';
import { Caller } from './caller.js';
import { readBooks } from './checker/books.js';
import { check, type Verdict } from './checker/check.js';
import type { Fault } from './faults.js';
import { HistoryWriter } from './checker/history.js';
import { EventListener } from './listener.js';
import { untilSettled } from './pending.js';
import { Random } from './random.js';
import { drawSchedule, type Appointment } from './schedule.js';
import { Workload, type WorkloadSettings } from './workload.js';

export interface RunOptions {
  readonly seed: number;
  /** How long faults are injected. */
  readonly durationMs: number;
  /** They are injected for as long again until there are so many transactions, on a slow machine. */
  readonly transactions?: number;
  readonly clientsPerPair?: number;
  readonly mix?: WorkloadSettings['mix'];
  readonly kinds?: WorkloadSettings['kinds'];
  readonly betweenShards?: WorkloadSettings['betweenShards'];
  /** When to inject which faults; undefined: drawn from all of the bank's faults. */
  readonly schedule?: (faults: readonly Fault[], random: Random) => readonly Appointment[];
  readonly startBank: (options: BankOptions) => Promise<BankUnderTest>;
  /** How long clients may go on to learn unknown outcomes once all is healed; undefined: a minute and a half. */
  readonly drainMs?: number;
  /** How long to wait for events and final reads; undefined: a minute. */
  readonly patienceMs?: number;
  /** False: without the final reads, which only the rule `cache-differs` needs. */
  readonly finalReads?: boolean;
  readonly nodeOptions?: readonly string[];
  readonly settings?: Readonly<Record<string, string>>;
  /** The folder of the history and the instances' logs. */
  readonly folder: string;
  readonly say?: (line: string) => void;
  /** Ends the run: everything is stopped, and the signal's reason is thrown. */
  readonly signal?: AbortSignal;
}

export interface RunReport extends Verdict {
  readonly seed: number;
  readonly history: string;
  /** The number of faults injected. */
  readonly struck: number;
  readonly leftOut: readonly string[];
  /** Events that arrived, repeats included; undefined: nobody listened. */
  readonly events: number | undefined;
  readonly transactions: number;
  /**
   * Each time when all was healed: how long it took until every transfer between shards that had begun by then was
   * decided, in milliseconds. Times that another fault cut short are left out.
   */
  readonly settledMs: readonly number[];
}

/** How long a bank may take to recover once all faults are healed. */
const PATIENCE_MS = 60_000;
const CLIENTS_PER_PAIR = 5;
const DRAIN_MS = 90_000;
const WATCH_MS = 300;
/** The reset time of the service's circuit breaker, plus a margin. */
const REDIS_RECOVERS_MS = 3_000;
const READ_WITHIN_MS = 10_000;
/** Time for requests that clients have given up to end in the service too. */
const QUIET_MS = 2_000;
/** The random stream of the faults; those of the clients are numbered from 0. */
const FAULT_STREAM = 1_000_000;

/** One run: start, load, inject, heal, drain, check. Whatever happens, everything that was started is stopped. */
export async function runChaos(options: RunOptions): Promise<RunReport> {
  await mkdir(options.folder, { recursive: true });
  const logs = createWriteStream(join(options.folder, 'service.log'));
  const bank = await options.startBank({
    nodeOptions: options.nodeOptions,
    settings: options.settings,
    onLine: (instance, line) => logs.write(`${instance} ${line}\n`),
  });
  const history = new HistoryWriter(join(options.folder, 'history.ndjson'));
  const run = new Run(bank, history, options);
  try {
    options.signal?.throwIfAborted();
    return await Promise.race([run.go(), interruption(options.signal)]);
  } finally {
    run.abandon();
    await bank.stop();
    history.close();
    logs.end();
  }
}

/** Rejects when the signal is aborted. */
function interruption(signal: AbortSignal | undefined): Promise<never> {
  return new Promise((_resolve, reject) => {
    signal?.addEventListener('abort', () => reject(signal.reason as Error));
  });
}

class Run {
  private readonly caller: Caller;
  private readonly workload: Workload;
  private readonly random: Random;
  private readonly ended = new Set<string>();
  /** Targets of active faults. */
  private readonly busy = new Set<string>();
  private watching = true;
  private readonly settledMs: number[] = [];
  /** Waits for the transfers that were pending when all was healed. */
  private readonly settling: Promise<void>[] = [];
  private appointments = 0;
  private struck = 0;
  /** Until when balances may be missing from Redis. */
  private redisTroubleMs = 0;

  constructor(
    private readonly bank: BankUnderTest,
    private readonly history: HistoryWriter,
    private readonly options: RunOptions,
  ) {
    const { seed, mix, kinds, betweenShards, clientsPerPair = CLIENTS_PER_PAIR } = options;
    this.caller = new Caller(history, bank.senders);
    this.random = new Random(seed, FAULT_STREAM);
    const shards = bank.shards.length;
    const settings = { seed, shards, clientsPerPair, mix, kinds, betweenShards };
    this.workload = new Workload(this.caller, bank.instances, settings);
  }

  async go(): Promise<RunReport> {
    const { bank, options } = this;
    const listener = bank.events && (await EventListener.start(bank.events.url, bank.events.exchange));
    const watch = this.watch();
    try {
      await this.workload.open();
      this.say('the clients begin');
      this.workload.start();
      const giveUpAt = this.history.nowMs + PATIENCE_MS;
      do await this.strike();
      while (this.history.nowMs < giveUpAt && (await this.hasTooFew()));
      const drained = await this.drain();
      await this.waitForTransfers();
      await this.waitForExpiries();
      await this.waitForEvents(listener);
      if (options.finalReads !== false) await this.readFinally();
      this.say('checking');
      const books = await readBooks(bank.shards, bank.ownAccounts);
      const arrivals = listener?.arrivals;
      const evidence = { history: this.history.path, books, arrivals, cacheTtlMs: CACHE_TTL_MS };
      const verdict = await check(evidence);
      if (!drained)
        verdict.violations.add(
          'unresolved',
          `clients were not done ${this.drainMs / 1_000} s after all was healed`,
        );
      for (const label of this.ended) verdict.violations.add('service-ended', label);
      return {
        ...verdict,
        ...{ seed: options.seed, history: this.history.path, struck: this.struck, leftOut: bank.leftOut },
        ...{ events: arrivals?.length, transactions: books.byId.size, settledMs: this.settledMs },
      };
    } finally {
      this.abandon();
      await watch;
      await listener?.stop();
    }
  }

  /** Ends the background work. */
  abandon(): void {
    this.watching = false;
    this.workload.abandon();
  }

  private get drainMs(): number {
    return this.options.drainMs ?? DRAIN_MS;
  }

  private get patienceMs(): number {
    return this.options.patienceMs ?? PATIENCE_MS;
  }

  /** Injects every fault of the schedule at its time. Resolves when the last is healed and the time is up. */
  private async strike(): Promise<void> {
    const { durationMs, schedule } = this.options;
    const appointments = schedule
      ? schedule(this.bank.faults, this.random)
      : drawSchedule(this.bank.faults, durationMs, this.random);
    await Promise.all([sleep(durationMs), ...appointments.map((one) => this.keep(one))]);
  }

  private async hasTooFew(): Promise<boolean> {
    const { transactions } = this.options;
    return transactions !== undefined && (await this.count('transactions')) < transactions;
  }

  private async keep(appointment: Appointment): Promise<void> {
    const fault = this.appointments++;
    const { atMs, forMs } = appointment;
    const { name, target, reach } = appointment.fault;
    await sleep(atMs);
    // A killed process may take longer to start than planned.
    if (this.busy.has(target))
      return this.say(`${name} ${target} is left out: the last one is not healed yet`);
    this.busy.add(target);
    this.say(`${name} ${target} for ${forMs} ms`);
    const since = this.history.nowMs;
    const heal = await appointment.fault.strike().catch((error: unknown) => {
      // Another fault may prevent it: a server that is down accepts no session.
      this.say(`${name} ${target} could not be done: ${messageOf(error)}`);
    });
    // A fault that failed halfway may have had effects before.
    this.history.append({ entry: 'fault', since, fault, name, target, ...reach });
    if (heal) {
      this.struck += 1;
      if (target === 'redis') this.redisTroubleMs = Infinity;
      await sleep(forMs);
      await insist(heal);
      if (target === 'redis') this.redisTroubleMs = this.history.nowMs + REDIS_RECOVERS_MS;
    }
    this.history.append({ entry: 'healed', fault });
    this.busy.delete(target);
    if (this.busy.size === 0) this.settling.push(this.timeSettling());
  }

  /** Measures, from when all is healed, until the next fault. */
  private async timeSettling(): Promise<void> {
    const { appointments } = this;
    const giveUpAt = performance.now() + this.patienceMs;
    const isOver = () =>
      this.busy.size > 0 ||
      this.appointments > appointments ||
      !this.watching ||
      performance.now() > giveUpAt;
    const tookMs = await untilSettled(this.bank.shards, isOver);
    if (tookMs !== undefined) this.settledMs.push(tookMs);
  }

  private async waitForTransfers(): Promise<void> {
    await until(this.patienceMs, async () => (await this.count("transfers WHERE status = 'pending'")) === 0);
    await Promise.all(this.settling);
  }

  private async drain(): Promise<boolean> {
    this.say('all is healed, the clients end');
    const timer = AbortSignal.timeout(this.drainMs);
    timer.addEventListener('abort', () => this.workload.abandon());
    await this.workload.stop();
    await this.workload.followAll(this.patienceMs);
    await sleep(QUIET_MS);
    this.history.append({ entry: 'quiet' });
    await this.workload.settle();
    return !timer.aborted;
  }

  /** Holds that have expired are ended by the sweeper, which moves versions. */
  private async waitForExpiries(): Promise<void> {
    const left = "holds WHERE status = 'active' AND expires_at IS NOT NULL";
    await until(this.patienceMs, async () => (await this.count(left)) === 0);
  }

  private async waitForEvents(listener: EventListener | undefined): Promise<void> {
    await until(this.patienceMs, async () => (await this.count('outbox')) === 0);
    const unpublished =
      "event_cursors own WHERE receiver = 'rabbitmq' AND position < (SELECT max(position) FROM %s.event_log)";
    await until(this.patienceMs, async () => (await this.count(unpublished)) === 0);
    if (!listener) return;
    await until(this.patienceMs, () => listener.caughtUp());
  }

  /** @param from a table, with a condition, in which `%s` is its schema */
  private async count(from: string): Promise<number> {
    let rows = 0;
    for (const { url, schema } of this.bank.shards) {
      const client = new Client({ connectionString: url });
      await client.connect();
      const name = escapeIdentifier(schema);
      rows += (await client.query(`SELECT FROM ${name}.${from.replaceAll('%s', name)}`)).rowCount ?? 0;
      await client.end();
    }
    return rows;
  }

  /** Reads every balance from every instance; by then the cache must be right. */
  private async readFinally(): Promise<void> {
    await sleep(CACHE_TTL_MS);
    for (const instance of this.bank.instances) {
      for (const accountId of this.workload.accountIds) {
        const operation = { kind: 'balance', accountId, final: true } as const;
        const op = this.caller.intend(operation);
        await until(this.patienceMs, async () => {
          const { status } = await this.caller.attempt(op, operation, instance, READ_WITHIN_MS);
          return status === 200;
        });
      }
    }
  }

  /** Notes which instances ended by themselves, and when one could not write to the shared cache. */
  private async watch(): Promise<void> {
    const probes = new Map(this.bank.instances.map((one) => [one, { at: 0, label: one.label }]));
    while (this.watching) {
      for (const instance of this.bank.instances) {
        if (!instance.isAsItShouldBe) this.ended.add(instance.label);
        const { label } = instance;
        const last = probes.get(instance) ?? { at: 0, label };
        const now = this.history.nowMs;
        const lost = await instance.newlyLost();
        // A process's counts are lost with it.
        const diedSilently = label !== last.label && this.redisTroubleMs > last.at;
        if (diedSilently || (lost ?? 0) > 0)
          this.history.append({ entry: 'cache-trouble', from: last.at, instance: last.label });
        if (lost !== undefined) probes.set(instance, { at: now, label });
      }
      await sleep(WATCH_MS);
    }
  }

  private say(line: string): void {
    this.options.say?.(`${(this.history.nowMs / 1_000).toFixed(1).padStart(6)} s  ${line}`);
  }
}

/** Repeats a check until it holds. Errors meanwhile, as from a server that is still recovering, are ignored. */
async function until(timeoutMs: number, done: () => Promise<boolean>): Promise<void> {
  const giveUpAt = performance.now() + timeoutMs;
  while (!(await done().catch(() => false)) && performance.now() < giveUpAt) await sleep(100);
}

/** Retries healing, because a fault that stays makes the run worthless. @throws the last error after a minute */
async function insist(heal: () => Promise<void>): Promise<void> {
  for (const giveUpAt = performance.now() + PATIENCE_MS; ;) {
    try {
      return await heal();
    } catch (error) {
      if (performance.now() > giveUpAt) throw error;
      await sleep(500);
    }
  }
}
