import { Injectable } from '@nestjs/common';
import type { Transaction } from '../domain/transaction.js';

/** Batches remembered; of older ones the relay just reads again what they posted. */
const LIMIT = 10_000;

/**
 * The batches that this process posted itself, the newest of them. What listens in this process has
 * their effect already, so the relay need not read them back: that would cost as much as a part of the posting.
 */
@Injectable()
export class OwnBatches {
  private readonly firstIds = new Set<number>();

  add(transactions: readonly Transaction[]): void {
    const [first] = transactions;
    if (!first) return;
    this.firstIds.add(first.transactionId);
    if (this.firstIds.size <= LIMIT) return;
    const [oldest] = this.firstIds;
    if (oldest !== undefined) this.firstIds.delete(oldest);
  }

  /** Whether a batch that begins with this transaction is this process's own. */
  has(firstTransactionId: number): boolean {
    return this.firstIds.has(firstTransactionId);
  }
}
