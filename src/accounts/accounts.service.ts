import { Injectable } from '@nestjs/common';
import type { Account, OwnedAccount } from '../domain/account.js';
import { Ledger } from '../domain/ports.js';
import { decodeCursor, encodeCursor, listingFor, pageOf, type Page } from '../http/cursor.js';
import { readAmount, readVersion } from '../http/field-rules.js';
import type { PageQueryDto } from '../http/page-query.dto.js';
import { AccountOwners } from '../ledger/account-owners.js';
import { LedgerReader } from '../ledger/ledger-reader.js';
import type { BalanceQueryDto, OpenAccountDto, ProofQueryDto } from './accounts.dto.js';
import { accountResource, proofResource } from './accounts.dto.js';

/** An owner is whose accounts alone the sender may use; undefined: everybody's. */
@Injectable()
export class AccountsService {
  constructor(
    private readonly ledger: Ledger,
    private readonly reader: LedgerReader,
    private readonly owners: AccountOwners,
  ) {}

  /** @param owner whose the account is to be; undefined: nobody's */
  open(
    body: OpenAccountDto,
    owner: string | undefined,
    idempotencyKey: string | undefined,
  ): Promise<OwnedAccount> {
    return this.ledger.openAccount(readAmount(body.openingDeposit), owner, idempotencyKey);
  }

  async get(accountId: number, owner: string | undefined): Promise<OwnedAccount> {
    if (owner !== undefined) await this.owners.check(owner, accountId);
    return this.reader.account(accountId);
  }

  async balance(
    accountId: number,
    query: BalanceQueryDto,
    cacheControl: string | undefined,
    owner: string | undefined,
  ): Promise<Account> {
    if (owner !== undefined) await this.owners.check(owner, accountId);
    const noCache = cacheControl !== undefined && /(^|[\s,])no-cache([\s,]|$)/i.test(cacheControl);
    return this.reader.balance(accountId, { minVersion: readVersion(query.minVersion), noCache });
  }

  async proof(
    accountId: number,
    query: ProofQueryDto,
    owner: string | undefined,
  ): Promise<ReturnType<typeof proofResource>> {
    if (owner !== undefined) await this.owners.check(owner, accountId);
    const fromVersion = readVersion(query.fromVersion);
    return proofResource(await this.reader.proof(accountId, fromVersion), fromVersion !== undefined);
  }

  async list(
    query: PageQueryDto,
    owner: string | undefined,
  ): Promise<Page<ReturnType<typeof accountResource>>> {
    const listing = listingFor(owner, 'accounts');
    const limit = Number(query.limit);
    const after = query.cursor === undefined ? 0 : decodeCursor(listing, query.cursor);
    const accounts = await this.reader.accountsAfter(after, limit + 1, owner);
    return pageOf(accounts, limit, accountResource, (account) => encodeCursor(listing, account.accountId));
  }
}
