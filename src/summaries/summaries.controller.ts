import { Controller, Get, Req } from '@nestjs/common';
import type { FastifyRequest } from 'fastify';
import { userOf } from '../access/user.js';
import { Allow } from '../http/access/access.guard.js';
import { Answers } from '../http/openapi/answers.js';
import { Incoming } from '../http/validation/incoming.js';
import { SummaryReader } from '../ledger/read/summary-reader.js';
import { LedgerSummaryDto, summaryRequestOf } from './summaries.dto.js';
import { DocumentSummary } from './summaries.openapi.js';

@Controller('ledger')
export class SummariesController {
  constructor(private readonly reader: SummaryReader) {}

  @Allow('admin')
  @Get('summary')
  @Answers(200, LedgerSummaryDto)
  @DocumentSummary()
  async get(@Incoming(summaryRequestOf) _: undefined, @Req() request: FastifyRequest) {
    return new LedgerSummaryDto(await this.reader.summary(userOf(request)));
  }
}
