import {
  Body,
  Controller,
  Get,
  Headers,
  Inject,
  Param,
  Post,
  Query,
  Req,
  Res,
  UseInterceptors,
} from '@nestjs/common';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { requireScope } from '../access/access-errors.js';
import { Allow } from '../http/access/access.guard.js';
import { MOVEMENT_SCOPES } from '../access/principal.js';
import { DtoPipe } from '../http/validation/dto.pipe.js';
import { accountTag, matchesNone, versionTag } from '../http/validation/entity-tags.js';
import { IdempotencyInterceptor, IdempotencyKey } from '../http/idempotency.interceptor.js';
import { PageQueryDto } from '../http/validation/page-query.dto.js';
import { AccountIdPipe } from '../http/validation/path-pipes.js';
import { TRANSACTION_RATE } from '../http/transaction-rate.module.js';
import { TransactionRate } from '../http/transaction-rate.js';
import { senderOf, userOf } from '../access/user.js';
import {
  accountResource,
  BalanceQueryDto,
  balanceResource,
  OpenAccountDto,
  ownerOf,
  ProofQueryDto,
} from './accounts.dto.js';
import {
  DocumentAccount,
  DocumentAccounts,
  DocumentBalance,
  DocumentOpening,
  DocumentProof,
} from './accounts.openapi.js';
import { AccountsService } from './accounts.service.js';

@Controller('accounts')
export class AccountsController {
  constructor(
    private readonly accounts: AccountsService,
    @Inject(TRANSACTION_RATE) private readonly rate: TransactionRate | undefined,
  ) {}

  @Allow('accounts:read')
  @Get(':accountId/balance')
  @DocumentBalance()
  async balance(
    @Param('accountId', AccountIdPipe) accountId: number,
    @Query(new DtoPipe(BalanceQueryDto)) query: BalanceQueryDto,
    @Headers('cache-control') cacheControl: string | undefined,
    @Headers('if-none-match') ifNoneMatch: string | undefined,
    @Req() request: FastifyRequest,
    @Res({ passthrough: true }) reply: FastifyReply,
  ) {
    const wanted = matchesNone(ifNoneMatch);
    const account = await this.accounts.balance(accountId, query, cacheControl, senderOf(request));
    return answer(reply, versionTag(account.version), wanted, () => balanceResource(account));
  }

  @Allow('accounts:write', MOVEMENT_SCOPES.credit)
  @Post()
  @UseInterceptors(IdempotencyInterceptor)
  @DocumentOpening()
  async open(
    @Body(new DtoPipe(OpenAccountDto)) body: OpenAccountDto,
    @IdempotencyKey() idempotencyKey: string | undefined,
    @Req() request: FastifyRequest,
    @Res({ passthrough: true }) reply: FastifyReply,
  ) {
    const { principal } = request;
    const owner = ownerOf(body, principal.owner);
    if (body.openingDeposit !== undefined) requireScope(principal, MOVEMENT_SCOPES.credit);
    // It writes as a transaction does, opening deposit or not, so it counts as one.
    if (this.rate) await this.rate.admit(request, reply);
    const account = await this.accounts.open(body, { owner, user: userOf(request) }, idempotencyKey);
    void reply.headers({ location: `/accounts/${account.accountId}`, etag: accountTag(account) });
    return accountResource(account);
  }

  @Allow('accounts:read')
  @Get(':accountId')
  @DocumentAccount()
  async get(
    @Param('accountId', AccountIdPipe) accountId: number,
    @Headers('if-none-match') ifNoneMatch: string | undefined,
    @Req() request: FastifyRequest,
    @Res({ passthrough: true }) reply: FastifyReply,
  ) {
    const wanted = matchesNone(ifNoneMatch);
    const account = await this.accounts.get(accountId, senderOf(request));
    return answer(reply, accountTag(account), wanted, () => accountResource(account));
  }

  @Allow('accounts:read', 'transactions:read')
  @Get(':accountId/proof')
  @DocumentProof()
  proof(
    @Param('accountId', AccountIdPipe) accountId: number,
    @Query(new DtoPipe(ProofQueryDto)) query: ProofQueryDto,
    @Req() request: FastifyRequest,
  ) {
    // Its lines are transactions, with their amounts and keys.
    if (query.fromVersion !== undefined) requireScope(request.principal, 'transactions:read');
    return this.accounts.proof(accountId, query, senderOf(request));
  }

  @Allow('accounts:read')
  @Get()
  @DocumentAccounts()
  list(@Query(new DtoPipe(PageQueryDto)) query: PageQueryDto, @Req() request: FastifyRequest) {
    return this.accounts.list(query, senderOf(request));
  }
}

/** The resource under its entity tag; 304 and no body when the client has it. */
function answer<T>(
  reply: FastifyReply,
  tag: string,
  wanted: (tag: string) => boolean,
  resource: () => T,
): T | undefined {
  void reply.header('etag', tag);
  if (wanted(tag)) return resource();
  void reply.status(304);
  return undefined;
}
