import {
  Code,
  DuplicateTransactionDto,
  ErrorDto,
  InvalidRequestDto,
  ServerCrashesDto,
  TransactionKeyReusedDto,
  VersionMismatchDto,
} from '../http/openapi/error-bodies.js';
import { Contract } from '../http/validation/contract.js';
import { reads } from '../http/validation/incoming.js';
import {
  IsIdempotencyKey,
  IsNullableField,
  IsOptionalField,
  IsWord,
  type Numeric,
} from '../http/validation/field-rules.js';
import { IsAccountId } from '../http/validation/movements.js';
import { anyOf, Field, integer, listOf, named, Resource, written } from '../http/openapi/resource.js';
import { ReceiptDto } from '../http/openapi/receipt.js';
import { PostTransactionDto } from './transactions.dto.js';

export const ATOMIC = 'Whether the batch is applied as a whole or not at all; false if it is not given.';

/** POST /transactions/batch */
export class BatchQueryDto {
  @IsOptionalField()
  // Without a default: Swagger UI would send it beside the `atomic` of a body.
  @IsWord(['true', 'false'], {
    description: `${ATOMIC} Give it here or in the body: both together get 400.`,
  })
  atomic?: string;
}

/** One transaction of a batch: the body of a single call, and what that has in its path and headers. */
export class BatchItemDto extends PostTransactionDto {
  @IsAccountId
  accountId!: Numeric;

  @IsNullableField()
  @IsIdempotencyKey(
    { description: 'What the header Idempotency-Key is for a single transaction.' },
    'IdempotencyKey',
  )
  idempotencyKey?: string;
}

/** Whether the query asks for an atomic batch; undefined: it does not say. */
export const atomicOf = reads(
  {
    query: new Contract(BatchQueryDto, 'query parameter'),
    // Each applies to a single transaction.
    instead: {
      'Idempotency-Key': 'give each transaction its idempotencyKey',
      'If-Match': 'give each transaction its expectedVersion',
    },
  },
  (_request, { atomic }): boolean | undefined =>
    atomic === undefined ? undefined : atomic.toLowerCase() === 'true',
);

export const batchItem = new Contract(BatchItemDto);

@Resource('BatchResult', { description: 'What the single request would have been answered.' })
class BatchResultDto {
  @Field(integer({ type: 'integer' })) readonly status!: number;
  @Field(Code, { optional: true }) readonly code?: string;

  @Field(
    anyOf(
      ReceiptDto,
      InvalidRequestDto,
      VersionMismatchDto,
      DuplicateTransactionDto,
      TransactionKeyReusedDto,
      ServerCrashesDto,
      ErrorDto,
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
