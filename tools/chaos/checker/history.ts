import { closeSync, createReadStream, openSync, writeSync } from 'node:fs';
import { createInterface } from 'node:readline';

/**
 * What a run did, in the order in which it happened, one JSON value a line: the only thing that the workload and the
 * checker share. Times are milliseconds since the run began; amounts are minor units.
 *
 * A posting's or an opening's amount is its operation's number, so every row in the books names the operation that
 * it came from, with or without an idempotency key.
 */
export type Entry = Intent | Attempt | Answer | FaultBegan | FaultEnded | CacheTrouble | Quiet;

export type Operation =
  | { readonly kind: 'open'; readonly key?: string }
  | {
      readonly kind: 'post';
      readonly accountId: number;
      readonly type: 'credit' | 'debit';
      readonly key?: string;
      readonly expectedVersion?: number;
      /** expectedVersion was sent as If-Match. */
      readonly ifMatch?: boolean;
    }
  | {
      readonly kind: 'balance';
      readonly accountId: number;
      readonly minVersion?: number;
      readonly noCache?: boolean;
      /** All is healed, and the cache has had its time: it must be what the database holds. */
      readonly final?: boolean;
    }
  | { readonly kind: 'list'; readonly accountId: number };

/** Written before the operation's first request is sent. */
export interface Intent {
  readonly at: number;
  readonly entry: 'intent';
  readonly op: number;
  readonly operation: Operation;
}

/** Written before each request is sent. */
export interface Attempt {
  readonly at: number;
  readonly entry: 'attempt';
  readonly op: number;
  /** Unique within the run. */
  readonly attempt: number;
  /** Which process of the service, as in `api-1#3`: its third start. */
  readonly instance: string;
  /** Whose credential it is sent with. */
  readonly sender: string;
}

/** Written as soon as the answer, or the end of waiting for it, is known. */
export interface Answer {
  readonly at: number;
  readonly entry: 'answer';
  readonly op: number;
  readonly attempt: number;
  /** HTTP status; 0: none came, and the request may have arrived; -1: it was certainly never sent. */
  readonly status: number;
  readonly body?: AnswerBody;
  /** Retry-After was there. */
  readonly retryAfter?: boolean;
}

/** The members of all answers that the checker looks at. Money is minor units. */
export interface AnswerBody {
  readonly error?: string;
  readonly id?: string;
  readonly transactionId?: string;
  readonly accountId?: number;
  readonly type?: string;
  readonly amount?: number;
  readonly balance?: number;
  readonly version?: number;
  readonly currentVersion?: number | null;
  /** Of a listing, newest first, over the pages that were read. */
  readonly rows?: readonly ListedRow[];
}

export interface ListedRow {
  readonly id: string;
  readonly type: string;
  readonly amount: number;
  readonly balance: number;
  readonly version: number;
}

export interface FaultBegan {
  readonly at: number;
  readonly entry: 'fault';
  /** When it began to take effect, which may take long, as filling a disk does. From `at` on it is in full effect. */
  readonly since: number;
  readonly fault: number;
  /** As in `postgres-kill`. */
  readonly name: string;
  /** What it strikes, as in `postgres-a`. */
  readonly target: string;
  /** Whom it may harm, if not everybody. */
  readonly instance?: string;
  readonly shard?: number;
}

/** The cause is gone; the service may still have to recover. */
export interface FaultEnded {
  readonly at: number;
  readonly entry: 'healed';
  readonly fault: number;
}

/** An instance could not write balances to the shared cache at some time after `from`. */
export interface CacheTrouble {
  readonly at: number;
  readonly entry: 'cache-trouble';
  readonly from: number;
  readonly instance: string;
}

/** All faults are healed and nothing that was sent before is still at work: what is refused from now on stays refused. */
export interface Quiet {
  readonly at: number;
  readonly entry: 'quiet';
}

/** `Omit` that keeps the members of a union apart. */
type WithoutTime<T> = T extends unknown ? Omit<T, 'at'> : never;

/** Appends to a history. Every entry is in the file before `append` returns. */
export class HistoryWriter {
  private readonly file: number;
  private closed = false;
  private readonly startedMs = performance.now();

  constructor(readonly path: string) {
    this.file = openSync(path, 'w');
  }

  get nowMs(): number {
    return Math.round(performance.now() - this.startedMs);
  }

  append(entry: WithoutTime<Entry>): void {
    if (this.closed) return; // of a run that was interrupted
    writeSync(this.file, `${JSON.stringify({ at: this.nowMs, ...entry })}\n`);
  }

  close(): void {
    this.closed = true;
    closeSync(this.file);
  }
}

/** Reads a history in order, a line at a time. */
export async function* readHistory(path: string): AsyncGenerator<Entry> {
  for await (const line of createInterface({ input: createReadStream(path) }))
    yield JSON.parse(line) as Entry;
}
