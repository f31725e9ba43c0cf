import { performance } from 'node:perf_hooks';
import { LRUCache } from 'lru-cache';
import type { Account } from '../domain/account.js';
import type { Money } from '../domain/money.js';
import { BalanceCache } from '../domain/ports.js';
import { jittered } from './jitter.js';

export interface LocalBalanceCacheSettings {
  /** Accounts kept; the least recently used goes first. */
  readonly entries: number;
  /** How long an entry answers readers at most. */
  readonly ttlMs: number;
  /** False where another process may write too: its writes would not be seen here. */
  readonly servesReads: boolean;
}

/** Not the account it was made from, which has more and would stay in memory with all of it. */
interface Entry {
  readonly balance: Money;
  readonly version: number;
  readonly decimals: number;
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
    if (!entry || entry.freshUntilMs <= performance.now()) return undefined;
    const { balance, version, decimals } = entry;
    return { accountId, balance, version, decimals };
  }

  record(accounts: readonly Account[], asOfMs: number): undefined {
    for (const { accountId, balance, version, decimals } of accounts) {
      const entry = { balance, version, decimals, freshUntilMs: asOfMs + jittered(this.settings.ttlMs) };
      const known = this.entries.peek(accountId);
      // Entries that no reader may get must not evict those that one may: a backlog of events is far larger than the cache.
      const isUseful = known ? replaces(entry, known) : entry.freshUntilMs > performance.now();
      if (isUseful) this.entries.set(accountId, entry);
    }
  }

  lastKnownVersion(accountId: number): number | undefined {
    return this.entries.peek(accountId)?.version;
  }
}

function replaces(entry: Entry, known: Entry): boolean {
  const newer = entry.version - known.version;
  return newer > 0 || (newer === 0 && entry.freshUntilMs > known.freshUntilMs);
}
