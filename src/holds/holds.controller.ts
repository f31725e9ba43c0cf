import { Controller, Get, HttpCode, Inject, Post, Req, Res, UseInterceptors } from '@nestjs/common';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { senderOf } from '../access/user.js';
import type { HoldCommand } from '../domain/command.js';
import type { Transaction } from '../domain/transaction.js';
import { transferIn } from '../domain/transfer.js';
import { Allow } from '../http/access/access.guard.js';
import { IdempotencyInterceptor } from '../http/idempotency.interceptor.js';
import { Answers, created, rehearsed, tagged } from '../http/openapi/answers.js';
import { ReceiptDto } from '../http/openapi/receipt.js';
import { answered } from '../transfers/transfers.controller.js';
import { TransferDto } from '../transfers/transfers.dto.js';
import { TransactionRate } from '../http/transaction-rate.js';
import { TRANSACTION_RATE } from '../http/transaction-rate.module.js';
import { versionTag } from '../http/validation/entity-tags.js';
import { Incoming } from '../http/validation/incoming.js';
import {
  Captured,
  captureOf,
  DryCaptured,
  DryHoldDto,
  HoldDto,
  holdIdOf,
  holdListingOf,
  HoldPageDto,
  placingOf,
  voidOf,
  type CaptureRequest,
  type HoldListing,
  type VoidRequest,
} from './holds.dto.js';
import {
  DocumentCapture,
  DocumentHold,
  DocumentHolds,
  DocumentPlacing,
  DocumentVoid,
} from './holds.openapi.js';
import { HoldsService } from './holds.service.js';

@Controller()
export class HoldsController {
  constructor(
    private readonly holds: HoldsService,
    @Inject(TRANSACTION_RATE) private readonly rate: TransactionRate | undefined,
  ) {}

  @Allow('withdrawals:write')
  @Post('accounts/:accountId/holds')
  @UseInterceptors(IdempotencyInterceptor)
  @Answers(201, HoldDto, DryHoldDto)
  @DocumentPlacing()
  async place(
    @Incoming(placingOf) command: HoldCommand,
    @Req() request: FastifyRequest,
    @Res({ passthrough: true }) reply: FastifyReply,
  ) {
    const admit = this.rate?.admission(request, reply);
    const { hold, account } = await this.holds.place(command, senderOf(request), request, admit);
    const body = new HoldDto(hold, account);
    if (command.dryRun === true) return rehearsed(reply, body);
    return created(reply, `/holds/${body.id}`, versionTag(account.version), body);
  }

  @Allow(['withdrawals:write', 'transfers:write'])
  @Post('holds/:holdId/capture')
  @UseInterceptors(IdempotencyInterceptor)
  @Answers(201, Captured, DryCaptured, TransferDto)
  @DocumentCapture()
  async capture(
    @Incoming(captureOf) capture: CaptureRequest,
    @Req() request: FastifyRequest,
    @Res({ passthrough: true }) reply: FastifyReply,
  ) {
    const admit = this.rate?.admission(request, reply);
    const captured = await this.holds.capture(capture, senderOf(request), request, admit);
    const { effects, foreign } = captured;
    if (capture.to) return answered(reply, transferIn(effects, { foreign }), capture);
    const debit = effects.transactions.at(-1) as Transaction;
    const body = new ReceiptDto(debit);
    if (capture.dryRun === true) return rehearsed(reply, body);
    return created(reply, `/transactions/${body.id}`, versionTag(debit.versionAfter), body);
  }

  @Allow('withdrawals:write')
  @Post('holds/:holdId/void')
  @HttpCode(200)
  @UseInterceptors(IdempotencyInterceptor)
  @Answers(200, HoldDto)
  @DocumentVoid()
  async void(
    @Incoming(voidOf) wanted: VoidRequest,
    @Req() request: FastifyRequest,
    @Res({ passthrough: true }) reply: FastifyReply,
  ) {
    const admit = this.rate?.admission(request, reply);
    const { hold, account } = await this.holds.void(wanted, senderOf(request), request, admit);
    const body = new HoldDto(hold, account);
    return wanted.dryRun === true ? body : tagged(reply, versionTag(account.version), body);
  }

  @Allow('transactions:read')
  @Get('holds/:holdId')
  @Answers(200, HoldDto)
  @DocumentHold()
  async get(@Incoming(holdIdOf) holdId: number, @Req() request: FastifyRequest) {
    return new HoldDto(await this.holds.get(holdId, senderOf(request)));
  }

  @Allow('transactions:read')
  @Get('accounts/:accountId/holds')
  @Answers(200, HoldPageDto)
  @DocumentHolds()
  list(@Incoming(holdListingOf) listing: HoldListing, @Req() request: FastifyRequest) {
    return this.holds.list(listing, senderOf(request));
  }
}
