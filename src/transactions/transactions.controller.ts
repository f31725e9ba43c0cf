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
import { MOVEMENT_SCOPES, POSTING_SCOPES } from '../access/principal.js';
import { DtoPipe } from '../http/validation/dto.pipe.js';
import { versionTag, parseIfMatch } from '../http/validation/entity-tags.js';
import { IdempotencyInterceptor, IdempotencyKey } from '../http/idempotency.interceptor.js';
import { AccountIdPipe, TransactionIdPipe } from '../http/validation/path-pipes.js';
import { TRANSACTION_RATE } from '../http/transaction-rate.module.js';
import { TransactionRate } from '../http/transaction-rate.js';
import { senderOf } from '../access/user.js';
import {
  ListTransactionsDto,
  PostTransactionDto,
  readPosting,
  receipt,
  transactionResource,
} from './transactions.dto.js';
import { DocumentPosting, DocumentTransaction, DocumentTransactions } from './transactions.openapi.js';
import { TransactionsService } from './transactions.service.js';

@Controller()
export class TransactionsController {
  constructor(
    private readonly transactions: TransactionsService,
    @Inject(TRANSACTION_RATE) private readonly rate: TransactionRate | undefined,
  ) {}

  @Allow(POSTING_SCOPES)
  @Post('accounts/:accountId/transactions')
  @UseInterceptors(IdempotencyInterceptor)
  @DocumentPosting()
  async post(
    @Param('accountId', AccountIdPipe) accountId: number,
    @Body(new DtoPipe(PostTransactionDto)) body: PostTransactionDto,
    @IdempotencyKey() idempotencyKey: string | undefined,
    @Headers('if-match') ifMatch: string | undefined,
    @Req() request: FastifyRequest,
    @Res({ passthrough: true }) reply: FastifyReply,
  ) {
    const allowedVersions = parseIfMatch(ifMatch);
    const command = { accountId, ...readPosting(body), allowedVersions, idempotencyKey };
    // Neither check is in a guard: guards come before pipes, but a malformed request is always a 400.
    requireScope(request.principal, MOVEMENT_SCOPES[command.type]);
    const { rate } = this;
    const admit = rate && (() => rate.admit(request, reply));
    const sender = senderOf(request);
    const transaction = await this.transactions.post(command, sender, request.waitingSinceMs, admit);
    const answer = receipt(transaction);
    void reply.headers({
      location: `/transactions/${answer.id}`,
      etag: versionTag(transaction.versionAfter),
    });
    return answer;
  }

  @Allow('transactions:read')
  @Get('accounts/:accountId/transactions')
  @DocumentTransactions()
  list(
    @Param('accountId', AccountIdPipe) accountId: number,
    @Query(new DtoPipe(ListTransactionsDto)) query: ListTransactionsDto,
    @Req() request: FastifyRequest,
  ) {
    return this.transactions.list(accountId, query, senderOf(request));
  }

  @Allow('transactions:read')
  @Get('transactions/:transactionId')
  @DocumentTransaction()
  async get(
    @Param('transactionId', TransactionIdPipe) transactionId: number,
    @Req() request: FastifyRequest,
  ) {
    return transactionResource(await this.transactions.get(transactionId, senderOf(request)));
  }
}
