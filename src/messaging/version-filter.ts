import { LRUCache } from 'lru-cache';
import { FIRST_VERSION } from '../domain/account.js';

export interface VersionFilterSettings {
  /** Accounts whose last version is remembered; the least recently used is forgotten first. */
  readonly maxAccounts: number;
  /** The consumer existed before the first event, so a new account begins with its first version. */
  readonly fromOpening: boolean;
}

/**
 * Turns at-least-once into exactly-once. An account's versions have no gaps, so its next event is the one with the next
 * version. A lower version was seen before. A higher one has overtaken an event that the broker did not accept; it is
 * skipped too, because the bank publishes both again, in order. An account that is not remembered begins with the first
 * event that arrives.
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

  /** Whether this is the account's next event; if so, it counts as seen. */
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
