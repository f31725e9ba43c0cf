import { Controller, Get, Req } from '@nestjs/common';
import type { FastifyRequest } from 'fastify';
import { senderOf } from '../access/user.js';
import { Allow } from '../http/access/access.guard.js';
import { Answers } from '../http/openapi/answers.js';
import { Incoming } from '../http/validation/incoming.js';
import { SubmissionDto, submissionIdOf } from './submissions.dto.js';
import { DocumentSubmission } from './submissions.openapi.js';
import { SubmissionsService } from './submissions.service.js';

@Controller()
export class SubmissionsController {
  constructor(private readonly submissions: SubmissionsService) {}

  @Allow('transactions:read')
  @Get('submissions/:submissionId')
  @Answers(200, SubmissionDto)
  @DocumentSubmission()
  get(@Incoming(submissionIdOf) id: string, @Req() request: FastifyRequest) {
    return this.submissions.get(id, senderOf(request));
  }
}
