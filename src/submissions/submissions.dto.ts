import { IsString, MaxLength, MinLength } from 'class-validator';
import type { Transaction } from '../domain/transaction.js';
import type { Transfer } from '../domain/transfer.js';
import { HoldDto } from '../holds/holds.dto.js';
import type { ErrorAnswer } from '../http/errors/error-answer.js';
import {
  AboutAccountDto,
  Code,
  ErrorDto,
  InvalidRequestDto,
  TransactionKeyReusedDto,
  VersionMismatchDto,
} from '../http/openapi/error-bodies.js';
import { AccountId, anyOf, Field, integer, plainText, Resource, written } from '../http/openapi/resource.js';
import {
  SubmissionId,
  SubmissionKindWord,
  SubmittedKey,
  type NamedSubmission,
  type SubmissionKind,
} from '../http/openapi/queued-submission.js';
import { Contract } from '../http/validation/contract.js';
import { documentedAs } from '../http/validation/field-rules.js';
import { reads } from '../http/validation/incoming.js';
import type { DescribedHold } from '../ledger/read/hold-reader.js';
import { TransactionDto } from '../transactions/transactions.dto.js';
import { TransferDto } from '../transfers/transfers.dto.js';

/** Longer than any id that the service makes. */
const MAX_ID = 1_000;

/** /submissions/{submissionId} */
export class SubmissionPathDto {
  @IsString({
    message: 'must be the id of a submission',
    ...documentedAs({ description: 'The id of a submission.', type: 'string' }),
  })
  @MinLength(1, { message: 'must be the id of a submission', ...documentedAs({ minLength: 1 }) })
  @MaxLength(MAX_ID, { message: 'is too long', ...documentedAs({ maxLength: MAX_ID }) })
  submissionId!: string;
}

const submissionPath = new Contract(SubmissionPathDto);

export const submissionIdOf = reads({}, ({ params }): string => submissionPath.read(params).submissionId);

export type SubmissionStatus = 'queued' | 'posted' | 'refused';

/** What became of a submission that was decided. */
export type Outcome =
  | { readonly transaction: Transaction }
  | { readonly transfer: Transfer }
  | { readonly hold: DescribedHold }
  | { readonly refusal: ErrorAnswer };

@Resource('Refusal', {
  description: 'What the request would have been answered, had it been decided at once.',
})
export class RefusalDto {
  @Field(integer({ type: 'integer' })) readonly status: number;
  @Field(Code) readonly code: string;
  @Field(anyOf(AboutAccountDto, VersionMismatchDto, InvalidRequestDto, TransactionKeyReusedDto, ErrorDto))
  readonly body: object;

  constructor({ status, code, body }: ErrorAnswer) {
    this.status = status;
    this.code = code;
    this.body = body;
  }
}

const optional = { optional: true };

/** A posting, transfer or hold that was accepted before it was decided, and what became of it. */
@Resource('Submission')
export class SubmissionDto {
  @Field(SubmissionId) readonly id: string;
  @Field(SubmissionKindWord) readonly kind: SubmissionKind;
  @Field(AccountId) readonly accountId: number;
  @Field(SubmittedKey) readonly idempotencyKey: string;
  @Field(
    plainText({
      description: '`queued` until it is decided; then for ever `posted` or `refused`.',
      type: 'string',
      enum: ['queued', 'posted', 'refused'],
    }),
  )
  readonly status: SubmissionStatus;
  @Field(written(TransactionDto), optional) readonly transaction: TransactionDto | undefined;
  @Field(written(TransferDto), optional) readonly transfer: TransferDto | undefined;
  @Field(written(HoldDto), optional) readonly hold: HoldDto | undefined;
  @Field(written(RefusalDto), optional) readonly refusal: RefusalDto | undefined;

  constructor(id: string, { kind, accountId, idempotencyKey }: NamedSubmission, outcome?: Outcome) {
    this.id = id;
    this.kind = kind;
    this.accountId = accountId;
    this.idempotencyKey = idempotencyKey;
    this.status = 'queued';
    if (!outcome) return;
    this.status = 'refusal' in outcome ? 'refused' : 'posted';
    if ('transaction' in outcome) this.transaction = new TransactionDto(outcome.transaction);
    if ('transfer' in outcome) this.transfer = new TransferDto(outcome.transfer);
    if ('hold' in outcome) this.hold = new HoldDto(outcome.hold);
    if ('refusal' in outcome) this.refusal = new RefusalDto(outcome.refusal);
  }
}
