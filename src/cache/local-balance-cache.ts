import { LRUCache } from 'lru-cache';
import type { Account } from '../domain/account.js';
import { BalanceCache } from '../domain/ports.js';

export interface LocalBalanceCacheSettings {
  /** Accounts kept; the least recently used goes first. */
  readonly entries: number;
  /** How long an entry answers readers, give or take a quarter. */
  readonly ttlMs: number;
  /** False where another process may write too: its writes would not be seen here. */
  readonly servesReads: boolean;
}

interface Entry {
  readonly account: Account;
  readonly freshUntilMs: number;
}

/** Balances in this process's memory. Sees every write only while no other process writes to the bank. */
export class LocalBalanceCache extends BalanceCache {
  private readonly entries: LRUCache<number, Entry>;

  constructor(private readonly settings: LocalBalanceCacheSettings) {
    super();
    this.entries = new LRUCache({ max: settings.entries });
  }

  get(accountId: number): Account | undefined {
    if (!this.settings.servesReads) return undefined;
    const entry = this.entries.get(accountId);
    return entry && entry.freshUntilMs > performance.now() ? entry.account : undefined;
  }

  record(account: Account): void {
    const known = this.entries.peek(account.accountId);
    if (known && known.account.version > account.version) return;
    this.entries.set(account.accountId, { account, freshUntilMs: performance.now() + this.jitteredTtlMs() });
  }

  lastKnownVersion(accountId: number): number | undefined {
    return this.entries.peek(accountId)?.account.version;
  }

  /** Spread, so that entries made together do not all expire together. */
  private jitteredTtlMs(): number {
    return this.settings.ttlMs * (0.75 + Math.random() / 2);
  }
}
