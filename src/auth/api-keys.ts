import { timingSafeEqual } from 'node:crypto';
import { LRUCache } from 'lru-cache';
import { LedgerError } from '../domain/errors.js';
import type { SchemaTables } from '../database/tables.js';
import { UnauthorizedError } from './access-errors.js';
import { hashOfKey, isKey } from './api-key.js';
import { principalOf, type KnownCredential, type Principal } from './principal.js';

/** How long a key is believed after it was read: a revocation takes effect everywhere within this and one request. */
export const VALID_MS = 3_000;
/** From then on the next request has it read again, and does not wait. */
const REFRESH_MS = 1_500;
/** Keys remembered, those in use first. */
const MAX_KEYS = 10_000;
/** Apart, so that whoever tries keys out can't push out those in use. */
const MAX_UNKNOWN = 10_000;
/** How precise the time of the last use is. */
const LAST_USE_MS = 60_000;

/** Reads of the database that holds the keys. @throws LedgerError DATABASE_FAILED, OVERLOADED */
export interface KeyDatabase {
  readonly tables: Pick<SchemaTables, 'apiKeys'>;
  query<Row>(sql: string, parameters: readonly unknown[]): Promise<Row[]>;
}

interface KeyRow {
  key_id: string;
  hash: Buffer;
  scopes: string[];
  owner: string | null;
  expires_at: Date | null;
}

/** The API keys of the bank, as this process knows them. */
export class ApiKeys {
  private readonly known = new LRUCache<string, KnownKey>({ max: MAX_KEYS });
  /** When it was last found that there is no such key. */
  private readonly unknown = new LRUCache<string, number>({ max: MAX_UNKNOWN });
  private readonly reading = new Map<string, Promise<KnownKey | undefined>>();

  constructor(private readonly database: KeyDatabase) {}

  /** What is known of a key that was in use; undefined: it has to be looked up. */
  recall(key: string): KnownKey | undefined {
    return this.known.get(hashOfKey(key));
  }

  /**
   * Asks the database for a key, unless it was asked in vain just now.
   *
   * @throws UnauthorizedError; LedgerError DATABASE_FAILED, OVERLOADED when it can't be found out
   */
  async lookUp(key: string): Promise<KnownKey> {
    if (!isKey(key)) throw new UnauthorizedError(true);
    const hash = hashOfKey(key);
    const unknownMs = this.unknown.get(hash) ?? -Infinity;
    if (performance.now() - unknownMs < VALID_MS) throw new UnauthorizedError(true);
    const known = await this.read(hash);
    if (!known) throw new UnauthorizedError(true);
    // It took so long that it tells nothing of now.
    if (known.isStale()) throw new LedgerError({ code: 'DATABASE_FAILED', currentVersion: null });
    return known;
  }

  /** Whoever wants a key that is being read shares the read: its age counts from its beginning. */
  private read(hash: string): Promise<KnownKey | undefined> {
    const running = this.reading.get(hash);
    if (running) return running;
    const started = this.readOnce(hash).finally(() => this.reading.delete(hash));
    this.reading.set(hash, started);
    return started;
  }

  private async readOnce(hash: string): Promise<KnownKey | undefined> {
    const readMs = performance.now();
    const sought = Buffer.from(hash, 'hex');
    const [row] = await this.database.query<KeyRow>(
      `SELECT key_id, hash, scopes, owner, expires_at FROM ${this.database.tables.apiKeys}
       WHERE hash = $1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())`,
      [sought],
    );
    const earlier = this.known.get(hash);
    if (!row || !timingSafeEqual(row.hash, sought)) {
      earlier?.forget();
      this.known.delete(hash);
      this.unknown.set(hash, readMs);
      return undefined;
    }
    const known =
      earlier ??
      new KnownKey(
        row.key_id,
        () => this.read(hash),
        () => this.noteUse(row.key_id),
      );
    known.learn(row, readMs);
    this.known.set(hash, known);
    return known;
  }

  /** At most one write a minute for each key and process, and none that a neighbour has just done. Nothing hangs on it. */
  private async noteUse(keyId: string): Promise<void> {
    await this.database
      .query(
        `UPDATE ${this.database.tables.apiKeys} SET last_used_at = now()
         WHERE key_id = $1 AND (last_used_at IS NULL OR last_used_at < now() - $2 * interval '1 millisecond')`,
        [keyId, LAST_USE_MS],
      )
      .catch(() => undefined);
  }
}

/** A key as it was last read. Who has it in hand learns of what is read later. */
export class KnownKey implements KnownCredential {
  private principal: Principal | undefined;
  /** By the clock of the day. */
  private expiresAtMs = -Infinity;
  /** When it began to be read; as `usedMs`, by performance.now(). */
  private readMs = -Infinity;
  private usedMs = -Infinity;

  constructor(
    private readonly keyId: string,
    private readonly readAgain: () => Promise<unknown>,
    private readonly noteUse: () => Promise<void>,
  ) {}

  learn({ scopes, owner, expires_at }: KeyRow, readMs: number): void {
    this.principal = principalOf(`key:${this.keyId}`, owner ?? undefined, scopes);
    this.expiresAtMs = expires_at?.getTime() ?? Infinity;
    this.readMs = readMs;
  }

  forget(): void {
    this.readMs = -Infinity;
  }

  isStale(): boolean {
    return performance.now() - this.readMs >= VALID_MS;
  }

  principalNow(): Principal | undefined {
    const nowMs = performance.now();
    const ageMs = nowMs - this.readMs;
    if (ageMs >= VALID_MS || this.expiresAtMs <= Date.now()) return undefined;
    // What it finds, or fails with, is for the next request.
    if (ageMs > REFRESH_MS) this.readAgain().catch(() => undefined);
    if (nowMs - this.usedMs > LAST_USE_MS) {
      this.usedMs = nowMs;
      void this.noteUse();
    }
    return this.principal;
  }
}
