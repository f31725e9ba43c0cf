import { Injectable } from '@nestjs/common';
import type { FastifyRequest } from 'fastify';
import { requireScope } from '../auth/access-errors.js';
import { MOVEMENT_SCOPES } from '../auth/principal.js';
import { MAX_ID } from '../domain/account.js';
import { Ledger } from '../domain/ports.js';
import type { Sender } from '../domain/sender.js';
import type { PostingCommand, Transaction } from '../domain/transaction.js';
import { decodeCursor, encodeCursor, listingFor, type Page } from '../http/cursor.js';
import { millisecondFrom } from '../http/instant.js';
import { AccountOwners } from '../ledger/account-owners.js';
import { LedgerReader } from '../ledger/ledger-reader.js';
import { senderOf } from '../rate-limit/user.js';
import { readType, transactionResource, type ListTransactionsDto } from './transactions.dto.js';

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
    request: FastifyRequest,
    admit: (() => Promise<void>) | undefined,
  ): Promise<Transaction> {
    const { owner, user } = senderOf(request);
    requireScope(request.principal, MOVEMENT_SCOPES[command.type]);
    if (owner !== undefined) await this.owners.check(owner, command.accountId, user);
    if (admit) await admit();
    return this.ledger.post(command, request.heldSinceMs);
  }

  get(transactionId: number, { owner, user }: Sender): Promise<Transaction> {
    return this.reader.transaction(transactionId, owner, user);
  }

  async list(
    accountId: number,
    query: ListTransactionsDto,
    { owner, user }: Sender,
  ): Promise<Page<ReturnType<typeof transactionResource>>> {
    const listing = listingFor(owner, `transactions/${accountId}`);
    const below = query.cursor === undefined ? MAX_ID : decodeCursor(listing, query.cursor);
    if (owner !== undefined) await this.owners.check(owner, accountId, user);
    const { transactions, nextBelow } = await this.reader.transactionsBelow(
      accountId,
      below,
      Number(query.limit),
      {
        type: query.type === undefined ? undefined : readType(query.type),
        from: query.from === undefined ? undefined : millisecondFrom(query.from),
        to: query.to === undefined ? undefined : millisecondFrom(query.to),
      },
      user,
    );
    const nextCursor = nextBelow === undefined ? null : encodeCursor(listing, nextBelow);
    return { data: transactions.map(transactionResource), nextCursor };
  }
}
