import { LRUCache } from 'lru-cache';
import { FIRST_VERSION } from '../domain/account.js';

export interface VersionFilterSettings {
  /** Accounts whose last version is remembered; the least recently used is forgotten first. */
  readonly maxAccounts: number;
  /** The consumer has been there since before the first event: an account that is new begins with its first one. */
  readonly fromOpening: boolean;
}

/**
 * Makes exactly once out of at least once. An account's versions have no gaps, so its next event is the one with the
 * next version. A lower one was seen already. A higher one has overtaken an event that the broker did not take: it is
 * left out too, because the bank publishes both again, in order. Without a memory of the account, its first event to
 * arrive is where it begins.
 */
export class VersionFilter {
  private readonly versions: LRUCache<number, number>;
  private hasForgotten = false;

  constructor(private readonly settings: VersionFilterSettings) {
    this.versions = new LRUCache({
      max: settings.maxAccounts,
      dispose: (_version, _accountId, reason) => (this.hasForgotten ||= reason === 'evict'),
    });
  }

  /** Whether this is the account's next event; it is then taken for seen. */
  isNext(accountId: number, version: number): boolean {
    const next = (this.versions.get(accountId) ?? this.startOf(version)) + 1;
    if (version !== next) return false;
    this.versions.set(accountId, version);
    return true;
  }

  /** The last version of an account that is not remembered. */
  private startOf(version: number): number {
    return this.settings.fromOpening && !this.hasForgotten ? FIRST_VERSION : version - 1;
  }
}
