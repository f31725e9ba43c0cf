import { Injectable } from '@nestjs/common';
import type { Transaction } from '../domain/transaction.js';
import { outboxRows } from './outbox-rows.js';

/** Rows of the outbox that are remembered. For older ones the relay reads the transactions again. */
const LIMIT = 10_000;

/**
 * The newest batches that this process posted itself. Listeners in this process know their effect already, so the relay
 * need not read them back, which would cost a good part of what the posting did.
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

  /** Whether the row of the outbox that begins with this transaction came from a batch of this process. */
  has(firstTransactionId: number): boolean {
    return this.firstIds.has(firstTransactionId);
  }
}
