import { applyDecorators } from '@nestjs/common';
import { ApiBody, ApiHeader, ApiOperation, type ApiOperationOptions } from '@nestjs/swagger';
import {
  ACCOUNT_NOT_FOUND,
  ACCOUNT_REFUSALS,
  AccountIdParameter,
  bodySchema,
  DryRunParameter,
  errorResponse,
  ETag,
  IdempotencyKeyHeader,
  invalidRequest,
  jsonResponse,
  madeResponse,
  money,
  pathOf,
  postingResponses,
  PreferHeader,
  queryOf,
  RATE_LIMIT_HEADERS,
  READ_FAILURES,
  RequestIdHeader,
} from '../http/openapi/components.js';
import { DryReceiptDto, ReceiptDto } from '../http/openapi/receipt.js';
import { CONDITION } from '../http/validation/entity-tags.js';
import { ReversalDto } from '../http/validation/reversal.dto.js';
import {
  DryTransactionDto,
  ListTransactionsDto,
  PostTransactionDto,
  TransactionDto,
  TransactionPageDto,
  TransactionPathDto,
} from './transactions.dto.js';

const tags = ['Transactions'];

const EXAMPLE_OF_DRY_RUN = {
  type: 'Deposit',
  amount: money('100.25'),
  newBalance: money('450.75'),
  newVersion: '8',
};
const TIME = '2025-05-02T10:24:02.123Z';
export const EXAMPLE_RECEIPT = { id: 'txn131', ...EXAMPLE_OF_DRY_RUN, timestamp: TIME };
const EXAMPLE_TRANSACTION = { ...EXAMPLE_RECEIPT, accountId: 1 };

const REVERSAL_OF_DRY_RUN = {
  ...{ accountId: 1, type: 'Withdraw', amount: money('100.25'), newBalance: money('350.5') },
  ...{ newVersion: '9', reverses: 'txn131' },
};
const EXAMPLE_REVERSAL = { id: 'txn132', ...REVERSAL_OF_DRY_RUN, timestamp: TIME };

const INVALID_TRANSACTION_ID = invalidRequest(
  'transactionId',
  'must be "txn" and a positive integer, like txn131',
);

const POSTING_RESPONSES = postingResponses({
  mayBeQueued: true,
  dryRun: [DryReceiptDto, { receipt: EXAMPLE_OF_DRY_RUN }],
  201: madeResponse(
    'The transaction is applied and durable.',
    ReceiptDto,
    { receipt: EXAMPLE_RECEIPT },
    { ETag },
  ),
  400: invalidRequest(
    'moneyWithdraw/Deposit',
    'must be an amount greater than zero, with at most 16 digits before the point and 4 after, like 49.50',
  ),
  404: ACCOUNT_NOT_FOUND,
  conflicts: ['VERSION_MISMATCH', 'DUPLICATE_TRANSACTION'],
  412: errorResponse(['PRECONDITION_FAILED'], RATE_LIMIT_HEADERS),
  refusals: [...ACCOUNT_REFUSALS, 'IDEMPOTENCY_KEY_REUSED'],
});

const POSTING: ApiOperationOptions = {
  tags,
  operationId: 'postTransaction',
  summary: 'Deposit into an account or withdraw from it',
  description:
    'The checks, in this order: the request is well-formed, the credential allows its type, the account is not another ' +
    "owner's, the user is within the rate limit, the account exists, the `Idempotency-Key` is new, the version is the " +
    'expected one, the status of the account allows it, the balance suffices. A rejected request does not use up its key. [Errors](/docs/errors) says what each ' +
    'rejection means. With a rate limit, every answer from that check on has the headers `RateLimit` and ' +
    '`RateLimit-Policy`.\n\n' +
    'A deposit needs the scope `deposits:write`, a withdrawal `withdrawals:write`. `transactions:write` implies both; for a ' +
    'credential with an owner, only withdrawals.',
  responses: POSTING_RESPONSES,
};

export const DocumentPosting = (): MethodDecorator =>
  applyDecorators(
    ApiOperation(POSTING),
    ...AccountIdParameter(),
    ApiBody({
      schema: bodySchema('PostTransaction', PostTransactionDto),
      // Sent in this order, each finds the version that it expects on the demo account.
      examples: {
        deposit: {
          summary: 'Deposit',
          value: { 'moneyWithdraw/Deposit': 49, typeOfTransaction: 'Deposit' },
        },
        depositAtVersion: {
          summary: 'Deposit, if the account has version 3',
          value: { 'moneyWithdraw/Deposit': 49, typeOfTransaction: 'Deposit', expectedversion: 3 },
        },
        withdrawal: {
          summary: 'Withdrawal',
          value: { 'moneyWithdraw/Deposit': 49, typeOfTransaction: 'Withdraw' },
        },
        shortNames: {
          summary: 'Deposit, with short names',
          value: { amount: '49.50', type: 'Deposit' },
        },
        shortNamesAtVersion: {
          summary: 'Withdrawal with short names, if the account has version 6',
          value: { amount: '49.50', type: 'Withdraw', expectedVersion: '6' },
        },
      },
    }),
    DryRunParameter(),
    IdempotencyKeyHeader('transaction', 'the account'),
    PreferHeader(),
    ApiHeader({
      name: 'If-Match',
      description:
        'The versions that the account may have, as entity tags: of its balance, like `"7"`, or of the account, like ' +
        '`"7.0"`, in either form of money. Only the version counts. Otherwise the answer is 412.',
      schema: CONDITION,
    }),
    RequestIdHeader(),
  );

export const DocumentReversal = (): MethodDecorator =>
  applyDecorators(
    ApiOperation({
      tags,
      operationId: 'reverseTransaction',
      summary: 'Reverse a transaction',
      description:
        'Posts the opposite of a deposit or a withdrawal, wholly or in part, and over all its reversals never for more ' +
        'than it was. It needs the scope of what it posts: that of a withdrawal is a deposit. A part of a transfer is ' +
        'only reversed with the whole [transfer](/docs/api#reversals).',
      responses: postingResponses({
        dryRun: [DryTransactionDto, { transaction: REVERSAL_OF_DRY_RUN }],
        201: madeResponse(
          'The reversal is applied and durable.',
          TransactionDto,
          { transaction: EXAMPLE_REVERSAL },
          { ETag },
        ),
        400: INVALID_TRANSACTION_ID,
        404: errorResponse(['TRANSACTION_NOT_FOUND'], RATE_LIMIT_HEADERS),
        conflicts: ['DUPLICATE_TRANSACTION', 'PART_OF_TRANSFER'],
        refusals: [...ACCOUNT_REFUSALS, 'NOT_REVERSIBLE', 'REVERSAL_EXCEEDED', 'IDEMPOTENCY_KEY_REUSED'],
      }),
    }),
    ...pathOf(TransactionPathDto),
    ApiBody({
      schema: bodySchema('ReverseTransaction', ReversalDto),
      required: false,
      examples: {
        inPart: { summary: 'In part', value: { amount: '0.50', description: 'Wrong amount' } },
      },
    }),
    DryRunParameter(),
    IdempotencyKeyHeader('reversal', 'the account of the transaction'),
    RequestIdHeader(),
  );

export const DocumentTransactions = (): MethodDecorator =>
  applyDecorators(
    ApiOperation({
      tags,
      operationId: 'listTransactions',
      summary: 'List the transactions of an account',
      description:
        'The newest first. New transactions do not shift the pages. With filters, a page covers at most ' +
        '10,000 transactions: it may have fewer matches than `limit`, or none, and still a `nextCursor`. The history ends ' +
        'where `nextCursor` is null. With `reference`, only transactions with it count. A cursor contains its filters: send it by itself or with the same filters.',
      responses: {
        200: jsonResponse('A page of transactions.', TransactionPageDto, {
          page: { data: [EXAMPLE_TRANSACTION], nextCursor: null },
        }),
        400: invalidRequest(
          'type',
          'must be one of: deposit, withdraw, credit, debit, hold, release (in any case)',
        ),
        404: ACCOUNT_NOT_FOUND,
        ...READ_FAILURES,
      },
    }),
    ...AccountIdParameter(),
    ...queryOf(ListTransactionsDto),
    RequestIdHeader(),
  );

export const DocumentTransaction = (): MethodDecorator =>
  applyDecorators(
    ApiOperation({
      tags,
      operationId: 'getTransaction',
      summary: 'Get a transaction',
      responses: {
        200: jsonResponse('The transaction.', TransactionDto, { transaction: EXAMPLE_TRANSACTION }),
        400: INVALID_TRANSACTION_ID,
        404: errorResponse(['TRANSACTION_NOT_FOUND']),
        ...READ_FAILURES,
      },
    }),
    ...pathOf(TransactionPathDto),
    RequestIdHeader(),
  );
