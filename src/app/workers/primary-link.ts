import cluster from 'node:cluster';
import { LedgerError } from '../../domain/errors.js';
import type { Assignment, Listening, MetricValues, ToPrimary, ToWorker } from './messages.js';

/** The primary waits a second at most for each worker. */
const SCRAPE_TIMEOUT_MS = 2_000;

/** A worker's connection to the process that started it. */
export class PrimaryLink {
  private collect: () => Promise<MetricValues> = () => Promise.resolve([]);
  private assigned: (assignment: Assignment) => void = () => undefined;
  private scraped: (text: string) => void = () => undefined;
  private scraping: Promise<string> | undefined;

  constructor() {
    process.on('message', (message: ToWorker) => this.receive(message));
  }

  /** Node ends a worker without its primary in any case; this callback runs first. */
  onGone(tell: () => void): void {
    cluster.worker?.once('disconnect', tell);
  }

  onCollect(collect: () => Promise<MetricValues>): void {
    this.collect = collect;
  }

  assignment(): Promise<Assignment> {
    return new Promise((resolve) => {
      this.assigned = resolve;
      this.send({ kind: 'hello' });
    });
  }

  listening(listening: Listening): void {
    this.send({ kind: 'listening', listening });
  }

  /** Resolves when the message was sent, or can't be. */
  failed(reason: string): Promise<void> {
    const message: ToPrimary = { kind: 'failed', reason };
    return new Promise((resolve) => process.send?.(message, undefined, undefined, () => resolve()));
  }

  /** The metrics of all workers. Simultaneous callers share one answer. @throws LedgerError OVERLOADED */
  scrape(): Promise<string> {
    this.scraping ??= this.askForMetrics().finally(() => (this.scraping = undefined));
    return this.scraping;
  }

  private askForMetrics(): Promise<string> {
    return new Promise((resolve, reject) => {
      const late = setTimeout(() => reject(new LedgerError({ code: 'OVERLOADED' })), SCRAPE_TIMEOUT_MS);
      this.scraped = (text) => {
        clearTimeout(late);
        resolve(text);
      };
      this.send({ kind: 'scrape' });
    });
  }

  private receive(message: ToWorker): void {
    switch (message.kind) {
      case 'assignment':
        return this.assigned(message.assignment);
      case 'collect':
        return void this.collect().then(
          (metrics) => this.send({ kind: 'metrics', metrics }),
          () => undefined, // the last known values stay
        );
      case 'scraped':
        return this.scraped(message.text);
    }
  }

  private send(message: ToPrimary): void {
    process.send?.(message);
  }
}
