import { Controller, Get, Inject, Post, Req, Res, UseInterceptors } from '@nestjs/common';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { Allow } from '../http/access/access.guard.js';
import { POSTING_SCOPES } from '../access/principal.js';
import type { PostingCommand } from '../domain/command.js';
import { Answers, created, rehearsed } from '../http/openapi/answers.js';
import { DryReceiptDto, ReceiptDto } from '../http/openapi/receipt.js';
import { versionTag } from '../http/validation/entity-tags.js';
import { IdempotencyInterceptor } from '../http/idempotency.interceptor.js';
import { Incoming } from '../http/validation/incoming.js';
import { TRANSACTION_RATE } from '../http/transaction-rate.module.js';
import { TransactionRate } from '../http/transaction-rate.js';
import { senderOf, userOf } from '../access/user.js';
import {
  DryTransactionDto,
  listingRequestOf,
  postingOf,
  reversalOf,
  TransactionDto,
  transactionIdOf,
  TransactionPageDto,
  type ListingRequest,
  type Reversal,
} from './transactions.dto.js';
import {
  DocumentPosting,
  DocumentReversal,
  DocumentTransaction,
  DocumentTransactions,
} from './transactions.openapi.js';
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
  @Answers(201, ReceiptDto, DryReceiptDto)
  @DocumentPosting()
  async post(
    @Incoming(postingOf) command: PostingCommand,
    @Req() request: FastifyRequest,
    @Res({ passthrough: true }) reply: FastifyReply,
  ) {
    const admit = this.rate?.admission(request, reply);
    const posted = await this.transactions.post(command, senderOf(request), request, admit);
    const receipt = new ReceiptDto(posted);
    if (command.dryRun === true) return rehearsed(reply, receipt);
    return created(reply, `/transactions/${receipt.id}`, versionTag(posted.versionAfter), receipt);
  }

  @Allow(POSTING_SCOPES)
  @Post('transactions/:transactionId/reversal')
  @UseInterceptors(IdempotencyInterceptor)
  @Answers(201, TransactionDto, DryTransactionDto)
  @DocumentReversal()
  async reverse(
    @Incoming(reversalOf) reversal: Reversal,
    @Req() request: FastifyRequest,
    @Res({ passthrough: true }) reply: FastifyReply,
  ) {
    const admit = this.rate?.admission(request, reply);
    const { principal } = request;
    const posted = await this.transactions.reverse(reversal, principal, userOf(request), request, admit);
    const body = new TransactionDto(posted);
    if (reversal.dryRun === true) return rehearsed(reply, body);
    return created(reply, `/transactions/${body.id}`, versionTag(posted.versionAfter), body);
  }

  @Allow('transactions:read')
  @Get('accounts/:accountId/transactions')
  @Answers(200, TransactionPageDto)
  @DocumentTransactions()
  list(@Incoming(listingRequestOf) listing: ListingRequest, @Req() request: FastifyRequest) {
    return this.transactions.list(listing, senderOf(request));
  }

  @Allow('transactions:read')
  @Get('transactions/:transactionId')
  @Answers(200, TransactionDto)
  @DocumentTransaction()
  async get(@Incoming(transactionIdOf) transactionId: number, @Req() request: FastifyRequest) {
    return new TransactionDto(await this.transactions.get(transactionId, senderOf(request)));
  }
}
