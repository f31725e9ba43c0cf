import { Body, Controller, Get, Headers, Param, Post, Query, Res, UseInterceptors } from '@nestjs/common';
import type { FastifyReply } from 'fastify';
import { DtoPipe } from '../http/dto.pipe.js';
import { entityTag, parseIfMatch } from '../http/entity-tags.js';
import { IdempotencyInterceptor, IdempotencyKey } from '../http/idempotency.interceptor.js';
import { AccountIdPipe, TransactionIdPipe } from '../http/path-pipes.js';
import { ListTransactionsDto, PostTransactionDto, receipt, transactionResource } from './transactions.dto.js';
import { DocumentPosting, DocumentTransaction, DocumentTransactions } from './transactions.openapi.js';
import { TransactionsService } from './transactions.service.js';

@Controller()
export class TransactionsController {
  constructor(private readonly transactions: TransactionsService) {}

  @Post('accounts/:accountId/transactions')
  @UseInterceptors(IdempotencyInterceptor)
  @DocumentPosting()
  async post(
    @Param('accountId', AccountIdPipe) accountId: number,
    @Body(new DtoPipe(PostTransactionDto)) body: PostTransactionDto,
    @IdempotencyKey() idempotencyKey: string | undefined,
    @Headers('if-match') ifMatch: string | undefined,
    @Res({ passthrough: true }) reply: FastifyReply,
  ) {
    const transaction = await this.transactions.post(accountId, body, idempotencyKey, parseIfMatch(ifMatch));
    const answer = receipt(transaction);
    void reply.headers({ location: `/transactions/${answer.id}`, etag: entityTag(transaction.versionAfter) });
    return answer;
  }

  @Get('accounts/:accountId/transactions')
  @DocumentTransactions()
  list(
    @Param('accountId', AccountIdPipe) accountId: number,
    @Query(new DtoPipe(ListTransactionsDto)) query: ListTransactionsDto,
  ) {
    return this.transactions.list(accountId, query);
  }

  @Get('transactions/:transactionId')
  @DocumentTransaction()
  async get(@Param('transactionId', TransactionIdPipe) transactionId: number) {
    return transactionResource(await this.transactions.get(transactionId));
  }
}
