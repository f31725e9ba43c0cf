import { ERRORS, type ErrorCode } from '../errors/catalogue.js';
import { errorAnswer, problemOf } from '../errors/error-answer.js';
import {
  AccountId,
  Field,
  integer,
  json,
  listOf,
  plainText,
  Resource,
  text,
  HoldId,
  HoldState,
  TransactionId,
  TransferId,
  Version,
} from './resource.js';
import { schema } from '../schema/registry.js';
import type { HoldStatus } from '../../domain/hold.js';
import type { FieldProblem } from '../validation/invalid-request.js';

const textOf = (code: ErrorCode) => plainText({ type: 'string', const: ERRORS[code].error });

@Resource('ErrorBody')
export class ErrorDto {
  @Field(plainText({ type: 'string', description: 'What happened. The text is stable.' }))
  readonly error: string;

  constructor(error: string) {
    this.error = error;
  }
}

const FIELD_PROBLEM = schema('FieldProblem', {
  type: 'object',
  properties: { field: { type: 'string' }, message: { type: 'string' } },
  required: ['field', 'message'],
});
const FieldProblems = listOf(json(FIELD_PROBLEM), {
  description: 'Every field that is wrong, named as the client wrote it.',
});
const LastVersion = json({
  description: 'The last known version of the account; null if it is not known.',
  type: ['integer', 'null'],
  format: 'int64',
});
const Revision = integer({
  description: 'Counts the changes of the account that are no transactions.',
  type: 'integer',
  minimum: 0,
});
/** The codes of errors, as `X-Error-Code` has them. */
export const Code = plainText(schema('ErrorCode', { type: 'string', enum: Object.keys(ERRORS) }));

@Resource('InvalidRequest')
export class InvalidRequestDto {
  @Field(textOf('INVALID_REQUEST')) readonly error = ERRORS.INVALID_REQUEST.error;

  @Field(FieldProblems) readonly details: readonly FieldProblem[];

  constructor(details: readonly FieldProblem[]) {
    this.details = details;
  }
}

@Resource('VersionMismatch')
export class VersionMismatchDto {
  @Field(textOf('VERSION_MISMATCH')) readonly error = ERRORS.VERSION_MISMATCH.error;
  @Field(Version) readonly CurrentVersion: number;
  /** The account of a transfer that it is about. */
  @Field(AccountId, { optional: true }) readonly accountId: number | undefined;

  constructor(currentVersion: number, accountId?: number) {
    this.CurrentVersion = currentVersion;
    this.accountId = accountId;
  }
}

@Resource('ServerCrashes')
export class ServerCrashesDto {
  @Field(textOf('DATABASE_FAILED')) readonly error = ERRORS.DATABASE_FAILED.error;
  @Field(LastVersion) readonly CurrentVersion: number | null;

  constructor(currentVersion: number | null) {
    this.CurrentVersion = currentVersion;
  }
}

/**
 * A request of which a part did not arrive in time. Most get this answer below the routes, in
 * `http/server/connections.ts`.
 */
@Resource('NotReceived')
export class NotReceivedDto {
  @Field(textOf('NOT_RECEIVED')) readonly error = ERRORS.NOT_RECEIVED.error;
}

/** An error of a request that names several accounts: it says which of them it is about. */
@Resource('AboutAccount')
export class AboutAccountDto {
  @Field(plainText({ type: 'string', description: 'What happened. The text is stable.' }))
  readonly error: string;

  @Field(AccountId) readonly accountId: number;

  constructor(code: ErrorCode, accountId: number) {
    this.error = ERRORS[code].error;
    this.accountId = accountId;
  }
}

@Resource('RevisionMismatch')
export class RevisionMismatchDto {
  @Field(textOf('REVISION_MISMATCH')) readonly error = ERRORS.REVISION_MISMATCH.error;
  @Field(Revision) readonly currentRevision: number;

  constructor(currentRevision: number) {
    this.currentRevision = currentRevision;
  }
}

@Resource('HoldNotActive')
export class HoldNotActiveDto {
  @Field(textOf('HOLD_NOT_ACTIVE')) readonly error = ERRORS.HOLD_NOT_ACTIVE.error;
  /** Not `status`: as a problem of RFC 9457 the body has a member of that name. */
  @Field(HoldState) readonly holdStatus: HoldStatus;

  constructor(status: HoldStatus) {
    this.holdStatus = status;
  }
}

@Resource('PartOfTransfer')
export class PartOfTransferDto {
  @Field(textOf('PART_OF_TRANSFER')) readonly error = ERRORS.PART_OF_TRANSFER.error;
  @Field(TransferId) readonly transferId: string;

  constructor(transferId: number) {
    this.transferId = `tr${transferId}`;
  }
}

@Resource('DuplicateTransaction')
export class DuplicateTransactionDto {
  @Field(textOf('DUPLICATE_TRANSACTION')) readonly error = ERRORS.DUPLICATE_TRANSACTION.error;
  @Field(TransactionId) readonly transactionId: string;

  constructor(transactionId: number) {
    this.transactionId = `txn${transactionId}`;
  }
}

@Resource('DuplicateTransfer')
export class DuplicateTransferDto {
  @Field(textOf('DUPLICATE_TRANSFER')) readonly error = ERRORS.DUPLICATE_TRANSFER.error;
  @Field(TransferId) readonly transferId: string;

  constructor(transferId: number) {
    this.transferId = `tr${transferId}`;
  }
}

@Resource('DuplicateHold')
export class DuplicateHoldDto {
  @Field(textOf('DUPLICATE_HOLD')) readonly error = ERRORS.DUPLICATE_HOLD.error;
  @Field(HoldId) readonly holdId: string;

  constructor(holdId: number) {
    this.holdId = `hold${holdId}`;
  }
}

@Resource('IdempotencyKeyReused')
export class TransactionKeyReusedDto {
  @Field(textOf('IDEMPOTENCY_KEY_REUSED')) readonly error = ERRORS.IDEMPOTENCY_KEY_REUSED.error;
  @Field(TransactionId) readonly transactionId: string;

  constructor(transactionId: number) {
    this.transactionId = `txn${transactionId}`;
  }
}

@Resource('TransferKeyReused')
export class TransferKeyReusedDto {
  @Field(textOf('IDEMPOTENCY_KEY_REUSED')) readonly error = ERRORS.IDEMPOTENCY_KEY_REUSED.error;
  @Field(TransferId) readonly transferId: string;

  constructor(transferId: number) {
    this.transferId = `tr${transferId}`;
  }
}

@Resource('HoldKeyReused')
export class HoldKeyReusedDto {
  @Field(textOf('IDEMPOTENCY_KEY_REUSED')) readonly error = ERRORS.IDEMPOTENCY_KEY_REUSED.error;
  @Field(HoldId) readonly holdId: string;

  constructor(holdId: number) {
    this.holdId = `hold${holdId}`;
  }
}

@Resource('DuplicateAccount')
export class DuplicateAccountDto {
  @Field(textOf('DUPLICATE_ACCOUNT')) readonly error = ERRORS.DUPLICATE_ACCOUNT.error;
  @Field(AccountId) readonly accountId: number;

  constructor(accountId: number) {
    this.accountId = accountId;
  }
}

@Resource('OpeningKeyReused')
export class OpeningKeyReusedDto {
  @Field(textOf('IDEMPOTENCY_KEY_REUSED')) readonly error = ERRORS.IDEMPOTENCY_KEY_REUSED.error;
  @Field(AccountId) readonly accountId: number;

  constructor(accountId: number) {
    this.accountId = accountId;
  }
}

const optional = { optional: true };

/** An error as `application/problem+json`: the members of RFC 9457, the code, and the members of the plain body. */
@Resource('Problem', {
  description: 'An error as RFC 9457 describes it, with the members of its plain body.',
  examples: [problemOf(errorAnswer('INSUFFICIENT_BALANCE'))],
})
export class ProblemDto {
  @Field(text({ type: 'string', description: 'A page that explains the error.' })) readonly type!: string;
  @Field(text()) readonly title!: string;
  @Field(integer({ type: 'integer' })) readonly status!: number;
  @Field(text()) readonly detail!: string;
  @Field(Code) readonly code!: string;
  @Field(text()) readonly error!: string;
  @Field(FieldProblems, optional) readonly details?: readonly FieldProblem[];
  @Field(LastVersion, optional) readonly CurrentVersion?: number | null;
  @Field(TransactionId, optional) readonly transactionId?: string;
  @Field(HoldId, optional) readonly holdId?: string;
  @Field(TransferId, optional) readonly transferId?: string;
  @Field(AccountId, optional) readonly accountId?: number;
  @Field(Revision, optional) readonly currentRevision?: number;
  @Field(HoldState, optional) readonly holdStatus?: HoldStatus;
}
