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

  /** What this process posted is in its cache since the COMMIT. */
  override alreadyKnows(firstTransactionId: number): boolean {
    return this.recentLocalBatches.has(firstTransactionId);
  }

  subscribe(listener: TransactionListener): void {
    this.listeners.push(listener);
  }

  async publish(transactions: readonly Transaction[]): Promise<void> {
    for (const listener of this.listeners) await listener(transactions);
  }
}
