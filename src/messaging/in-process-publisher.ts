import type { LedgerEvent } from '../domain/ledger-event.js';
import { EventPublisher } from '../domain/ports.js';
import type { Transaction } from '../domain/transaction.js';
import type { RecentLocalBatches } from './recent-local-batches.js';

export type TransactionListener = (transactions: readonly Transaction[]) => Promise<void> | undefined;

/** The event bus of this process. It has one listener so far, the balance cache. */
export class InProcessPublisher extends EventPublisher {
  private readonly listeners: TransactionListener[] = [];

  constructor(private readonly recentLocalBatches: RecentLocalBatches) {
    super();
  }

  assertReady(): void {
    // Always is.
  }

  /** What this process posted is in its cache since the COMMIT; changes of accounts interest no listener. */
  override alreadyKnows(firstTransactionId: number | undefined): boolean {
    return firstTransactionId === undefined || this.recentLocalBatches.has(firstTransactionId);
  }

  subscribe(listener: TransactionListener): void {
    this.listeners.push(listener);
  }

  async publish(events: readonly LedgerEvent[]): Promise<void> {
    const transactions = events.flatMap((event) =>
      event.kind === 'transaction.posted' ? [event.transaction] : [],
    );
    for (const listener of this.listeners) await listener(transactions);
  }
}
