import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises';
import { CredentialStoreUnavailableError } from './access-errors.js';
import type { ApiKeyStore, ValidKey } from './api-key-store.js';

/** Receives the results of {@link KeyReads}. */
export interface KeyReadsListener {
  /**
   * @param key undefined: it does not exist, was revoked or has expired
   * @param readMs when the read began, by performance.now()
   */
  found(hash: string, key: ValidKey | undefined, readMs: number): void;
  /** @param problem why keys can no longer be read; undefined: they can again */
  stateChanged(problem: unknown): void;
}

/** Keys that one statement reads. */
const AT_ONCE = 500;
/** After this, callers that can do without the answer stop waiting for a read. */
const SLOW_MS = 1_000;
/** Between retries, until one succeeds in time. */
const TRY_AGAIN_MS = 500;

type Waiting = Map<string, PromiseWithResolvers<void>>;

/**
 * Reads keys by their hashes, one statement at a time for all that are wanted by then: one connection is enough for
 * any number of them. After a read that failed or was slow it retries until one succeeds in time, whether or not
 * anybody asks.
 */
export class KeyReads {
  private wanted: Waiting = new Map();
  private reading: Waiting = new Map();
  private running = false;
  private isFailing = false;
  private isSlow = false;
  /** Whether the current read has been slow. */
  private wasSlow = false;
  private closed = false;
  /** Callbacks of those that stop waiting once a read is slow. */
  private readonly impatient = new Set<() => void>();

  constructor(
    private readonly store: ApiKeyStore,
    private readonly listener: KeyReadsListener,
  ) {}

  /** The last read failed. */
  get failing(): boolean {
    return this.isFailing;
  }

  /** The last read failed or was slow, or the current one is slow. */
  get unreadable(): boolean {
    return this.isFailing || this.isSlow;
  }

  /** @throws CredentialStoreUnavailableError, at once while reads fail */
  read(hash: string): Promise<void> {
    if (this.isFailing) return Promise.reject(new CredentialStoreUnavailableError());
    return this.want(hash);
  }

  /** In the background. */
  refresh(hash: string): void {
    void this.want(hash);
  }

  /** Resolves when the key was read or can't be; at once while reads fail or are slow. */
  async readIfPossible(hash: string): Promise<void> {
    const done = Promise.withResolvers<void>();
    this.impatient.add(done.resolve);
    this.want(hash).then(done.resolve, done.resolve);
    if (this.unreadable) done.resolve();
    await done.promise;
    this.impatient.delete(done.resolve);
  }

  close(): void {
    this.closed = true;
  }

  /** Callers that want the same key share its read. */
  private want(hash: string): Promise<void> {
    const same = this.reading.get(hash) ?? this.wanted.get(hash);
    if (same) return same.promise;
    const waiting = Promise.withResolvers<void>();
    // Nobody may be waiting.
    waiting.promise.catch(() => undefined);
    this.wanted.set(hash, waiting);
    if (!this.running) void this.run();
    return waiting.promise;
  }

  private async run(): Promise<void> {
    this.running = true;
    while (!this.closed && (this.wanted.size > 0 || this.unreadable)) {
      // Those of one turn of the event loop are read together.
      await (this.unreadable ? sleep(TRY_AGAIN_MS, undefined, { ref: false }) : nextTurn());
      await this.readSome();
    }
    this.running = false;
  }

  private async readSome(): Promise<void> {
    const batch: Waiting = new Map([...this.wanted].slice(0, AT_ONCE));
    for (const hash of batch.keys()) this.wanted.delete(hash);
    this.reading = batch;
    const readMs = performance.now();
    // Pending answers are handled first: a process that was suspended must not blame its own pause on the database.
    const late = setTimeout(() => setImmediate(() => this.reading === batch && this.becomeSlow()), SLOW_MS);
    this.wasSlow = false;
    try {
      const keys = await this.store.findValid([...batch.keys()].map((hash) => Buffer.from(hash, 'hex')));
      this.succeed(batch, keys, readMs);
    } catch (error) {
      this.fail(error);
    } finally {
      clearTimeout(late);
      this.isSlow = this.wasSlow;
      this.reading = new Map();
    }
  }

  private succeed(batch: Waiting, keys: readonly ValidKey[], readMs: number): void {
    const found = new Map(keys.map((key) => [key.hash.toString('hex'), key]));
    for (const [hash, { resolve }] of batch) {
      this.listener.found(hash, found.get(hash), readMs);
      resolve();
    }
    if (this.isFailing) this.listener.stateChanged(undefined);
    this.isFailing = false;
  }

  /** Fails the reads that are next, too: nobody waits for a database that is known to fail. */
  private fail(error: unknown): void {
    if (!this.isFailing) this.listener.stateChanged(error);
    this.isFailing = true;
    const unavailable = new CredentialStoreUnavailableError();
    for (const { reject } of [...this.reading.values(), ...this.wanted.values()]) reject(unavailable);
    this.wanted.clear();
  }

  private becomeSlow(): void {
    this.isSlow = this.wasSlow = true;
    for (const goOn of this.impatient) goOn();
  }
}
