import {
  createParamDecorator,
  Injectable,
  type CallHandler,
  type ExecutionContext,
  type NestInterceptor,
} from '@nestjs/common';
import type { FastifyRequest } from 'fastify';
import type { Observable } from 'rxjs';
import { parseIdempotencyKey } from './validation/idempotency-key.js';

declare module 'fastify' {
  interface FastifyRequest {
    idempotencyKey?: string;
  }
}

/**
 * Reads, checks and normalises the Idempotency-Key. It decides nothing: whether the key was used is decided inside the
 * transaction that applies the effect, for only there can the two be atomic.
 */
@Injectable()
export class IdempotencyInterceptor implements NestInterceptor {
  intercept(context: ExecutionContext, next: CallHandler): Observable<unknown> {
    const request = context.switchToHttp().getRequest<FastifyRequest>();
    const header = request.headers['idempotency-key'];
    request.idempotencyKey = parseIdempotencyKey(Array.isArray(header) ? header.join(', ') : header);
    return next.handle();
  }
}

/** The request's idempotency key, as {@link IdempotencyInterceptor} has left it. */
export const IdempotencyKey = createParamDecorator(
  (_: unknown, context: ExecutionContext) =>
    context.switchToHttp().getRequest<FastifyRequest>().idempotencyKey,
);
