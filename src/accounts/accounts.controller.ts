import { Body, Controller, Get, Headers, Param, Post, Query, Res } from '@nestjs/common';
import type { FastifyReply } from 'fastify';
import { DtoPipe } from '../http/dto.pipe.js';
import { entityTag, matchesNone } from '../http/entity-tags.js';
import { AccountIdPipe } from '../http/path-pipes.js';
import {
  accountResource,
  BalanceQueryDto,
  balanceResource,
  ListAccountsDto,
  OpenAccountDto,
} from './accounts.dto.js';
import { DocumentAccount, DocumentAccounts, DocumentBalance, DocumentOpening } from './accounts.openapi.js';
import { AccountsService } from './accounts.service.js';

@Controller('accounts')
export class AccountsController {
  constructor(private readonly accounts: AccountsService) {}

  @Get(':accountId/balance')
  @DocumentBalance()
  async balance(
    @Param('accountId', AccountIdPipe) accountId: number,
    @Query(new DtoPipe(BalanceQueryDto)) query: BalanceQueryDto,
    @Headers('cache-control') cacheControl: string | undefined,
    @Headers('if-none-match') ifNoneMatch: string | undefined,
    @Res({ passthrough: true }) reply: FastifyReply,
  ) {
    const account = await this.accounts.balance(accountId, query, cacheControl);
    void reply.header('etag', entityTag(account.version));
    if (matchesNone(ifNoneMatch, account.version)) return balanceResource(account);
    void reply.status(304);
    return undefined;
  }

  @Post()
  @DocumentOpening()
  async open(
    @Body(new DtoPipe(OpenAccountDto)) body: OpenAccountDto,
    @Res({ passthrough: true }) reply: FastifyReply,
  ) {
    const account = await this.accounts.open(body);
    void reply.headers({ location: `/accounts/${account.accountId}`, etag: entityTag(account.version) });
    return accountResource(account);
  }

  @Get(':accountId')
  @DocumentAccount()
  async get(
    @Param('accountId', AccountIdPipe) accountId: number,
    @Res({ passthrough: true }) reply: FastifyReply,
  ) {
    const account = await this.accounts.get(accountId);
    void reply.header('etag', entityTag(account.version));
    return accountResource(account);
  }

  @Get()
  @DocumentAccounts()
  list(@Query(new DtoPipe(ListAccountsDto)) query: ListAccountsDto) {
    return this.accounts.list(query);
  }
}
