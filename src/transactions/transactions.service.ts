import { Injectable } from '@nestjs/common';
import { MAX_ID } from '../domain/account.js';
import { Ledger } from '../domain/ports.js';
import type { Transaction } from '../domain/transaction.js';
import { decodeCursor, encodeCursor, type Page } from '../http/cursor.js';
import { LedgerReader } from '../ledger/ledger-reader.js';
import {
  readPosting,
  readType,
  transactionResource,
  type ListTransactionsDto,
  type PostTransactionDto,
} from './transactions.dto.js';

@Injectable()
export class TransactionsService {
  constructor(
    private readonly ledger: Ledger,
    private readonly reader: LedgerReader,
  ) {}

  post(
    accountId: number,
    body: PostTransactionDto,
    idempotencyKey: string | undefined,
    allowedVersions: readonly number[] | undefined,
    sinceMs: number | undefined,
  ): Promise<Transaction> {
    const command = { accountId, ...readPosting(body), allowedVersions, idempotencyKey };
    return this.ledger.post(command, sinceMs);
  }

  get(transactionId: number): Promise<Transaction> {
    return this.reader.transaction(transactionId);
  }

  async list(
    accountId: number,
    query: ListTransactionsDto,
  ): Promise<Page<ReturnType<typeof transactionResource>>> {
    const listing = `transactions/${accountId}`;
    const below = query.cursor === undefined ? MAX_ID : decodeCursor(listing, query.cursor);
    const { transactions, nextBelow } = await this.reader.transactionsBelow(
      accountId,
      below,
      Number(query.limit),
      {
        type: query.type === undefined ? undefined : readType(query.type),
        from: query.from === undefined ? undefined : new Date(query.from),
        to: query.to === undefined ? undefined : new Date(query.to),
      },
    );
    const nextCursor = nextBelow === undefined ? null : encodeCursor(listing, nextBelow);
    return { data: transactions.map(transactionResource), nextCursor };
  }
}
