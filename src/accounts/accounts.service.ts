import { Injectable } from '@nestjs/common';
import type { Account, OwnedAccount } from '../domain/account.js';
import { Ledger } from '../domain/ports.js';
import type { Sender } from '../domain/sender.js';
import { decodeCursor, encodeCursor, listingFor, pageOf, type Page } from '../http/validation/cursor.js';
import { readAmount, readVersion } from '../http/validation/field-rules.js';
import type { PageQueryDto } from '../http/validation/page-query.dto.js';
import { AccountOwners } from '../ledger/read/account-owners.js';
import { LedgerReader } from '../ledger/read/ledger-reader.js';
import type { BalanceQueryDto, OpenAccountDto, ProofQueryDto } from './accounts.dto.js';
import { accountResource, proofResource } from './accounts.dto.js';

@Injectable()
export class AccountsService {
  constructor(
    private readonly ledger: Ledger,
    private readonly reader: LedgerReader,
    private readonly owners: AccountOwners,
  ) {}

  /** @param owner of the new account; undefined: it has none */
  open(
    body: OpenAccountDto,
    { owner, user }: Sender,
    idempotencyKey: string | undefined,
  ): Promise<OwnedAccount> {
    return this.ledger.openAccount(readAmount(body.openingDeposit), owner, idempotencyKey, user);
  }

  async get(accountId: number, { owner, user }: Sender): Promise<OwnedAccount> {
    if (owner !== undefined) await this.owners.check(owner, accountId, user);
    return this.reader.account(accountId, user);
  }

  async balance(
    accountId: number,
    query: BalanceQueryDto,
    cacheControl: string | undefined,
    { owner, user }: Sender,
  ): Promise<Account> {
    if (owner !== undefined) await this.owners.check(owner, accountId, user);
    const noCache = cacheControl !== undefined && /(^|[\s,])no-cache([\s,]|$)/i.test(cacheControl);
    return this.reader.balance(accountId, { minVersion: readVersion(query.minVersion), noCache }, user);
  }

  async proof(
    accountId: number,
    query: ProofQueryDto,
    { owner, user }: Sender,
  ): Promise<ReturnType<typeof proofResource>> {
    if (owner !== undefined) await this.owners.check(owner, accountId, user);
    const fromVersion = readVersion(query.fromVersion);
    return proofResource(await this.reader.proof(accountId, fromVersion, user), fromVersion !== undefined);
  }

  async list(
    query: PageQueryDto,
    { owner, user }: Sender,
  ): Promise<Page<ReturnType<typeof accountResource>>> {
    const listing = listingFor(owner, 'accounts');
    const limit = Number(query.limit);
    const after = query.cursor === undefined ? 0 : decodeCursor(listing, query.cursor);
    const accounts = await this.reader.accountsAfter(after, limit + 1, owner, user);
    return pageOf(accounts, limit, accountResource, (account) => encodeCursor(listing, account.accountId));
  }
}
