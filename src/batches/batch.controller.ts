import { Controller, HttpCode, Inject, Post, Req, Res } from '@nestjs/common';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { Allow, principalNow } from '../http/access/access.guard.js';
import { POSTING_SCOPES } from '../access/principal.js';
import { CONFIG } from '../config/config.module.js';
import type { Config } from '../config/config.js';
import { Incoming } from '../http/validation/incoming.js';
import {
  contentTypeOf,
  JSON_MEDIA_TYPE,
  NDJSON_MEDIA_TYPE,
  representationOf,
} from '../http/validation/representation.js';
import { InvalidRequestError } from '../http/validation/invalid-request.js';
import { bodyStream } from '../http/validation/body-stream.js';
import { ResultStream, type ResultForm } from '../http/server/result-stream.js';
import { TRANSACTION_RATE } from '../http/transaction-rate.module.js';
import { TransactionRate } from '../http/transaction-rate.js';
import { userOf } from '../access/user.js';
import { EMPTY_BATCH, inChunks, readJsonBatch, readLines } from './batch-body.js';
import { itemReader, type BatchItem, type ReadItem } from './batch-items.js';
import { batchModeOf, type BatchMode } from './batch.dto.js';
import { DocumentBatch } from './batch.openapi.js';
import { BatchService, type BatchSender } from './batch.service.js';

const MEDIA_TYPES: Readonly<Record<ResultForm, string>> = {
  json: JSON_MEDIA_TYPE,
  ndjson: NDJSON_MEDIA_TYPE,
};

/** A batch as one JSON text, or as a stream of lines. */
interface Exchange {
  readonly form: ResultForm;
  readonly request: FastifyRequest;
  readonly reply: FastifyReply;
}

@Controller()
export class BatchController {
  constructor(
    private readonly batches: BatchService,
    @Inject(TRANSACTION_RATE) private readonly rate: TransactionRate | undefined,
    @Inject(CONFIG) private readonly config: Config,
  ) {}

  /** Sends its own answer: the results are a stream. */
  @Allow([...POSTING_SCOPES, 'transfers:write'])
  @Post('transactions/batch')
  @HttpCode(200)
  @DocumentBatch()
  post(
    @Incoming(batchModeOf) mode: BatchMode,
    @Req() request: FastifyRequest,
    @Res() reply: FastifyReply,
  ): Promise<void> {
    const { body, principal } = request;
    const read = itemReader({ principal, dryRun: mode.dryRun });
    const isText = typeof body === 'string' || body === undefined;
    const work = isText
      ? this.postText(body ?? '', mode, read, { form: 'json', request, reply })
      : this.postLines(mode, read, { form: 'ndjson', request, reply });
    // A failure is reported through the answer.
    request.batchAtWork = work.catch(() => undefined);
    return work;
  }

  private async postText(
    text: string,
    { atomic: asked }: BatchMode,
    read: ReadItem,
    exchange: Exchange,
  ): Promise<void> {
    const { atomic, items } = await readJsonBatch(text, read);
    if (asked !== undefined && atomic !== undefined) {
      throw InvalidRequestError.of('atomic', 'is in the body and in the query: give one of the two');
    }
    if (asked ?? atomic) return this.answerAtomically(items, exchange);
    return this.answerEach(inChunks(items), exchange);
  }

  private async postLines({ atomic }: BatchMode, read: ReadItem, exchange: Exchange): Promise<void> {
    const body = bodyStream(exchange.request.raw, this.config.http.requestTimeoutMs);
    const chunks = readLines(body, read);
    // The answer starts with the first item, so an empty batch can still get 400.
    const first = await chunks.next();
    if (first.done) throw InvalidRequestError.of('body', EMPTY_BATCH);
    const all = withFirst(first.value, chunks);
    if (!atomic) return this.answerEach(all, exchange);
    const items: BatchItem[] = [];
    for await (const some of all) items.push(...some);
    return this.answerAtomically(items, exchange);
  }

  private async answerEach(
    chunks: AsyncIterable<readonly BatchItem[]>,
    { form, request, reply }: Exchange,
  ): Promise<void> {
    const { rate } = this;
    const results = new ResultStream(form, this.config.http.answerTimeoutMs);
    const sender = batchSenderOf(request);
    void reply.status(200).type(contentTypeOf(MEDIA_TYPES[form], sender)).send(results.answer);
    // Sends the head before the first item is posted: from here on, no answer may say that nothing was applied.
    reply.raw.flushHeaders();
    const admitEach = rate && ((weights: readonly number[]) => rate.admitEach(request, weights));
    try {
      await this.batches.postEach(chunks, results, admitEach, sender);
    } catch (error) {
      results.cut();
      throw error;
    }
  }

  private async answerAtomically(
    items: readonly BatchItem[],
    { form, request, reply }: Exchange,
  ): Promise<void> {
    const admit = this.rate?.admission(request, reply);
    const sender = batchSenderOf(request);
    const answer = await this.batches.postAtomically(items, admit, sender);
    const { status, headers, results } = answer;
    // One of which nothing was applied holds errors alone, and so no money.
    const textMoney = sender.textMoney && status === 200;
    void reply
      .headers(headers)
      .status(status)
      .type(contentTypeOf(MEDIA_TYPES[form], { textMoney }))
      .send(form === 'json' ? `[${results.join()}]` : `${results.join('\n')}\n`);
  }
}

const batchSenderOf = (request: FastifyRequest): BatchSender => ({
  span: request.span,
  user: userOf(request),
  requestId: request.id,
  textMoney: representationOf(request.headers).textMoney,
  principalNow: async () => principalNow(request),
});

async function* withFirst<T>(first: T, rest: AsyncIterable<T>): AsyncGenerator<T> {
  yield first;
  yield* rest;
}
