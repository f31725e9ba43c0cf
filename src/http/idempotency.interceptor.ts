import { Injectable, type CallHandler, type ExecutionContext, type NestInterceptor } from '@nestjs/common';
import type { FastifyRequest } from 'fastify';
import type { Observable } from 'rxjs';
import type { KeyHolder, Rejection } from '../domain/errors.js';
import { errorAnswer, type ErrorAnswer } from './errors/error-answer.js';
import {
  DuplicateAccountDto,
  DuplicateHoldDto,
  DuplicateTransactionDto,
  DuplicateTransferDto,
  HoldKeyReusedDto,
  OpeningKeyReusedDto,
  TransactionKeyReusedDto,
  TransferKeyReusedDto,
} from './openapi/error-bodies.js';
import { parseIdempotencyKey } from './validation/idempotency-key.js';

declare module 'fastify' {
  interface FastifyRequest {
    /** Set by {@link IdempotencyInterceptor}. */
    idempotencyKey?: string;
  }
}

/**
 * The HTTP side of idempotency, on every route that takes a key: reads, checks and normalises the Idempotency-Key. The
 * transaction that applies the effect decides whether a request is a repeat, because only there can the two be atomic.
 * For the answer to a repeat see {@link answerToRepeat}.
 */
@Injectable()
export class IdempotencyInterceptor implements NestInterceptor {
  intercept(context: ExecutionContext, next: CallHandler): Observable<unknown> {
    const request = context.getArgByIndex<FastifyRequest>(0);
    readKeyOf(request);
    return next.handle();
  }
}

/** @throws InvalidRequestError when it has a key that is not valid */
export function readKeyOf(request: FastifyRequest): void {
  const header = request.headers['idempotency-key'];
  request.idempotencyKey = parseIdempotencyKey(Array.isArray(header) ? header.join(', ') : header);
}

/** The key was used before, by the same request or by another one. */
export type Repeat = Extract<
  Rejection,
  {
    code:
      | 'DUPLICATE_TRANSACTION'
      | 'DUPLICATE_TRANSFER'
      | 'DUPLICATE_HOLD'
      | 'DUPLICATE_ACCOUNT'
      | 'IDEMPOTENCY_KEY_REUSED'
      | 'OPENING_KEY_REUSED';
  }
>;

/** The answer to a repeated request: what the first one created, and where it is. */
export function answerToRepeat(repeat: Repeat): ErrorAnswer {
  switch (repeat.code) {
    case 'DUPLICATE_TRANSACTION': {
      const body = new DuplicateTransactionDto(repeat.original.transactionId);
      return errorAnswer(repeat.code, { body, headers: { location: `/transactions/${body.transactionId}` } });
    }
    case 'DUPLICATE_TRANSFER': {
      const body = new DuplicateTransferDto(repeat.transferId);
      return errorAnswer(repeat.code, { body, headers: { location: `/transfers/${body.transferId}` } });
    }
    case 'DUPLICATE_HOLD': {
      const body = new DuplicateHoldDto(repeat.holdId);
      return errorAnswer(repeat.code, { body, headers: { location: `/holds/${body.holdId}` } });
    }
    case 'IDEMPOTENCY_KEY_REUSED':
      if ('refused' in repeat.original) return errorAnswer(repeat.code);
      return errorAnswer(repeat.code, { body: keyReusedBody(repeat.original) });
    case 'DUPLICATE_ACCOUNT': {
      const body = new DuplicateAccountDto(repeat.accountId);
      return errorAnswer(repeat.code, { body, headers: { location: `/accounts/${body.accountId}` } });
    }
    case 'OPENING_KEY_REUSED':
      return errorAnswer('IDEMPOTENCY_KEY_REUSED', { body: new OpeningKeyReusedDto(repeat.accountId) });
  }
}

function keyReusedBody(original: Exclude<KeyHolder, { readonly refused: true }>): object {
  if ('transferId' in original) return new TransferKeyReusedDto(original.transferId);
  if ('holdId' in original) return new HoldKeyReusedDto(original.holdId);
  return new TransactionKeyReusedDto(original.transactionId);
}
