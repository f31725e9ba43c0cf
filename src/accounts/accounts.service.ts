import { Inject, Injectable } from '@nestjs/common';
import type { Config } from '../config/config.js';
import { CONFIG } from '../config/config.module.js';
import { currencyOf } from '../config/currencies.js';
import type { Account, AccountOpening, OwnedAccount } from '../domain/account.js';
import type { ChangeCommand } from '../domain/command.js';
import { LedgerError } from '../domain/errors.js';
import { recordedCode } from '../domain/currency.js';
import { Ledger } from '../domain/ports.js';
import type { Origin } from '../domain/origin.js';
import type { Sender } from '../domain/sender.js';
import { encodeCursor, listingFor } from '../http/validation/cursor.js';
import { AccountOwners } from '../ledger/read/account-owners.js';
import { HistoryReader, type PastBalance } from '../ledger/read/history-reader.js';
import { BANK_CURRENCY, LedgerReader } from '../ledger/read/ledger-reader.js';
import {
  AccountDto,
  ProofDto,
  type AccountListingRequest,
  type AccountPageDto,
  type BalanceRequest,
  type Past,
  type ProofRequest,
} from './accounts.dto.js';
import { filterText, startOf } from './listing-start.js';

@Injectable()
export class AccountsService {
  constructor(
    private readonly ledger: Ledger,
    private readonly reader: LedgerReader,
    private readonly history: HistoryReader,
    private readonly owners: AccountOwners,
    @Inject(CONFIG) private readonly config: Config,
  ) {}

  async open(opening: AccountOpening, sender: Sender): Promise<OwnedAccount> {
    if (opening.near !== undefined) await this.checkNear(opening.near, sender);
    return this.ledger.openAccount(opening, sender.user);
  }

  /** @throws LedgerError; ACCOUNT_NOT_FOUND names it, since the request is about another account */
  private async checkNear(accountId: number, { owner, user }: Sender): Promise<void> {
    try {
      if (owner === undefined) await this.reader.balance(accountId, {}, user);
      else await this.owners.check(owner, accountId, user);
    } catch (error) {
      const isMissing = error instanceof LedgerError && error.failure.code === 'ACCOUNT_NOT_FOUND';
      throw isMissing ? new LedgerError({ code: 'ACCOUNT_NOT_FOUND', accountId }) : error;
    }
  }

  /**
   * @param admit counts it against the sender's rate limit, once the account is known to be the sender's
   * @returns the account after it, and after whatever else has happened since
   */
  async change(
    command: ChangeCommand,
    { owner, user }: Sender,
    origin: Origin,
    admit: (() => Promise<void>) | undefined,
  ): Promise<OwnedAccount> {
    const { accountId } = command;
    if (owner !== undefined) await this.owners.check(owner, accountId, user);
    if (admit) await admit();
    await this.ledger.execute(command, origin);
    return this.reader.account(accountId, user).catch(afterTheChange);
  }

  show(account: OwnedAccount): AccountDto {
    return new AccountDto(account, this.config.currency);
  }

  async get(accountId: number, { owner, user }: Sender): Promise<OwnedAccount> {
    if (owner !== undefined) await this.owners.check(owner, accountId, user);
    return this.reader.account(accountId, user);
  }

  /** Synchronous if the balance is in memory, which saves a promise. */
  balance(request: BalanceRequest, { owner, user }: Sender): Account | Promise<Account> {
    const { accountId } = request;
    if (owner === undefined) return this.reader.balance(accountId, request, user);
    return this.owners
      .check(owner, accountId, user)
      .then(() => this.reader.balance(accountId, request, user));
  }

  async pastBalance(accountId: number, past: Past, { owner, user }: Sender): Promise<PastBalance> {
    if (owner !== undefined) await this.owners.check(owner, accountId, user);
    return 'atMs' in past
      ? this.history.balanceAt(accountId, past.atMs, user)
      : this.history.balanceOfVersion(accountId, past.version, user);
  }

  async proof(request: ProofRequest, { owner, user }: Sender): Promise<ProofDto> {
    const { accountId, fromVersion, fromRevision } = request;
    if (owner !== undefined) await this.owners.check(owner, accountId, user);
    return ProofDto.of(await this.reader.proof(accountId, fromVersion, user, fromRevision), request);
  }

  async list(
    { cursor, limit, filter: asked }: AccountListingRequest,
    { owner, user }: Sender,
  ): Promise<AccountPageDto> {
    const listing = listingFor(owner, 'accounts');
    const { after, filter } = startOf(listing, cursor, asked);
    const wanted = {
      ...filter,
      owner: owner ?? filter.owner,
      currency:
        filter.currency && (recordedCode(currencyOf(filter.currency), this.config.currency) ?? BANK_CURRENCY),
    };
    const { accounts, nextAfter } = await this.reader.accountsAfter(after, limit, wanted, user);
    const nextCursor = nextAfter === undefined ? null : encodeCursor(listing, nextAfter, filterText(filter));
    return { data: accounts.map((account) => this.show(account)), nextCursor };
  }
}

/**
 * The change took effect, so the answer to a read that failed, 408, would be untrue: it says that nothing was done.
 *
 * @throws LedgerError OUTCOME_UNKNOWN: the client has to look
 */
function afterTheChange(error: unknown): never {
  const { code } = error instanceof LedgerError ? error.failure : {};
  if (code === 'DATABASE_FAILED' || code === 'OVERLOADED') throw new LedgerError({ code: 'OUTCOME_UNKNOWN' });
  throw error;
}
