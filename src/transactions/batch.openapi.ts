import { applyDecorators } from '@nestjs/common';
import { ApiOperation } from '@nestjs/swagger';
import { ErrorDto, InvalidRequestDto, NotReceivedDto } from '../http/openapi/error-bodies.js';
import { schema, type Reference } from '../http/schema/registry.js';
import {
  bodySchema,
  jsonResponse,
  OriginalLocation,
  queryOf,
  RequestIdHeader,
  RetryAfter,
  TOO_MANY_REQUESTS,
  WRITE_FAILURES,
  WwwAuthenticate,
  type Body,
  type Responses,
} from '../http/openapi/components.js';
import { JSON_MEDIA_TYPE, NDJSON_MEDIA_TYPE, withTextMoney } from '../http/validation/representation.js';
import { MAX_ITEMS } from './batch-items.js';
import { BatchItemDto, BatchQueryDto, BatchResults } from './batch.dto.js';
import { EXAMPLE_RECEIPT } from './transactions.openapi.js';

const BatchItems = schema('BatchItems', {
  title: 'An array',
  type: 'array',
  items: bodySchema('BatchItem', BatchItemDto),
  minItems: 1,
  maxItems: MAX_ITEMS,
});

const Batch = schema('Batch', {
  oneOf: [
    schema('BatchEnvelope', {
      title: 'An object that says whether the batch is atomic',
      type: 'object',
      properties: {
        atomic: { oneOf: [{ type: 'boolean' }, { type: 'null' }], default: false },
        transactions: BatchItems,
      },
      required: ['transactions'],
      additionalProperties: false,
    }),
    BatchItems,
  ],
});

const linesOf = (of: string) => ({ schema: { description: `One ${of} on each line.`, type: 'string' } });

const BAD_AMOUNT = {
  error: 'Invalid request',
  details: [
    {
      field: 'amount',
      message:
        'must be an amount greater than zero, with at most 16 digits before the point and 2 after, like 49.50',
    },
  ],
};

const result = (status: number, body: object) => ({ status, body });
const NOT_APPLIED = result(424, { error: 'Not applied' });
/** An atomic batch whose second transaction was rejected. */
const stoppedBy = (status: number, body: object) => ({ atomic: [NOT_APPLIED, result(status, body)] });
const failed = (status: number, body: object) => ({ atomic: [result(status, body), result(status, body)] });

const response = (
  description: string,
  body: readonly Body[],
  examples: Readonly<Record<string, unknown>>,
  headers?: Readonly<Record<string, Reference>>,
) => {
  const { content: json = {}, ...response } = jsonResponse(description, body, examples, headers);
  const lines = { [NDJSON_MEDIA_TYPE]: linesOf('result') };
  const textLines = { [withTextMoney(NDJSON_MEDIA_TYPE)]: linesOf('result') };
  const hasTextMoney = withTextMoney(JSON_MEDIA_TYPE) in json;
  return { ...response, content: { ...json, ...lines, ...(hasTextMoney && textLines) } };
};

const ATOMIC = 'An atomic batch, of which nothing was applied: ';

const RESPONSES: Responses = {
  200: response(
    'The results. Those of a batch that is not atomic may be of any status; of an atomic one all are 201.',
    [BatchResults],
    { results: [result(201, EXAMPLE_RECEIPT), result(422, { error: 'Insufficient Balance' })] },
  ),
  400: response(
    `The request as a whole is malformed, or holds more than the rate limit admits together. ${ATOMIC}a transaction of it is malformed, or of another shard than the first, ` +
      'or has a key that is there already.',
    [InvalidRequestDto, BatchResults],
    {
      malformed: {
        error: 'Invalid request',
        details: [{ field: 'transactions', message: 'must hold at least one transaction' }],
      },
      ...stoppedBy(400, BAD_AMOUNT),
    },
  ),
  403: response(
    `The credential allows neither deposits nor withdrawals. ${ATOMIC}it does not allow the type of one of its transactions.`,
    [ErrorDto, BatchResults],
    { forbidden: { error: 'Forbidden' }, ...stoppedBy(403, { error: 'Forbidden' }) },
    { 'WWW-Authenticate': WwwAuthenticate },
  ),
  404: response(
    `${ATOMIC}there is no such account.`,
    [BatchResults],
    stoppedBy(404, { error: 'Account not found' }),
  ),
  408: response(
    `The request did not come in whole in time. ${ATOMIC}the database failed.`,
    [NotReceivedDto, BatchResults],
    {
      'The client was too slow': { error: 'Request not received in time' },
      ...failed(408, { error: 'Server Crashes', CurrentVersion: 5 }),
    },
  ),
  409: response(
    `${ATOMIC}an account does not have the version that was expected, or a key was used for the same transaction before. Each transaction that was applied before says so, by its own 409.`,
    [BatchResults],
    stoppedBy(409, { error: 'Duplicate transaction', transactionId: 'txn131' }),
    { Location: OriginalLocation },
  ),
  413: response(
    `The body is over 8 MiB, or holds more than ${MAX_ITEMS} transactions. ${ATOMIC}one of its transactions is over 16 KiB.`,
    [ErrorDto, BatchResults],
    {
      tooLarge: { error: 'Body too large' },
      tooMany: { error: 'Too many transactions' },
      ...stoppedBy(413, { error: 'Body too large' }),
    },
  ),
  415: WRITE_FAILURES[415],
  422: response(
    `${ATOMIC}a balance does not suffice or would be too large, or a key was used for another transaction.`,
    [BatchResults],
    stoppedBy(422, { error: 'Insufficient Balance' }),
  ),
  429: TOO_MANY_REQUESTS,
  500: response('A defect of the service. It is logged with the request id.', [ErrorDto, BatchResults], {
    internal: { error: 'Internal error' },
    ...failed(500, { error: 'Internal error' }),
  }),
  503: response(
    'Too many batches wait already, or the service is stopping; or the outcome of an atomic batch is unknown: if ' +
      'its transactions have keys, send it again unchanged to learn the outcome.',
    [ErrorDto, BatchResults],
    { Overloaded: { error: 'Overloaded' }, ...failed(503, { error: 'Outcome unknown' }) },
    { 'Retry-After': RetryAfter },
  ),
};

const DEPOSIT = { accountId: 1, 'moneyWithdraw/Deposit': 49, typeOfTransaction: 'Deposit' };
const WITHDRAWAL = { accountId: 1, amount: '19.50', type: 'Withdraw' };

export const DocumentBatch = (): MethodDecorator =>
  applyDecorators(
    ApiOperation({
      tags: ['Transactions'],
      operationId: 'postBatch',
      summary: 'Post many transactions at once',
      description:
        `Up to ${MAX_ITEMS} transactions of any accounts, as one JSON array, or one on each line (${NDJSON_MEDIA_TYPE}); lines are ` +
        'answered while the rest still comes. Each gets the result that the single call would have given it, in its place. ' +
        'Those of one account are applied in their order. Once the credential has ended, each remaining transaction gets ' +
        'the result 401. An atomic batch is applied as a whole or not at all: its ' +
        'accounts must be in one shard, and its status is that of the transaction which stopped it; the others have 424. ' +
        'Each transaction needs the scope of its type, and counts against the rate limit; an atomic batch needs room for ' +
        'all of them.',
      requestBody: {
        required: true,
        content: {
          'application/json': {
            schema: Batch,
            examples: {
              array: { summary: 'Each for itself', value: [DEPOSIT, WITHDRAWAL] },
              atomic: {
                summary: 'All or nothing',
                value: { atomic: true, transactions: [DEPOSIT, WITHDRAWAL] },
              },
            },
          },
          [NDJSON_MEDIA_TYPE]: linesOf('transaction'),
        },
      },
      responses: RESPONSES,
    }),
    ...queryOf(BatchQueryDto),
    RequestIdHeader(),
  );
