import { closeSync, createReadStream, openSync, writeSync } from 'node:fs';
import { createInterface } from 'node:readline';

/**
 * An entry in the history of a run: one JSON value per line, in the order of events. The history is all that the
 * workload and the checker share. Times are milliseconds since the run began; amounts are in minor units.
 *
 * The amount of a posting or an opening is its operation's number, so every row in the books names the operation that
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
      /** Whether expectedVersion was sent as If-Match. */
      readonly ifMatch?: boolean;
    }
  | {
      readonly kind: 'balance';
      readonly accountId: number;
      readonly minVersion?: number;
      readonly noCache?: boolean;
      /** All faults are healed and the cache has had time to recover: the answer must match the database. */
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
  /** The process of the service: `api-1#3` is the third start of api-1. */
  readonly instance: string;
  /** The sender whose credential it carries. */
  readonly sender: string;
}

/** Written as soon as the answer has arrived or the wait for it has ended. */
export interface Answer {
  readonly at: number;
  readonly entry: 'answer';
  readonly op: number;
  readonly attempt: number;
  /** HTTP status; 0: no answer, though the request may have arrived; -1: it was certainly never sent. */
  readonly status: number;
  readonly body?: AnswerBody;
  /** Whether the answer had a Retry-After. */
  readonly retryAfter?: boolean;
}

/** The members of answers that the checker reads. Money is in minor units. */
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
  /** The rows of a listing over all pages that were read, newest first. */
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
  /** When it began to take effect; from `at` on it is in full effect. Filling a disk, for one, takes a while. */
  readonly since: number;
  readonly fault: number;
  /** Like `postgres-kill`. */
  readonly name: string;
  /** What it strikes, like `postgres-a`. */
  readonly target: string;
  /** The instance that it may affect; undefined: any. */
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

/** All faults are healed and no earlier request is in flight: a rejection from now on is final. */
export interface Quiet {
  readonly at: number;
  readonly entry: 'quiet';
}

/** `Omit` for each member of a union. */
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
    if (this.closed) return; // the run was interrupted
    writeSync(this.file, `${JSON.stringify({ at: this.nowMs, ...entry })}\n`);
  }

  close(): void {
    this.closed = true;
    closeSync(this.file);
  }
}

/** Reads a history in order, line by line. */
export async function* readHistory(path: string): AsyncGenerator<Entry> {
  for await (const line of createInterface({ input: createReadStream(path) }))
    yield JSON.parse(line) as Entry;
}
