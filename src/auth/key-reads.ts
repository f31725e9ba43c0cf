import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises';
import type { SchemaTables } from '../database/tables.js';
import { CredentialStoreUnavailableError } from './access-errors.js';

/** The database that holds the keys. */
export interface KeyDatabase {
  readonly tables: Pick<SchemaTables, 'apiKeys'>;
  /** Within a time of its own. @throws whatever keeps it from being answered */
  query<Row>(sql: string, parameters: readonly unknown[]): Promise<Row[]>;
}

export interface KeyRow {
  readonly key_id: string;
  readonly hash: Buffer;
  readonly scopes: string[];
  readonly owner: string | null;
  readonly expires_at: Date | null;
}

/** What is told of reading. */
export interface KeyReadsListener {
  /**
   * @param row undefined: there is no such key, or not any more
   * @param readMs when the read began, by performance.now()
   */
  found(hash: string, row: KeyRow | undefined, readMs: number): void;
  /** @param problem why the keys can't be read from now on; undefined: they can again */
  stateChanged(problem: unknown): void;
}

/** Keys that one statement reads. */
const AT_ONCE = 500;
/** From then on a read that is not answered counts as one that can't be had, for those who need not wait for it. */
const SLOW_MS = 1_000;
/** Between two tries until one succeeds in time. */
const TRY_AGAIN_MS = 500;

type Waiting = Map<string, PromiseWithResolvers<void>>;

/**
 * Reads keys by their hashes, one statement at a time for all that are wanted by then: however many are asked for, it is
 * the work of one connection. Once a read fails, or takes long, it is tried again until one does not, whether anybody
 * asks or not.
 */
export class KeyReads {
  private wanted: Waiting = new Map();
  private reading: Waiting = new Map();
  private running = false;
  private isFailing = false;
  private isSlow = false;
  /** Of the read at work. */
  private wasSlow = false;
  private closed = false;
  /** Of those who go on without an answer as soon as that is slow. */
  private readonly impatient = new Set<() => void>();

  constructor(
    private readonly database: KeyDatabase,
    private readonly listener: KeyReadsListener,
  ) {}

  /** The last read failed. */
  get failing(): boolean {
    return this.isFailing;
  }

  /** The last read failed or took long, or the one at work does. */
  get unreadable(): boolean {
    return this.isFailing || this.isSlow;
  }

  /** @throws CredentialStoreUnavailableError, at once while that is known */
  read(hash: string): Promise<void> {
    if (this.isFailing) return Promise.reject(new CredentialStoreUnavailableError());
    return this.want(hash);
  }

  /** In the background. */
  refresh(hash: string): void {
    void this.want(hash);
  }

  /** Resolves when it was read, or can't be: at once while that is known. */
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

  /** Whoever wants one that is being read shares the read. */
  private want(hash: string): Promise<void> {
    const same = this.reading.get(hash) ?? this.wanted.get(hash);
    if (same) return same.promise;
    const waiting = Promise.withResolvers<void>();
    // There may be nobody who waits.
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
    // After the answers that have come by then: a process that was at rest must not take its own sleep for the database's.
    const late = setTimeout(() => setImmediate(() => this.reading === batch && this.becomeSlow()), SLOW_MS);
    this.wasSlow = false;
    try {
      const rows = await this.database.query<KeyRow>(
        `SELECT key_id, hash, scopes, owner, expires_at FROM ${this.database.tables.apiKeys}
         WHERE hash = ANY($1::bytea[]) AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())`,
        [[...batch.keys()].map((hash) => Buffer.from(hash, 'hex'))],
      );
      this.succeed(batch, rows, readMs);
    } catch (error) {
      this.fail(error);
    } finally {
      clearTimeout(late);
      this.isSlow = this.wasSlow;
      this.reading = new Map();
    }
  }

  private succeed(batch: Waiting, rows: readonly KeyRow[], readMs: number): void {
    const found = new Map(rows.map((row) => [row.hash.toString('hex'), row]));
    for (const [hash, { resolve }] of batch) {
      this.listener.found(hash, found.get(hash), readMs);
      resolve();
    }
    if (this.isFailing) this.listener.stateChanged(undefined);
    this.isFailing = false;
  }

  /** For those that were to be read next, too: nobody waits for a database of which it is known that it fails. */
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
