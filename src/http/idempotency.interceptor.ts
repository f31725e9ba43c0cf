import { Injectable, type CallHandler, type ExecutionContext, type NestInterceptor } from '@nestjs/common';
import type { FastifyRequest } from 'fastify';
import type { Observable } from 'rxjs';
import type { Rejection } from '../domain/errors.js';
import {
  DuplicateAccountDto,
  DuplicateTransactionDto,
  OpeningKeyReusedDto,
  TransactionKeyReusedDto,
} from './openapi/error-bodies.js';
import { parseIdempotencyKey } from './validation/idempotency-key.js';

declare module 'fastify' {
  interface FastifyRequest {
    /** As {@link IdempotencyInterceptor} has left it. */
    idempotencyKey?: string;
  }
}

/**
 * The HTTP side of idempotency, on every route that takes a key: reads, checks and normalises the Idempotency-Key. What
 * a repeat is answered says {@link answerToRepeat}. Whether a request is a repeat is decided inside the transaction that applies
 * the effect, for only there can the two be atomic.
 */
@Injectable()
export class IdempotencyInterceptor implements NestInterceptor {
  intercept(context: ExecutionContext, next: CallHandler): Observable<unknown> {
    const request = context.getArgByIndex<FastifyRequest>(0);
    const header = request.headers['idempotency-key'];
    request.idempotencyKey = parseIdempotencyKey(Array.isArray(header) ? header.join(', ') : header);
    return next.handle();
  }
}

/** The key was used before: by the same request, or by another one. */
export type Repeat = Extract<
  Rejection,
  {
    code: 'DUPLICATE_TRANSACTION' | 'IDEMPOTENCY_KEY_REUSED' | 'DUPLICATE_ACCOUNT' | 'OPENING_KEY_REUSED';
  }
>;

/** A repeated request is told what the first one has made, and where that is. */
export function answerToRepeat(repeat: Repeat) {
  switch (repeat.code) {
    case 'DUPLICATE_TRANSACTION': {
      const body = new DuplicateTransactionDto(repeat.original.transactionId);
      return { status: 409, body, location: `/transactions/${body.transactionId}` };
    }
    case 'IDEMPOTENCY_KEY_REUSED':
      return { status: 422, body: new TransactionKeyReusedDto(repeat.original.transactionId) };
    case 'DUPLICATE_ACCOUNT': {
      const body = new DuplicateAccountDto(repeat.accountId);
      return { status: 409, body, location: `/accounts/${body.accountId}` };
    }
    case 'OPENING_KEY_REUSED':
      return { status: 422, body: new OpeningKeyReusedDto(repeat.accountId) };
  }
}
