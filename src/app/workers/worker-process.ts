import cluster, { type Worker } from 'node:cluster';
import { StartError } from '../open-databases.js';
import { messageOf } from '../../domain/error-message.js';
import type { Assignment, Listening, MetricValues, ToPrimary, ToWorker } from './messages.js';

/** From its start until it listens: a shard that hangs takes ten seconds to be given up. */
const START_TIMEOUT_MS = 60_000;

export interface WorkerEvents {
  /** It asks which bank to serve. */
  readonly assign: () => Promise<Assignment>;
  /** It asks for the metrics of all workers. */
  readonly scrape: () => Promise<string>;
}

/** A worker, as the primary sees it. */
export class WorkerProcess {
  /** @throws StartError when it ended first */
  readonly listening: Promise<Listening>;
  /** How it ended: "exit code 1", "SIGKILL", or why it could not start. Never rejects. */
  readonly ended: Promise<string>;
  private readonly worker: Worker;
  /** The connection that it was given last: it gets one at a time. */
  private handedOver: { close(): void } | undefined;
  private listens = false;
  private failure: string | undefined;
  private onListening: (listening: Listening) => void = () => undefined;
  private onMetrics: (metrics: MetricValues | undefined) => void = () => undefined;

  constructor(
    environment: NodeJS.ProcessEnv,
    private readonly events: WorkerEvents,
  ) {
    this.worker = cluster.fork(environment);
    this.watchHandOver();
    this.worker.on('message', (message: ToPrimary) => this.receive(message));
    this.ended = this.watchEnd();
    this.listening = this.watchStart();
    this.listening.catch(() => undefined); // who replaces a worker looks at its end alone
    void this.ended.then(() => {
      this.onMetrics(undefined);
      this.handedOver?.close();
    });
  }

  get pid(): number | undefined {
    return this.worker.process.pid;
  }

  /** Whether it serves requests; after its end, whether it did. */
  get served(): boolean {
    return this.listens;
  }

  /** Sends a signal to it alone. (The worker's own `kill` would take its connection away first.) */
  kill(signal: NodeJS.Signals): void {
    this.worker.process.kill(signal);
  }

  /** @returns undefined when it does not answer in time */
  metrics(timeoutMs: number): Promise<MetricValues | undefined> {
    return new Promise((resolve) => {
      const late = setTimeout(() => resolve(undefined), timeoutMs);
      this.onMetrics = (metrics) => {
        clearTimeout(late);
        resolve(metrics);
      };
      this.send({ kind: 'collect' });
    });
  }

  /**
   * Node forgets a connection that it has given to a worker which ends before it takes it: the primary would keep it open,
   * and its client would wait for as long as it likes. (To close one that was taken does nothing: it is closed here.)
   */
  private watchHandOver(): void {
    const { process: child } = this.worker;
    const send = child.send.bind(child) as (...given: unknown[]) => boolean;
    child.send = (...given: unknown[]) => {
      const [message, handle] = given as [{ act?: unknown }, { close(): void } | undefined];
      if (message.act === 'newconn') this.handedOver = handle;
      return send(...given);
    };
  }

  private async watchEnd(): Promise<string> {
    const { worker } = this;
    const how = await new Promise<string>((resolve) => {
      worker.once('exit', (code, signal) => resolve(signal || `exit code ${code}`));
      worker.on('error', (error: unknown) => {
        if (worker.process.pid === undefined) resolve(messageOf(error));
      });
    });
    // What it has said last may still be on its way.
    if (worker.isConnected()) await new Promise((resolve) => worker.once('disconnect', resolve));
    return this.failure ?? how;
  }

  private watchStart(): Promise<Listening> {
    return new Promise((resolve, reject) => {
      const late = setTimeout(() => {
        this.failure = `it did not listen within ${START_TIMEOUT_MS / 1_000} s`;
        this.kill('SIGKILL');
      }, START_TIMEOUT_MS);
      this.onListening = (listening) => {
        clearTimeout(late);
        this.listens = true;
        resolve(listening);
      };
      void this.ended.then((how) => {
        clearTimeout(late);
        reject(new StartError(how));
      });
    });
  }

  private receive(message: ToPrimary): void {
    switch (message.kind) {
      case 'hello':
        return void this.events.assign().then(
          (assignment) => this.send({ kind: 'assignment', assignment }),
          () => undefined, // it then does not listen in time, and is replaced
        );
      case 'listening':
        return this.onListening(message.listening);
      case 'failed':
        this.failure = message.reason;
        return;
      case 'metrics':
        return this.onMetrics(message.metrics);
      case 'scrape':
        return void this.events.scrape().then(
          (text) => this.send({ kind: 'scraped', text }),
          () => undefined, // the worker waits no longer than its bound
        );
    }
  }

  /** To one that is about to end, too: what fails is told to the listener of errors, and its end follows. */
  private send(message: ToWorker): void {
    if (this.worker.isConnected()) this.worker.send(message);
  }
}
