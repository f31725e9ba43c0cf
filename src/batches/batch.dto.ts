import { DryHoldDto, HoldDto, CaptureDto, PlaceHoldDto, VoidDto } from '../holds/holds.dto.js';
import {
  AboutAccountDto,
  Code,
  DuplicateHoldDto,
  DuplicateTransactionDto,
  DuplicateTransferDto,
  ErrorDto,
  HoldNotActiveDto,
  InvalidRequestDto,
  PartOfTransferDto,
  ServerCrashesDto,
  HoldKeyReusedDto,
  TransactionKeyReusedDto,
  TransferKeyReusedDto,
  VersionMismatchDto,
} from '../http/openapi/error-bodies.js';
import { DryReceiptDto, ReceiptDto } from '../http/openapi/receipt.js';
import { anyOf, Field, integer, listOf, named, Resource, written } from '../http/openapi/resource.js';
import { Contract } from '../http/validation/contract.js';
import { DryRunQueryDto, isDryRun } from '../http/validation/details.dto.js';
import {
  IsHoldId,
  IsIdempotencyKey,
  IsNullableField,
  IsOptionalField,
  IsTransactionId,
  IsTransferId,
  IsWord,
  type Numeric,
} from '../http/validation/field-rules.js';
import { reads } from '../http/validation/incoming.js';
import { IsAccountId } from '../http/validation/movements.js';
import { ReversalDto } from '../http/validation/reversal.dto.js';
import { DryTransactionDto, PostTransactionDto, TransactionDto } from '../transactions/transactions.dto.js';
import { DryTransferDto, PostLegsDto, PostTransferDto, TransferDto } from '../transfers/transfers.dto.js';

export const ATOMIC = 'Whether the batch is applied as a whole or not at all; false if it is not given.';

/** POST /transactions/batch */
export class BatchQueryDto extends DryRunQueryDto {
  @IsOptionalField()
  // Without a default: Swagger UI would send it beside the `atomic` of a body.
  @IsWord(['true', 'false'], {
    description: `${ATOMIC} Give it here or in the body: both together get 400.`,
  })
  atomic?: string;
}

const IsItemKey = IsIdempotencyKey(
  { description: 'What the header Idempotency-Key is for a single request.' },
  'IdempotencyKey',
);

/** The type of an item whose kind has one name. */
const IsKind = (word: string) => IsWord([word], { description: 'Case does not matter.' });

/*
 * Each item is the body of a single request, and what that has in its path and headers.
 */

/** A deposit or a withdrawal. */
export class BatchItemDto extends PostTransactionDto {
  @IsAccountId
  accountId!: Numeric;

  @IsNullableField()
  @IsItemKey
  idempotencyKey?: string;
}

export class BatchTransferDto extends PostTransferDto {
  @IsKind('Transfer')
  type!: string;

  @IsNullableField()
  @IsItemKey
  idempotencyKey?: string;
}

export class BatchLegsDto extends PostLegsDto {
  @IsKind('Transfer')
  type!: string;

  @IsNullableField()
  @IsItemKey
  idempotencyKey?: string;
}

export class BatchHoldDto extends PlaceHoldDto {
  @IsKind('Hold')
  type!: string;

  @IsAccountId
  accountId!: Numeric;

  @IsNullableField()
  @IsItemKey
  idempotencyKey?: string;
}

export class BatchCaptureDto extends CaptureDto {
  @IsKind('Capture')
  type!: string;

  @IsHoldId({ description: 'The id of a hold.' })
  holdId!: string;

  @IsNullableField()
  @IsItemKey
  idempotencyKey?: string;
}

export class BatchVoidDto extends VoidDto {
  @IsKind('Void')
  type!: string;

  @IsHoldId({ description: 'The id of a hold.' })
  holdId!: string;

  @IsNullableField()
  @IsItemKey
  idempotencyKey?: string;
}

export class BatchReversalDto extends ReversalDto {
  @IsKind('Reversal')
  type!: string;

  @IsTransactionId({ description: 'The id of a transaction.' })
  transactionId!: string;

  @IsNullableField()
  @IsItemKey
  idempotencyKey?: string;
}

export class BatchTransferReversalDto extends ReversalDto {
  @IsKind('Reversal')
  type!: string;

  @IsTransferId({ description: 'The id of a transfer.' })
  transferId!: string;

  @IsNullableField()
  @IsItemKey
  idempotencyKey?: string;
}

/** What the query says of a batch as a whole. */
export interface BatchMode {
  /** Undefined: it does not say. */
  readonly atomic: boolean | undefined;
  readonly dryRun: boolean;
}

export const batchModeOf = reads(
  {
    query: new Contract(BatchQueryDto, 'query parameter'),
    // Each applies to a single request.
    instead: {
      'Idempotency-Key': 'give each transaction its idempotencyKey',
      'If-Match': 'give each transaction its expectedVersion',
    },
  },
  (_request, query): BatchMode => ({
    atomic: query.atomic === undefined ? undefined : query.atomic.toLowerCase() === 'true',
    dryRun: isDryRun(query),
  }),
);

@Resource('BatchResult', { description: 'What the single request would have been answered.' })
class BatchResultDto {
  @Field(integer({ type: 'integer' })) readonly status!: number;
  @Field(Code, { optional: true }) readonly code?: string;

  @Field(
    anyOf(
      ...[ReceiptDto, TransferDto, HoldDto, TransactionDto],
      ...[DryReceiptDto, DryTransferDto, DryHoldDto, DryTransactionDto],
      ...[InvalidRequestDto, VersionMismatchDto, AboutAccountDto, HoldNotActiveDto, PartOfTransferDto],
      ...[DuplicateTransactionDto, DuplicateTransferDto, DuplicateHoldDto],
      ...[TransactionKeyReusedDto, TransferKeyReusedDto, HoldKeyReusedDto],
      ...[ServerCrashesDto, ErrorDto],
    ),
  )
  readonly body!: object;
}

export const BatchResults = named(
  'BatchResults',
  listOf(written(BatchResultDto), {
    description: 'One result for each transaction, in the order of the request.',
  }),
);
