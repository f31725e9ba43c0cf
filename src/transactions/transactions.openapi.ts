import { applyDecorators } from '@nestjs/common';
import {
  ApiBody,
  ApiHeader,
  ApiOperation,
  ApiParam,
  ApiQuery,
  type ApiOperationOptions,
} from '@nestjs/swagger';
import {
  ACCOUNT_NOT_FOUND,
  AccountId,
  AccountIdParameter,
  Amount,
  CursorQuery,
  ErrorBody,
  ETag,
  IdempotencyKeyHeader,
  invalidRequest,
  jsonResponse,
  LimitQuery,
  Location,
  Money,
  money,
  NextCursor,
  OriginalLocation,
  RATE_LIMIT_HEADERS,
  READ_FAILURES,
  RequestIdHeader,
  schema,
  TOO_MANY_REQUESTS,
  VersionMismatch,
  WRITE_FAILURES,
  type Reference,
  type Responses,
} from '../http/openapi/components.js';

const tags = ['Transactions'];

const TransactionId = schema('TransactionId', { type: 'string', pattern: '^txn[1-9]\\d{0,18}$' });

const WORDS = ['Deposit', 'Withdraw', 'Credit', 'Debit'];

const TypeOfTransaction = schema('TypeOfTransaction', {
  description: '`Credit` means Deposit and `Debit` means Withdraw. Case does not matter.',
  type: 'string',
  enum: WORDS,
});

const ExpectedVersion = schema('ExpectedVersion', {
  description:
    'The version that the account must have. A string is taken too, so that `newVersion` can be sent back as it came.',
  oneOf: [
    { type: 'integer', format: 'int64', minimum: 1 },
    { type: 'string', pattern: '^[1-9]\\d{0,18}$' },
  ],
});

/** The same three fields by the specification's names, and by the short ones. */
const BY_SPECIFICATION = ['moneyWithdraw/Deposit', 'typeOfTransaction', 'expectedversion'] as const;
const BY_SHORT_NAMES = ['amount', 'type', 'expectedVersion'] as const;

type Names = readonly [amount: string, type: string, expectedVersion: string];

const posting = (
  name: string,
  title: string,
  [amount, type, expectedVersion]: Names,
  more: { readonly required?: object; readonly optional?: object } = {},
) =>
  schema(name, {
    title,
    type: 'object',
    properties: {
      ...more.required,
      [amount]: Amount,
      [type]: TypeOfTransaction,
      [expectedVersion]: ExpectedVersion,
      ...more.optional,
    },
    required: [...Object.keys(more.required ?? {}), amount, type],
    additionalProperties: false,
  });

/** A schema with each of the two sets of names. */
export const postingSchema = (
  name: string,
  more?: { readonly required: object; readonly optional: object },
) =>
  schema(name, {
    oneOf: [
      posting(`${name}BySpecification`, 'Names of the specification', BY_SPECIFICATION, more),
      posting(`${name}ByShortNames`, 'Short names', BY_SHORT_NAMES, more),
    ],
  });

const PostTransaction = postingSchema('PostTransaction');

const receiptFields = {
  type: { type: 'string', enum: ['Deposit', 'Withdraw'] },
  amount: Money,
  newBalance: Money,
  newVersion: { description: 'A version, as a string.', type: 'string', pattern: '^[1-9]\\d*$' },
  timestamp: { type: 'string', format: 'date-time' },
};

/** The answer to a posting, and a transaction as a resource: the two differ in the account id only. */
const transactionSchema = (name: string, properties: Record<string, object>) =>
  schema(name, { type: 'object', properties, required: Object.keys(properties) });

export const Receipt = transactionSchema('Receipt', { id: TransactionId, ...receiptFields });
const Transaction = transactionSchema('Transaction', {
  id: TransactionId,
  accountId: AccountId,
  ...receiptFields,
});

const TransactionPage = schema('TransactionPage', {
  type: 'object',
  properties: { data: { type: 'array', items: Transaction }, nextCursor: NextCursor },
  required: ['data', 'nextCursor'],
});

const keySchema = (name: string, error: string): Reference =>
  schema(name, {
    type: 'object',
    properties: { error: { type: 'string', const: error }, transactionId: TransactionId },
    required: ['error', 'transactionId'],
  });

export const DuplicateTransaction = keySchema('DuplicateTransaction', 'Duplicate transaction');
export const IdempotencyKeyReused = keySchema('IdempotencyKeyReused', 'Idempotency key reused');

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
    Receipt,
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
    { anyOf: [VersionMismatch, DuplicateTransaction] },
    {
      'Version mismatch': VERSION_MISMATCH,
      'Duplicate transaction': { error: 'Duplicate transaction', transactionId: 'txn131' },
    },
    { Location: OriginalLocation, ...RATE_LIMIT_HEADERS },
  ),
  412: jsonResponse(
    'The account has none of the versions that If-Match names.',
    VersionMismatch,
    { mismatch: VERSION_MISMATCH },
    RATE_LIMIT_HEADERS,
  ),
  422: jsonResponse(
    '`Insufficient Balance`: a withdrawal over the balance. `Balance limit exceeded`: a deposit after which the ' +
      'balance would not fit DECIMAL(18,2). `Idempotency key reused`: this key was used on this account with another ' +
      'amount or type.',
    { anyOf: [IdempotencyKeyReused, ErrorBody] },
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
    AccountIdParameter(),
    ApiBody({
      schema: PostTransaction,
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
        '`"7.0"`, where only the version counts. Otherwise the answer is 412.',
    }),
    RequestIdHeader(),
  );

const instantQuery = (name: string, description: string) =>
  ApiQuery({
    name,
    required: false,
    description:
      `${description} An ISO 8601 date, or a date and time with its offset, like 2025-05-02T10:24:02Z; up to ` +
      'nanoseconds, all of which count.',
    schema: {
      type: 'string',
      pattern: '^\\d{4}-\\d{2}-\\d{2}(T\\d{2}:\\d{2}(:\\d{2}(\\.\\d{1,9})?)?(Z|[+-]\\d{2}:\\d{2}))?$',
    },
  });

export const DocumentTransactions = (): MethodDecorator =>
  applyDecorators(
    ApiOperation({
      tags,
      operationId: 'listTransactions',
      summary: 'List the transactions of an account',
      description:
        'The newest first. New transactions do not shift the pages. With `type`, `from` or `to` a page is what fits of ' +
        'the next 10,000 transactions: it may have fewer items than `limit`, or none, and still a `nextCursor`. Only ' +
        'where that is null does the history end.',
      responses: {
        200: jsonResponse('A page of transactions.', TransactionPage, {
          page: { data: [EXAMPLE_TRANSACTION], nextCursor: null },
        }),
        400: invalidRequest('type', 'must be one of: deposit, withdraw, credit, debit (in any case)'),
        404: ACCOUNT_NOT_FOUND,
        ...READ_FAILURES,
      },
    }),
    AccountIdParameter(),
    CursorQuery(),
    LimitQuery(),
    ApiQuery({
      name: 'type',
      required: false,
      description: 'Only transactions of this type. Case does not matter.',
      schema: { type: 'string', enum: WORDS },
    }),
    instantQuery('from', 'Only transactions at this time or later.'),
    instantQuery('to', 'Only transactions before this time.'),
    RequestIdHeader(),
  );

export const DocumentTransaction = (): MethodDecorator =>
  applyDecorators(
    ApiOperation({
      tags,
      operationId: 'getTransaction',
      summary: 'Get a transaction',
      responses: {
        200: jsonResponse('The transaction.', Transaction, { transaction: EXAMPLE_TRANSACTION }),
        400: invalidRequest('transactionId', 'must be "txn" and a positive integer, like txn131'),
        404: jsonResponse(
          'There is no such transaction, or it is not one that the sender may see.',
          ErrorBody,
          {
            notFound: { error: 'Transaction not found' },
          },
        ),
        ...READ_FAILURES,
      },
    }),
    ApiParam({
      name: 'transactionId',
      schema: { type: 'string', pattern: '^txn[1-9]\\d{0,18}$', example: 'txn1' },
    }),
    RequestIdHeader(),
  );
