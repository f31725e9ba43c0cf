import { Controller, Get, Inject, Patch, Post, Req, Res, UseInterceptors } from '@nestjs/common';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { Allow } from '../http/access/access.guard.js';
import { MOVEMENT_SCOPES } from '../access/principal.js';
import { Answers, created, tagged, unlessKnown } from '../http/openapi/answers.js';
import { accountTag, versionTag } from '../http/validation/entity-tags.js';
import type { AccountOpening } from '../domain/account.js';
import type { ChangeCommand } from '../domain/command.js';
import { IdempotencyInterceptor } from '../http/idempotency.interceptor.js';
import { Incoming } from '../http/validation/incoming.js';
import { TRANSACTION_RATE } from '../http/transaction-rate.module.js';
import { TransactionRate } from '../http/transaction-rate.js';
import { senderOf } from '../access/user.js';
import {
  AccountDto,
  accountListingOf,
  AccountPageDto,
  accountRequestOf,
  BalanceDto,
  balanceRequestOf,
  changeOf,
  openingOf,
  ProofDto,
  proofRequestOf,
  type AccountListingRequest,
  type AccountRequest,
  type BalanceRequest,
  type ProofRequest,
} from './accounts.dto.js';
import {
  DocumentAccount,
  DocumentAccounts,
  DocumentBalance,
  DocumentChange,
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
  @Answers(200, BalanceDto)
  @DocumentBalance()
  async balance(
    @Incoming(balanceRequestOf) wanted: BalanceRequest,
    @Req() request: FastifyRequest,
    @Res({ passthrough: true }) reply: FastifyReply,
  ) {
    const { accountId, past } = wanted;
    if (past) {
      const then = await this.accounts.pastBalance(accountId, past, senderOf(request));
      return unlessKnown(reply, versionTag(then.version), wanted, () => new BalanceDto(then, then.held));
    }
    const account = await this.accounts.balance(wanted, senderOf(request));
    return unlessKnown(reply, versionTag(account.version), wanted, () => new BalanceDto(account));
  }

  @Allow('accounts:write', MOVEMENT_SCOPES.credit)
  @Post()
  @UseInterceptors(IdempotencyInterceptor)
  @Answers(201, AccountDto)
  @DocumentOpening()
  async open(
    @Incoming(openingOf) opening: AccountOpening,
    @Req() request: FastifyRequest,
    @Res({ passthrough: true }) reply: FastifyReply,
  ) {
    // Opening writes as much as a transaction, with or without a deposit, so it counts as one.
    await this.rate?.admit(request, reply);
    const account = await this.accounts.open(opening, senderOf(request));
    return created(reply, `/accounts/${account.accountId}`, accountTag(account), this.accounts.show(account));
  }

  @Allow('accounts:read')
  @Get(':accountId')
  @Answers(200, AccountDto)
  @DocumentAccount()
  async get(
    @Incoming(accountRequestOf) wanted: AccountRequest,
    @Req() request: FastifyRequest,
    @Res({ passthrough: true }) reply: FastifyReply,
  ) {
    const account = await this.accounts.get(wanted.accountId, senderOf(request));
    return unlessKnown(reply, accountTag(account), wanted, () => this.accounts.show(account));
  }

  @Allow(['accounts:write', 'accounts:manage'])
  @Patch(':accountId')
  @Answers(200, AccountDto)
  @DocumentChange()
  async change(
    @Incoming(changeOf) command: ChangeCommand,
    @Req() request: FastifyRequest,
    @Res({ passthrough: true }) reply: FastifyReply,
  ) {
    const admit = this.rate?.admission(request, reply);
    const account = await this.accounts.change(command, senderOf(request), request, admit);
    return tagged(reply, accountTag(account), this.accounts.show(account));
  }

  @Allow('accounts:read', 'transactions:read')
  @Get(':accountId/proof')
  @Answers(200, ProofDto)
  @DocumentProof()
  proof(@Incoming(proofRequestOf) wanted: ProofRequest, @Req() request: FastifyRequest) {
    return this.accounts.proof(wanted, senderOf(request));
  }

  @Allow('accounts:read')
  @Get()
  @Answers(200, AccountPageDto)
  @DocumentAccounts()
  list(@Incoming(accountListingOf) wanted: AccountListingRequest, @Req() request: FastifyRequest) {
    return this.accounts.list(wanted, senderOf(request));
  }
}
