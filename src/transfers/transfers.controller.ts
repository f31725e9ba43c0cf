import { Controller, Get, HttpStatus, Inject, Post, Req, Res, UseInterceptors } from '@nestjs/common';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { senderOf } from '../access/user.js';
import type { TransferCommand } from '../domain/command.js';
import { Ledger } from '../domain/ports.js';
import type { Transfer, TransferReversal } from '../domain/transfer.js';
import { Allow } from '../http/access/access.guard.js';
import { exchangePermit } from '../http/admission.js';
import { IdempotencyInterceptor } from '../http/idempotency.interceptor.js';
import { Answers, located, rehearsed } from '../http/openapi/answers.js';
import { TransactionRate } from '../http/transaction-rate.js';
import { TRANSACTION_RATE } from '../http/transaction-rate.module.js';
import { Incoming } from '../http/validation/incoming.js';
import type { Listing } from '../http/validation/page-query.dto.js';
import {
  DryTransferDto,
  TransferDto,
  transferIdOf,
  transferListingOf,
  transferOf,
  TransferPageDto,
  transferReversalOf,
} from './transfers.dto.js';
import {
  DocumentTransfer,
  DocumentTransferReversal,
  DocumentTransfers,
  DocumentTransferring,
} from './transfers.openapi.js';
import { TransfersService } from './transfers.service.js';

@Controller()
export class TransfersController {
  constructor(
    private readonly transfers: TransfersService,
    private readonly ledger: Ledger,
    @Inject(TRANSACTION_RATE) private readonly rate: TransactionRate | undefined,
  ) {}

  @Allow('transfers:write')
  @Post('transfers')
  @UseInterceptors(IdempotencyInterceptor)
  @Answers(201, TransferDto, DryTransferDto, TransferDto)
  @DocumentTransferring()
  async transfer(
    @Incoming(transferOf) command: TransferCommand,
    @Req() request: FastifyRequest,
    @Res({ passthrough: true }) reply: FastifyReply,
  ) {
    const admit = this.rate?.admission(request, reply);
    const made = await this.transfers.transfer(command, senderOf(request), request, admit);
    return answered(reply, made, command);
  }

  @Allow('transfers:write')
  @Post('transfers/:transferId/reversal')
  @UseInterceptors(IdempotencyInterceptor)
  @Answers(201, TransferDto, DryTransferDto, TransferDto)
  @DocumentTransferReversal()
  async reverse(
    @Incoming(transferReversalOf) reversal: TransferReversal,
    @Req() request: FastifyRequest,
    @Res({ passthrough: true }) reply: FastifyReply,
  ) {
    const admit = this.rate?.admission(request, reply);
    const betweenShards = (from: number, to: number) => exchangePermit(request, this.ledger, from, to);
    const made = await this.transfers.reverse(
      ...([reversal, senderOf(request), request, admit, betweenShards] as const),
    );
    return answered(reply, made, reversal);
  }

  @Allow('transactions:read')
  @Get('transfers/:transferId')
  @Answers(200, TransferDto)
  @DocumentTransfer()
  async get(@Incoming(transferIdOf) transferId: number, @Req() request: FastifyRequest) {
    return new TransferDto(await this.transfers.get(transferId, senderOf(request)));
  }

  @Allow('transactions:read')
  @Get('accounts/:accountId/transfers')
  @Answers(200, TransferPageDto)
  @DocumentTransfers()
  list(@Incoming(transferListingOf) listing: Listing, @Req() request: FastifyRequest) {
    return this.transfers.list(listing, senderOf(request));
  }
}

/** 202: it is a transfer to another shard, which is not decided yet. */
export function answered(
  reply: FastifyReply,
  transfer: Transfer,
  { dryRun }: { readonly dryRun?: boolean },
): TransferDto {
  const body = new TransferDto(transfer);
  if (dryRun === true) return rehearsed(reply, body);
  if (transfer.status === 'pending') void reply.status(HttpStatus.ACCEPTED);
  return located(reply, `/transfers/${body.id}`, body);
}
