import { Injectable } from '@nestjs/common';
import type { Transaction } from '../domain/transaction.js';
import { outboxRows } from './outbox-rows.js';

/** Rows of the outbox that are remembered. The relay reads the transactions of older ones again. */
const LIMIT = 10_000;

/**
 * The batches that this process posted itself, the newest of them. What listens in this process has
 * their effect already, so the relay need not read them back: that would cost as much as a part of the posting.
 */
@Injectable()
export class RecentLocalBatches {
  private readonly firstIds = new Set<number>();

  add(transactions: readonly Transaction[]): void {
    for (const [first] of outboxRows(transactions)) if (first) this.remember(first.transactionId);
  }

  private remember(firstId: number): void {
    this.firstIds.add(firstId);
    if (this.firstIds.size <= LIMIT) return;
    const [oldest] = this.firstIds;
    if (oldest !== undefined) this.firstIds.delete(oldest);
  }

  /** Whether a row of the outbox that begins with this transaction is of a batch of this process. */
  has(firstTransactionId: number): boolean {
    return this.firstIds.has(firstTransactionId);
  }
}
