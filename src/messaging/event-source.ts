import type { LedgerEvent } from '../domain/ledger-event.js';

/** The next rows of a source, in the order in which they are to be published. */
export interface Chunk {
  readonly ids: readonly number[];
  /** Whether more rows were waiting than the chunk had room for. */
  readonly more: boolean;
  /** The rows that had to be read. */
  readonly rows: readonly AnnouncedRow[];
}

export interface AnnouncedRow {
  /** Undefined: it announces no transactions; no row announces them together with anything else. */
  readonly firstTransactionId: number | undefined;
  readonly events: readonly LedgerEvent[];
}

/** What waits in a source. Only the head of a long one is counted. */
export interface Backlog {
  readonly rows: number;
  readonly events: number;
  /** How long the oldest row has been waiting. */
  readonly ageMs: number;
}

/**
 * Where a relay takes one shard's events from. A lease lets one relay over all instances be at work, a chunk at a time.
 * It ends with its chunk. If it runs out under a slow holder, its events are published twice, in the same order.
 */
export interface EventSource {
  isEmpty(): Promise<boolean>;

  backlog(): Promise<Backlog>;

  /**
   * Takes the lease and reads the next rows.
   *
   * @param maxEvents the most events in the chunk, unless its first row alone has more
   * @param isKnown tells from the first transaction of a row that it need not be read
   * @returns undefined when there is nothing to publish, or another relay holds the lease
   */
  claim(
    maxEvents: number,
    isKnown: (firstTransactionId: number | undefined) => boolean,
  ): Promise<Chunk | undefined>;

  /** All events of the chunk have arrived. Gives the lease back, too. */
  complete(chunk: Chunk): Promise<void>;

  /** Gives the lease back; the next relay publishes the chunk again. */
  release(): Promise<void>;
}
