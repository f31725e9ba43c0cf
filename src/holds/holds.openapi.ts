import { applyDecorators } from '@nestjs/common';
import { ApiBody, ApiHeader, ApiOperation } from '@nestjs/swagger';
import { AboutAccountDto } from '../http/openapi/error-bodies.js';
import { DryReceiptDto, ReceiptDto } from '../http/openapi/receipt.js';
import { DryTransferDto, TransferDto } from '../transfers/transfers.dto.js';
import {
  ACCOUNT_NOT_FOUND,
  AccountIdParameter,
  bodiesOf,
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
import { CONDITION } from '../http/validation/entity-tags.js';
import {
  CaptureDto,
  DryHoldDto,
  HoldDto,
  HoldPageDto,
  HoldPathDto,
  ListHoldsDto,
  PlaceHoldDto,
  VoidDto,
} from './holds.dto.js';

const tags = ['Holds'];

/** Swagger UI sends each example on a new bank, in the order of the page: these are the holds that it has placed then. */
const PLACED = { first: 'hold26', second: 'hold27' };

const ACCOUNT_AFTER = { held: money('79.95'), available: money('350.75'), newVersion: '8' };
const DRY_HOLD = {
  ...{ accountId: 1, amount: money('99.95'), remaining: money('79.95'), captured: money('20.05') },
  ...{ status: 'active', expiresAt: '2025-05-09T10:24:02.123Z' },
};
const EXAMPLE_HOLD = { id: 'hold131', createdAt: '2025-05-02T10:24:02.123Z', ...DRY_HOLD };
const NOTHING_TAKEN = { remaining: money('99.95'), captured: money('0.00') };

const DRY_DEBIT = {
  ...{ type: 'Withdraw', amount: money('20.05'), newBalance: money('430.75'), newVersion: '9' },
};
const EXAMPLE_DEBIT = { id: 'txn133', ...DRY_DEBIT, timestamp: '2025-05-03T08:00:00.000Z' };
const DRY_LEGS = [
  { accountId: 1, ...DRY_DEBIT },
  { accountId: 2, type: 'Deposit', amount: money('20.05') },
];
const EXAMPLE_TRANSFER = {
  ...{ id: 'tr133', status: 'completed' },
  legs: DRY_LEGS.map((leg, index) => ({ transactionId: `txn${133 + index}`, ...leg })),
  timestamp: '2025-05-03T08:00:00.000Z',
};

const EXAMPLE_PENDING = {
  ...EXAMPLE_TRANSFER,
  status: 'pending',
  legs: DRY_LEGS.map(({ accountId, type }) => ({
    ...{ transactionId: null, accountId, type, amount: money('20.05') },
  })),
};

/** Only of an answer that is about one account, and that is no dry run. */
const OptionalETag = {
  description: 'The version of the account of the hold, as an entity tag. Not of a transfer or a dry run.',
  required: false,
  schema: { type: 'string' as const },
  example: '"9"',
};

const HOLD_NOT_FOUND = errorResponse(['HOLD_NOT_FOUND']);
const INVALID_HOLD_ID = invalidRequest('holdId', 'must be "hold" and a positive integer, like hold131');

const HoldIdParameter = (example: string) => pathOf(HoldPathDto, { example });

export const DocumentPlacing = (): MethodDecorator =>
  applyDecorators(
    ApiOperation({
      tags,
      operationId: 'placeHold',
      summary: 'Put money of an account on hold',
      description:
        'The money stays in the balance and is no longer available, until the hold is captured or voided, or expires. A ' +
        'hold is a transaction: it adds 1 to the version. The answer also has what the account has on hold and available ' +
        'afterwards.',
      responses: postingResponses({
        mayBeQueued: true,
        dryRun: [DryHoldDto, { hold: { ...DRY_HOLD, ...NOTHING_TAKEN, ...ACCOUNT_AFTER } }],
        201: madeResponse(
          'The hold is placed and durable.',
          HoldDto,
          { hold: { ...EXAMPLE_HOLD, ...NOTHING_TAKEN, ...ACCOUNT_AFTER, description: 'Room 12' } },
          { ETag },
        ),
        400: invalidRequest('expiresAt', 'must be at least one second ahead'),
        404: ACCOUNT_NOT_FOUND,
        conflicts: ['VERSION_MISMATCH', 'DUPLICATE_HOLD'],
        412: errorResponse(['PRECONDITION_FAILED'], RATE_LIMIT_HEADERS),
        refusals: [
          ...(['INSUFFICIENT_BALANCE', 'BALANCE_LIMIT_EXCEEDED', 'TOO_MANY_HOLDS'] as const),
          ...(['DEBITS_BLOCKED', 'ACCOUNT_FROZEN', 'ACCOUNT_CLOSED', 'IDEMPOTENCY_KEY_REUSED'] as const),
        ],
      }),
    }),
    ...AccountIdParameter(),
    DryRunParameter(),
    ApiBody({
      schema: bodySchema('PlaceHold', PlaceHoldDto),
      examples: {
        week: {
          summary: 'For a week',
          value: { amount: money('99.95'), expiresInSeconds: 604_800, description: 'Room 12' },
        },
        open: { summary: 'Without an end', value: { amount: '5.00' } },
      },
    }),
    IdempotencyKeyHeader('hold', 'the account'),
    PreferHeader(),
    ApiHeader({
      name: 'If-Match',
      description:
        'As for a transaction: the versions that the account may have. Otherwise the answer is 412.',
      schema: CONDITION,
    }),
    RequestIdHeader(),
  );

export const DocumentCapture = (): MethodDecorator =>
  applyDecorators(
    ApiOperation({
      tags,
      operationId: 'captureHold',
      summary: 'Take money that is on hold',
      description:
        'All that remains, or `amount`. What then remains is free again, unless `final` is false: then it can be captured ' +
        "later. With `to`, the money arrives on another account, which may be anybody's; this needs the " +
        'scope `transfers:write`, and counts as two transactions against the rate limit. Without it, the money leaves the ' +
        'bank, which needs `withdrawals:write`. The release of the hold and the withdrawal are two transactions.',
      responses: postingResponses({
        pending: [TransferDto, { pending: EXAMPLE_PENDING }],
        dryRun: [[DryReceiptDto, DryTransferDto], { receipt: DRY_DEBIT, transfer: { legs: DRY_LEGS } }],
        201: madeResponse(
          'The withdrawal or, with `to`, the transfer. An entity tag only without `to`.',
          [ReceiptDto, TransferDto],
          { receipt: EXAMPLE_DEBIT, transfer: EXAMPLE_TRANSFER },
          { ETag: OptionalETag },
        ),
        400: INVALID_HOLD_ID,
        404: errorResponse(['HOLD_NOT_FOUND', 'ACCOUNT_NOT_FOUND'], RATE_LIMIT_HEADERS, {
          bodies: {
            ...bodiesOf(['HOLD_NOT_FOUND']),
            'Account not found': new AboutAccountDto('ACCOUNT_NOT_FOUND', 2),
          },
        }),
        conflicts: [
          ...(['HOLD_NOT_ACTIVE', 'HOLD_BEING_CAPTURED', 'DUPLICATE_TRANSACTION'] as const),
          ...(['DUPLICATE_TRANSFER', 'TRANSFER_CANCELLED'] as const),
        ],
        refusals: [
          ...([
            'TOO_MANY_CAPTURES',
            'HOLD_EXCEEDED',
            'ACCOUNT_FROZEN',
            'ACCOUNT_CLOSED',
            'BALANCE_LIMIT_EXCEEDED',
          ] as const),
          ...(['COUNTERPARTY_REFUSED', 'CURRENCY_MISMATCH'] as const),
          'IDEMPOTENCY_KEY_REUSED' as const,
        ],
      }),
    }),
    ...HoldIdParameter(PLACED.first),
    DryRunParameter(),
    ApiBody({
      schema: bodySchema('CaptureHold', CaptureDto),
      required: false,
      examples: {
        part: { summary: 'A part, and keep the rest', value: { amount: '20.00', final: false } },
        transfer: { summary: 'A part, to another account', value: { amount: '10.00', final: false, to: 2 } },
        rest: { summary: 'All that remains', value: {} },
      },
    }),
    IdempotencyKeyHeader('capture', 'the account of the hold'),
    RequestIdHeader(),
  );

export const DocumentVoid = (): MethodDecorator =>
  applyDecorators(
    ApiOperation({
      tags,
      operationId: 'voidHold',
      summary: 'End a hold',
      description: 'What remains of it is available again. It works whatever the status of the account.',
      responses: postingResponses({
        200: jsonResponse(
          'The hold, and its account afterwards. With `?dryRun=true`, what would have been answered.',
          HoldDto,
          { hold: { ...EXAMPLE_HOLD, remaining: money('0.00'), status: 'voided', ...ACCOUNT_AFTER } },
          { ETag: OptionalETag, ...RATE_LIMIT_HEADERS },
        ),
        400: INVALID_HOLD_ID,
        404: HOLD_NOT_FOUND,
        conflicts: ['HOLD_NOT_ACTIVE', 'HOLD_BEING_CAPTURED', 'DUPLICATE_TRANSACTION'],
        refusals: ['IDEMPOTENCY_KEY_REUSED'],
      }),
    }),
    ...HoldIdParameter(PLACED.second),
    DryRunParameter(),
    ApiBody({
      schema: bodySchema('VoidHold', VoidDto),
      required: false,
      examples: { void: { summary: 'With a reason', value: { description: 'The guest did not come.' } } },
    }),
    IdempotencyKeyHeader('void', 'the account of the hold'),
    RequestIdHeader(),
  );

export const DocumentHold = (): MethodDecorator =>
  applyDecorators(
    ApiOperation({
      tags,
      operationId: 'getHold',
      summary: 'Get a hold',
      responses: {
        200: jsonResponse('The hold.', HoldDto, { hold: EXAMPLE_HOLD }),
        400: INVALID_HOLD_ID,
        404: HOLD_NOT_FOUND,
        ...READ_FAILURES,
      },
    }),
    ...HoldIdParameter(PLACED.first),
    RequestIdHeader(),
  );

export const DocumentHolds = (): MethodDecorator =>
  applyDecorators(
    ApiOperation({
      tags,
      operationId: 'listHolds',
      summary: 'List the holds of an account',
      description:
        'The newest first. A cursor contains the `status` filter: send the cursor by itself or with the same `status`.',
      responses: {
        200: jsonResponse('A page of holds.', HoldPageDto, {
          page: { data: [EXAMPLE_HOLD], nextCursor: null },
        }),
        400: invalidRequest('status', 'must be one of: active, captured, voided, expired (in any case)'),
        404: ACCOUNT_NOT_FOUND,
        ...READ_FAILURES,
      },
    }),
    ...AccountIdParameter(),
    ...queryOf(ListHoldsDto),
    RequestIdHeader(),
  );
