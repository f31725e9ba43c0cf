import { Injectable } from '@nestjs/common';
import { requireScope } from '../access/access-errors.js';
import { MOVEMENT_SCOPES, type Principal } from '../access/principal.js';
import { Ledger } from '../domain/ports.js';
import type { Origin } from '../domain/origin.js';
import type { Sender } from '../domain/sender.js';
import type { PostingCommand } from '../domain/command.js';
import type { Transaction } from '../domain/transaction.js';
import { encodeCursor, listingFor } from '../http/validation/cursor.js';
import { AccountOwners } from '../ledger/read/account-owners.js';
import { LedgerReader } from '../ledger/read/ledger-reader.js';
import { filterText, startOf } from './listing-start.js';
import {
  TransactionDto,
  type ListingRequest,
  type Reversal,
  type TransactionPageDto,
} from './transactions.dto.js';

@Injectable()
export class TransactionsService {
  constructor(
    private readonly ledger: Ledger,
    private readonly reader: LedgerReader,
    private readonly owners: AccountOwners,
  ) {}

  /**
   * @param origin as for {@link Ledger.post}
   * @param admit counts the transaction against the sender's rate limit, once the account is known to be the sender's
   * @throws LedgerError, and what `admit` throws
   */
  async post(
    command: PostingCommand,
    { owner, user }: Sender,
    origin: Origin,
    admit: (() => Promise<void>) | undefined,
  ): Promise<Transaction> {
    if (owner !== undefined) await this.owners.check(owner, command.accountId, user);
    if (admit) await admit();
    return this.ledger.post(command, origin);
  }

  /**
   * Posts the opposite of a transaction of the sender.
   *
   * @throws as {@link post}; ForbiddenError
   */
  async reverse(
    reversal: Reversal,
    principal: Principal,
    user: string,
    origin: Origin,
    admit: (() => Promise<void>) | undefined,
  ): Promise<Transaction> {
    // Its account never changes, so it may be read before that account is locked.
    const original = await this.reader.transaction(reversal.transactionId, principal.owner, user);
    const { accountId, type } = original;
    if (type === 'credit') requireScope(principal, MOVEMENT_SCOPES.debit);
    if (type === 'debit') requireScope(principal, MOVEMENT_SCOPES.credit);
    if (admit) await admit();
    const { transactions } = await this.ledger.execute({ ...reversal, accountId }, origin);
    return transactions.at(-1) as Transaction;
  }

  get(transactionId: number, { owner, user }: Sender): Promise<Transaction> {
    return this.reader.transaction(transactionId, owner, user);
  }

  async list(
    { accountId, cursor, limit, filter: asked }: ListingRequest,
    { owner, user }: Sender,
  ): Promise<TransactionPageDto> {
    const listing = listingFor(owner, `transactions/${accountId}`);
    const { below, filter } = startOf(listing, cursor, asked);
    if (owner !== undefined) await this.owners.check(owner, accountId, user);
    const { transactions, nextBelow } = await this.reader.transactionsBelow(
      accountId,
      below,
      limit,
      filter,
      user,
    );
    const nextCursor = nextBelow === undefined ? null : encodeCursor(listing, nextBelow, filterText(filter));
    return { data: transactions.map((transaction) => new TransactionDto(transaction)), nextCursor };
  }
}
