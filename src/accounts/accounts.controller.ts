import { Body, Controller, Get, Headers, Inject, Param, Post, Query, Req, Res } from '@nestjs/common';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { requireScope } from '../auth/access-errors.js';
import { Allow } from '../auth/access.js';
import { MOVEMENT_SCOPES } from '../auth/principal.js';
import type { Account } from '../domain/account.js';
import { DtoPipe } from '../http/dto.pipe.js';
import { entityTag, matchesNone } from '../http/entity-tags.js';
import { InvalidRequestError } from '../http/invalid-request.js';
import { PageQueryDto } from '../http/page-query.dto.js';
import { AccountIdPipe } from '../http/path-pipes.js';
import { TRANSACTION_RATE } from '../rate-limit/rate-limit.module.js';
import { TransactionRate } from '../rate-limit/transaction-rate.js';
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
    @Req() { principal }: FastifyRequest,
    @Res({ passthrough: true }) reply: FastifyReply,
  ) {
    const wanted = matchesNone(ifNoneMatch);
    const account = await this.accounts.balance(accountId, query, cacheControl, principal.owner);
    return answer(reply, account, wanted, balanceResource);
  }

  @Allow('accounts:write', MOVEMENT_SCOPES.credit)
  @Post()
  @DocumentOpening()
  async open(
    @Body(new DtoPipe(OpenAccountDto)) body: OpenAccountDto,
    @Headers('idempotency-key') idempotencyKey: string | undefined,
    @Req() request: FastifyRequest,
    @Res({ passthrough: true }) reply: FastifyReply,
  ) {
    // A key's scope is its account. To ignore it would promise what a retry then breaks: it opens another account.
    if (idempotencyKey !== undefined) {
      throw InvalidRequestError.of('Idempotency-Key', 'is not supported for opening an account');
    }
    const { principal } = request;
    const owner = ownerOf(body, principal.owner);
    if (body.openingDeposit !== undefined) requireScope(principal, MOVEMENT_SCOPES.credit);
    // It writes as a transaction does, opening deposit or not, so it counts as one.
    if (this.rate) await this.rate.admit(request, reply);
    const account = await this.accounts.open(body, owner);
    void reply.headers({ location: `/accounts/${account.accountId}`, etag: entityTag(account.version) });
    return accountResource(account);
  }

  @Allow('accounts:read')
  @Get(':accountId')
  @DocumentAccount()
  async get(
    @Param('accountId', AccountIdPipe) accountId: number,
    @Headers('if-none-match') ifNoneMatch: string | undefined,
    @Req() { principal }: FastifyRequest,
    @Res({ passthrough: true }) reply: FastifyReply,
  ) {
    const wanted = matchesNone(ifNoneMatch);
    return answer(reply, await this.accounts.get(accountId, principal.owner), wanted, accountResource);
  }

  @Allow('accounts:read', 'transactions:read')
  @Get(':accountId/proof')
  @DocumentProof()
  proof(
    @Param('accountId', AccountIdPipe) accountId: number,
    @Query(new DtoPipe(ProofQueryDto)) query: ProofQueryDto,
    @Req() { principal }: FastifyRequest,
  ) {
    // Its lines are transactions, with their amounts and keys.
    if (query.fromVersion !== undefined) requireScope(principal, 'transactions:read');
    return this.accounts.proof(accountId, query, principal.owner);
  }

  @Allow('accounts:read')
  @Get()
  @DocumentAccounts()
  list(@Query(new DtoPipe(PageQueryDto)) query: PageQueryDto, @Req() { principal }: FastifyRequest) {
    return this.accounts.list(query, principal.owner);
  }
}

/** The account under its entity tag; 304 and no body when it is a version that the client has. */
function answer<T>(
  reply: FastifyReply,
  account: Account,
  wanted: (version: number) => boolean,
  resource: (account: Account) => T,
): T | undefined {
  void reply.header('etag', entityTag(account.version));
  if (wanted(account.version)) return resource(account);
  void reply.status(304);
  return undefined;
}
