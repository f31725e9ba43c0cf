import { Controller, Get, Inject, Req, Res } from '@nestjs/common';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { senderOf, userOf } from '../access/user.js';
import { AdaptiveConcurrencyLimiter, halfOf } from '../concurrency/adaptive-concurrency-limiter.js';
import type { Config } from '../config/config.js';
import { CONFIG } from '../config/config.module.js';
import { Allow } from '../http/access/access.guard.js';
import { AnswerStream } from '../http/server/answer-stream.js';
import { Incoming } from '../http/validation/incoming.js';
import { contentTypeOf } from '../http/validation/representation.js';
import { writeCamt053 } from './camt053.js';
import { writeCsv } from './csv.js';
import { jsonWriter } from './json.js';
import type { StatementWriter } from './statement.js';
import {
  MEDIA_TYPES,
  statementRequestOf,
  type StatementFormat,
  type StatementRequest,
} from './statements.dto.js';
import { DocumentStatement } from './statements.openapi.js';
import { StatementsService } from './statements.service.js';

/** Statements that one process makes at a time, and those that may wait. */
const MAX_IN_FLIGHT = 4;
const MAX_WAITING = 100;

/** What of a statement may wait for the client to take it. */
const UNREAD_BYTES = 256 * 1024;

const EXTENSIONS: Readonly<Record<StatementFormat, string>> = {
  ...{ json: 'json', csv: 'csv', pdf: 'pdf', 'camt.053': 'xml' },
};

@Controller()
export class StatementsController {
  private readonly limiter: AdaptiveConcurrencyLimiter;

  constructor(
    private readonly statements: StatementsService,
    @Inject(CONFIG) private readonly config: Config,
  ) {
    // A slow client keeps its permit, so a user has at most half of them.
    this.limiter = new AdaptiveConcurrencyLimiter({
      maxInFlight: MAX_IN_FLIGHT,
      maxPerUser: halfOf(MAX_IN_FLIGHT),
      queue: MAX_WAITING,
      maxWaitMs: config.ledger.commandTimeoutMs,
    });
  }

  /** Sends its own answer: it is a stream. */
  @Allow('transactions:read')
  @Get('accounts/:accountId/statement')
  @DocumentStatement()
  get(
    @Incoming(statementRequestOf) asked: StatementRequest,
    @Req() request: FastifyRequest,
    @Res() reply: FastifyReply,
  ): Promise<void> {
    return this.limiter.run(userOf(request), () => this.answer(asked, request, reply));
  }

  private async answer(asked: StatementRequest, request: FastifyRequest, reply: FastifyReply): Promise<void> {
    // It went away while it waited.
    if (request.raw.socket.destroyed) return void reply.send();
    const write = await writerOf(asked);
    const parts = write(await this.statements.open(asked, senderOf(request)));
    // The answer starts with the first part: what fails before it gets an answer of its own.
    let part = await parts.next();
    const stream = new AnswerStream(UNREAD_BYTES, this.config.http.answerTimeoutMs);
    void reply
      .type(typeOf(asked))
      .header('content-disposition', `attachment; filename="${fileName(asked)}"`)
      .send(stream.answer);
    try {
      for (; part.done !== true && !stream.isGone; part = await parts.next()) await stream.send(part.value);
      stream.end();
    } catch (error) {
      stream.cut();
      throw error;
    }
  }
}

async function writerOf({ format, textMoney }: StatementRequest): Promise<StatementWriter> {
  switch (format) {
    case 'json':
      return jsonWriter(textMoney);
    case 'csv':
      return writeCsv;
    case 'pdf':
      // Most processes never need it, and it takes 30 MB.
      return (await import('./pdf/pdf.js')).writePdf;
    case 'camt.053':
      return writeCamt053;
  }
}

const typeOf = ({ format, textMoney }: StatementRequest): string =>
  format === 'pdf' ? MEDIA_TYPES.pdf : contentTypeOf(MEDIA_TYPES[format], { textMoney });

const fileName = ({ accountId, from, to, format }: StatementRequest) =>
  `statement-${accountId}-${day(from)}-${day(to)}.${EXTENSIONS[format]}`;

const day = (time: Date) => time.toISOString().slice(0, 10);
