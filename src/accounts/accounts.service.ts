import { Injectable } from '@nestjs/common';
import type { Account } from '../domain/account.js';
import { Ledger } from '../domain/ports.js';
import { decodeCursor, encodeCursor, pageOf, type Page } from '../http/cursor.js';
import { readAmount, readVersion } from '../http/field-rules.js';
import type { PageQueryDto } from '../http/page-query.dto.js';
import { LedgerReader } from '../ledger/ledger-reader.js';
import type { BalanceQueryDto, OpenAccountDto, ProofQueryDto } from './accounts.dto.js';
import { accountResource, proofResource } from './accounts.dto.js';

const LISTING = 'accounts';

@Injectable()
export class AccountsService {
  constructor(
    private readonly ledger: Ledger,
    private readonly reader: LedgerReader,
  ) {}

  open(body: OpenAccountDto): Promise<Account> {
    return this.ledger.openAccount(readAmount(body.openingDeposit));
  }

  get(accountId: number): Promise<Account> {
    return this.reader.account(accountId);
  }

  balance(accountId: number, query: BalanceQueryDto, cacheControl: string | undefined): Promise<Account> {
    const noCache = cacheControl !== undefined && /(^|[\s,])no-cache([\s,]|$)/i.test(cacheControl);
    return this.reader.balance(accountId, { minVersion: readVersion(query.minVersion), noCache });
  }

  async proof(accountId: number, query: ProofQueryDto): Promise<ReturnType<typeof proofResource>> {
    const fromVersion = readVersion(query.fromVersion);
    return proofResource(await this.reader.proof(accountId, fromVersion), fromVersion !== undefined);
  }

  async list(query: PageQueryDto): Promise<Page<ReturnType<typeof accountResource>>> {
    const limit = Number(query.limit);
    const after = query.cursor === undefined ? 0 : decodeCursor(LISTING, query.cursor);
    const accounts = await this.reader.accountsAfter(after, limit + 1);
    return pageOf(accounts, limit, accountResource, (account) => encodeCursor(LISTING, account.accountId));
  }
}
