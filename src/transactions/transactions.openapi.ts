import { applyDecorators } from '@nestjs/common';
import { ApiBody, ApiHeader, ApiOperation, type ApiOperationOptions } from '@nestjs/swagger';
import {
  DuplicateTransactionDto,
  ErrorDto,
  TransactionKeyReusedDto,
  VersionMismatchDto,
} from '../http/openapi/error-bodies.js';
import {
  ACCOUNT_NOT_FOUND,
  AccountIdParameter,
  bodySchema,
  ETag,
  IdempotencyKeyHeader,
  invalidRequest,
  jsonResponse,
  Location,
  money,
  OriginalLocation,
  pathOf,
  queryOf,
  RATE_LIMIT_HEADERS,
  READ_FAILURES,
  RequestIdHeader,
  TOO_MANY_REQUESTS,
  WRITE_FAILURES,
  type Responses,
} from '../http/openapi/components.js';
import {
  ListTransactionsDto,
  PostTransactionDto,
  ReceiptDto,
  TransactionDto,
  TransactionPageDto,
  TransactionPathDto,
} from './transactions.dto.js';

const tags = ['Transactions'];

export const EXAMPLE_RECEIPT = {
  id: 'txn131',
  type: 'Deposit',
  amount: money('100.00'),
  newBalance: money('400.00'),
  newVersion: '8',
  timestamp: '2025-05-02T10:24:02.123Z',
};
const EXAMPLE_TRANSACTION = { ...EXAMPLE_RECEIPT, accountId: 1 };

const VERSION_MISMATCH = { error: 'Version mismatch', CurrentVersion: 6 };

const POSTING_RESPONSES: Responses = {
  201: jsonResponse(
    'The transaction is applied and durable.',
    ReceiptDto,
    { receipt: EXAMPLE_RECEIPT },
    { Location, ETag, ...RATE_LIMIT_HEADERS },
  ),
  400: invalidRequest(
    'moneyWithdraw/Deposit',
    'must be an amount greater than zero, with at most 16 digits before the point and 2 after, like 49.50',
  ),
  404: ACCOUNT_NOT_FOUND,
  409: jsonResponse(
    '`Version mismatch`: the account does not have the version that was expected. `Duplicate transaction`: this key ' +
      'was used on this account for the same transaction, which was applied once.',
    [VersionMismatchDto, DuplicateTransactionDto],
    {
      'Version mismatch': VERSION_MISMATCH,
      'Duplicate transaction': { error: 'Duplicate transaction', transactionId: 'txn131' },
    },
    { Location: OriginalLocation, ...RATE_LIMIT_HEADERS },
  ),
  412: jsonResponse(
    'The account has none of the versions that If-Match names.',
    VersionMismatchDto,
    { mismatch: VERSION_MISMATCH },
    RATE_LIMIT_HEADERS,
  ),
  422: jsonResponse(
    '`Insufficient Balance`: a withdrawal over the balance. `Balance limit exceeded`: a deposit after which the ' +
      'balance would not fit DECIMAL(18,2). `Idempotency key reused`: this key was used on this account with another ' +
      'amount or type.',
    [TransactionKeyReusedDto, ErrorDto],
    {
      'Insufficient Balance': { error: 'Insufficient Balance' },
      'Balance limit exceeded': { error: 'Balance limit exceeded' },
      'Idempotency key reused': { error: 'Idempotency key reused', transactionId: 'txn131' },
    },
    RATE_LIMIT_HEADERS,
  ),
  429: TOO_MANY_REQUESTS,
  ...WRITE_FAILURES,
};

const POSTING: ApiOperationOptions = {
  tags,
  operationId: 'postTransaction',
  summary: 'Deposit into an account or withdraw from it',
  description:
    'A deposit needs the scope `deposits:write`, a withdrawal `withdrawals:write`; `transactions:write` implies both, or, ' +
    'for a credential with an owner, withdrawals only. The checks, in this order: the request is well-formed, the ' +
    "credential allows its type, the account is not another owner's, the user is within the rate limit, the account " +
    'exists, the Idempotency-Key is new, the version is the expected one, the balance suffices. A request that is refused ' +
    'does not use up its key. Where there is a rate limit, every answer from there on carries the fields RateLimit ' +
    'and RateLimit-Policy.',
  responses: POSTING_RESPONSES,
};

export const DocumentPosting = (): MethodDecorator =>
  applyDecorators(
    ApiOperation(POSTING),
    ...AccountIdParameter(),
    ApiBody({
      schema: bodySchema('PostTransaction', PostTransactionDto),
      examples: {
        deposit: {
          summary: 'Deposit',
          value: { 'moneyWithdraw/Deposit': 49, typeOfTransaction: 'Deposit' },
        },
        depositAtVersion: {
          summary: 'Deposit, if the account has version 7',
          value: { 'moneyWithdraw/Deposit': 49, typeOfTransaction: 'Deposit', expectedversion: 7 },
        },
        withdrawal: {
          summary: 'Withdrawal',
          value: { 'moneyWithdraw/Deposit': 49, typeOfTransaction: 'Withdraw' },
        },
        shortNames: {
          summary: 'Deposit, by the short names',
          value: { amount: '49.50', type: 'Deposit' },
        },
        shortNamesAtVersion: {
          summary: 'Withdrawal by the short names, if the account has version 8',
          value: { amount: '49.50', type: 'Withdraw', expectedVersion: '8' },
        },
      },
    }),
    IdempotencyKeyHeader('transaction', 'the account'),
    ApiHeader({
      name: 'If-Match',
      description:
        'The versions that the account may have, as entity tags: of its balance, like `"7"`, or of the account, like ' +
        '`"7.0"`, in either form of money. Only the version counts. Otherwise the answer is 412.',
    }),
    RequestIdHeader(),
  );

export const DocumentTransactions = (): MethodDecorator =>
  applyDecorators(
    ApiOperation({
      tags,
      operationId: 'listTransactions',
      summary: 'List the transactions of an account',
      description:
        'The newest first. New transactions do not shift the pages. With `type`, `from` or `to` a page is what fits of ' +
        'the next 10,000 transactions: it may have fewer items than `limit`, or none, and still a `nextCursor`. Only ' +
        'where that is null does the history end. It belongs to its filters: give it alone, or with the same ones.',
      responses: {
        200: jsonResponse('A page of transactions.', TransactionPageDto, {
          page: { data: [EXAMPLE_TRANSACTION], nextCursor: null },
        }),
        400: invalidRequest('type', 'must be one of: deposit, withdraw, credit, debit (in any case)'),
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
        400: invalidRequest('transactionId', 'must be "txn" and a positive integer, like txn131'),
        404: jsonResponse(
          'There is no such transaction, or it is not one that the sender may see.',
          ErrorDto,
          {
            notFound: { error: 'Transaction not found' },
          },
        ),
        ...READ_FAILURES,
      },
    }),
    ...pathOf(TransactionPathDto),
    RequestIdHeader(),
  );
