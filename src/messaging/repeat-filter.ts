import { LRUCache } from 'lru-cache';
import type { BankEvent } from './bank-event.js';
import { VersionFilter, type VersionFilterSettings } from './version-filter.js';

/** Ids of other events than those of transactions; the least recently seen is forgotten first. */
const REMEMBERED_IDS = 100_000;

/**
 * Turns at-least-once into exactly-once, for all events of a bank: transactions by the versions of their accounts, which
 * keeps their order, too, and other events by their ids.
 */
export class RepeatFilter {
  private readonly versions: VersionFilter;
  private readonly ids = new LRUCache<string, true>({ max: REMEMBERED_IDS });

  constructor(settings: VersionFilterSettings) {
    this.versions = new VersionFilter(settings);
  }

  /** Whether the event is to be processed; if so, it counts as seen. */
  isNew(event: BankEvent): boolean {
    if (event.type === 'transaction.posted.v1' || event.type === 'transaction.posted.v2')
      return this.versions.isNext(event.data.accountId, event.data.version);
    const name = `${event.source} ${event.id}`;
    if (this.ids.has(name)) return false;
    this.ids.set(name, true);
    return true;
  }
}
