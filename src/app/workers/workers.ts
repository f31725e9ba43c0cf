import { getCompileCacheDir } from 'node:module';
import cluster from 'node:cluster';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { Logger } from 'pino';
import type { Config } from '../../config/config.js';
import { bootstrapShards, type BankShards } from '../../sharding/bootstrap-shards.js';
import type { Assignment, Listening } from './messages.js';
import { SumOfWorkers } from './sum-of-workers.js';
import { WorkerProcess } from './worker-process.js';

const WORKER_MAIN = fileURLToPath(new URL('../../worker.js', import.meta.url));
/** Of one worker's place. */
const RESTARTS_AT_MOST = 5;
const RESTARTS_WITHIN_MS = 60_000;
const FIRST_BACKOFF_MS = 100;
const COLLECT_TIMEOUT_MS = 1_000;

/**
 * The processes that serve one bank behind one port, as the primary process keeps them: it hands them the connections in
 * turn, replaces those that end, and adds up their metrics.
 */
export class Workers {
  private readonly running = new Set<WorkerProcess>();
  private readonly sum = new SumOfWorkers();
  private stopping = false;
  private collecting: Promise<string> | undefined;

  constructor(
    private readonly config: Config,
    private readonly bank: BankShards,
    private readonly logger: Logger,
  ) {}

  /**
   * Resolves with the service's URL when all workers listen.
   *
   * @param giveUp called when a worker ends again and again; to be followed by {@link stop}
   * @throws StartError when one can't start
   */
  async start(giveUp: (error: Error) => void): Promise<string> {
    // Not JSON, in which a metric that is no number or infinite would become null.
    cluster.setupPrimary({ exec: WORKER_MAIN, serialization: 'advanced' });
    process.once('exit', () => this.kill());
    const first = Array.from({ length: this.config.operation.workers }, () => this.fork(() => this.bank));
    const listening = await Promise.all(first.map((worker) => worker.listening)).catch((error: unknown) => {
      // A signal that came meanwhile is no failure: who stops the workers ends this process, too.
      if (this.stopping) return new Promise<never>(() => undefined);
      throw error;
    });
    const { url } = listening[0] as Listening;
    for (const worker of first) void this.keep(worker, giveUp);
    return url;
  }

  /** Lets each worker answer its open requests, and waits until all have ended. @returns what did not go in order */
  async stop(): Promise<string | undefined> {
    this.stopping = true;
    const workers = [...this.running];
    for (const worker of workers) worker.kill('SIGTERM');
    const ends = await Promise.all(workers.map((worker) => worker.ended));
    const wrong = ends.find((how, index) => workers[index]?.served && how !== 'exit code 0');
    return wrong === undefined ? undefined : `a worker did not stop in order: ${wrong}`;
  }

  private kill(): void {
    for (const worker of this.running) worker.kill('SIGKILL');
  }

  private fork(whichBank: () => BankShards | Promise<BankShards>): WorkerProcess {
    const assign = async (): Promise<Assignment> => {
      const { bankId, shards, down } = await whichBank();
      return { bank: { bankId, shards, down } };
    };
    // As many as this process counted, where WORKERS is auto.
    const environment = {
      WORKERS: String(this.config.operation.workers),
      NODE_COMPILE_CACHE: getCompileCacheDir(),
    };
    const worker = new WorkerProcess(environment, { assign, scrape: () => this.scrape() });
    this.running.add(worker);
    void worker.ended.then(() => {
      this.running.delete(worker);
      return this.sum.hasEnded(worker);
    });
    return worker;
  }

  /** Replaces a worker that has ended, and who replaced it, until one ends too often. */
  private async keep(first: WorkerProcess, giveUp: (error: Error) => void): Promise<void> {
    let restarts: number[] = [];
    for (let worker = first; ;) {
      const how = await worker.ended;
      if (this.stopping) return;
      const nowMs = performance.now();
      restarts = restarts.filter((atMs) => nowMs - atMs < RESTARTS_WITHIN_MS);
      if (restarts.length >= RESTARTS_AT_MOST) {
        return giveUp(
          new Error(
            `a worker was replaced ${RESTARTS_AT_MOST} times within a minute and does not stay up: ${how}`,
          ),
        );
      }
      this.logger.error({ worker: worker.pid }, `a worker has ended and is replaced: ${how}`);
      await sleep(FIRST_BACKOFF_MS * 2 ** restarts.length);
      restarts.push(nowMs);
      if (this.stopping) return;
      worker = this.fork(() => this.bankNow());
      this.logWhenListening(worker);
    }
  }

  private logWhenListening(worker: WorkerProcess): void {
    worker.listening.then(
      () => this.logger.info({ worker: worker.pid }, 'the new worker listens'),
      () => undefined, // its end tells
    );
  }

  /** Since the service started a shard may have moved, or all may be down: a worker then opens each when it is back. */
  private bankNow(): Promise<BankShards> {
    const { bank } = this;
    return bootstrapShards(bank.shards, { allowDown: true }).catch(() => ({
      ...bank,
      down: new Set(bank.shards.keys()),
    }));
  }

  /** What `/metrics` answers, whichever worker is asked. Those who ask at the same time share one answer. */
  private scrape(): Promise<string> {
    this.collecting ??= this.collect().finally(() => (this.collecting = undefined));
    return this.collecting;
  }

  private async collect(): Promise<string> {
    const workers = [...this.running].filter((worker) => worker.served);
    await Promise.all(
      workers.map(async (worker) => {
        const metrics = await worker.metrics(COLLECT_TIMEOUT_MS);
        if (metrics) this.sum.told(worker, metrics);
      }),
    );
    return this.sum.text();
  }
}
