import { Injectable } from '@nestjs/common';
import type { FastifyRequest } from 'fastify';
import { requireScope } from '../auth/access-errors.js';
import { MOVEMENT_SCOPES } from '../auth/principal.js';
import { MAX_ID } from '../domain/account.js';
import { Ledger } from '../domain/ports.js';
import type { PostingCommand, Transaction } from '../domain/transaction.js';
import { decodeCursor, encodeCursor, listingFor, type Page } from '../http/cursor.js';
import { millisecondFrom } from '../http/instant.js';
import { AccountOwners } from '../ledger/account-owners.js';
import { LedgerReader } from '../ledger/ledger-reader.js';
import { readType, transactionResource, type ListTransactionsDto } from './transactions.dto.js';

/** An owner is whose accounts alone the sender may use; undefined: everybody's. */
@Injectable()
export class TransactionsService {
  constructor(
    private readonly ledger: Ledger,
    private readonly reader: LedgerReader,
    private readonly owners: AccountOwners,
  ) {}

  /**
   * @param admit counts it against its sender's rate, once he may post it at all
   * @throws ForbiddenError, LedgerError, and what `admit` throws
   */
  async post(
    command: PostingCommand,
    { principal, heldSinceMs }: Pick<FastifyRequest, 'principal' | 'heldSinceMs'>,
    admit: (() => Promise<void>) | undefined,
  ): Promise<Transaction> {
    const { owner } = principal;
    requireScope(principal, MOVEMENT_SCOPES[command.type]);
    if (owner !== undefined) await this.owners.check(owner, command.accountId);
    if (admit) await admit();
    return this.ledger.post(command, heldSinceMs);
  }

  get(transactionId: number, owner: string | undefined): Promise<Transaction> {
    return this.reader.transaction(transactionId, owner);
  }

  async list(
    accountId: number,
    query: ListTransactionsDto,
    owner: string | undefined,
  ): Promise<Page<ReturnType<typeof transactionResource>>> {
    const listing = listingFor(owner, `transactions/${accountId}`);
    const below = query.cursor === undefined ? MAX_ID : decodeCursor(listing, query.cursor);
    if (owner !== undefined) await this.owners.check(owner, accountId);
    const { transactions, nextBelow } = await this.reader.transactionsBelow(
      accountId,
      below,
      Number(query.limit),
      {
        type: query.type === undefined ? undefined : readType(query.type),
        from: query.from === undefined ? undefined : millisecondFrom(query.from),
        to: query.to === undefined ? undefined : millisecondFrom(query.to),
      },
    );
    const nextCursor = nextBelow === undefined ? null : encodeCursor(listing, nextBelow);
    return { data: transactions.map(transactionResource), nextCursor };
  }
}
