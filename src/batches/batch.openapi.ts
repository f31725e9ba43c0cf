import { applyDecorators } from '@nestjs/common';
import { ApiOperation } from '@nestjs/swagger';
import { ERRORS, type ErrorCode } from '../http/errors/catalogue.js';
import { schema } from '../http/schema/registry.js';
import {
  bodiesOf,
  bodySchema,
  errorResponse,
  invalid,
  jsonResponse,
  moneyAsText,
  OriginalLocation,
  queryOf,
  RequestIdHeader,
  RetryAfter,
  TOO_MANY_REQUESTS,
  WRITE_FAILURES,
  WwwAuthenticate,
  type ErrorBodies,
  type ResponseHeaders,
  type Responses,
} from '../http/openapi/components.js';
import { JSON_MEDIA_TYPE, NDJSON_MEDIA_TYPE, withTextMoney } from '../http/validation/representation.js';
import { MAX_ITEMS } from './batch-items.js';
import {
  ATOMIC,
  BatchCaptureDto,
  BatchHoldDto,
  BatchItemDto,
  BatchLegsDto,
  BatchQueryDto,
  BatchResults,
  BatchReversalDto,
  BatchTransferDto,
  BatchTransferReversalDto,
  BatchVoidDto,
} from './batch.dto.js';
import { EXAMPLE_RECEIPT } from '../transactions/transactions.openapi.js';

const BatchTransactions = schema('BatchTransactions', {
  type: 'array',
  items: schema('BatchItem', {
    description:
      'The body of a single request, with its `type`, its `idempotencyKey` and the ids of its path.',
    oneOf: [
      bodySchema('BatchTransaction', BatchItemDto),
      bodySchema('BatchTransfer', BatchTransferDto),
      bodySchema('BatchTransferOfLegs', BatchLegsDto),
      bodySchema('BatchHold', BatchHoldDto),
      bodySchema('BatchCapture', BatchCaptureDto),
      bodySchema('BatchVoid', BatchVoidDto),
      bodySchema('BatchReversal', BatchReversalDto),
      bodySchema('BatchTransferReversal', BatchTransferReversalDto),
    ],
  }),
  minItems: 1,
  maxItems: MAX_ITEMS,
});

const Batch = schema('Batch', {
  oneOf: [
    schema('BatchWithMode', {
      description: 'A batch that says whether it is all or nothing.',
      type: 'object',
      properties: {
        // Without a default: generated types would hold it always.
        atomic: {
          description: `${ATOMIC} Give it here or in the query: both together get 400.`,
          oneOf: [{ type: 'boolean' }, { type: 'null' }],
        },
        transactions: BatchTransactions,
      },
      required: ['transactions'],
      additionalProperties: false,
    }),
    BatchTransactions,
  ],
});

const BatchLines = schema('BatchLines', { type: 'string', description: 'One transaction on each line.' });
const BatchResultLines = schema('BatchResultLines', {
  type: 'string',
  description: 'One result on each line, in the order of the request.',
});

const linesOf = (items: readonly unknown[]) => items.map((item) => `${JSON.stringify(item)}\n`).join('');

const NOTHING_APPLIED = 'An atomic batch, of which nothing was applied: ';
const BAD_AMOUNT = invalid(
  'amount',
  'must be an amount greater than zero, with at most 16 digits before the point and 4 after, like 49.50',
);

/** The same response, on lines, in the same forms. */
function inLines(
  { content: json = {}, ...response }: ReturnType<typeof jsonResponse>,
  results: readonly object[],
) {
  const lines = (items: readonly unknown[]) => ({ schema: BatchResultLines, example: linesOf(items) });
  const textLines = { [withTextMoney(NDJSON_MEDIA_TYPE)]: lines(results.map(moneyAsText)) };
  const hasTextMoney = withTextMoney(JSON_MEDIA_TYPE) in json;
  return {
    ...response,
    content: { ...json, [NDJSON_MEDIA_TYPE]: lines(results), ...(hasTextMoney && textLines) },
  };
}

const result = (code: ErrorCode, [body]: readonly unknown[] = Object.values(bodiesOf([code]))) => ({
  status: ERRORS[code].status,
  code,
  body,
});
/** An atomic batch whose second transaction was rejected. */
const stoppedBy = (...rejected: Parameters<typeof result>) => [result('NOT_APPLIED'), result(...rejected)];
const failed = (code: ErrorCode) => [result(code), result(code)];

interface Failure {
  readonly description: string;
  /** The bodies of answers to the batch as a whole. */
  readonly bodies?: ErrorBodies;
  /** The answer to an atomic batch that one of its transactions stopped. */
  readonly results: readonly object[];
}

const failure = (
  codes: readonly ErrorCode[],
  { description, bodies = {}, results }: Failure,
  headers?: ResponseHeaders,
) =>
  inLines(
    errorResponse(codes, headers, {
      description,
      bodies,
      other: { body: BatchResults, examples: { atomic: results } },
    }),
    results,
  );

const REFUSED = [
  ...['INSUFFICIENT_BALANCE', 'BALANCE_LIMIT_EXCEEDED', 'ACCOUNT_FROZEN', 'DEBITS_BLOCKED'],
  ...[
    'ACCOUNT_CLOSED',
    'COUNTERPARTY_REFUSED',
    'CURRENCY_MISMATCH',
    'DIFFERENT_SHARDS',
    'TOO_MANY_HOLDS',
    'HOLD_EXCEEDED',
    'TOO_MANY_CAPTURES',
  ],
  ...['NOT_REVERSIBLE', 'NOT_REVERSIBLE_IN_PART', 'REVERSAL_EXCEEDED', 'IDEMPOTENCY_KEY_REUSED'],
] as ErrorCode[];

const RESULTS = [{ status: 201, body: EXAMPLE_RECEIPT }, result('INSUFFICIENT_BALANCE')];

const RESPONSES: Responses = {
  200: inLines(
    jsonResponse(
      'The results. Those of a batch that is not atomic may be of any status; of an atomic one none is an error.',
      BatchResults,
      { results: RESULTS },
    ),
    RESULTS,
  ),
  400: failure(['INVALID_REQUEST'], {
    description:
      `The request as a whole is malformed, or holds more than the rate limit admits together. ${NOTHING_APPLIED}a ` +
      'transaction of it is malformed, or of another shard than the first, or has a key that is there already.',
    bodies: { malformed: invalid('transactions', 'must hold at least one transaction') },
    results: stoppedBy('INVALID_REQUEST', [BAD_AMOUNT]),
  }),
  403: failure(
    ['FORBIDDEN'],
    {
      description: `The credential allows neither deposits, withdrawals nor transfers. ${NOTHING_APPLIED}it does not allow one of its items.`,
      bodies: bodiesOf(['FORBIDDEN']),
      results: stoppedBy('FORBIDDEN'),
    },
    { 'WWW-Authenticate': WwwAuthenticate },
  ),
  404: failure(['ACCOUNT_NOT_FOUND', 'HOLD_NOT_FOUND', 'TRANSACTION_NOT_FOUND', 'TRANSFER_NOT_FOUND'], {
    description: `${NOTHING_APPLIED}there is no such account, hold, transaction or transfer.`,
    results: stoppedBy('ACCOUNT_NOT_FOUND'),
  }),
  408: failure(['NOT_RECEIVED', 'DATABASE_FAILED'], {
    description: `The request did not come in whole in time. ${NOTHING_APPLIED}the database failed.`,
    bodies: bodiesOf(['NOT_RECEIVED']),
    results: failed('DATABASE_FAILED'),
  }),
  409: failure(
    [
      ...(['VERSION_MISMATCH', 'DUPLICATE_TRANSACTION', 'DUPLICATE_TRANSFER', 'DUPLICATE_HOLD'] as const),
      ...(['HOLD_NOT_ACTIVE', 'HOLD_BEING_CAPTURED', 'PART_OF_TRANSFER', 'TRANSFER_NOT_COMPLETED'] as const),
    ],
    {
      description: `${NOTHING_APPLIED}an account does not have the version that was expected, a key was used for the same request before, a hold has ended, or a transaction is a part of a transfer. Each item that was applied before says so, by its own 409.`,
      results: stoppedBy('DUPLICATE_TRANSACTION'),
    },
    { Location: OriginalLocation },
  ),
  413: failure(['BODY_TOO_LARGE', 'TOO_MANY_TRANSACTIONS'], {
    description: `The body is over 8 MiB, or holds more than ${MAX_ITEMS} transactions; a transfer counts as its legs. ${NOTHING_APPLIED}one of its items is over 16 KiB.`,
    bodies: bodiesOf(['BODY_TOO_LARGE', 'TOO_MANY_TRANSACTIONS']),
    results: stoppedBy('BODY_TOO_LARGE'),
  }),
  415: WRITE_FAILURES[415],
  422: failure(REFUSED, {
    description: `${NOTHING_APPLIED}a balance, a status, a hold or an original does not allow one of its items, or a key was used for another request.`,
    results: stoppedBy('INSUFFICIENT_BALANCE'),
  }),
  429: TOO_MANY_REQUESTS,
  500: failure(['INTERNAL_ERROR'], {
    description: ERRORS.INTERNAL_ERROR.detail,
    bodies: bodiesOf(['INTERNAL_ERROR']),
    results: failed('INTERNAL_ERROR'),
  }),
  503: failure(
    ['OVERLOADED', 'OUTCOME_UNKNOWN'],
    {
      description:
        'Too many batches wait already, or the service is stopping; or the outcome of an atomic batch is unknown: if ' +
        'its transactions have keys, send it again unchanged to learn the outcome.',
      bodies: bodiesOf(['OVERLOADED']),
      results: failed('OUTCOME_UNKNOWN'),
    },
    { 'Retry-After': RetryAfter },
  ),
};

const DEPOSIT = { accountId: 1, 'moneyWithdraw/Deposit': 49, typeOfTransaction: 'Deposit' };
const HOLD = { type: 'Hold', accountId: 1, amount: '5.00', expiresInSeconds: 86_400 };
const REVERSAL = { type: 'Reversal', transactionId: 'txn1', amount: '0.50', reference: 'order 4711' };
const WITHDRAWAL = { accountId: 1, amount: '19.50', type: 'Withdraw' };

export const DocumentBatch = (): MethodDecorator =>
  applyDecorators(
    ApiOperation({
      tags: ['Transactions'],
      operationId: 'postBatch',
      summary: 'Post many transactions, transfers and holds at once',
      description:
        `Up to ${MAX_ITEMS.toLocaleString('en')} items of any accounts: a JSON array, or one item on each line ` +
        `(\`${NDJSON_MEDIA_TYPE}\`), answered while the rest is still being sent. An item is a deposit, a withdrawal, a transfer, a ` +
        'hold, a capture, a void or a reversal; its `type` tells. Each gets the result that its single request would ' +
        'have got, in its place. The items of one account are applied in their order. A transfer counts as its legs. ' +
        '[Examples](/docs/api#batches) and [limits](/docs/limits#batches).\n\n' +
        'An atomic batch is applied as a whole or not at all. Its accounts must be in one shard. Its status is that of the ' +
        'item that stopped it; the others get 424.\n\n' +
        'With `dryRun` nothing is applied: each item is tried by itself, an atomic batch as a whole.\n\n' +
        'Each item needs the scope of its single request and counts against the rate limit. An atomic batch needs room for all ' +
        'of them. Once the credential has ended, each remaining item gets 401.',
      requestBody: {
        required: true,
        content: {
          'application/json': {
            schema: Batch,
            examples: {
              array: { summary: 'Each for itself', value: [DEPOSIT, WITHDRAWAL] },
              kinds: {
                summary: 'A hold and a reversal',
                value: [HOLD, REVERSAL],
              },
              atomic: {
                summary: 'All or nothing',
                value: { atomic: true, transactions: [DEPOSIT, WITHDRAWAL] },
              },
            },
          },
          [NDJSON_MEDIA_TYPE]: { schema: BatchLines, example: linesOf([DEPOSIT, WITHDRAWAL]) },
        },
      },
      responses: RESPONSES,
    }),
    ...queryOf(BatchQueryDto),
    RequestIdHeader(),
  );
