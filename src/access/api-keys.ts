import { LRUCache } from 'lru-cache';
import { CredentialStoreUnavailableError, UnauthorizedError } from './access-errors.js';
import { halfOf, AdaptiveConcurrencyLimiter } from '../concurrency/adaptive-concurrency-limiter.js';
import { hashOfKey, isKey } from './api-key.js';
import type { ApiKeyStore, ValidKey } from './api-key-store.js';
import { KeyReads } from './key-reads.js';
import { principalOf, type CredentialSource, type KnownCredential, type Principal } from './principal.js';

/** How long a key is trusted after a read: a revocation takes effect everywhere within this time plus one request. */
export const VALID_MS = 3_000;
/** From this age on the next request starts another read, without waiting for it. */
const REFRESH_MS = 1_500;
/** Keys remembered; the least recently used is forgotten first. */
const MAX_KEYS = 10_000;
/** Separate, so that somebody who tries keys can't evict those in use. */
const MAX_UNKNOWN = 10_000;
/** How precise the time of the last use is. */
const LAST_USE_MS = 60_000;
/** Limits of looking up unknown keys, which anybody can make up. */
const LOOK_UPS = { maxInFlight: 250, maxPerUser: halfOf(250), queue: 10_000, maxWaitMs: 2_000 };

/** Called with the reason when keys can no longer be read, and with undefined when they can again. */
export type KeysWatch = (problem: unknown) => void;

/** The API keys of the bank, as this process knows them. */
export class ApiKeys implements CredentialSource {
  private readonly known = new LRUCache<string, KnownKey>({
    max: MAX_KEYS,
    // Later reads would not reach an evicted key that a connection still refers to.
    dispose: (key) => key.forget(),
  });
  /** When a key was last found not to exist. */
  private readonly unknown = new LRUCache<string, number>({ max: MAX_UNKNOWN });
  private readonly reads: KeyReads;
  private readonly turns = new AdaptiveConcurrencyLimiter(LOOK_UPS);
  /** Ids of keys whose last use is still to be recorded. */
  private used = new Set<number>();
  private noting = false;

  /** @param staleMs how long after its last read a key is trusted while keys can't be read */
  constructor(
    private readonly store: ApiKeyStore,
    private readonly staleMs: number,
    onStateChanged: KeysWatch = () => undefined,
  ) {
    const found = (...result: Parameters<ApiKeys['learn']>) => this.learn(...result);
    this.reads = new KeyReads(store, { found, stateChanged: onStateChanged });
  }

  /** The last read of keys failed. */
  get unreadable(): boolean {
    return this.reads.failing;
  }

  isWellFormed(key: string): boolean {
    return isKey(key);
  }

  recall(key: string): KnownKey | undefined {
    return this.known.get(hashOfKey(key));
  }

  /**
   * Reads a key from the database, unless it was found missing a moment ago.
   *
   * @param client look-ups of one client wait behind each other
   * @throws UnauthorizedError; CredentialStoreUnavailableError or LedgerError OVERLOADED when the key can't be
   *   checked
   */
  async lookUp(key: string, client: string): Promise<KnownKey> {
    const hash = hashOfKey(key);
    const earlier = this.known.get(hash);
    if (!earlier) await this.find(hash, client);
    else if (earlier.mayHaveChanged(this.reads.unreadable)) await this.reads.readIfPossible(hash);
    const known = this.known.get(hash);
    if (known?.principalNow()) return known;
    if (!known || known.hasEnded()) throw new UnauthorizedError(true);
    throw new CredentialStoreUnavailableError();
  }

  /** Stops reading in the background. */
  close(): void {
    this.reads.close();
  }

  private async find(hash: string, client: string): Promise<void> {
    const unknownMs = this.unknown.get(hash) ?? -Infinity;
    if (performance.now() - unknownMs < VALID_MS) return;
    if (this.reads.failing) throw new CredentialStoreUnavailableError();
    await this.turns.run(client, () => this.reads.read(hash));
  }

  private learn(hash: string, row: ValidKey | undefined, readMs: number): void {
    const earlier = this.known.get(hash);
    if (!row) {
      if (earlier) earlier.end(readMs);
      else this.unknown.set(hash, readMs);
      return;
    }
    const known =
      earlier ??
      new KnownKey({
        believedMs: () => (this.reads.unreadable ? Math.max(this.staleMs, VALID_MS) : VALID_MS),
        refresh: () => this.reads.refresh(hash),
        noteUse: () => this.noteUse(row.keyId),
      });
    known.learn(row, readMs);
    this.known.set(hash, known);
  }

  private noteUse(keyId: number): void {
    this.used.add(keyId);
    if (!this.noting) void this.noteUses();
  }

  /** Writes at most once a minute per key and process. A failure is ignored: the time of last use is only informative. */
  private async noteUses(): Promise<void> {
    this.noting = true;
    while (this.used.size > 0) {
      const keyIds = [...this.used];
      this.used.clear();
      await this.store.noteUse(keyIds, LAST_USE_MS).catch(() => undefined);
    }
    this.noting = false;
  }
}

/** What a {@link KnownKey} needs from the {@link ApiKeys} that hold it. */
interface KeyKeeper {
  /** How long a key is trusted after a read, in the present state of the database. */
  believedMs(): number;
  refresh(): void;
  noteUse(): void;
}

/** A key as it was last read. Later reads update it in place, for every connection that refers to it. */
class KnownKey implements KnownCredential {
  private principal: Principal | undefined;
  private ended = false;
  /** By Date.now(). */
  private expiresAtMs = -Infinity;
  /** When its last read began. This and `usedMs` are by performance.now(). */
  private readMs = -Infinity;
  private usedMs = -Infinity;

  constructor(private readonly keeper: KeyKeeper) {}

  learn({ keyId, scopes, owner, expiresAt }: ValidKey, readMs: number): void {
    this.principal = principalOf(`key:${keyId}`, owner ?? undefined, scopes);
    this.expiresAtMs = expiresAt?.getTime() ?? Infinity;
    this.readMs = readMs;
    this.ended = false;
  }

  /** It was revoked, or has expired. */
  end(readMs: number): void {
    this.readMs = readMs;
    this.ended = true;
  }

  /** Makes the next request look it up again. */
  forget(): void {
    this.readMs = -Infinity;
  }

  hasEnded(): boolean {
    return this.ended || this.expiresAtMs <= Date.now();
  }

  /**
   * Whether to read it again before use. An ended key is not read for every request, and stays ended while keys can't be
   * read.
   */
  mayHaveChanged(unreadable: boolean): boolean {
    const isFresh = performance.now() - this.readMs < VALID_MS;
    return !(this.hasEnded() && (isFresh || unreadable));
  }

  principalNow(): Principal | undefined {
    if (this.hasEnded()) return undefined;
    const nowMs = performance.now();
    const ageMs = nowMs - this.readMs;
    if (ageMs > REFRESH_MS) {
      // The next request sees the result.
      this.keeper.refresh();
      if (ageMs >= VALID_MS && ageMs >= this.keeper.believedMs()) return undefined;
    }
    if (nowMs - this.usedMs > LAST_USE_MS) {
      this.usedMs = nowMs;
      this.keeper.noteUse();
    }
    return this.principal;
  }
}
