import { AccountId, Field, json, listOf, plainText, Resource, TransactionId, Version } from './resource.js';
import { schema } from '../schema/registry.js';
import type { FieldProblem } from '../validation/invalid-request.js';

const constant = (text: string) => plainText({ type: 'string', const: text });

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

@Resource('InvalidRequest')
export class InvalidRequestDto {
  @Field(constant('Invalid request')) readonly error = 'Invalid request';

  @Field(
    listOf(json(FIELD_PROBLEM), {
      description: 'Every field that is wrong, named as the client wrote it.',
    }),
  )
  readonly details: readonly FieldProblem[];

  constructor(details: readonly FieldProblem[]) {
    this.details = details;
  }
}

@Resource('VersionMismatch')
export class VersionMismatchDto {
  @Field(constant('Version mismatch')) readonly error = 'Version mismatch';
  @Field(Version) readonly CurrentVersion: number;

  constructor(currentVersion: number) {
    this.CurrentVersion = currentVersion;
  }
}

@Resource('ServerCrashes')
export class ServerCrashesDto {
  @Field(constant('Server Crashes')) readonly error = 'Server Crashes';

  @Field(
    json({
      description: 'The last known version of the account; null if it is not known.',
      type: ['integer', 'null'],
      format: 'int64',
    }),
  )
  readonly CurrentVersion: number | null;

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
  @Field(constant('Request not received in time')) readonly error = 'Request not received in time';
}

@Resource('DuplicateTransaction')
export class DuplicateTransactionDto {
  @Field(constant('Duplicate transaction')) readonly error = 'Duplicate transaction';
  @Field(TransactionId) readonly transactionId: string;

  constructor(transactionId: number) {
    this.transactionId = `txn${transactionId}`;
  }
}

@Resource('IdempotencyKeyReused')
export class TransactionKeyReusedDto {
  @Field(constant('Idempotency key reused')) readonly error = 'Idempotency key reused';
  @Field(TransactionId) readonly transactionId: string;

  constructor(transactionId: number) {
    this.transactionId = `txn${transactionId}`;
  }
}

@Resource('DuplicateAccount')
export class DuplicateAccountDto {
  @Field(constant('Duplicate account')) readonly error = 'Duplicate account';
  @Field(AccountId) readonly accountId: number;

  constructor(accountId: number) {
    this.accountId = accountId;
  }
}

@Resource('OpeningKeyReused')
export class OpeningKeyReusedDto {
  @Field(constant('Idempotency key reused')) readonly error = 'Idempotency key reused';
  @Field(AccountId) readonly accountId: number;

  constructor(accountId: number) {
    this.accountId = accountId;
  }
}
