import { applyDecorators } from '@nestjs/common';
import { ApiBody, ApiOperation } from '@nestjs/swagger';
import {
  ACCOUNT_NOT_FOUND,
  ACCOUNT_REFUSALS,
  AccountIdParameter,
  bodySchema,
  DryRunParameter,
  errorResponse,
  IdempotencyKeyHeader,
  INVALID_ACCOUNT_ID,
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
import { AboutAccountDto } from '../http/openapi/error-bodies.js';
import { schema } from '../http/schema/registry.js';
import { PageQueryDto } from '../http/validation/page-query.dto.js';
import { ReversalDto } from '../http/validation/reversal.dto.js';
import {
  DryTransferDto,
  PostLegsDto,
  PostTransferDto,
  TransferDto,
  TransferPageDto,
  TransferPathDto,
} from './transfers.dto.js';

const tags = ['Transfers'];

const PAYING = { accountId: 1, type: 'Withdraw', amount: money('25.50') };
const PAID = { accountId: 2, type: 'Deposit', amount: money('25.50') };
const PAYING_AFTER = { newBalance: money('974.75'), newVersion: '3' };
const EXAMPLE_TRANSFER = {
  id: 'tr131',
  status: 'completed',
  legs: [
    { transactionId: 'txn131', ...PAYING, ...PAYING_AFTER },
    { transactionId: 'txn132', ...PAID },
  ],
  timestamp: '2025-05-02T10:24:02.123Z',
  description: 'Rent for May',
};
const EXAMPLE_REVERSAL = {
  id: 'tr133',
  status: 'completed',
  legs: [
    {
      ...{ transactionId: 'txn133', ...PAYING, type: 'Deposit' },
      ...{ newBalance: money('1000.25'), newVersion: '4' },
    },
    { transactionId: 'txn134', ...PAID, type: 'Withdraw' },
  ],
  timestamp: '2025-05-03T10:24:02.123Z',
  reverses: 'tr131',
};
const EXAMPLE_OF_DRY_RUN = { legs: [{ ...PAYING, ...PAYING_AFTER }, PAID], description: 'Rent for May' };

const ABOUT_ACCOUNTS = [...ACCOUNT_REFUSALS, 'COUNTERPARTY_REFUSED'] as const;
const INVALID_TRANSFER_ID = invalidRequest('transferId', 'must be "tr" and a positive integer, like tr131');
/** While it is pending. */
const EXAMPLE_PENDING = {
  id: 'tr131',
  status: 'pending',
  legs: [
    { transactionId: null, ...PAYING },
    { transactionId: null, ...PAID },
  ],
  timestamp: '2025-05-02T10:24:02.123Z',
};
const PENDING = [TransferDto, { pending: EXAMPLE_PENDING }] as const;
const DRY_RUN = [DryTransferDto, { transfer: EXAMPLE_OF_DRY_RUN }] as const;

const TRANSFERRING_RESPONSES = postingResponses({
  mayBeQueued: true,
  pending: PENDING,
  dryRun: DRY_RUN,
  201: madeResponse('The transfer is applied and durable.', TransferDto, { transfer: EXAMPLE_TRANSFER }),
  400: invalidRequest('legs', 'must withdraw as much as they deposit'),
  404: errorResponse(['ACCOUNT_NOT_FOUND'], RATE_LIMIT_HEADERS, {
    bodies: { 'Account not found': new AboutAccountDto('ACCOUNT_NOT_FOUND', 2) },
  }),
  conflicts: ['VERSION_MISMATCH', 'DUPLICATE_TRANSFER', 'TRANSFER_CANCELLED'],
  refusals: [
    ...ABOUT_ACCOUNTS,
    ...(['CURRENCY_MISMATCH', 'DIFFERENT_SHARDS', 'TOO_MANY_HOLDS', 'IDEMPOTENCY_KEY_REUSED'] as const),
  ],
});

export const DocumentTransferring = (): MethodDecorator =>
  applyDecorators(
    ApiOperation({
      tags,
      operationId: 'postTransfer',
      summary: 'Move money between accounts',
      description:
        'From one account to another, or among up to 100 accounts as `legs`: all of it is applied, or nothing. ' +
        'Between currencies only as `legs` that come to nothing in each: nothing is converted. More than two accounts ' +
        'must be in one shard of the bank; an account that was opened `near` another one is. Between two in different ' +
        'shards the money is on hold until the other shard has decided; what it refuses is given back.\n\n' +
        'Of a credential with an owner, the accounts from which money leaves must be its own; it may arrive at any. The ' +
        "answer shows balance and version only of accounts that the sender may see, and says of another owner's account " +
        'at most that it refused. Against the rate limit each leg counts as a transaction.',
      responses: TRANSFERRING_RESPONSES,
    }),
    ApiBody({
      schema: schema('PostTransfer', {
        description: 'From one account to another, or among several.',
        oneOf: [
          bodySchema('PostTransferBetweenTwo', PostTransferDto),
          bodySchema('PostTransferWithLegs', PostLegsDto),
        ],
      }),
      examples: {
        between: {
          summary: 'From one account to another',
          value: { from: 1, to: 2, amount: '25.50', description: 'Rent for May' },
        },
        legs: {
          summary: 'To several accounts',
          value: {
            legs: [
              { accountId: 1, type: 'Withdraw', amount: '10.00' },
              { accountId: 2, type: 'Deposit', amount: '9.50' },
              { accountId: 3, type: 'Deposit', amount: '0.50' },
            ],
            reference: 'order-4711',
          },
        },
      },
    }),
    DryRunParameter(),
    IdempotencyKeyHeader('transfer', 'the first account from which money leaves'),
    PreferHeader(),
    RequestIdHeader(),
  );

export const DocumentTransferReversal = (): MethodDecorator =>
  applyDecorators(
    ApiOperation({
      tags,
      operationId: 'reverseTransfer',
      summary: 'Reverse a transfer',
      description:
        'Moves the money back, as a transfer of its own that names this one in `reverses`. In part with `amount`, if it ' +
        'has two legs, and never more than it was. A credential with an owner may reverse what its own accounts pay back.',
      responses: postingResponses({
        pending: PENDING,
        dryRun: DRY_RUN,
        201: madeResponse('The reversal is applied and durable.', TransferDto, {
          transfer: EXAMPLE_REVERSAL,
        }),
        400: INVALID_TRANSFER_ID,
        404: errorResponse(['TRANSFER_NOT_FOUND', 'ACCOUNT_NOT_FOUND'], RATE_LIMIT_HEADERS),
        conflicts: ['DUPLICATE_TRANSFER', 'TRANSFER_NOT_COMPLETED', 'TRANSFER_CANCELLED'],
        refusals: [
          ...ABOUT_ACCOUNTS,
          'NOT_REVERSIBLE',
          'NOT_REVERSIBLE_IN_PART',
          'REVERSAL_EXCEEDED',
          'TOO_MANY_HOLDS',
          'IDEMPOTENCY_KEY_REUSED',
        ],
      }),
    }),
    ...pathOf(TransferPathDto),
    ApiBody({
      schema: bodySchema('ReverseTransfer', ReversalDto),
      required: false,
      examples: {
        inPart: { summary: 'In part', value: { amount: '0.50', description: 'Too much' } },
        rest: { summary: 'All that is left', value: {} },
      },
    }),
    DryRunParameter(),
    IdempotencyKeyHeader('reversal', 'the first account that pays back'),
    RequestIdHeader(),
  );

export const DocumentTransfer = (): MethodDecorator =>
  applyDecorators(
    ApiOperation({
      tags,
      operationId: 'getTransfer',
      summary: 'Get a transfer',
      description: 'For those who may see one of its accounts.',
      responses: {
        200: jsonResponse('The transfer.', TransferDto, {
          transfer: EXAMPLE_TRANSFER,
          pending: EXAMPLE_PENDING,
        }),
        400: INVALID_TRANSFER_ID,
        404: errorResponse(['TRANSFER_NOT_FOUND']),
        ...READ_FAILURES,
      },
    }),
    ...pathOf(TransferPathDto),
    RequestIdHeader(),
  );

export const DocumentTransfers = (): MethodDecorator =>
  applyDecorators(
    ApiOperation({
      tags,
      operationId: 'listTransfers',
      summary: 'List the transfers of an account',
      description:
        'The newest first. New transfers do not shift the pages. A page covers at most 10,000 transactions of the account: ' +
        'it may have fewer transfers than `limit`, or none, and still a `nextCursor`.',
      responses: {
        200: jsonResponse('A page of transfers.', TransferPageDto, {
          page: { data: [EXAMPLE_TRANSFER], nextCursor: null },
        }),
        400: INVALID_ACCOUNT_ID,
        404: ACCOUNT_NOT_FOUND,
        ...READ_FAILURES,
      },
    }),
    ...AccountIdParameter(),
    ...queryOf(PageQueryDto),
    RequestIdHeader(),
  );
