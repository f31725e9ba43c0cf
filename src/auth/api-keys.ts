import { timingSafeEqual } from 'node:crypto';
import { LRUCache } from 'lru-cache';
import type { SchemaTables } from '../database/tables.js';
import { UnauthorizedError } from './access-errors.js';
import { hashOfKey, isKey } from './api-key.js';
import { principalOf, type Principal } from './principal.js';

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

interface KnownKey {
  readonly keyId: string;
  readonly principal: Principal;
  /** By the clock of the day. */
  readonly expiresAtMs: number;
  /** When it began to be read, as are all times here by performance.now(). */
  readonly readMs: number;
  lastUseMs: number;
}

/** The API keys of the bank, as this process knows them. */
export class ApiKeys {
  private readonly known = new LRUCache<string, KnownKey>({ max: MAX_KEYS });
  /** When it was last found that there is no such key. */
  private readonly unknown = new LRUCache<string, number>({ max: MAX_UNKNOWN });
  private readonly reading = new Map<string, Promise<KnownKey | undefined>>();

  constructor(private readonly database: KeyDatabase) {}

  /**
   * Whose key it is, if that need not be asked of the database.
   *
   * @throws UnauthorizedError when it is known to be nobody's
   */
  recall(key: string): Principal | undefined {
    const hash = hashOfKey(key);
    const nowMs = performance.now();
    const known = this.known.get(hash);
    if (known && nowMs - known.readMs < VALID_MS) {
      // What it finds, or fails with, is for the next request.
      if (nowMs - known.readMs > REFRESH_MS) this.read(hash).catch(() => undefined);
      return this.use(known, nowMs);
    }
    const unknownMs = this.unknown.get(hash);
    if (unknownMs !== undefined && nowMs - unknownMs < VALID_MS) throw new UnauthorizedError(true);
    return undefined;
  }

  /**
   * Whose key it is.
   *
   * @throws UnauthorizedError; LedgerError DATABASE_FAILED, OVERLOADED when that can't be found out
   */
  async lookUp(key: string): Promise<Principal> {
    if (!isKey(key)) throw new UnauthorizedError(true);
    const known = await this.read(hashOfKey(key));
    if (!known) throw new UnauthorizedError(true);
    return this.use(known, performance.now());
  }

  private use(known: KnownKey, nowMs: number): Principal {
    if (known.expiresAtMs <= Date.now()) throw new UnauthorizedError(true);
    if (nowMs - known.lastUseMs > LAST_USE_MS) {
      known.lastUseMs = nowMs;
      void this.noteUse(known);
    }
    return known.principal;
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
       WHERE hash = $1 AND revoked_at IS NULL`,
      [sought],
    );
    if (!row || !timingSafeEqual(row.hash, sought)) {
      this.known.delete(hash);
      this.unknown.set(hash, readMs);
      return undefined;
    }
    const known = {
      keyId: row.key_id,
      principal: principalOf(`key:${row.key_id}`, row.owner ?? undefined, row.scopes),
      expiresAtMs: row.expires_at?.getTime() ?? Infinity,
      readMs,
      lastUseMs: this.known.get(hash)?.lastUseMs ?? -Infinity,
    };
    this.known.set(hash, known);
    return known;
  }

  /** At most one write a minute for each key and process, and none that a neighbour has just done. Nothing hangs on it. */
  private async noteUse({ keyId }: KnownKey): Promise<void> {
    await this.database
      .query(
        `UPDATE ${this.database.tables.apiKeys} SET last_used_at = now()
         WHERE key_id = $1 AND (last_used_at IS NULL OR last_used_at < now() - $2 * interval '1 millisecond')`,
        [keyId, LAST_USE_MS],
      )
      .catch(() => undefined);
  }
}
